#include "float_modules/elementwise.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/float_modules/golden_values.h"
#include "tests/support/status_matchers.h"

namespace eqat::nn {
namespace {

using ::eqat::testing::StatusIs;
using ::eqat::testing::TensorOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(ElementwiseTest, EqualShapesAndColumns) {
  const Tensor a = TensorOf({2, 3}, {1, 2, 3, 4, 5, 6});
  const Tensor column = TensorOf({2, 1}, {10, 100});
  EQAT_ASSERT_OK_AND_ASSIGN(const Tensor sum, Add(a, a));
  EXPECT_THAT(sum.values, ElementsAre(2, 4, 6, 8, 10, 12));
  EQAT_ASSERT_OK_AND_ASSIGN(const Tensor right, Mul(a, column));
  EXPECT_THAT(right.shape, ElementsAre(2, 3));
  EXPECT_THAT(right.values, ElementsAre(10, 20, 30, 400, 500, 600));
  EQAT_ASSERT_OK_AND_ASSIGN(const Tensor left, Sub(column, a));
  EXPECT_THAT(left.values, ElementsAre(9, 8, 7, 96, 95, 94));
  EXPECT_THAT(ReduceTo(a, {2, 1}).values, ElementsAre(6, 15));
  EXPECT_THAT(ReduceTo(a, {2, 3}).values, ElementsAre(1, 2, 3, 4, 5, 6));
}

TEST(ElementwiseTest, RowsScalarsAndMissingDimensions) {
  const Tensor a = TensorOf({2, 3}, {1, 2, 3, 4, 5, 6});
  EXPECT_THAT(Div(a, TensorOf({3}, {1, 2, 4}))->values, ElementsAre(1, 1, 0.75, 4, 2.5, 1.5));
  EXPECT_THAT(Add(TensorOf({1, 3}, {10, 20, 30}), a)->values, ElementsAre(11, 22, 33, 14, 25, 36));
  EXPECT_THAT(Sub(a, TensorOf({}, {1}))->values, ElementsAre(0, 1, 2, 3, 4, 5));
  EXPECT_THAT(Mul(TensorOf({}, {3}), TensorOf({}, {2}))->shape, ElementsAre());
  EQAT_ASSERT_OK_AND_ASSIGN(const Tensor outer, Mul(TensorOf({2, 1}, {1, 10}), TensorOf({3}, {1, 2, 3})));
  EXPECT_THAT(outer.shape, ElementsAre(2, 3));
  EXPECT_THAT(outer.values, ElementsAre(1, 2, 3, 10, 20, 30));
  EQAT_ASSERT_OK_AND_ASSIGN(const Tensor cube, Add(TensorOf({2, 1, 2}, {1, 2, 3, 4}), TensorOf({2, 1}, {10, 20})));
  EXPECT_THAT(cube.shape, ElementsAre(2, 2, 2));
  EXPECT_THAT(cube.values, ElementsAre(11, 12, 21, 22, 13, 14, 23, 24));
  EXPECT_THAT(Add(Tensor({0, 3}), TensorOf({3}, {1, 2, 3}))->shape, ElementsAre(0, 3));
  EXPECT_THAT(Add(Tensor({0, 3}), TensorOf({1, 3}, {1, 2, 3}))->shape, ElementsAre(0, 3));
}

TEST(ElementwiseTest, GradientsAreSummedOverWhatWasRepeated) {
  const Tensor grad = TensorOf({2, 3}, {1, 2, 3, 4, 5, 6});
  EXPECT_THAT(ReduceTo(grad, {3}).values, ElementsAre(5, 7, 9));
  EXPECT_THAT(ReduceTo(grad, {1, 3}).shape, ElementsAre(1, 3));
  EXPECT_THAT(ReduceTo(grad, {}).values, ElementsAre(21));
  EXPECT_THAT(ReduceTo(Tensor({0, 3}), {3}).values, ElementsAre(0, 0, 0));
  const Tensor cube = TensorOf({2, 2, 2}, {1, 2, 3, 4, 5, 6, 7, 8});
  EXPECT_THAT(ReduceTo(cube, {2, 1, 2}).values, ElementsAre(4, 6, 12, 14));
  EXPECT_THAT(ReduceTo(cube, {2, 1}).values, ElementsAre(14, 22));
}

TEST(ElementwiseTest, Errors) {
  EXPECT_THAT(Add(Tensor({2, 3}), Tensor({3, 3})),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("add: operands differ in shape (got [2, 3] and [3, 3], expected equal sizes")));
  EXPECT_THAT(Mul(Tensor({2, 3}), Tensor({2})),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("mul: operands differ in shape")));
  EXPECT_THAT(Sub(Tensor({2, 3}), Tensor({0, 3})), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("sub: ")));
  Tensor huge, other;
  huge.shape = {int64_t{1} << 40, 1};
  other.shape = {1, int64_t{1} << 40};
  EXPECT_THAT(Div(huge, other),
              StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("div: the result is too large")));
}

}  // namespace
}  // namespace eqat::nn
