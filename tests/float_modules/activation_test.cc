#include "float_modules/activation.h"

#include <cmath>
#include <string>
#include <vector>

#include "core/parallel_for.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/float_modules/golden_values.h"
#include "tests/golden/float_golden.h"
#include "tests/support/status_matchers.h"

namespace eqat::nn {
namespace {

using ::eqat::testing::ActivationGolden;
using ::eqat::testing::BitsOf;
using ::eqat::testing::ExpectClose;
using ::eqat::testing::FloatsOf;
using ::eqat::testing::InteractionGolden;
using ::eqat::testing::IsOk;
using ::eqat::testing::RandomTensor;
using ::eqat::testing::StatusIs;
using ::eqat::testing::TensorOf;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::vector<const Tensor*> PointersTo(const std::vector<Tensor>& tensors) {
  std::vector<const Tensor*> pointers;
  for (const Tensor& tensor : tensors) pointers.push_back(&tensor);
  return pointers;
}

TEST(ActivationTest, MatchesTorch) {
  for (const ActivationGolden& golden : eqat::testing::ActivationGoldens()) {
    SCOPED_TRACE(golden.name);
    const int64_t count = static_cast<int64_t>(golden.x.size());
    const Tensor x = TensorOf({count}, FloatsOf(golden.x));
    const Tensor g = TensorOf({count}, FloatsOf(golden.grad_output));
    if (std::string(golden.name) == "relu") {
      const Tensor y = ReLU(x);
      EXPECT_THAT(y.values, ::testing::ElementsAreArray(FloatsOf(golden.output)));
      EXPECT_THAT(ReLUBackward(y, g).values, ::testing::ElementsAreArray(FloatsOf(golden.grad_x)));
    } else {
      // torch's vectorised exponential is within 2 ulps, its quotient adds one; the gradient has two products more.
      const Tensor y = Sigmoid(x);
      ExpectClose(y.values, FloatsOf(golden.output), 4 * 0x1p-24, 1e-38);
      ExpectClose(SigmoidBackward(y, g).values, FloatsOf(golden.grad_x), 1e-6, 1e-7);
    }
  }
}

TEST(ActivationTest, NaNPassesThrough) {
  const Tensor nan = TensorOf({1}, {std::nanf("")});
  EXPECT_TRUE(std::isnan(ReLU(nan).values[0]));
  EXPECT_TRUE(std::isnan(Sigmoid(nan).values[0]));
}

TEST(ActivationTest, SigmoidGradientAgreesWithDifferences) {
  // Truncation h^2 / 6 * 1/8 * |g| and rounding 2^-24 * |g| / h at h = 2^-7, |g| < 3.
  Tensor x = RandomTensor({4, 5}, 1);
  const Tensor g = RandomTensor({4, 5}, 2);
  eqat::testing::ExpectGradient(x.values, SigmoidBackward(Sigmoid(x), g).values, 0x1p-7f, 5e-5,
                                [&] { return eqat::testing::Loss(Sigmoid(x).values, g.values); });
}

TEST(ActivationTest, DropoutKeepsAndScales) {
  const Tensor ones = [] {
    Tensor tensor({200, 100});
    std::fill(tensor.values.begin(), tensor.values.end(), 1.0f);
    return tensor;
  }();
  const Rng rng(3, 1);
  for (const double p : {0.25, 0.5, 0.9}) {
    const Tensor y = Dropout(ones, p, rng);
    int64_t dropped = 0;
    for (int64_t i = 0; i < y.size(); ++i) {
      const bool drops = rng.Uniform(i) < p;
      dropped += drops;
      ASSERT_EQ(y.values[i], drops ? 0.0f : static_cast<float>(1 / (1 - p))) << i;
    }
    // Five standard errors of 20000 draws.
    EXPECT_NEAR(dropped / 20000.0, p, 5 * std::sqrt(p * (1 - p) / 20000));
    EXPECT_EQ(BitsOf(DropoutBackward(ones, p, rng).values), BitsOf(y.values));
  }
  EXPECT_EQ(BitsOf(Dropout(ones, 0, rng).values), BitsOf(ones.values));
  EXPECT_THAT(Dropout(ones, 1, rng).values, Each(0));
}

TEST(ActivationTest, DropoutDoesNotDependOnTheNumberOfThreads) {
  const Tensor x = RandomTensor({500, 100}, 1);
  SetNumThreads(1);
  const std::vector<uint32_t> one = BitsOf(Dropout(x, 0.5, Rng(3, 1)).values);
  SetNumThreads(5);
  const std::vector<uint32_t> five = BitsOf(Dropout(x, 0.5, Rng(3, 1)).values);
  SetNumThreads(0);
  EXPECT_EQ(one, five);
}

TEST(CatTest, AlongEveryDimension) {
  const std::vector<Tensor> columns = {TensorOf({2, 1}, {1, 2}), TensorOf({2, 2}, {3, 4, 5, 6}), Tensor({2, 0})};
  for (const int64_t dim : {1, -1}) {
    EQAT_ASSERT_OK_AND_ASSIGN(const Tensor y, Cat(PointersTo(columns), dim));
    EXPECT_THAT(y.shape, ElementsAre(2, 3));
    EXPECT_THAT(y.values, ElementsAre(1, 3, 4, 2, 5, 6));
    const std::vector<Tensor> gradients = CatBackward(PointersTo(columns), dim, y);
    for (size_t i = 0; i < columns.size(); ++i) {
      EXPECT_EQ(gradients[i].shape, columns[i].shape);
      EXPECT_EQ(gradients[i].values, columns[i].values);
    }
  }
  const std::vector<Tensor> rows = {TensorOf({1, 2}, {1, 2}), TensorOf({2, 2}, {3, 4, 5, 6})};
  EQAT_ASSERT_OK_AND_ASSIGN(const Tensor stacked, Cat(PointersTo(rows), 0));
  EXPECT_THAT(stacked.shape, ElementsAre(3, 2));
  EXPECT_THAT(stacked.values, ElementsAre(1, 2, 3, 4, 5, 6));
  const std::vector<Tensor> cubes = {TensorOf({2, 1, 2}, {1, 2, 3, 4}), TensorOf({2, 1, 2}, {5, 6, 7, 8})};
  EQAT_ASSERT_OK_AND_ASSIGN(const Tensor middle, Cat(PointersTo(cubes), 1));
  EXPECT_THAT(middle.values, ElementsAre(1, 2, 5, 6, 3, 4, 7, 8));
  EXPECT_THAT(CatBackward(PointersTo(cubes), 1, middle)[1].values, ElementsAre(5, 6, 7, 8));
}

TEST(CatTest, Errors) {
  const std::vector<Tensor> uneven = {Tensor({2, 1}), Tensor({3, 1})};
  EXPECT_THAT(
      Cat(PointersTo(uneven), 1),
      StatusIs(absl::StatusCode::kInvalidArgument,
               HasSubstr("cat: input 1 does not fit input 0 outside dimension 1 (got [3, 1], expected [2, 1])")));
  const std::vector<Tensor> ranks = {Tensor({2, 1}), Tensor({2})};
  EXPECT_THAT(Cat(PointersTo(ranks), 0), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("input 1")));
  EXPECT_THAT(Cat(PointersTo(uneven), 2), StatusIs(absl::StatusCode::kOutOfRange,
                                                   HasSubstr("cat: dimension out of range (got 2, expected -2 to 1)")));
  EXPECT_THAT(Cat(PointersTo(uneven), -3), StatusIs(absl::StatusCode::kOutOfRange, HasSubstr("got -3")));
  EXPECT_THAT(Cat({}, 0), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("nothing to concatenate")));
  const std::vector<Tensor> scalars = {Tensor(std::vector<int64_t>{})};
  EXPECT_THAT(Cat(PointersTo(scalars), 0), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("scalars")));
}

