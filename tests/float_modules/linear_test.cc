#include "float_modules/linear.h"

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

using ::eqat::testing::BitsOf;
using ::eqat::testing::FloatsOf;
using ::eqat::testing::IsOk;
using ::eqat::testing::LinearGolden;
using ::eqat::testing::RandomFloats;
using ::eqat::testing::RandomTensor;
using ::eqat::testing::StatusIs;
using ::eqat::testing::TableOf;
using ::eqat::testing::TensorOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

LinearOptions SizedLinear(int64_t in_features, int64_t out_features, bool bias = true) {
  return {.in_features = in_features, .out_features = out_features, .bias = bias};
}

std::vector<float> RowOf(const Tensor& x, int64_t row) {
  const TableView matrix = x.matrix();
  return {matrix.Row(row), matrix.Row(row) + matrix.cols};
}

TEST(LinearTest, MatchesTorch) {
  for (const LinearGolden& golden : eqat::testing::LinearGoldens()) {
    SCOPED_TRACE(::testing::Message() << golden.rows << " x " << golden.in_features << " x " << golden.out_features);
    const LinearOptions options = SizedLinear(golden.in_features, golden.out_features, golden.has_bias);
    EQAT_ASSERT_OK_AND_ASSIGN(const Linear module, Linear::FromWeight(TableOf(golden.out_features, golden.in_features,
                                                                              FloatsOf(golden.weight)),
                                                                      FloatsOf(golden.bias), options));
    const Tensor x = TensorOf({golden.rows, golden.in_features}, FloatsOf(golden.x));
    EQAT_ASSERT_OK_AND_ASSIGN(const Tensor y, module.Forward(x));
    // Sums of up to 40 products, each below 10, rounded twice per term on either side: 4 * 40 * 10 * 2^-24 < 1e-4. The
    // sums are in truth far smaller, and so is the bound used.
    constexpr double kTolerance = 1e-5;
    eqat::testing::ExpectClose(y.values, FloatsOf(golden.output), 1e-6, kTolerance);
    const Tensor g = TensorOf(y.shape, FloatsOf(golden.grad_output));
    EQAT_ASSERT_OK_AND_ASSIGN(const LinearGradients gradients, module.Backward(x, g));
    eqat::testing::ExpectClose(gradients.input.values, FloatsOf(golden.grad_x), 1e-6, kTolerance);
    eqat::testing::ExpectClose(gradients.weight, FloatsOf(golden.grad_weight), 1e-6, kTolerance);
    eqat::testing::ExpectClose(gradients.bias, FloatsOf(golden.grad_bias), 1e-6, kTolerance);
  }
}

// What Linear promises: a row does not see its neighbours, its place, or the size of its batch.
TEST(LinearTest, RowsDependOnThemselvesAlone) {
  for (const int64_t in_features : {1, 2, 3, 7, 8, 16, 33, 64, 205, 241, 600}) {
    for (const int64_t out_features : {1, 2, 3, 4, 5, 8, 13, 16, 64, 65}) {
      SCOPED_TRACE(::testing::Message() << in_features << " to " << out_features);
      EQAT_ASSERT_OK_AND_ASSIGN(const Linear module, Linear::Create(SizedLinear(in_features, out_features), 1));
      const Tensor x = RandomTensor({100, in_features}, 2);
      const Tensor g = RandomTensor({100, out_features}, 3);
      EQAT_ASSERT_OK_AND_ASSIGN(const Tensor y, module.Forward(x));
      EQAT_ASSERT_OK_AND_ASSIGN(const LinearGradients gradients, module.Backward(x, g));
      for (const int64_t first : {0, 5, 31, 63, 97}) {
        for (const int64_t count : {1, 3, 64}) {
          if (first + count > 100) continue;
          Tensor part({count, in_features});
          std::copy_n(x.matrix().Row(first), part.size(), part.values.data());
          Tensor part_g({count, out_features});
          std::copy_n(g.matrix().Row(first), part_g.size(), part_g.values.data());
          EQAT_ASSERT_OK_AND_ASSIGN(const Tensor part_y, module.Forward(part));
          EQAT_ASSERT_OK_AND_ASSIGN(const LinearGradients part_gradients, module.Backward(part, part_g));
          for (int64_t row = 0; row < count; ++row) {
            ASSERT_EQ(BitsOf(RowOf(part_y, row)), BitsOf(RowOf(y, first + row))) << first << " + " << row;
            ASSERT_EQ(BitsOf(RowOf(part_gradients.input, row)), BitsOf(RowOf(gradients.input, first + row)));
          }
        }
      }
    }
  }
}

TEST(LinearTest, ResultsDoNotDependOnTheNumberOfThreads) {
  EQAT_ASSERT_OK_AND_ASSIGN(const Linear module, Linear::Create(SizedLinear(77, 130), 1));
  const Tensor x = RandomTensor({500, 77}, 2);
  const Tensor g = RandomTensor({500, 130}, 3);
  std::vector<std::vector<uint32_t>> results;
  for (const int threads : {1, 2, 7}) {
    SetNumThreads(threads);
    EQAT_ASSERT_OK_AND_ASSIGN(const Tensor y, module.Forward(x));
    EQAT_ASSERT_OK_AND_ASSIGN(const LinearGradients gradients, module.Backward(x, g));
    std::vector<uint32_t> bits;
    for (const std::vector<float>* values : {&y.values, &gradients.input.values, &gradients.weight, &gradients.bias}) {
      const std::vector<uint32_t> more = BitsOf(*values);
      bits.insert(bits.end(), more.begin(), more.end());
    }
    results.push_back(std::move(bits));
  }
  SetNumThreads(0);
  EXPECT_EQ(results[0], results[1]);
  EXPECT_EQ(results[0], results[2]);
}

