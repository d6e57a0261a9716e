#include "cli/memory_note.h"

#include "absl/strings/str_cat.h"

namespace eqat::cli {

std::string SmallPagesNote(int64_t parameter_bytes, HugePages pages) {
  constexpr int64_t kLargeBytes = int64_t{1} << 30;
  if (parameter_bytes < kLargeBytes || pages != HugePages::kNever) return "";
  return absl::StrCat("eqat: note: without huge pages random look-ups in large tables take up to three times as long; ",
                      kHugePagesSetting, " should say madvise or always\n");
}

}  // namespace eqat::cli
