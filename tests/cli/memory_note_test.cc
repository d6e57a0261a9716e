#include "cli/memory_note.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace eqat::cli {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr int64_t kGibibyte = int64_t{1} << 30;

TEST(SmallPagesNote, IsForLargeModelsWithoutHugePages) {
  const std::string note = SmallPagesNote(kGibibyte, HugePages::kNever);
  EXPECT_THAT(note, StartsWith("eqat: note: without huge pages"));
  EXPECT_THAT(note, HasSubstr("/sys/kernel/mm/transparent_hugepage/enabled should say madvise or always\n"));
  EXPECT_EQ(SmallPagesNote(kGibibyte - 1, HugePages::kNever), "");
  EXPECT_EQ(SmallPagesNote(100 * kGibibyte, HugePages::kOnRequest), "");
  EXPECT_EQ(SmallPagesNote(100 * kGibibyte, HugePages::kAlways), "");
}

}  // namespace
}  // namespace eqat::cli