TEST(LinearTest, GradientsAgreeWithDifferences) {
  // The loss is linear in each argument, so a difference over a step of 0.5 has only rounding error: some 300 terms of
  // size below 5, at 2^-24 each, times 2.
  constexpr double kTolerance = 2e-4;
  const LinearOptions options = SizedLinear(7, 5);
  Tensor x = RandomTensor({6, 7}, 1);
  const Tensor g = RandomTensor({6, 5}, 2);
  std::vector<float> weight = RandomFloats(35, 3);
  std::vector<float> bias = RandomFloats(5, 4);
  const auto module = [&] { return *Linear::FromWeight(TableOf(5, 7, weight), bias, options); };
  const auto loss = [&] { return eqat::testing::Loss(module().Forward(x)->values, g.values); };
  EQAT_ASSERT_OK_AND_ASSIGN(const LinearGradients gradients, module().Backward(x, g));
  eqat::testing::ExpectGradient(x.values, gradients.input.values, 0.5f, kTolerance, loss);
  eqat::testing::ExpectGradient(weight, gradients.weight, 0.5f, kTolerance, loss);
  eqat::testing::ExpectGradient(bias, gradients.bias, 0.5f, kTolerance, loss);
}

TEST(LinearTest, InitialisesUniformly) {
  EQAT_ASSERT_OK_AND_ASSIGN(const Linear module, Linear::Create(SizedLinear(100, 50), 1, "top.0"));
  double squares = 0;
  for (int64_t i = 0; i < 5000; ++i) {
    ASSERT_LE(std::abs(module.weight().data()[i]), 0.1f);
    squares += module.weight().data()[i] * module.weight().data()[i];
  }
  // Variance of the uniform distribution on +-0.1, 0.01 / 3, within five standard errors (5 sqrt(0.8 / 5000) = 6 %).
  EXPECT_NEAR(squares / 5000, 0.01 / 3, 0.06 * 0.01 / 3);
  EXPECT_EQ(module.bias().size(), 50u);
  for (const float b : module.bias()) EXPECT_LE(std::abs(b), 0.1f);
  EXPECT_NE(BitsOf(module.weight()), BitsOf(Linear::Create(SizedLinear(100, 50), 1, "top.1")->weight()));
  EXPECT_THAT(Linear::Create(SizedLinear(100, 50, false), 1)->bias(), IsEmpty());
}

TEST(LinearTest, LeadingDimensions) {
  EQAT_ASSERT_OK_AND_ASSIGN(const Linear module, Linear::FromWeight(TableOf(1, 2, {10, 1}), {100}, SizedLinear(2, 1)));
  EQAT_ASSERT_OK_AND_ASSIGN(const Tensor cube, module.Forward(TensorOf({2, 2, 2}, {1, 2, 3, 4, 5, 6, 7, 8})));
  EXPECT_THAT(cube.shape, ElementsAre(2, 2, 1));
  EXPECT_THAT(cube.values, ElementsAre(112, 134, 156, 178));
  EQAT_ASSERT_OK_AND_ASSIGN(const Tensor one, module.Forward(TensorOf({2}, {1, 2})));
  EXPECT_THAT(one.shape, ElementsAre(1));
  EQAT_ASSERT_OK_AND_ASSIGN(const Tensor none, module.Forward(Tensor({0, 2})));
  EXPECT_THAT(none.shape, ElementsAre(0, 1));
  EQAT_ASSERT_OK_AND_ASSIGN(const LinearGradients gradients, module.Backward(Tensor({0, 2}), Tensor({0, 1})));
  EXPECT_THAT(gradients.weight, ElementsAre(0, 0));
  EXPECT_THAT(gradients.bias, ElementsAre(0));
}

TEST(LinearTest, Errors) {
  EXPECT_THAT(Linear::Create(SizedLinear(0, 2), 1, "top"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("top: in_features is not positive (got 0")));
  EXPECT_THAT(Linear::Create(SizedLinear(2, -1), 1),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("nn.Linear: out_features is not positive")));
  EXPECT_THAT(Linear::Create(SizedLinear(int64_t{1} << 40, int64_t{1} << 40), 1, "top"),
              StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("top: ")));
  EXPECT_THAT(Linear::FromWeight(TableOf(1, 2, {1, 2}), {1}, SizedLinear(2, 2), "top"),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("top: weight has the wrong shape (got [1, 2], expected [2, 2])")));
  EXPECT_THAT(Linear::FromWeight(TableOf(1, 2, {1, 2}), {1}, SizedLinear(2, 1, false), "top"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("bias has the wrong size (got 1, expected 0)")));
  EQAT_ASSERT_OK_AND_ASSIGN(const Linear module, Linear::Create(SizedLinear(2, 3), 1, "top"));
  EXPECT_THAT(module.Forward(Tensor({4, 3})),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("top: the input has the wrong last dimension (got [4, 3], expected [..., 2])")));
  EXPECT_THAT(module.Forward(Tensor(std::vector<int64_t>{})),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("got []")));
  EXPECT_THAT(module.Backward(Tensor({4, 2}), Tensor({3, 3})),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("top: grad_output has the wrong shape")));
}

}  // namespace
}  // namespace eqat::nn
