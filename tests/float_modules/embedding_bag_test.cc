#include "float_modules/embedding_bag.h"

#include <cmath>
#include <limits>
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
using ::eqat::testing::LookupGolden;
using ::eqat::testing::RandomFloats;
using ::eqat::testing::RandomIndices;
using ::eqat::testing::StatusIs;
using ::eqat::testing::TableOf;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr PoolMode kModes[] = {PoolMode::kSum, PoolMode::kMean, PoolMode::kMax};

EmbeddingBagOptions SizedBag(int64_t rows, int64_t cols, PoolMode mode = PoolMode::kMean) {
  EmbeddingBagOptions options;
  options.num_embeddings = rows;
  options.embedding_dim = cols;
  options.mode = mode;
  return options;
}

// A batch that owns what LookupInput views.
struct BagBatch {
  std::vector<int64_t> indices;
  std::optional<std::vector<int64_t>> offsets;
  std::vector<int64_t> shape;
  std::optional<std::vector<float>> weights;

  LookupInput input() const {
    LookupInput input;
    input.indices = indices;
    input.shape = shape;
    if (offsets.has_value()) input.offsets = IndexSpan(*offsets);
    if (weights.has_value()) input.per_sample_weights = *weights;
    return input;
  }
};

BagBatch Jagged(std::vector<int64_t> indices, std::vector<int64_t> offsets) {
  return {std::move(indices), std::move(offsets), {}, {}};
}

BagBatch Rectangle(std::vector<int64_t> indices, std::vector<int64_t> shape) {
  return {std::move(indices), std::nullopt, std::move(shape), {}};
}

struct BagResult {
  std::vector<float> values;
  LookupContext context;
};

BagResult MustForward(EmbeddingBag& module, const LookupInput& input) {
  BagResult result;
  const absl::StatusOr<int64_t> bags = module.NumOutputs(input);
  EXPECT_THAT(bags, IsOk());
  result.values.assign(*bags * module.embedding_dim(), std::nanf(""));
  EXPECT_THAT(
      module.Forward(input, MutableTableView(result.values.data(), *bags, module.embedding_dim()), &result.context),
      IsOk());
  return result;
}

std::vector<float> MustLookup(const EmbeddingBag& module, const LookupInput& input) {
  const absl::StatusOr<int64_t> bags = module.NumOutputs(input);
  EXPECT_THAT(bags, IsOk());
  std::vector<float> values(*bags * module.embedding_dim(), std::nanf(""));
  EXPECT_THAT(module.Lookup(input, MutableTableView(values.data(), *bags, module.embedding_dim())), IsOk());
  return values;
}

EmbeddingGradients MustBackward(const EmbeddingBag& module, const LookupContext& context,
                                const std::vector<float>& grad_output,
                                WeightsGradient weights_gradient = WeightsGradient::kSkip) {
  absl::StatusOr<EmbeddingGradients> gradients = module.Backward(
      context, TableView(grad_output.data(), context.bags.num_bags(), module.embedding_dim()), weights_gradient);
  EXPECT_THAT(gradients, IsOk());
  return *std::move(gradients);
}

std::vector<float> MustDense(const SparseGrad& grad, int64_t rows) {
  const absl::StatusOr<Table> dense = ToDense(grad, rows);
  EXPECT_THAT(dense, IsOk());
  return {dense->data(), dense->data() + rows * grad.cols};
}

EmbeddingBagOptions BagOptionsOf(const LookupGolden& golden) {
  const std::string mode = golden.mode;
  EmbeddingBagOptions options = SizedBag(
      golden.rows, golden.cols, mode == "sum" ? PoolMode::kSum : (mode == "mean" ? PoolMode::kMean : PoolMode::kMax));
  if (golden.padding_idx >= 0) options.padding_idx = golden.padding_idx;
  options.max_norm = golden.max_norm;
  options.norm_type = golden.norm_type;
  options.sparse = golden.sparse;
  options.include_last_offset = golden.include_last_offset;
  return options;
}

