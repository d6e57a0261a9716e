// Whole training sequences: torch's recorded ones, and random ones against whole-table fake quantization.
#include <cmath>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <vector>

#include "core/parallel_for.h"
#include "core/rng.h"
#include "float_modules/gradient.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/golden/qat_golden.h"
#include "tests/support/naive_embedding.h"
#include "tests/support/qat_modules.h"
#include "tests/support/status_matchers.h"

namespace eqat {
namespace {

using testing::AllRows;
using testing::Batch;
using testing::BitsOf;
using ::testing::ElementsAreArray;
using testing::EmbeddingBagFamily;
using testing::EmbeddingFamily;
using testing::MakeQat;
using testing::Matrix;
using testing::MatrixOf;
using testing::NaiveFakeQuantize;
using testing::QatGoldenSequence;
using testing::QatGoldenStep;
using testing::RowObserver;

std::vector<float> FromBits(const std::vector<uint32_t>& bits) {
  std::vector<float> values(bits.size());
  std::memcpy(values.data(), bits.data(), bits.size() * sizeof(float));
  return values;
}

Matrix MatrixFromBits(const std::vector<uint32_t>& bits, int64_t cols) {
  Matrix matrix(static_cast<int64_t>(bits.size()) / cols, cols);
  matrix.values = FromBits(bits);
  return matrix;
}

template <typename Options>
Options OptionsOf(const QatGoldenSequence& sequence) {
  Options options;
  if (sequence.padding_idx >= 0) options.padding_idx = sequence.padding_idx;
  if constexpr (std::is_same_v<Options, nn::EmbeddingBagOptions>) {
    for (const PoolMode mode : {PoolMode::kSum, PoolMode::kMean, PoolMode::kMax}) {
      if (PoolModeName(mode) == sequence.mode) options.mode = mode;
    }
    options.include_last_offset = sequence.include_last_offset;
  }
  return options;
}

quant::ObserverConfig ObserverOf(const QatGoldenSequence& sequence) {
  quant::ObserverConfig observer = RowObserver(*quant::DtypeFromName(sequence.dtype), sequence.averaging_constant);
  observer.quant_min = sequence.quant_min;
  observer.quant_max = sequence.quant_max;
  return observer;
}

Batch BatchOf(const QatGoldenStep& step) {
  Batch batch;
  batch.indices = step.indices;
  if (!step.offsets.empty()) batch.offsets = step.offsets;
  if (!step.per_sample_weights.empty()) batch.per_sample_weights = FromBits(step.per_sample_weights);
  return batch;
}

template <typename Module>
void ExpectGoldenState(const Module& module, const QatGoldenStep& step) {
  EQAT_ASSERT_OK_AND_ASSIGN(const quant::FakeQuantizeState state, module.FakeQuantState());
  EXPECT_EQ(state.observer_enabled, step.observer_enabled);
  EXPECT_THAT(BitsOf(state.min_val), ElementsAreArray(step.min_val));
  EXPECT_THAT(BitsOf(state.max_val), ElementsAreArray(step.max_val));
  EXPECT_THAT(BitsOf(state.scale), ElementsAreArray(step.scale));
  EXPECT_THAT(BitsOf(state.zero_point), ElementsAreArray(step.zero_point));
}

// With `check_every_step` the state is asked for after each step; without, only once at the end, when some rows lag
// behind by the whole sequence.
template <typename Family>
void ReplayGolden(const QatGoldenSequence& sequence, bool check_every_step) {
  auto module = MakeQat<Family>(MatrixFromBits(sequence.steps[0].weight, testing::kQatGoldenCols),
                                OptionsOf<typename Family::Options>(sequence), ObserverOf(sequence));
  for (size_t s = 0; s < sequence.steps.size(); ++s) {
    SCOPED_TRACE(s);
    const QatGoldenStep& step = sequence.steps[s];
    testing::WriteRows(MatrixFromBits(step.weight, testing::kQatGoldenCols), module);
    if (step.observer_enabled) {
      module.EnableObserver();
    } else {
      EQAT_ASSERT_OK(module.DisableObserver());
    }
    nn::LookupContext context;
    EQAT_ASSERT_OK_AND_ASSIGN(const Matrix output, ForwardOf(module, BatchOf(step), &context));
    EXPECT_THAT(BitsOf(output.values), ElementsAreArray(step.output));

    const Matrix grad_output = MatrixFromBits(step.grad_output, testing::kQatGoldenCols);
    EQAT_ASSERT_OK_AND_ASSIGN(const nn::EmbeddingGradients gradients, module.Backward(context, grad_output.view()));
    EQAT_ASSERT_OK_AND_ASSIGN(const Table dense, nn::ToDense(gradients.weight, testing::kQatGoldenRows));
    const std::vector<float> grad = MatrixOf(dense.view()).values;
    if constexpr (std::is_same_v<Family, EmbeddingFamily>) {
      EXPECT_THAT(BitsOf(grad), ElementsAreArray(step.grad_weight));
    } else {
      // torch adds the positions of a row in the order of an unstable sort, with fused multiplications; these gradients
      // are sums of at most 7 terms of size up to 4.
      EXPECT_THAT(grad, ::testing::Pointwise(::testing::FloatNear(4e-6f), FromBits(step.grad_weight)));
    }
    if (check_every_step || s + 1 == sequence.steps.size()) ExpectGoldenState(module, step);
    EQAT_EXPECT_OK(LookupOf(module, BatchOf(step)));  // must leave no trace in what follows
    EQAT_EXPECT_OK(module.Convert());
  }
}

TEST(TrainingSequence, EqualsTorchAfterEveryStep) {
  for (const QatGoldenSequence& sequence : testing::QatGoldenSequences()) {
    for (const bool check_every_step : {true, false}) {
      SCOPED_TRACE(::testing::Message() << sequence.name << " check_every_step=" << check_every_step);
      if (sequence.mode[0] == '\0') {
        ReplayGolden<EmbeddingFamily>(sequence, check_every_step);
      } else {
        ReplayGolden<EmbeddingBagFamily>(sequence, check_every_step);
      }
    }
  }
}

// Three SGD steps (learning rate 0.1) on a mean squared error against evenly spaced targets, as printed by torch.
struct SgdRun {
  const char* name;
  std::optional<PoolMode> mode;
  std::vector<double> losses;
  std::vector<float> rows;  // 0, 2, 3
};

Matrix SgdTable() {
  Matrix table(4, 4);
  table.values = {-1.85f, -0.74f, 0.37f, 1.48f,  0.74f, 1.85f, -1.11f, 0.0f,
                  -0.63f, 0.48f,  1.59f, -1.37f, 0.7f,  0.7f,  0.7f,   0.7f};
  return table;
}

template <typename Family>
void TrainSgd(const SgdRun& run, typename Family::Options options, const Batch& batch) {
  options.padding_idx = 1;
  auto module = MakeQat<Family>(SgdTable(), options, RowObserver());
  for (const double expected_loss : run.losses) {
    nn::LookupContext context;
    EQAT_ASSERT_OK_AND_ASSIGN(const Matrix output, ForwardOf(module, batch, &context));
    Matrix grad_output(output.rows, output.cols);
    const int64_t n = static_cast<int64_t>(output.values.size());
    double loss = 0;
    for (int64_t i = 0; i < n; ++i) {
      const double error = output.values[i] - (-1.0 + 2.0 * static_cast<double>(i) / static_cast<double>(n - 1));
      loss += error * error / static_cast<double>(n);
      grad_output.values[i] = static_cast<float>(2.0 * error / static_cast<double>(n));
    }
    // The recorded losses come from float32 sums.
    EXPECT_NEAR(loss, expected_loss, 1e-6);
    EQAT_ASSERT_OK_AND_ASSIGN(const nn::EmbeddingGradients gradients, module.Backward(context, grad_output.view()));
    module.WillModifyRows(gradients.weight);
    for (size_t i = 0; i < gradients.weight.rows.size(); ++i) {
      float* row = module.mutable_weight().Row(gradients.weight.rows[i]);
      for (int64_t c = 0; c < 4; ++c) row[c] -= 0.1f * gradients.weight.view().Row(i)[c];
    }
  }
  const std::vector<float> before = SgdTable().values;
  const std::vector<float> after = MatrixOf(module.weight().view()).values;
  const auto row = [](const std::vector<float>& values, int r) {
    return std::vector<float>(values.begin() + 4 * r, values.begin() + 4 * r + 4);
  };
  EXPECT_EQ(row(after, 1), row(before, 1));
  std::vector<float> trained = row(after, 0);
  for (const int r : {2, 3}) {
    const std::vector<float> values = row(after, r);
    trained.insert(trained.end(), values.begin(), values.end());
  }
  // A last digit of torch's depends on its dispatch target.
  EXPECT_THAT(trained, ::testing::Pointwise(::testing::FloatNear(1e-6f), run.rows));
}

TEST(TrainingSequence, SgdReachesTorchsLossesAndRows) {
  const SgdRun runs[] = {
      {"Embedding",
       std::nullopt,
       {1.01403785, 0.993811667, 0.973883927},
       {-1.82892668f, -.744290173f, .340346336f, 1.42498279f, -.622502565f, .437271684f, 1.49685252f, -1.31332469f,
        .693372548f, .697648346f, .701924086f, .706199825f}},
      {"sum",
       PoolMode::kSum,
       {1.40969074, 1.30466545, 1.20265543},
       {-1.77884173f, -.766434073f, .245595515f, 1.4513545f, -.542604089f, .426077724f, 1.39400578f, -1.31740022f,
        .611617506f, .628614128f, .64561075f, .662607431f}},
      {"mean",
       PoolMode::kMean,
       {.746702731, .721173763, .695944846},
       {-1.84415638f, -.756905258f, .330258101f, 1.46702754f, -.606819391f, .435524315f, 1.47721195f, -1.30198503f,
        .687930703f, .696870923f, .705811143f, .714751363f}},
  };
  Batch batch;
  batch.indices = {0, 2, 2, 1, 3, 3};
  for (const SgdRun& run : runs) {
    SCOPED_TRACE(run.name);
    if (run.mode.has_value()) {
      nn::EmbeddingBagOptions options;
      options.mode = *run.mode;
      batch.offsets = {0, 2, 4};
      batch.shape = {};
      TrainSgd<EmbeddingBagFamily>(run, options, batch);
    } else {
      batch.offsets.reset();
      batch.shape = {3, 2};
      TrainSgd<EmbeddingFamily>(run, nn::EmbeddingOptions(), batch);
    }
  }
}

// A module beside the whole-table model of it.
template <typename Family>
struct Pair {
  typename Family::Qat module;
  Matrix table;
  NaiveFakeQuantize fake_quantize;
};

template <typename Family>
void ExpectStateOfWholeTable(const Pair<Family>& pair) {
  EQAT_ASSERT_OK_AND_ASSIGN(const quant::FakeQuantizeState state, pair.module.FakeQuantState());
  EXPECT_EQ(BitsOf(state.min_val), BitsOf(pair.fake_quantize.min_val()));
  EXPECT_EQ(BitsOf(state.max_val), BitsOf(pair.fake_quantize.max_val()));
  if (pair.fake_quantize.min_val().empty()) return;
  EXPECT_EQ(BitsOf(state.scale), BitsOf(pair.fake_quantize.scale()));
  EXPECT_EQ(BitsOf(state.zero_point), BitsOf(pair.fake_quantize.zero_point()));
}

template <typename Family>
void RandomForward(const typename Family::Options& options, const Rng& rng, Pair<Family>& pair, bool training,
                   std::vector<float>& outputs) {
  bool weighted = false;
  if constexpr (std::is_same_v<Family, EmbeddingBagFamily>) {
    weighted = options.mode == PoolMode::kSum && rng.Below(90, 2) == 0;
  }
  const Batch batch = testing::RandomBatch(pair.table.rows, options, weighted, Rng(rng.Bits(91), 7));
  testing::NaiveRenorm(options, batch.indices, pair.table);
  nn::LookupContext context;
  std::vector<uint8_t> mask;
  Matrix expected_table;
  if (training) {
    expected_table = pair.fake_quantize.Forward(pair.table, &mask);
  } else {
    NaiveFakeQuantize copy = pair.fake_quantize;
    expected_table = copy.Forward(pair.table, &mask);
  }
  EQAT_ASSERT_OK_AND_ASSIGN(const Matrix output, training ? ForwardOf(pair.module, batch, &context)
                                                          : ForwardEvaluationOf(pair.module, batch, &context));
  EXPECT_EQ(BitsOf(output.values), BitsOf(NaiveLookup(expected_table, options, batch).values));
  outputs.insert(outputs.end(), output.values.begin(), output.values.end());
  for (int64_t slot = 0; slot < context.distinct().size(); ++slot) {
    for (int64_t c = 0; c < pair.table.cols; ++c) {
      const int expected = mask[context.distinct().rows()[slot] * pair.table.cols + c];
      const int actual = context.mask.empty() ? 1 : context.mask[slot * pair.table.cols + c];
      ASSERT_EQ(actual, expected) << "row " << context.distinct().rows()[slot] << " column " << c;
    }
  }
}

template <typename Family>
void RandomWrite(const Rng& rng, Pair<Family>& pair) {
  const bool all = rng.Below(80, 8) == 0;
  std::vector<int64_t> rows = AllRows(pair.table);
  if (all) {
    pair.module.WillModifyAllRows();
  } else {
    rows = {static_cast<int64_t>(rng.Below(81, pair.table.rows))};
    pair.module.WillModifyRows(rows);
  }
  const float factor = rng.Below(82, 4) == 0 ? 20.0f : 1.0f;  // now and then far outside the bounds
  for (const int64_t row : rows) {
    for (int64_t c = 0; c < pair.table.cols; ++c) {
      pair.table.Row(row)[c] = factor * Rng(rng.Bits(83), 3).Normal(row * pair.table.cols + c);
    }
    std::copy_n(pair.table.Row(row), pair.table.cols, pair.module.mutable_weight().Row(row));
  }
}

// Forwards in training and evaluation, writes, switches and questions in random order; returns every output.
template <typename Family>
std::vector<float> RunRandomSequence(const typename Family::Options& options, const quant::ObserverConfig& observer,
                                     uint64_t seed) {
  const Matrix initial = testing::RandomMatrix(13, 5, seed);
  Pair<Family> pair{MakeQat<Family>(initial, options, observer), initial, NaiveFakeQuantize(observer)};
  std::vector<float> outputs;
  for (int step = 0; step < 60; ++step) {
    SCOPED_TRACE(::testing::Message() << "step " << step);
    const Rng rng(seed, 1000 + step);
    switch (step == 0 ? 0 : rng.Below(0, 12)) {
      default:
        RandomForward(pair.module.options(), rng, pair, /*training=*/true, outputs);
        break;
      case 1:
      case 2:
      case 3:
        RandomWrite(rng, pair);
        break;
      case 4:
        RandomForward(pair.module.options(), rng, pair, /*training=*/false, outputs);
        break;
      case 5:
        ExpectStateOfWholeTable(pair);
        break;
      case 6:
        EXPECT_THAT(pair.module.DisableObserver(), testing::IsOk());
        pair.fake_quantize.observer_enabled = false;
        break;
      case 7:
        pair.module.EnableObserver();
        pair.fake_quantize.observer_enabled = true;
        break;
      case 8:
        pair.module.DisableFakeQuant();
        pair.fake_quantize.fake_quant_enabled = false;
        break;
      case 9:
        pair.module.EnableFakeQuant();
        pair.fake_quantize.fake_quant_enabled = true;
        break;
    }
    if (::testing::Test::HasFailure()) return outputs;
  }
  ExpectStateOfWholeTable(pair);
  return outputs;
}

TEST(TrainingSequence, RandomWritesAndSwitchesEqualTheWholeTable) {
  for (const double averaging_constant : {1.0, 0.01, 0.0}) {
    for (const std::optional<double> max_norm : {std::optional<double>(), std::optional<double>(1.5)}) {
      for (uint64_t seed = 0; seed < 12; ++seed) {
        SCOPED_TRACE(::testing::Message() << "averaging_constant=" << averaging_constant
                                          << " max_norm=" << max_norm.value_or(0) << " seed=" << seed);
        const quant::ObserverConfig observer =
            RowObserver(seed % 2 == 0 ? quant::Dtype::kQUInt8 : quant::Dtype::kQUInt4x2, averaging_constant);
        nn::EmbeddingBagOptions options;
        options.mode = static_cast<PoolMode>(seed % 3);
        options.max_norm = max_norm;
        if (seed % 4 == 0) options.padding_idx = 4;
        options.include_last_offset = seed % 5 == 0;
        RunRandomSequence<EmbeddingBagFamily>(options, observer, seed);
        RunRandomSequence<EmbeddingFamily>(static_cast<const nn::EmbeddingOptions&>(options), observer, seed);
        if (HasFailure()) return;
      }
    }
  }
}

// Large enough for every parallel loop to have several blocks.
std::vector<float> TrainLarge(int num_threads) {
  SetNumThreads(num_threads);
  nn::EmbeddingBagOptions options;
  options.mode = PoolMode::kSum;
  options.max_norm = 3.0;
  auto module = MakeQat<EmbeddingBagFamily>(testing::RandomMatrix(2000, 17, 5), options,
                                            RowObserver(quant::Dtype::kQUInt4x2, 0.01));
  std::vector<float> outputs;
  for (int step = 0; step < 4; ++step) {
    const Rng rng(9, step);
    Batch batch;
    batch.shape = {600, 5};
    for (int i = 0; i < 3000; ++i) {
      batch.indices.push_back(static_cast<int64_t>(rng.Below(i, 2000)));
    }
    nn::LookupContext context;
    const Matrix output = *ForwardOf(module, batch, &context);
    outputs.insert(outputs.end(), output.values.begin(), output.values.end());
    const nn::EmbeddingGradients gradients = *module.Backward(context, output.view());
    module.WillModifyRows(gradients.weight);
    for (size_t i = 0; i < gradients.weight.rows.size(); ++i) {
      for (int64_t c = 0; c < 17; ++c) {
        module.mutable_weight().Row(gradients.weight.rows[i])[c] -= 0.1f * gradients.weight.view().Row(i)[c];
      }
    }
    const Matrix evaluated = *LookupOf(module, batch);
    outputs.insert(outputs.end(), evaluated.values.begin(), evaluated.values.end());
  }
  const quant::FakeQuantizeState state = *module.FakeQuantState();
  for (const auto* values : {&state.scale, &state.zero_point, &state.min_val, &state.max_val}) {
    outputs.insert(outputs.end(), values->begin(), values->end());
  }
  return outputs;
}

TEST(TrainingSequence, SameBitsForAnyNumberOfThreads) {
  const int before = NumThreads();
  const std::vector<uint32_t> expected = BitsOf(TrainLarge(1));
  for (const int num_threads : {2, 5}) {
    SCOPED_TRACE(num_threads);
    EXPECT_EQ(BitsOf(TrainLarge(num_threads)), expected);
  }
  SetNumThreads(before);
}

}  // namespace
}  // namespace eqat
