#include "float_modules/gradient.h"

#include <limits>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/float_modules/golden_values.h"
#include "tests/support/status_matchers.h"

namespace eqat::nn {
namespace {

using ::eqat::testing::IsOk;
using ::eqat::testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

SparseGrad Grad(std::vector<int64_t> rows, std::vector<float> values, int64_t cols) {
  SparseGrad grad;
  grad.rows = std::move(rows);
  grad.values = std::move(values);
  grad.cols = cols;
  return grad;
}

TEST(SparseGradTest, AddToMergesRows) {
  SparseGrad sum = Grad({1, 4, 6}, {1, 2, 3, 4, 5, 6}, 2);
  ASSERT_THAT(AddTo(sum, Grad({0, 4, 9}, {10, 20, 30, 40, 50, 60}, 2)), IsOk());
  EXPECT_THAT(sum.rows, ElementsAre(0, 1, 4, 6, 9));
  EXPECT_THAT(sum.values, ElementsAre(10, 20, 1, 2, 33, 44, 5, 6, 50, 60));
}

TEST(SparseGradTest, AddToWithAnEmptySide) {
  SparseGrad sum = Grad({}, {}, 2);
  ASSERT_THAT(AddTo(sum, Grad({3}, {1, 2}, 2)), IsOk());
  ASSERT_THAT(AddTo(sum, Grad({}, {}, 2)), IsOk());
  EXPECT_THAT(sum.rows, ElementsAre(3));
  EXPECT_THAT(sum.values, ElementsAre(1, 2));
}

TEST(SparseGradTest, AddToRejectsOtherWidths) {
  SparseGrad sum = Grad({1}, {1, 2}, 2);
  EXPECT_THAT(AddTo(sum, Grad({1}, {1, 2, 3}, 3)),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("different widths (got 3, expected 2 columns)")));
  EXPECT_THAT(sum.values, ElementsAre(1, 2));
}

TEST(SparseGradTest, ToDenseFillsUnlistedRowsWithZero) {
  EQAT_ASSERT_OK_AND_ASSIGN(const Table dense, ToDense(Grad({0, 2}, {1, 2, 3, 4}, 2), 4));
  EXPECT_EQ(eqat::testing::BitsOf(dense), eqat::testing::BitsOf({1, 2, 0, 0, 3, 4, 0, 0}));
  EQAT_ASSERT_OK_AND_ASSIGN(const Table empty, ToDense(Grad({}, {}, 3), 0));
  EXPECT_EQ(empty.rows(), 0);
  EXPECT_EQ(empty.cols(), 3);
}

TEST(SparseGradTest, ToDenseReportsTablesThatDoNotFit) {
  EXPECT_THAT(ToDense(Grad({}, {}, 1 << 20), std::numeric_limits<int64_t>::max() / 2),
              StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("")));
}

}  // namespace
}  // namespace eqat::nn
