#include "float_modules/batch_norm.h"

#include <cmath>
#include <limits>
#include <vector>

#include "core/parallel_for.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/float_modules/golden_values.h"
#include "tests/golden/float_golden.h"
#include "tests/support/status_matchers.h"

namespace eqat::nn {
namespace {

using ::eqat::testing::BatchNormGolden;
using ::eqat::testing::BatchNormGoldenStep;
using ::eqat::testing::BitsOf;
using ::eqat::testing::ExpectClose;
using ::eqat::testing::FloatsOf;
using ::eqat::testing::IsOk;
using ::eqat::testing::RandomTensor;
using ::eqat::testing::StatusIs;
using ::eqat::testing::TensorOf;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

BatchNorm1dOptions Sized(int64_t num_features) {
  BatchNorm1dOptions options;
  options.num_features = num_features;
  return options;
}

TEST(BatchNorm1dTest, MatchesTorchOverSteps) {
  for (const BatchNormGolden& golden : eqat::testing::BatchNormGoldens()) {
    SCOPED_TRACE(::testing::Message() << "eps " << golden.eps << ", affine " << golden.affine << ", tracking "
                                      << golden.track_running_stats);
    BatchNorm1dOptions options = Sized(golden.num_features);
    options.eps = golden.eps;
    options.momentum = golden.momentum;
    options.affine = golden.affine;
    options.track_running_stats = golden.track_running_stats;
    EQAT_ASSERT_OK_AND_ASSIGN(BatchNorm1d module, BatchNorm1d::Create(options));
    BatchNorm1dState state = module.state();
    state.weight = FloatsOf(golden.weight);
    state.bias = FloatsOf(golden.bias);
    ASSERT_THAT(module.SetState(state), IsOk());
    for (size_t i = 0; i < golden.steps.size(); ++i) {
      SCOPED_TRACE(::testing::Message() << "step " << i);
      const BatchNormGoldenStep& step = golden.steps[i];
      const Tensor x = TensorOf({step.rows, golden.num_features}, FloatsOf(step.x));
      BatchNorm1dContext context;
      EQAT_ASSERT_OK_AND_ASSIGN(
          const Tensor y, step.training ? module.ForwardTraining(x, &context) : module.ForwardEvaluation(x, &context));
      // torch normalises in float with about ten roundings of values up to 10 / std: 10 * 2^-24 * 10 / 0.3 < 2e-5.
      ExpectClose(y.values, FloatsOf(step.output), 1e-6, 2e-5);
      const Tensor g = TensorOf(x.shape, FloatsOf(step.grad_output));
      EQAT_ASSERT_OK_AND_ASSIGN(const BatchNorm1dGradients gradients, module.Backward(context, x, g));
      ExpectClose(gradients.input.values, FloatsOf(step.grad_x), 1e-6, 2e-5);
      ExpectClose(gradients.weight, FloatsOf(step.grad_weight), 1e-6, 2e-5);
      ExpectClose(gradients.bias, FloatsOf(step.grad_bias), 1e-6, 2e-5);
      // Sums of 6 values in float or double.
      ExpectClose(module.state().running_mean, FloatsOf(step.running_mean), 1e-6, 1e-6);
      ExpectClose(module.state().running_var, FloatsOf(step.running_var), 2e-6, 1e-6);
      EXPECT_EQ(module.state().num_batches_tracked, step.num_batches_tracked);
    }
  }
}

TEST(BatchNorm1dTest, GradientsAgreeWithDifferences) {
  // Loss values below 30, rounded at 2^-24 per element, over a step of 2^-6: 30 * 6e-8 * 64 = 1e-4. Truncation is
  // h^2 / 6 times a third derivative of at most about 10: 4e-4.
  constexpr double kTolerance = 1e-3;
  for (const bool training : {true, false}) {
    BatchNorm1dOptions options = Sized(3);
    EQAT_ASSERT_OK_AND_ASSIGN(BatchNorm1d module, BatchNorm1d::Create(options));
    BatchNorm1dState state = module.state();
    state.weight = {1.5, -0.5, 2};
    state.bias = {0.1, 0.2, 0.3};
    state.running_mean = {0.5, -0.5, 0.25};
    state.running_var = {2, 1, 0.5};
    ASSERT_THAT(module.SetState(state), IsOk());
    Tensor x = RandomTensor({8, 3}, 1);
    const Tensor g = RandomTensor({8, 3}, 2);
    const auto forward = [&](BatchNorm1dContext* context) {
      EXPECT_THAT(module.SetState(state), IsOk());
      return *(training ? module.ForwardTraining(x, context) : module.ForwardEvaluation(x, context));
    };
    const auto loss = [&] { return eqat::testing::Loss(forward(nullptr).values, g.values); };
    BatchNorm1dContext context;
    forward(&context);
    EXPECT_EQ(context.batch_statistics, training);
    EQAT_ASSERT_OK_AND_ASSIGN(const BatchNorm1dGradients gradients, module.Backward(context, x, g));
    eqat::testing::ExpectGradient(x.values, gradients.input.values, 0x1p-6f, kTolerance, loss);
    eqat::testing::ExpectGradient(state.weight, gradients.weight, 0x1p-6f, kTolerance, loss);
    eqat::testing::ExpectGradient(state.bias, gradients.bias, 0x1p-6f, kTolerance, loss);
  }
}

TEST(BatchNorm1dTest, LargeMeanCostsNoDigits) {
  EQAT_ASSERT_OK_AND_ASSIGN(BatchNorm1d module, BatchNorm1d::Create(Sized(1)));
  EQAT_ASSERT_OK_AND_ASSIGN(const Tensor y,
                            module.ForwardTraining(TensorOf({4, 1}, {1e6, 1e6 + 1, 1e6 + 2, 1e6 + 3}), nullptr));
  // Deviations -1.5, -0.5, 0.5, 1.5 from a mean that rounds exactly; variance 1.25.
  const double inv_std = 1 / std::sqrt(1.25 + 1e-5);
  for (int i = 0; i < 4; ++i) EXPECT_NEAR(y.values[i], (i - 1.5) * inv_std, 1e-6);
}

TEST(BatchNorm1dTest, EvaluationLeavesTheStateAlone) {
  EQAT_ASSERT_OK_AND_ASSIGN(BatchNorm1d module, BatchNorm1d::Create(Sized(2)));
  EQAT_ASSERT_OK_AND_ASSIGN(const Tensor y, module.ForwardEvaluation(TensorOf({1, 2}, {3, 4}), nullptr));
  // Running mean 0 and variance 1 from the start.
  ExpectClose(y.values, std::vector<float>{3, 4}, 1e-5, 0);
  EXPECT_EQ(module.state().num_batches_tracked, 0);
  EXPECT_THAT(module.state().running_mean, ElementsAre(0, 0));
}

TEST(BatchNorm1dTest, WithoutRunningStatisticsEvaluationUsesTheBatch) {
  BatchNorm1dOptions options = Sized(2);
  options.track_running_stats = false;
  options.affine = false;
  EQAT_ASSERT_OK_AND_ASSIGN(BatchNorm1d module, BatchNorm1d::Create(options));
  EXPECT_THAT(module.state().running_mean, IsEmpty());
  EXPECT_THAT(module.state().weight, IsEmpty());
  const Tensor x = RandomTensor({5, 2}, 1);
  EQAT_ASSERT_OK_AND_ASSIGN(const Tensor trained, module.ForwardTraining(x, nullptr));
  BatchNorm1dContext context;
  EQAT_ASSERT_OK_AND_ASSIGN(const Tensor evaluated, module.ForwardEvaluation(x, &context));
  EXPECT_EQ(BitsOf(trained.values), BitsOf(evaluated.values));
  EXPECT_TRUE(context.batch_statistics);
  EXPECT_EQ(module.state().num_batches_tracked, 0);
  EXPECT_THAT(module.ForwardEvaluation(Tensor({1, 2}), nullptr),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("no variance")));
}

TEST(BatchNorm1dTest, ResultsDoNotDependOnTheNumberOfThreads) {
  const Tensor x = RandomTensor({300, 50}, 1);
  const Tensor g = RandomTensor({300, 50}, 2);
  std::vector<std::vector<uint32_t>> results;
  for (const int threads : {1, 5}) {
    SetNumThreads(threads);
    EQAT_ASSERT_OK_AND_ASSIGN(BatchNorm1d module, BatchNorm1d::Create(Sized(50)));
    BatchNorm1dContext context;
    EQAT_ASSERT_OK_AND_ASSIGN(const Tensor y, module.ForwardTraining(x, &context));
    EQAT_ASSERT_OK_AND_ASSIGN(const BatchNorm1dGradients gradients, module.Backward(context, x, g));
    std::vector<uint32_t> bits = BitsOf(y.values);
    const std::vector<uint32_t> more = BitsOf(gradients.input.values);
    bits.insert(bits.end(), more.begin(), more.end());
    results.push_back(std::move(bits));
  }
  SetNumThreads(0);
  EXPECT_EQ(results[0], results[1]);
}

TEST(BatchNorm1dTest, TrainingNeedsTwoRowsAndChangesNothingWithout) {
  EQAT_ASSERT_OK_AND_ASSIGN(BatchNorm1d module, BatchNorm1d::Create(Sized(2), "bn"));
  for (const int64_t rows : {0, 1}) {
    EXPECT_THAT(module.ForwardTraining(Tensor({rows, 2}), nullptr),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         HasSubstr("bn: a batch of this size has no variance (got " + std::to_string(rows) + " rows")));
  }
  EXPECT_EQ(module.state().num_batches_tracked, 0);
}