void ExpectGoldenForward(const LookupGolden& golden, const EmbeddingBag& module, const std::vector<float>& output) {
  const std::vector<float> weight(module.weight().data(), module.weight().data() + golden.rows * golden.cols);
  if (!golden.max_norm.has_value()) {
    EXPECT_EQ(BitsOf(weight), golden.weight);
    EXPECT_EQ(BitsOf(output), golden.output);
    return;
  }
  // Rows are within 3 ulps (norm and product); a bag of at most 5 rows no longer than 1, with weights below 4, then
  // differs by at most 5 * 4 * 4 * 2^-24 < 5e-6.
  eqat::testing::ExpectWithinUlps(weight, FloatsOf(golden.weight_after), 3);
  eqat::testing::ExpectClose(output, FloatsOf(golden.output), 0, 5e-6);
}

TEST(EmbeddingBagTest, MatchesTorch) {
  for (const LookupGolden& golden : eqat::testing::LookupGoldens()) {
    if (*golden.mode == '\0') continue;
    SCOPED_TRACE(golden.name);
    EQAT_ASSERT_OK_AND_ASSIGN(
        EmbeddingBag module,
        EmbeddingBag::FromWeight(TableOf(golden.rows, golden.cols, FloatsOf(golden.weight)), BagOptionsOf(golden)));
    const bool jagged = golden.shape.size() == 1;
    const bool weighted = module.options().mode == PoolMode::kSum && std::string(golden.name).find("weighted") == 0;
    const std::vector<int32_t> narrow_indices(golden.indices.begin(), golden.indices.end());
    const std::vector<int32_t> narrow_offsets(golden.offsets.begin(), golden.offsets.end());
    const std::vector<float> weights = FloatsOf(golden.per_sample_weights);
    LookupInput input;
    input.indices = golden.int32 ? IndexSpan(narrow_indices) : IndexSpan(golden.indices);
    input.shape = golden.shape;
    if (jagged) input.offsets = golden.int32 ? IndexSpan(narrow_offsets) : IndexSpan(golden.offsets);
    if (weighted) input.per_sample_weights = weights;

    const std::vector<float> looked_up = MustLookup(module, input);
    EXPECT_EQ(BitsOf(module.weight()), golden.weight);
    const BagResult result = MustForward(module, input);
    EXPECT_EQ(BitsOf(looked_up), BitsOf(result.values));
    ExpectGoldenForward(golden, module, result.values);

    const EmbeddingGradients gradients = MustBackward(module, result.context, FloatsOf(golden.grad_output),
                                                      weighted ? WeightsGradient::kCompute : WeightsGradient::kSkip);
    // Both sides round every product and sum, in different orders: at most 15 terms of up to 12, 2 * 15 * 12 * 2^-24.
    eqat::testing::ExpectClose(MustDense(gradients.weight, golden.rows), FloatsOf(golden.grad_weight), 1e-5, 2.5e-5);
    eqat::testing::ExpectClose(gradients.per_sample_weights, FloatsOf(golden.grad_per_sample_weights), 1e-5, 1e-5);
  }
}

TEST(EmbeddingBagTest, WorkedExample) {
  const std::vector<float> table = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10};
  const BagBatch batch = Jagged({3, 1, 1, 1, 4, 0}, {0, 0, 3, 3, 6});
  const std::vector<std::vector<float>> expected = {
      {0, 0, 13, 16, 0, 0, 13, 16, 0, 0},
      {0, 0, 13.0f / 3, 16.0f / 3, 0, 0, 13.0f / 3, 16.0f / 3, 0, 0},
      {0, 0, 7, 8, 0, 0, 9, 10, 0, 0},
  };
  for (const PoolMode mode : kModes) {
    SCOPED_TRACE(std::string(PoolModeName(mode)));
    EQAT_ASSERT_OK_AND_ASSIGN(EmbeddingBag module,
                              EmbeddingBag::FromWeight(TableOf(5, 2, table), SizedBag(5, 2, mode)));
    EXPECT_EQ(BitsOf(MustForward(module, batch.input()).values), BitsOf(expected[static_cast<int>(mode)]));
  }
  EQAT_ASSERT_OK_AND_ASSIGN(EmbeddingBag sum,
                            EmbeddingBag::FromWeight(TableOf(5, 2, table), SizedBag(5, 2, PoolMode::kSum)));
  const BagResult result = MustForward(sum, batch.input());
  const SparseGrad grad = MustBackward(sum, result.context, {-1, -1, 1, 2, -1, -1, 3, 4, -1, -1}).weight;
  EXPECT_THAT(MustDense(grad, 5), ElementsAre(3, 4, 5, 8, 0, 0, 1, 2, 3, 4));
}