TEST(FlattenTest, JoinsTrailingDimensions) {
  const Tensor x = RandomTensor({2, 3, 4}, 1);
  const struct {
    int64_t start_dim;
    std::vector<int64_t> shape;
  } cases[] = {{0, {24}}, {1, {2, 12}}, {2, {2, 3, 4}}, {-1, {2, 3, 4}}, {-2, {2, 12}}};
  for (const auto& flattened : cases) {
    EQAT_ASSERT_OK_AND_ASSIGN(const Tensor y, Flatten(x, flattened.start_dim));
    EXPECT_EQ(y.shape, flattened.shape);
    EXPECT_EQ(y.values, x.values);
  }
  EQAT_ASSERT_OK_AND_ASSIGN(const Tensor scalar, Flatten(Tensor(std::vector<int64_t>{}), 0));
  EXPECT_THAT(scalar.shape, ElementsAre(1));
  EXPECT_THAT(Flatten(Tensor({3}), 1),
              StatusIs(absl::StatusCode::kOutOfRange, HasSubstr("flatten: dimension out of range (got 1")));
}

std::vector<Tensor> SplitFeatures(const InteractionGolden& golden, const std::vector<float>& values) {
  const int64_t size = golden.rows * golden.dim;
  std::vector<Tensor> features;
  for (int64_t i = 0; i < golden.features; ++i) {
    features.push_back(
        TensorOf({golden.rows, golden.dim}, {values.begin() + i * size, values.begin() + (i + 1) * size}));
  }
  return features;
}

