#include "core/checked_math.h"

#include <limits>

#include "gtest/gtest.h"

namespace eqat {
namespace {

constexpr int64_t kMax = std::numeric_limits<int64_t>::max();
constexpr int64_t kMin = std::numeric_limits<int64_t>::min();

TEST(CheckedMath, GivesExactResults) {
  EXPECT_EQ(CheckedMul(1'000'000'007, -3), -3'000'000'021);
  EXPECT_EQ(CheckedMul(kMax, 1), kMax);
  EXPECT_EQ(CheckedAdd(kMax, kMin), -1);
}

TEST(CheckedMath, HasNoResultOnOverflow) {
  EXPECT_EQ(CheckedMul(int64_t{1} << 32, int64_t{1} << 31), std::nullopt);
  EXPECT_EQ(CheckedMul(kMin, -1), std::nullopt);
  EXPECT_EQ(CheckedAdd(kMax, 1), std::nullopt);
  EXPECT_EQ(CheckedAdd(kMin, -1), std::nullopt);
}

}  // namespace
}  // namespace eqat