TEST(EmbeddingBagTest, MaxGradientGoesToTheFirstMaximumOfEachColumn) {
  EQAT_ASSERT_OK_AND_ASSIGN(EmbeddingBag module, EmbeddingBag::FromWeight(TableOf(3, 3, {1, 9, 2, 5, 0, 2, -1, -2, -3}),
                                                                          SizedBag(3, 3, PoolMode::kMax)));
  const BagResult result = MustForward(module, Jagged({0, 1, 0, 2}, {0, 3}).input());
  EXPECT_THAT(result.values, ElementsAre(5, 9, 2, -1, -2, -3));
  EXPECT_THAT(result.context.max_positions, ElementsAre(1, 0, 0, 3, 3, 3));
  const SparseGrad grad = MustBackward(module, result.context, {10, 20, 30, 40, 50, 60}).weight;
  EXPECT_THAT(MustDense(grad, 3), ElementsAre(0, 20, 30, 10, 0, 0, 40, 50, 60));
}

TEST(EmbeddingBagTest, MeanGradientContribution) {
  EQAT_ASSERT_OK_AND_ASSIGN(EmbeddingBag module, EmbeddingBag::Create(SizedBag(4, 1), 1));
  const BagResult result = MustForward(module, Jagged({0, 1, 2}, {0}).input());
  EXPECT_THAT(MustBackward(module, result.context, {1}).weight.values, Each(0.333333343f));
}

TEST(EmbeddingBagTest, PerSampleWeightsGradient) {
  const std::vector<float> table = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9};
  EQAT_ASSERT_OK_AND_ASSIGN(EmbeddingBag plain,
                            EmbeddingBag::FromWeight(TableOf(5, 2, table), SizedBag(5, 2, PoolMode::kSum)));
  BagBatch batch = Jagged({1, 1, 3, 4}, {0, 2});
  batch.weights = std::vector<float>(4, 1.0f);
  const BagResult plain_result = MustForward(plain, batch.input());
  EXPECT_THAT(MustBackward(plain, plain_result.context, {1, 1, 1, 1}, WeightsGradient::kCompute).per_sample_weights,
              ElementsAre(5, 5, 13, 17));

  EmbeddingBagOptions options = SizedBag(5, 2, PoolMode::kSum);
  options.padding_idx = 2;
  EQAT_ASSERT_OK_AND_ASSIGN(EmbeddingBag padded, EmbeddingBag::FromWeight(TableOf(5, 2, table), options));
  batch.indices = {1, 2, 3, 4};
  batch.weights = {1, 2, 3, 4};
  const BagResult result = MustForward(padded, batch.input());
  const EmbeddingGradients gradients = MustBackward(padded, result.context, {1, 1, 1, 1}, WeightsGradient::kCompute);
  EXPECT_THAT(gradients.per_sample_weights, ElementsAre(5, 0, 13, 17));
  EXPECT_THAT(gradients.weight.rows, ElementsAre(1, 3, 4));
  EXPECT_THAT(gradients.weight.values, ElementsAre(1, 1, 3, 3, 4, 4));
}

TEST(EmbeddingBagTest, PerSampleWeightsGradientUsesTheRowsOfTheForward) {
  EQAT_ASSERT_OK_AND_ASSIGN(EmbeddingBag module,
                            EmbeddingBag::FromWeight(TableOf(2, 1, {3, 5}), SizedBag(2, 1, PoolMode::kSum)));
  BagBatch batch = Jagged({0, 1}, {0});
  batch.weights = {1, 1};
  const BagResult result = MustForward(module, batch.input());
  module.mutable_weight().Row(0)[0] = 100;  // an optimizer's step
  EXPECT_THAT(MustBackward(module, result.context, {1}, WeightsGradient::kCompute).per_sample_weights,
              ElementsAre(3, 5));
}

TEST(EmbeddingBagTest, FrozenTableStillGivesTheWeightsGradient) {
  EmbeddingBagOptions options = SizedBag(0, 0, PoolMode::kSum);
  EQAT_ASSERT_OK_AND_ASSIGN(EmbeddingBag module,
                            EmbeddingBag::FromPretrained(TableOf(2, 2, {1, 2, 3, 4}), {2, 2}, Freeze::kYes, options));
  BagBatch batch = Rectangle({0, 1}, {1, 2});
  batch.weights = {1, 1};
  const BagResult result = MustForward(module, batch.input());
  const EmbeddingGradients gradients = MustBackward(module, result.context, {1, 1}, WeightsGradient::kCompute);
  EXPECT_THAT(gradients.weight.rows, IsEmpty());
  EXPECT_EQ(gradients.weight.cols, 2);
  EXPECT_THAT(gradients.per_sample_weights, ElementsAre(3, 7));
}