TEST(BatchNorm1dTest, CreateErrors) {
  EXPECT_THAT(BatchNorm1d::Create(Sized(0)),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("nn.BatchNorm1d: num_features is not positive")));
  for (const double eps : {-1.0, std::nan(""), std::numeric_limits<double>::infinity()}) {
    BatchNorm1dOptions options = Sized(1);
    options.eps = eps;
    EXPECT_THAT(BatchNorm1d::Create(options),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("eps is out of range")));
  }
  for (const double momentum : {-0.1, 1.1, std::nan("")}) {
    BatchNorm1dOptions options = Sized(1);
    options.momentum = momentum;
    EXPECT_THAT(BatchNorm1d::Create(options),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("momentum is out of range")));
  }
}

TEST(BatchNorm1dTest, SetStateNamesTheWrongField) {
  EQAT_ASSERT_OK_AND_ASSIGN(BatchNorm1d module, BatchNorm1d::Create(Sized(2), "bn"));
  const auto expect_error = [&](void (*spoil)(BatchNorm1dState&), const std::string& text) {
    BatchNorm1dState state = module.state();
    spoil(state);
    EXPECT_THAT(module.SetState(state), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(text)));
  };
  expect_error([](BatchNorm1dState& s) { s.weight.clear(); }, "bn: weight has the wrong size (got 0, expected 2)");
  expect_error([](BatchNorm1dState& s) { s.bias.resize(3); }, "bias has the wrong size");
  expect_error([](BatchNorm1dState& s) { s.running_mean.resize(1); }, "running_mean has the wrong size");
  expect_error([](BatchNorm1dState& s) { s.running_var.resize(1); }, "running_var has the wrong size");
  expect_error([](BatchNorm1dState& s) { s.num_batches_tracked = -1; }, "num_batches_tracked is negative");
  EXPECT_THAT(module.state().weight, Each(1));
}

TEST(BatchNorm1dTest, ShapeErrors) {
  EQAT_ASSERT_OK_AND_ASSIGN(BatchNorm1d module, BatchNorm1d::Create(Sized(2), "bn"));
  for (const std::vector<int64_t>& shape : {std::vector<int64_t>{4, 3}, {4}, {2, 2, 2}}) {
    EXPECT_THAT(module.ForwardTraining(Tensor(shape), nullptr),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("bn: the input has the wrong shape")));
    EXPECT_THAT(module.ForwardEvaluation(Tensor(shape), nullptr),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("expected [n, 2]")));
  }
  BatchNorm1dContext context;
  EQAT_ASSERT_OK(module.ForwardTraining(RandomTensor({4, 2}, 1), &context));
  EXPECT_THAT(module.Backward(context, Tensor({4, 2}), Tensor({3, 2})),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("bn: grad_output has the wrong shape")));
}

}  // namespace
}  // namespace eqat::nn
