#include "core/huge_pages.h"

#include <sys/prctl.h>

#include <fstream>
#include <string>

#include "absl/strings/match.h"

namespace eqat {

HugePages SystemHugePages() {
  if (prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0) == 1) return HugePages::kNever;
  std::string setting;
  std::getline(std::ifstream(kHugePagesSetting), setting);
  return ParseHugePages(setting);
}

HugePages ParseHugePages(absl::string_view setting) {
  if (absl::StrContains(setting, "[always]")) return HugePages::kAlways;
  if (absl::StrContains(setting, "[madvise]")) return HugePages::kOnRequest;
  return HugePages::kNever;
}

}  // namespace eqat