TEST(EmbeddingBagTest, GradientsAgreeWithDifferences) {
  // Sums are linear in the weights and in the table, so a difference over a large step has only rounding error: about
  // 30 terms of size 10 at 2^-24, over a step of 0.5.
  constexpr double kTolerance = 1e-4;
  EmbeddingBagOptions options = SizedBag(6, 9, PoolMode::kSum);
  options.padding_idx = 2;
  EQAT_ASSERT_OK_AND_ASSIGN(EmbeddingBag module, EmbeddingBag::Create(options, 2));
  BagBatch batch = Jagged(RandomIndices(12, 6, 1), {0, 3, 3, 8});
  batch.weights = RandomFloats(12, 2);
  const std::vector<float> g = RandomFloats(4 * 9, 3);
  const BagResult result = MustForward(module, batch.input());
  const EmbeddingGradients gradients = MustBackward(module, result.context, g, WeightsGradient::kCompute);
  const auto loss = [&] { return eqat::testing::Loss(MustLookup(module, batch.input()), g); };
  eqat::testing::ExpectGradient(*batch.weights, gradients.per_sample_weights, 0.5f, kTolerance, loss);

  std::vector<float> table(module.weight().data(), module.weight().data() + 6 * 9);
  eqat::testing::ExpectGradient(table, MustDense(gradients.weight, 6), 0.5f, kTolerance, [&] {
    EmbeddingBagOptions same = options;
    const absl::StatusOr<EmbeddingBag> changed = EmbeddingBag::FromWeight(TableOf(6, 9, table), same);
    return eqat::testing::Loss(MustLookup(*changed, batch.input()), g);
  });
}

TEST(EmbeddingBagTest, ScaleGradByFreqDividesByTheRowsOwnCount) {
  const struct {
    std::vector<int64_t> indices;
    std::vector<int64_t> rows;
  } cases[] = {{{1, 1, 3, 4}, {1, 3, 4}}, {{0, 0, 0, 5}, {0, 5}}, {{0, 0, 5, 5, 5, 7}, {0, 5, 7}}};
  for (const bool sparse : {false, true}) {
    for (const auto& batch : cases) {
      EmbeddingBagOptions options = SizedBag(8, 1, PoolMode::kSum);
      options.scale_grad_by_freq = true;
      options.sparse = sparse;
      EQAT_ASSERT_OK_AND_ASSIGN(EmbeddingBag module, EmbeddingBag::Create(options, 1));
      const BagResult result = MustForward(module, Jagged(batch.indices, {0, 2}).input());
      const SparseGrad grad = MustBackward(module, result.context, {1, 1}).weight;
      EXPECT_EQ(grad.rows, batch.rows);
      EXPECT_THAT(grad.values, Each(::testing::FloatEq(1)));  // three times f32(1 / 3) need not be exactly 1
    }
  }
}

// Row 0 is looked up three times and row 1 once.
TEST(EmbeddingBagTest, ScaleGradByFreqScalesMeansAndWeightedSumsToo) {
  const struct {
    PoolMode mode;
    std::optional<std::vector<float>> weights;
    float row_0;
    float row_1;
  } cases[] = {
      {PoolMode::kMean, std::nullopt, (6.0f / 2 + 6.0f / 2 + 12.0f / 2) / 3, 12.0f / 2},
      {PoolMode::kSum, std::vector<float>{1, 2, 4, 5}, (6 * 1 + 6 * 2 + 12 * 5) / 3, 12 * 4},
  };
  for (const auto& expected : cases) {
    SCOPED_TRACE(std::string(PoolModeName(expected.mode)));
    EmbeddingBagOptions options = SizedBag(2, 1, expected.mode);
    options.scale_grad_by_freq = true;
    EQAT_ASSERT_OK_AND_ASSIGN(EmbeddingBag module, EmbeddingBag::Create(options, 1));
    BagBatch batch = Jagged({0, 0, 1, 0}, {0, 2});
    batch.weights = expected.weights;
    const BagResult result = MustForward(module, batch.input());
    const SparseGrad grad = MustBackward(module, result.context, {6, 12}).weight;
    // The products are exact but for f32(1 / 3).
    EXPECT_THAT(grad.values, ElementsAre(::testing::FloatEq(expected.row_0), expected.row_1));
  }
}

