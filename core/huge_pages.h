// Whether the system backs large tables with huge pages (2 MiB on most machines). Without them nearly every random row
// of a table of gigabytes costs a walk through the page tables besides its cache lines.
#ifndef EQAT_CORE_HUGE_PAGES_H_
#define EQAT_CORE_HUGE_PAGES_H_

#include <cstdint>

#include "absl/strings/string_view.h"

namespace eqat {

enum class HugePages : uint8_t {
  kNever,
  kOnRequest,  // as AllocateZeroed does (zeroed_memory.h)
  kAlways,
};

inline constexpr char kHugePagesSetting[] = "/sys/kernel/mm/transparent_hugepage/enabled";

// What this process gets: the system's setting, kNever where there is none or the process is excluded.
HugePages SystemHugePages();

// The choice in brackets of a setting such as "always [madvise] never"; kNever if there is none.
HugePages ParseHugePages(absl::string_view setting);

}  // namespace eqat

#endif  // EQAT_CORE_HUGE_PAGES_H_
