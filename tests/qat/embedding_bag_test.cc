#include "qat/embedding_bag.h"

#include <algorithm>
#include <cstdint>
#include <optional>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/naive_embedding.h"
#include "tests/support/qat_modules.h"
#include "tests/support/status_matchers.h"

namespace eqat {
namespace {

using ::testing::AllOf;
using testing::Batch;
using testing::BitsOf;
using ::testing::ElementsAre;
using testing::EmbeddingBagFamily;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::MakeFloat;
using testing::MakeQat;
using testing::Matrix;
using testing::NaiveFakeQuantize;
using testing::QConfigOf;
using testing::RandomMatrix;
using testing::RowObserver;
using testing::StatusIs;

TEST(ValidateEmbeddingQConfig, AcceptsEveryQatPresetAndNamesTheModuleOtherwise) {
  for (const quant::QConfig& preset : quant::QConfigPresets()) {
    SCOPED_TRACE(preset.name);
    const absl::Status status = qat::ValidateEmbeddingQConfig(preset, "qat.EmbeddingBag", 8);
    if (preset.weight.fake_quantize) {
      EQAT_EXPECT_OK(status);
    } else {
      EXPECT_THAT(status, StatusIs(absl::StatusCode::kInvalidArgument,
                                   AllOf(HasSubstr("qat.EmbeddingBag"), HasSubstr("FakeQuantize"))));
    }
  }
}

Batch TwoBags() {
  Batch batch;
  batch.indices = {0, 2, 2, 1, 3};
  batch.offsets = {0, 3};
  return batch;
}

// The gradients of a QAT bag are those of a float bag over the fake-quantized table, masked.
TEST(QatEmbeddingBag, GradientsAreThoseOfTheFakeQuantizedTableUnderTheMask) {
  for (const PoolMode mode : {PoolMode::kSum, PoolMode::kMean, PoolMode::kMax}) {
    for (const std::optional<int64_t> padding_idx : {std::optional<int64_t>(), std::optional<int64_t>(2)}) {
      SCOPED_TRACE(::testing::Message() << PoolModeName(mode) << " padding_idx=" << padding_idx.value_or(-1));
      nn::EmbeddingBagOptions options;
      options.mode = mode;
      options.padding_idx = padding_idx;
      const quant::ObserverConfig observer = RowObserver(quant::Dtype::kQUInt4x2);
      Matrix weight = RandomMatrix(4, 6, 11);
      auto module = MakeQat<EmbeddingBagFamily>(weight, options, observer);
      NaiveFakeQuantize naive(observer);
      naive.Forward(weight);
      EQAT_ASSERT_OK(ForwardOf(module, TwoBags()));
      EQAT_ASSERT_OK(module.DisableObserver());
      naive.observer_enabled = false;
      for (float& value : weight.values) value *= 1.5f;  // the outermost values of each row leave its range
      testing::WriteRows(weight, module);

      std::vector<uint8_t> mask;
      const Matrix table = naive.Forward(weight, &mask);
      auto float_module = MakeFloat<EmbeddingBagFamily>(table, options);
      Batch batch = TwoBags();
      if (mode == PoolMode::kSum) batch.per_sample_weights = {0.5f, -1.25f, 3.0f, 0.75f, 2.0f};
      const auto weights_gradient = mode == PoolMode::kSum ? nn::WeightsGradient::kCompute : nn::WeightsGradient::kSkip;
      const Matrix grad_output = RandomMatrix(2, 6, 12);
      nn::LookupContext context, float_context;
      EQAT_ASSERT_OK(ForwardOf(module, batch, &context));
      EQAT_ASSERT_OK(ForwardOf(float_module, batch, &float_context));
      EQAT_ASSERT_OK_AND_ASSIGN(const nn::EmbeddingGradients actual,
                                module.Backward(context, grad_output.view(), weights_gradient));
      EQAT_ASSERT_OK_AND_ASSIGN(nn::EmbeddingGradients expected,
                                float_module.Backward(float_context, grad_output.view(), weights_gradient));
      int masked = 0;
      for (size_t i = 0; i < expected.weight.rows.size(); ++i) {
        for (int64_t c = 0; c < 6; ++c) {
          const uint8_t in_range = mask[expected.weight.rows[i] * 6 + c];
          expected.weight.values[i * 6 + c] *= in_range;
          masked += !in_range;
        }
      }
      EXPECT_GT(masked, 0);
      EXPECT_EQ(actual.weight.rows, expected.weight.rows);
      EXPECT_EQ(BitsOf(actual.weight.values), BitsOf(expected.weight.values));
      EXPECT_EQ(BitsOf(actual.per_sample_weights), BitsOf(expected.per_sample_weights));
    }
  }
}

// Row r of the table is [2r, 2r + 1], which 8 bits hold to 2^-23; the gradient of a weight is dot(1, row).
// One entry for each row of the gradient, which lists no padding and each row once; none where the forward went the
// long way.
TEST(QatEmbeddingBag, TheGradientCarriesTheBoundsThatTheForwardSaw) {
  for (const std::optional<int64_t> padding_idx : {std::optional<int64_t>(), std::optional<int64_t>(2)}) {
    for (const bool weighted : {false, true}) {
      nn::EmbeddingBagOptions options;
      options.mode = PoolMode::kSum;
      options.padding_idx = padding_idx;
      const Matrix weight = RandomMatrix(6, 5, 3);
      auto module = MakeQat<EmbeddingBagFamily>(weight, options, RowObserver());
      Batch batch;
      batch.indices = {5, 0, 2, 5, 3, 0};
      batch.offsets = {0, 4};
      if (weighted) batch.per_sample_weights = {1, 2, 3, 4, 5, 6};
      nn::LookupContext context;
      EQAT_ASSERT_OK_AND_ASSIGN(const Matrix out, ForwardOf(module, batch, &context));
      EQAT_ASSERT_OK_AND_ASSIGN(const nn::EmbeddingGradients gradients, module.Backward(context, out.view()));
      const RowBounds& bounds = gradients.weight.bounds;
      EXPECT_EQ(bounds.forward == 0, weighted);
      if (weighted) continue;
      EXPECT_EQ(bounds.rows, padding_idx ? (std::vector<int64_t>{0, 3, 5}) : (std::vector<int64_t>{0, 2, 3, 5}));
      ASSERT_EQ(bounds.rows, gradients.weight.rows);
      for (size_t i = 0; i < bounds.rows.size(); ++i) {
        const float* const row = weight.view().Row(bounds.rows[i]);
        EXPECT_EQ(bounds.min_vals[i], *std::min_element(row, row + 5));
        EXPECT_EQ(bounds.max_vals[i], *std::max_element(row, row + 5));
      }
    }
  }
}

TEST(QatEmbeddingBag, PerSampleWeightsGradientUsesTheQuantizedRows) {
  Matrix weight(5, 2);
  for (int i = 0; i < 10; ++i) weight.values[i] = static_cast<float>(i);
  nn::EmbeddingBagOptions options;
  options.mode = PoolMode::kSum;
  auto module = MakeQat<EmbeddingBagFamily>(weight, options, RowObserver());
  Batch batch;
  batch.indices = {1, 1, 3, 4};
  batch.offsets = {0, 2};
  batch.per_sample_weights = {1, 2, 3, 4};
  Matrix ones(2, 2);
  ones.values.assign(4, 1.0f);
  nn::LookupContext context;
  EQAT_ASSERT_OK(ForwardOf(module, batch, &context));
  EQAT_ASSERT_OK_AND_ASSIGN(const nn::EmbeddingGradients gradients,
                            module.Backward(context, ones.view(), nn::WeightsGradient::kCompute));
  const auto near = [](float value) { return ::testing::FloatNear(value, 1e-5f); };
  EXPECT_THAT(gradients.per_sample_weights, ElementsAre(near(5), near(5), near(13), near(17)));
  EQAT_ASSERT_OK_AND_ASSIGN(const nn::EmbeddingGradients table_only, module.Backward(context, ones.view()));
  EXPECT_THAT(table_only.per_sample_weights, IsEmpty());
}

TEST(QatEmbeddingBag, FrozenTableStillGivesTheGradientOfTheWeights) {
  nn::EmbeddingBagOptions options;
  options.mode = PoolMode::kSum;
  options.requires_grad = false;
  auto module = MakeQat<EmbeddingBagFamily>(RandomMatrix(5, 2, 1), options, RowObserver());
  Batch batch = TwoBags();
  batch.per_sample_weights = {1, 1, 1, 1, 1};
  nn::LookupContext context;
  EQAT_ASSERT_OK(ForwardOf(module, batch, &context));
  EQAT_ASSERT_OK_AND_ASSIGN(const nn::EmbeddingGradients gradients,
                            module.Backward(context, RandomMatrix(2, 2, 2).view(), nn::WeightsGradient::kCompute));
  EXPECT_THAT(gradients.weight.rows, IsEmpty());
  EXPECT_EQ(gradients.per_sample_weights.size(), 5);
}

TEST(QatEmbeddingBag, BadBatchChangesNothingNotEvenThroughMaxNorm) {
  nn::EmbeddingBagOptions options;
  options.max_norm = 0.1;
  options.mode = PoolMode::kMean;
  const Matrix weight = RandomMatrix(5, 2, 1);
  auto module = MakeQat<EmbeddingBagFamily>(weight, options, RowObserver());
  Batch weighted = TwoBags();
  weighted.per_sample_weights = {1, 1, 1, 1, 1};
  Batch decreasing = TwoBags();
  decreasing.offsets = {0, 3, 2};
  Batch late = TwoBags();
  late.offsets = {1, 3};
  for (const Batch& batch : {weighted, decreasing, late}) {
    Matrix out(static_cast<int64_t>(batch.offsets->size()), 2);
    EXPECT_THAT(module.Forward(batch.input(), out.mutable_view(), nullptr),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("item")));
    EXPECT_THAT(module.ForwardEvaluation(batch.input(), out.mutable_view(), nullptr),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("item")));
  }
  EXPECT_EQ(BitsOf(testing::MatrixOf(module.weight().view()).values), BitsOf(weight.values));
  EXPECT_THAT(module.FakeQuantState()->min_val, IsEmpty());
}