TEST(EmbeddingBagTest, EmptyPerSampleWeights) {
  EQAT_ASSERT_OK_AND_ASSIGN(EmbeddingBag module, EmbeddingBag::Create(SizedBag(3, 2, PoolMode::kSum), 1));
  for (const int64_t bags : {0, 3}) {
    BagBatch batch = Jagged({}, std::vector<int64_t>(bags, 0));
    batch.weights.emplace();
    const BagResult result = MustForward(module, batch.input());
    EXPECT_EQ(result.values, std::vector<float>(bags * 2, 0.0f));
    const EmbeddingGradients gradients =
        MustBackward(module, result.context, std::vector<float>(bags * 2, 1.0f), WeightsGradient::kCompute);
    EXPECT_THAT(gradients.weight.rows, IsEmpty());
    EXPECT_THAT(gradients.per_sample_weights, IsEmpty());
  }
}

TEST(EmbeddingBagTest, RectanglesEqualJaggedBatches) {
  const std::vector<int64_t> indices = RandomIndices(12, 6, 4);
  for (const PoolMode mode : kModes) {
    for (const bool include_last_offset : {false, true}) {
      EmbeddingBagOptions options = SizedBag(6, 5, mode);
      options.padding_idx = 1;
      options.include_last_offset = include_last_offset;
      EQAT_ASSERT_OK_AND_ASSIGN(EmbeddingBag module, EmbeddingBag::Create(options, 2));
      std::vector<int64_t> offsets = {0, 4, 8};
      if (include_last_offset) offsets.push_back(12);
      BagResult jagged = MustForward(module, Jagged(indices, offsets).input());
      BagResult rectangle = MustForward(module, Rectangle(indices, {3, 4}).input());
      EXPECT_EQ(BitsOf(jagged.values), BitsOf(rectangle.values));  // all three bags, also with include_last_offset
      const std::vector<float> g = RandomFloats(3 * 5, 6);
      EXPECT_EQ(BitsOf(MustBackward(module, jagged.context, g).weight.values),
                BitsOf(MustBackward(module, rectangle.context, g).weight.values));
    }
  }
}

TEST(EmbeddingBagTest, EmptyRectangles) {
  EQAT_ASSERT_OK_AND_ASSIGN(EmbeddingBag module, EmbeddingBag::Create(SizedBag(6, 2), 2));
  EXPECT_THAT(MustForward(module, Rectangle({}, {2, 0}).input()).values, ElementsAre(0, 0, 0, 0));
  EXPECT_THAT(MustForward(module, Rectangle({}, {0, 3}).input()).values, IsEmpty());
}

TEST(EmbeddingBagTest, BagsOfNothingOrOnlyPaddingAreZero) {
  for (const PoolMode mode : kModes) {
    EmbeddingBagOptions options = SizedBag(3, 2, mode);
    options.padding_idx = 1;
    EQAT_ASSERT_OK_AND_ASSIGN(EmbeddingBag module,
                              EmbeddingBag::FromWeight(TableOf(3, 2, {-1, -2, 7, 7, -5, -6}), options));
    const BagResult result = MustForward(module, Jagged({1, 1, 0}, {0, 0, 2}).input());
    EXPECT_THAT(result.values, ElementsAre(0, 0, 0, 0, -1, -2));
    const SparseGrad grad = MustBackward(module, result.context, {1, 1, 1, 1, 1, 1}).weight;
    EXPECT_THAT(grad.rows, ElementsAre(0));
    EXPECT_THAT(grad.values, ElementsAre(1, 1));
  }
}

TEST(EmbeddingBagTest, ZeroOffsetsGiveZeroBags) {
  for (const PoolMode mode : kModes) {
    EQAT_ASSERT_OK_AND_ASSIGN(EmbeddingBag module, EmbeddingBag::Create(SizedBag(3, 2, mode), 1));
    const BagResult result = MustForward(module, Jagged({1, 2}, {}).input());
    EXPECT_THAT(result.values, IsEmpty());
    EXPECT_THAT(MustBackward(module, result.context, {}).weight.rows, IsEmpty());
  }
}

