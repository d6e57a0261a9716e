// The promise of the toolkit: what a QAT module evaluates is, bit for bit, what its conversion serves. For every
// option, every number format and every width.
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "core/rng.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/naive_embedding.h"
#include "tests/support/qat_modules.h"
#include "tests/support/status_matchers.h"

namespace eqat {
namespace {

using testing::Batch;
using testing::BitsOf;
using testing::EmbeddingBagFamily;
using testing::EmbeddingFamily;
using testing::MakeQat;
using testing::Matrix;
using testing::NaiveFakeQuantize;
using testing::RandomMatrix;
using testing::RowObserver;

constexpr int64_t kRows = 23;
constexpr int64_t kWidths[] = {1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33, 64, 100};

enum class Phase {
  kUntrained,  // observer on, nothing observed yet
  kTrained,    // some rows looked up, then all rows moved
  kFrozen,     // observer off, then rows moved out of their bounds
};
constexpr Phase kPhases[] = {Phase::kUntrained, Phase::kTrained, Phase::kFrozen};

// Rows of ordinary values and of the kinds that quantization treats specially.
Matrix TableWithSpecialRows(int64_t cols, uint64_t seed) {
  Matrix table = RandomMatrix(kRows, cols, seed);
  const auto fill = [&](int64_t row, auto value_of) {
    for (int64_t c = 0; c < cols; ++c) table.Row(row)[c] = value_of(c);
  };
  fill(0, [](int64_t) { return 0.0f; });
  fill(1, [](int64_t) { return 0.7f; });
  fill(2, [](int64_t c) { return 1000.0f + 0.01f * static_cast<float>(c); });  // large offset, small range
  fill(3, [](int64_t c) { return 1e-9f * static_cast<float>(c); });            // range below eps
  fill(4, [](int64_t c) { return c % 2 == 0 ? 1e30f : -1e30f; });
  fill(5, [](int64_t c) { return std::numeric_limits<float>::denorm_min() * static_cast<float>(c); });
  fill(6, [](int64_t c) { return c % 2 == 0 ? -0.0f : 0.0f; });
  fill(7, [](int64_t c) { return static_cast<float>(c % 16) + 0.5f; });  // half-way codes
  return table;
}

template <typename Module>
void Advance(Phase phase, Module& module) {
  if (phase == Phase::kUntrained) return;
  Batch batch;
  batch.indices = {0, 1, 4, 9, 9, 22};
  if constexpr (std::is_same_v<Module, qat::EmbeddingBag>) batch.shape = {2, 3};
  EQAT_ASSERT_OK(ForwardOf(module, batch));
  if (phase == Phase::kFrozen) {
    EQAT_ASSERT_OK(module.DisableObserver());
  }
  Matrix moved = TableWithSpecialRows(module.embedding_dim(), 77);
  for (int64_t row = 8; row < kRows; ++row) {
    for (int64_t c = 0; c < moved.cols; ++c) moved.Row(row)[c] *= 1.5f;
  }
  testing::WriteRows(moved, module);
}

// The batch that looks up every row on its own, and random ones.
template <typename Options>
std::vector<Batch> Batches(const Options& options, bool weighted, uint64_t seed) {
  std::vector<Batch> batches(1);
  for (int64_t row = 0; row < kRows; ++row) batches[0].indices.push_back(row);
  if constexpr (std::is_same_v<Options, nn::EmbeddingBagOptions>) {
    batches[0].shape = {kRows, 1};
    if (weighted) batches[0].per_sample_weights = std::vector<float>(kRows, -0.75f);
  }
  for (uint64_t i = 0; i < 4; ++i) batches.push_back(testing::RandomBatch(kRows, options, weighted, Rng(seed, i)));
  return batches;
}

template <typename Family>
void ExpectPreparedEqualsConverted(const typename Family::Options& options, const quant::ObserverConfig& observer,
                                   int64_t cols, bool weighted) {
  for (const Phase phase : kPhases) {
    SCOPED_TRACE(::testing::Message() << quant::TraitsOf(observer.dtype).name << " columns=" << cols
                                      << " phase=" << static_cast<int>(phase) << " weighted=" << weighted);
    auto module = MakeQat<Family>(TableWithSpecialRows(cols, 3), options, observer);
    Advance(phase, module);
    EQAT_ASSERT_OK_AND_ASSIGN(const typename Family::Quantized converted, module.Convert());
    for (const Batch& batch : Batches(module.options(), weighted, cols)) {
      EQAT_ASSERT_OK_AND_ASSIGN(const Matrix prepared, LookupOf(module, batch));
      EQAT_ASSERT_OK_AND_ASSIGN(const Matrix served, LookupOf(converted, batch));
      ASSERT_EQ(BitsOf(prepared.values), BitsOf(served.values));
    }
    // The module call in evaluation agrees, also where it stores what max_norm gives.
    const Batch batch = testing::RandomBatch(kRows, module.options(), weighted, Rng(cols, 9));
    EQAT_ASSERT_OK_AND_ASSIGN(const Matrix served, LookupOf(converted, batch));
    nn::LookupContext context;
    EQAT_ASSERT_OK_AND_ASSIGN(const Matrix evaluated, ForwardEvaluationOf(module, batch, &context));
    ASSERT_EQ(BitsOf(evaluated.values), BitsOf(served.values));
  }
}

quant::ObserverConfig Narrowed(quant::ObserverConfig observer, int32_t quant_min, int32_t quant_max) {
  observer.quant_min = quant_min;
  observer.quant_max = quant_max;
  return observer;
}

std::vector<quant::ObserverConfig> Observers() {
  std::vector<quant::ObserverConfig> observers;
  for (const quant::DtypeTraits& traits : quant::kDtypes) {
    for (const double averaging_constant : {1.0, 0.01, 0.0}) {
      observers.push_back(RowObserver(traits.dtype, averaging_constant));
    }
  }
  observers.push_back(Narrowed(RowObserver(quant::Dtype::kQUInt8), 0, 100));
  observers.push_back(Narrowed(RowObserver(quant::Dtype::kQInt8), -7, 8));
  observers.push_back(Narrowed(RowObserver(quant::Dtype::kUInt5), 0, 20));
  for (const quant::Dtype dtype : {quant::Dtype::kQUInt8, quant::Dtype::kQInt8}) {
    observers.push_back(RowObserver(dtype));
    observers.back().reduce_range = true;
  }
  return observers;
}

TEST(PreparedEqualsConverted, EveryDtypeAndWidth) {
  for (const quant::ObserverConfig& observer : Observers()) {
    for (const int64_t cols : kWidths) {
      nn::EmbeddingBagOptions options;
      options.mode = static_cast<PoolMode>(cols % 3);
      options.padding_idx = 10;
      ExpectPreparedEqualsConverted<EmbeddingBagFamily>(options, observer, cols, /*weighted=*/false);
      ExpectPreparedEqualsConverted<EmbeddingFamily>(static_cast<const nn::EmbeddingOptions&>(options), observer, cols,
                                                     /*weighted=*/false);
      if (HasFatalFailure()) return;
    }
  }
}

std::vector<nn::EmbeddingBagOptions> EveryOption() {
  std::vector<nn::EmbeddingBagOptions> result;
  for (const PoolMode mode : {PoolMode::kSum, PoolMode::kMean, PoolMode::kMax}) {
    for (const std::optional<int64_t> padding_idx : {std::optional<int64_t>(), std::optional<int64_t>(-2)}) {
      for (const bool include_last_offset : {false, true}) {
        nn::EmbeddingBagOptions options;
        options.mode = mode;
        options.padding_idx = padding_idx;
        options.include_last_offset = include_last_offset;
        options.scale_grad_by_freq = mode == PoolMode::kSum && include_last_offset;
        options.sparse = mode == PoolMode::kMean;
        result.push_back(options);
        for (const double max_norm : {1.5, -1.0}) {
          for (const double norm_type : {2.0, 1.0, 0.5, std::numeric_limits<double>::infinity()}) {
            options.max_norm = max_norm;
            options.norm_type = norm_type;
            result.push_back(options);
          }
        }
      }
    }
  }
  return result;
}

// Instrumented code takes ten times as long: there every fifth set, in which each option has each of its values.
#ifdef __SANITIZE_ADDRESS__
constexpr size_t kOptionsStep = 5;
#else
constexpr size_t kOptionsStep = 1;
#endif

TEST(PreparedEqualsConverted, EveryOption) {
  const std::vector<nn::EmbeddingBagOptions> every = EveryOption();
  for (size_t i = 0; i < every.size(); i += kOptionsStep) {
    const nn::EmbeddingBagOptions& options = every[i];
    SCOPED_TRACE(::testing::Message() << nn::ToString(options)
                                      << " include_last_offset=" << options.include_last_offset);
    const nn::EmbeddingOptions& plain = options;
    for (const quant::ObserverConfig& observer : Observers()) {
      for (const int64_t cols : {3, 16}) {
        ExpectPreparedEqualsConverted<EmbeddingBagFamily>(options, observer, cols, /*weighted=*/false);
        if (options.mode != PoolMode::kSum) continue;
        ExpectPreparedEqualsConverted<EmbeddingBagFamily>(options, observer, cols, /*weighted=*/true);
        ExpectPreparedEqualsConverted<EmbeddingFamily>(plain, observer, cols, /*weighted=*/false);
      }
      if (HasFatalFailure()) return;
    }
  }
}

// Codes and parameters are those of the naive fake quantizer, so that the two sides do not merely share a mistake.
TEST(PreparedEqualsConverted, BothAreTheNaiveFakeQuantizedTable) {
  for (const quant::ObserverConfig& observer : Observers()) {
    SCOPED_TRACE(::testing::Message() << quant::TraitsOf(observer.dtype).name
                                      << " averaging_constant=" << observer.averaging_constant);
    Matrix weight = RandomMatrix(kRows, 13, 8, 0.25f);
    auto module = MakeQat<EmbeddingFamily>(weight, nn::EmbeddingOptions(), observer);
    NaiveFakeQuantize naive(observer);
    Batch batch;
    batch.indices = {3, 5};
    EQAT_ASSERT_OK(ForwardOf(module, batch));
    naive.Forward(weight);
    for (float& value : weight.values) value *= 1.25f;
    testing::WriteRows(weight, module);
    const Matrix expected = naive.Forward(weight);  // evaluation is one more observation

    EQAT_ASSERT_OK_AND_ASSIGN(const quantized::Embedding converted, module.Convert());
    batch.indices = testing::AllRows(weight);
    EQAT_ASSERT_OK_AND_ASSIGN(const Matrix served, LookupOf(converted, batch));
    ASSERT_EQ(BitsOf(served.values), BitsOf(expected.values));
    ASSERT_EQ(BitsOf(LookupOf(module, batch)->values), BitsOf(expected.values));
    for (int64_t row = 0; row < kRows; ++row) {
      ASSERT_EQ(BitsOf(converted.weight().scale(row)), BitsOf(naive.scale()[row]));
      ASSERT_EQ(BitsOf(converted.weight().zero_point(row)), BitsOf(naive.zero_point()[row]));
    }
  }
}

}  // namespace
}  // namespace eqat