TEST(QatEmbeddingBag, AContextIsReusedFromBatchToBatch) {
  nn::EmbeddingBagOptions options;
  options.mode = PoolMode::kMax;
  auto module = MakeQat<EmbeddingBagFamily>(RandomMatrix(5, 3, 1), options, RowObserver());
  auto twin = MakeQat<EmbeddingBagFamily>(RandomMatrix(5, 3, 1), options, RowObserver());
  nn::LookupContext reused;
  Batch small;
  small.indices = {4};
  small.offsets = {0};
  for (const Batch& batch : {TwoBags(), small, TwoBags()}) {
    nn::LookupContext fresh;
    EQAT_ASSERT_OK_AND_ASSIGN(const Matrix out, ForwardOf(module, batch, &reused));
    EQAT_ASSERT_OK(ForwardOf(twin, batch, &fresh));
    EQAT_ASSERT_OK_AND_ASSIGN(const nn::EmbeddingGradients actual, module.Backward(reused, out.view()));
    EQAT_ASSERT_OK_AND_ASSIGN(const nn::EmbeddingGradients expected, twin.Backward(fresh, out.view()));
    EXPECT_EQ(actual.weight.rows, expected.weight.rows);
    EXPECT_EQ(BitsOf(actual.weight.values), BitsOf(expected.weight.values));
  }
}

}  // namespace
}  // namespace eqat