TEST(EmbeddingBagTest, EmptyTables) {
  for (const PoolMode mode : kModes) {
    EQAT_ASSERT_OK_AND_ASSIGN(EmbeddingBag no_rows, EmbeddingBag::Create(SizedBag(0, 2, mode), 1));
    const BagResult result = MustForward(no_rows, Jagged({}, {0, 0}).input());
    EXPECT_THAT(result.values, ElementsAre(0, 0, 0, 0));
    EXPECT_THAT(MustBackward(no_rows, result.context, {1, 1, 1, 1}).weight.rows, IsEmpty());
    EQAT_ASSERT_OK_AND_ASSIGN(EmbeddingBag no_cols, EmbeddingBag::Create(SizedBag(3, 0, mode), 1));
    const BagResult narrow = MustForward(no_cols, Jagged({2, 1}, {0, 1}).input());
    EXPECT_THAT(MustBackward(no_cols, narrow.context, {}).weight.rows, ElementsAre(1, 2));
  }
}

TEST(EmbeddingBagTest, NaNPassesThrough) {
  const float nan = std::nanf("");
  EQAT_ASSERT_OK_AND_ASSIGN(EmbeddingBag module,
                            EmbeddingBag::FromWeight(TableOf(2, 1, {nan, 2}), SizedBag(2, 1, PoolMode::kSum)));
  const std::vector<float> out = MustForward(module, Jagged({0, 1, 1}, {0, 2}).input()).values;
  EXPECT_TRUE(std::isnan(out[0]));
  EXPECT_EQ(out[1], 2);
}

TEST(EmbeddingBagTest, MaxNormRenormalizesTheStoredRowsOfTheBatch) {
  for (const PoolMode mode : kModes) {
    EmbeddingBagOptions options = SizedBag(40, 9, mode);
    options.max_norm = 1.5;
    options.padding_idx = 3;
    EQAT_ASSERT_OK_AND_ASSIGN(EmbeddingBag module, EmbeddingBag::Create(options, 2));
    std::fill_n(module.mutable_weight().Row(3), 9, 2.0f);
    BagBatch batch = Jagged(RandomIndices(30, 20, 1), {0, 7, 7, 20});
    batch.indices[0] = 3;
    EQAT_ASSERT_OK_AND_ASSIGN(Table expected, module.weight().Clone());
    const DistinctRows distinct(batch.indices);
    for (const int64_t row : distinct.rows()) {
      RenormRow(absl::MakeSpan(expected.Row(row), 9), 1.5, 2);
    }
    EQAT_ASSERT_OK_AND_ASSIGN(const Table before, module.weight().Clone());

    const std::vector<float> looked_up = MustLookup(module, batch.input());
    EXPECT_EQ(BitsOf(module.weight()), BitsOf(before));
    EXPECT_EQ(BitsOf(MustForward(module, batch.input()).values), BitsOf(looked_up));
    EXPECT_EQ(BitsOf(module.weight()), BitsOf(expected));
  }
}

TEST(EmbeddingBagTest, ForwardWithoutContextIsTheSame) {
  EmbeddingBagOptions options = SizedBag(40, 9, PoolMode::kMax);
  options.max_norm = 1.5;
  EQAT_ASSERT_OK_AND_ASSIGN(EmbeddingBag module, EmbeddingBag::Create(options, 2));
  EQAT_ASSERT_OK_AND_ASSIGN(EmbeddingBag twin, EmbeddingBag::Create(options, 2));
  const BagBatch batch = Jagged(RandomIndices(30, 20, 1), {0, 7, 7, 20});
  std::vector<float> out(4 * 9);
  ASSERT_THAT(module.Forward(batch.input(), MutableTableView(out.data(), 4, 9), nullptr), IsOk());
  EXPECT_EQ(BitsOf(out), BitsOf(MustForward(twin, batch.input()).values));
  EXPECT_EQ(BitsOf(module.weight()), BitsOf(twin.weight()));
}

