#include "core/huge_pages.h"

#include <sys/prctl.h>

#include "gtest/gtest.h"

namespace eqat {
namespace {

TEST(HugePages, FollowTheChoiceInBrackets) {
  EXPECT_EQ(ParseHugePages("[always] madvise never"), HugePages::kAlways);
  EXPECT_EQ(ParseHugePages("always [madvise] never\n"), HugePages::kOnRequest);
  EXPECT_EQ(ParseHugePages("always madvise [never]"), HugePages::kNever);
  EXPECT_EQ(ParseHugePages("always madvise never"), HugePages::kNever);
  EXPECT_EQ(ParseHugePages(""), HugePages::kNever);
}

TEST(HugePages, AreDeniedToAnExcludedProcess) {
  const HugePages before = SystemHugePages();
  ASSERT_EQ(prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0), 0);
  EXPECT_EQ(SystemHugePages(), HugePages::kNever);
  ASSERT_EQ(prctl(PR_SET_THP_DISABLE, 0, 0, 0, 0), 0);
  EXPECT_EQ(SystemHugePages(), before);
}

}  // namespace
}  // namespace eqat