TEST(InteractDotTest, MatchesTorch) {
  // 13 products of values below 4, rounded on either side: 2 * 13 * 16 * 2^-24 is 2.5e-5.
  for (const InteractionGolden& golden : eqat::testing::InteractionGoldens()) {
    const std::vector<Tensor> features = SplitFeatures(golden, FloatsOf(golden.x));
    EQAT_ASSERT_OK_AND_ASSIGN(const Tensor y, InteractDot(PointersTo(features)));
    EXPECT_THAT(y.shape, ElementsAre(golden.rows, golden.features * (golden.features - 1) / 2));
    ExpectClose(y.values, FloatsOf(golden.output), 0, 2.5e-5);
    const std::vector<Tensor> gradients =
        InteractDotBackward(PointersTo(features), TensorOf(y.shape, FloatsOf(golden.grad_output)));
    const std::vector<Tensor> expected = SplitFeatures(golden, FloatsOf(golden.grad_x));
    for (size_t i = 0; i < features.size(); ++i) {
      ExpectClose(gradients[i].values, expected[i].values, 0, 2.5e-5);
    }
  }
}

TEST(InteractDotTest, GradientsAgreeWithDifferences) {
  // Linear in each feature: only rounding, about 60 terms of size 10 at 2^-24, over a step of 0.5.
  std::vector<Tensor> features = {RandomTensor({3, 9}, 1), RandomTensor({3, 9}, 2), RandomTensor({3, 9}, 3)};
  const Tensor g = RandomTensor({3, 3}, 4);
  const std::vector<Tensor> gradients = InteractDotBackward(PointersTo(features), g);
  for (size_t i = 0; i < features.size(); ++i) {
    eqat::testing::ExpectGradient(features[i].values, gradients[i].values, 0.5f, 1e-4, [&] {
      return eqat::testing::Loss(InteractDot(PointersTo(features))->values, g.values);
    });
  }
}

TEST(InteractDotTest, Errors) {
  const std::vector<Tensor> one = {Tensor({2, 3})};
  EXPECT_THAT(InteractDot(PointersTo(one)),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("interact_dot: there is nothing to interact")));
  const std::vector<Tensor> uneven = {Tensor({2, 3}), Tensor({2, 4})};
  EXPECT_THAT(InteractDot(PointersTo(uneven)),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("feature 1 differs in shape")));
  const std::vector<Tensor> cube = {Tensor({2, 3, 1}), Tensor({2, 3, 1})};
  EXPECT_THAT(InteractDot(PointersTo(cube)),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("feature 0 is not a matrix")));
}

TEST(SliceTest, PicksAsPython) {
  const Tensor x = TensorOf({2, 4}, {0, 1, 2, 3, 4, 5, 6, 7});
  struct Case {
    int64_t dim, start, end;
    std::vector<int64_t> shape;
    std::vector<float> values;
  };
  const Case cases[] = {
      {1, 1, 3, {2, 2}, {1, 2, 5, 6}}, {-1, -2, INT64_MAX, {2, 2}, {2, 3, 6, 7}},
      {0, 1, 2, {1, 4}, {4, 5, 6, 7}}, {1, 0, INT64_MAX, {2, 4}, {0, 1, 2, 3, 4, 5, 6, 7}},
      {1, 3, 1, {2, 0}, {}},           {1, -100, 1, {2, 1}, {0, 4}},
      {1, 100, 200, {2, 0}, {}},       {1, INT64_MIN, -3, {2, 1}, {0, 4}},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(::testing::Message() << c.dim << ": " << c.start << " to " << c.end);
    EQAT_ASSERT_OK_AND_ASSIGN(const Tensor y, Slice(x, c.dim, c.start, c.end));
    EXPECT_EQ(y.shape, c.shape);
    EXPECT_EQ(y.values, c.values);
    // The gradient of what was picked is 1, of the rest 0.
    Tensor ones(y.shape);
    std::fill(ones.values.begin(), ones.values.end(), 1.0f);
    const Tensor gradient = SliceBackward(x.shape, c.dim, c.start, c.end, ones);
    std::vector<float> expected(8, 0.0f);
    for (const float value : c.values) expected[static_cast<size_t>(value)] = 1.0f;
    EXPECT_EQ(gradient.values, expected);
  }
  EXPECT_THAT(Slice(x, 2, 0, 1),
              StatusIs(absl::StatusCode::kOutOfRange, HasSubstr("slice: dimension out of range (got 2")));
  EXPECT_THAT(Slice(Tensor(std::vector<int64_t>{}), 0, 0, 1),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("scalars cannot be sliced")));
}

}  // namespace
}  // namespace eqat::nn