TEST(EmbeddingBagTest, ResultsDoNotDependOnTheNumberOfThreads) {
  for (const PoolMode mode : kModes) {
    std::vector<std::vector<uint32_t>> outputs;
    std::vector<std::vector<uint32_t>> gradients;
    for (const int threads : {1, 2, 7}) {
      SetNumThreads(threads);
      EQAT_ASSERT_OK_AND_ASSIGN(EmbeddingBag module, EmbeddingBag::Create(SizedBag(1000, 17, mode), 2));
      std::vector<int64_t> offsets;
      for (int64_t bag = 0; bag < 500; ++bag) offsets.push_back(bag * 9);
      const BagResult result = MustForward(module, Jagged(RandomIndices(5000, 1000, 1), offsets).input());
      outputs.push_back(BitsOf(result.values));
      gradients.push_back(BitsOf(MustBackward(module, result.context, RandomFloats(500 * 17, 3)).weight.values));
    }
    SetNumThreads(0);
    EXPECT_EQ(outputs[0], outputs[1]);
    EXPECT_EQ(outputs[0], outputs[2]);
    EXPECT_EQ(gradients[0], gradients[1]);
    EXPECT_EQ(gradients[0], gradients[2]);
  }
}

TEST(EmbeddingBagTest, ErrorsChangeNothing) {
  EmbeddingBagOptions options = SizedBag(3, 2, PoolMode::kMean);
  options.max_norm = 1;
  const std::vector<float> table = {3, 4, 3, 4, 3, 4};
  EQAT_ASSERT_OK_AND_ASSIGN(EmbeddingBag module, EmbeddingBag::FromWeight(TableOf(3, 2, table), options, "item"));
  std::vector<float> out(4, 9.0f);
  BagBatch weighted = Jagged({0, 1}, {0, 1});
  weighted.weights = {1, 1};
  BagBatch few_weights = weighted;
  few_weights.weights = {1};
  BagBatch both = Rectangle({0, 1}, {1, 2});
  both.offsets = {0};
  const struct {
    BagBatch batch;
    absl::StatusCode code;
    const char* text;
  } cases[] = {
      {Jagged({0, 3}, {0, 1}), absl::StatusCode::kOutOfRange, "item: index out of range at position 1 (got 3"},
      {Jagged({-1, 0}, {0, 1}), absl::StatusCode::kOutOfRange, "position 0 (got -1"},
      {Jagged({0, 1}, {1, 1}), absl::StatusCode::kInvalidArgument, "offsets do not start at 0"},
      {Jagged({0, 1}, {0, 3}), absl::StatusCode::kInvalidArgument, "offset beyond the indices at position 1"},
      {Jagged({0, 1}, {0, 2, 1}), absl::StatusCode::kInvalidArgument, "offsets decrease at position 2"},
      {{{0, 1}, std::nullopt, {2}, {}}, absl::StatusCode::kInvalidArgument, "without offsets"},
      {Rectangle({0, 1}, {1, 2, 1}), absl::StatusCode::kInvalidArgument, "wrong rank"},
      {Rectangle({0, 1}, {2, 2}), absl::StatusCode::kInvalidArgument, "[2, 2]"},
      {both, absl::StatusCode::kInvalidArgument, "2-D indices"},
      {weighted, absl::StatusCode::kInvalidArgument, "per_sample_weights need mode sum (got mode mean)"},
      {few_weights, absl::StatusCode::kInvalidArgument, "per_sample_weights differ in number"},
      {Jagged({0, 1}, {0, 1, 2}), absl::StatusCode::kInvalidArgument,
       "item: output has the wrong shape (got [2, 2], expected [3, 2])"},
  };
  for (const auto& bad : cases) {
    SCOPED_TRACE(bad.text);
    LookupContext context;
    EXPECT_THAT(module.Forward(bad.batch.input(), MutableTableView(out.data(), 2, 2), &context),
                StatusIs(bad.code, HasSubstr(bad.text)));
    EXPECT_THAT(module.Lookup(bad.batch.input(), MutableTableView(out.data(), 2, 2)),
                StatusIs(bad.code, HasSubstr(bad.text)));
    EXPECT_EQ(BitsOf(module.weight()), BitsOf(table));
    EXPECT_THAT(out, Each(9.0f));
    EXPECT_EQ(context.bags.num_bags(), 0);
  }
}

TEST(EmbeddingBagTest, LastOffsetMustCloseTheBatch) {
  EmbeddingBagOptions options = SizedBag(3, 2);
  options.include_last_offset = true;
  EQAT_ASSERT_OK_AND_ASSIGN(EmbeddingBag module, EmbeddingBag::Create(options, 1, "item"));
  EXPECT_THAT(module.NumOutputs(Jagged({0, 1, 2}, {0, 2}).input()),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("last offset is not the number of indices")));
  EXPECT_THAT(module.NumOutputs(Jagged({0, 1, 2}, {}).input()),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("include_last_offset without any offset")));
  EXPECT_EQ(*module.NumOutputs(Jagged({0, 1, 2}, {0, 2, 3}).input()), 2);
}

TEST(EmbeddingBagTest, BackwardErrors) {
  EQAT_ASSERT_OK_AND_ASSIGN(EmbeddingBag module, EmbeddingBag::Create(SizedBag(3, 2), 1, "item"));
  const BagResult result = MustForward(module, Jagged({0, 1}, {0}).input());
  const std::vector<float> g(4);
  EXPECT_THAT(module.Backward(result.context, TableView(g.data(), 2, 2)),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("item: grad_output has the wrong shape (got [2, 2], expected [1, 2])")));
  EXPECT_THAT(module.Backward(result.context, TableView(g.data(), 1, 2), WeightsGradient::kCompute),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("forward without per_sample_weights")));
}

TEST(EmbeddingBagTest, ConstructionErrors) {
  EmbeddingBagOptions options = SizedBag(3, 2, PoolMode::kMax);
  options.sparse = true;
  EXPECT_THAT(EmbeddingBag::Create(options, 1),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("nn.EmbeddingBag: mode max")));
  Table weight = TableOf(2, 2, {1, 2, 3, 4});
  EXPECT_THAT(EmbeddingBag::FromWeight(std::move(weight), SizedBag(3, 2), "item"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("item: weight has the wrong shape")));
  EXPECT_THAT(EmbeddingBag::FromPretrained(std::move(weight), {4}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("not 2-dimensional (got [4]")));
  EXPECT_THAT(EmbeddingBag::FromPretrained(std::move(weight), {2, 2}, Freeze::kYes, SizedBag(3, 2)),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("wrong shape (got [2, 2], expected [3, 2])")));
  EXPECT_EQ(weight.rows(), 2);
  EXPECT_THAT(EmbeddingBag::Create(SizedBag(int64_t{1} << 50, 1 << 10), 1, "item"),
              StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("item: ")));
}

TEST(EmbeddingBagTest, FromPretrainedPadsAndFreezes) {
  EmbeddingBagOptions options;
  options.padding_idx = 2;
  EQAT_ASSERT_OK_AND_ASSIGN(EmbeddingBag module, EmbeddingBag::FromPretrained(TableOf(3, 2, {1, 2, 3, 4, 100, 100}),
                                                                              {3, 2}, Freeze::kNo, options));
  EXPECT_TRUE(module.options().requires_grad);
  EXPECT_EQ(module.num_embeddings(), 3);
  EXPECT_THAT(MustForward(module, Jagged({0, 2, 1}, {0}).input()).values, ElementsAre(2, 3));
}

TEST(EmbeddingBagTest, FromPretrainedKeepsOptions) {
  EmbeddingBagOptions options;
  options.padding_idx = -1;
  options.max_norm = 1.5;
  options.norm_type = 1;
  options.scale_grad_by_freq = true;
  options.sparse = true;
  options.mode = PoolMode::kSum;
  options.include_last_offset = true;
  EQAT_ASSERT_OK_AND_ASSIGN(EmbeddingBag module, EmbeddingBag::FromPretrained(TableOf(3, 2, {1, 2, 3, 4, 5, 6}), {3, 2},
                                                                              Freeze::kYes, options));
  EmbeddingBagOptions expected = options;
  expected.num_embeddings = 3;
  expected.embedding_dim = 2;
  expected.padding_idx = 2;
  expected.requires_grad = false;
  EXPECT_EQ(module.options(), expected);
}

TEST(EmbeddingBagTest, CreateZeroesThePaddingRow) {
  EmbeddingBagOptions options = SizedBag(4, 3);
  options.padding_idx = -1;
  EQAT_ASSERT_OK_AND_ASSIGN(const EmbeddingBag module, EmbeddingBag::Create(options, 1));
  EXPECT_THAT(absl::MakeConstSpan(module.weight().Row(3), 3), Each(0));
  EXPECT_THAT(absl::MakeConstSpan(module.weight().Row(2), 3), Each(::testing::Ne(0)));
}

TEST(EmbeddingBagTest, PrintsItsOptions) {
  EXPECT_EQ(EmbeddingBag::Create(SizedBag(10, 3, PoolMode::kSum), 1)->ToString(), "EmbeddingBag(10, 3, mode=sum)");
}

}  // namespace
}  // namespace eqat::nn
