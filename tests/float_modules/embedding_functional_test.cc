#include "float_modules/embedding_functional.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <vector>

#include "core/parallel_for.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/float_modules/golden_values.h"
#include "tests/golden/float_golden.h"
#include "tests/support/special_floats.h"
#include "tests/support/status_matchers.h"

namespace eqat::nn {
namespace {

using ::eqat::testing::BitsOf;
using ::eqat::testing::FloatsOf;
using ::eqat::testing::IsOk;
using ::eqat::testing::kFloatInfinity;
using ::eqat::testing::kFloatNaN;
using ::eqat::testing::kInfinity;
using ::eqat::testing::RandomFloats;
using ::eqat::testing::RandomIndices;
using ::eqat::testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(RowNormTest, MatchesTorch) {
  // 2 ulps: torch's compiler contracts and vectorises the tail as it likes.
  for (const eqat::testing::NormGolden& golden : eqat::testing::NormGoldens()) {
    const std::vector<float> row = FloatsOf(golden.row);
    const std::vector<float> norms = FloatsOf(golden.norms);
    for (size_t i = 0; i < norms.size(); ++i) {
      const double p = eqat::testing::kGoldenNormTypes[i];
      SCOPED_TRACE(::testing::Message() << row.size() << " columns, p " << p);
      const float norm = static_cast<float>(RowNorm(row, p));
      EXPECT_LE(eqat::testing::UlpsBetween(norm, norms[i]), 2) << norm << " and " << norms[i];
    }
  }
}

TEST(RowNormTest, WorkedExample) {
  const std::vector<float> row = {3, -4, 0.5};
  EXPECT_FLOAT_EQ(RowNorm(row, 1), 7.5);
  EXPECT_FLOAT_EQ(RowNorm(row, 2), 5.0249379);
  EXPECT_FLOAT_EQ(RowNorm(row, 3), 4.5);
  EXPECT_FLOAT_EQ(RowNorm(row, 0.5), 19.70612);
  EXPECT_EQ(RowNorm(row, kInfinity), 4);
  EXPECT_EQ(RowNorm(row, -kInfinity), 0.5);
  EXPECT_EQ(RowNorm(row, 0), 3);
  EXPECT_FLOAT_EQ(RowNorm(row, -1), 0.38709679);
}

TEST(RowNormTest, OverflowsWhereFloatDoes) {
  const std::vector<float> large = {3e19f, 3e19f};
  EXPECT_EQ(RowNorm(large, 2), kInfinity);
  EXPECT_EQ(RowNorm(std::vector<float>{1e-30f, 1e-30f}, 2), 0);
}

TEST(RowNormTest, NaNIsTheResult) {
  const std::vector<float> row = {1, kFloatNaN, 3, 4, 5, 6, 7, 8, 9};
  for (const double p : {2.0, 1.0, kInfinity, -kInfinity, 0.5, -1.0}) EXPECT_TRUE(std::isnan(RowNorm(row, p))) << p;
  EXPECT_EQ(RowNorm(row, 0), 9);  // a NaN is not zero
}

TEST(RowNormTest, EmptyRow) {
  for (const double p : {2.0, 1.0, kInfinity, -kInfinity, 0.0}) EXPECT_EQ(RowNorm({}, p), 0) << p;
}

TEST(RenormRowTest, ScalesToMaxNormWithTorchsBits) {
  std::vector<float> row = {3, 4};
  EXPECT_TRUE(RenormRow(absl::MakeSpan(row), 1, 2));
  EXPECT_THAT(BitsOf(row), ElementsAre(0x3f19999a, 0x3f4ccccd));
}

TEST(RenormRowTest, LeavesRowsOfExactlyMaxNorm) {
  std::vector<float> row = {3, 4};
  EXPECT_FALSE(RenormRow(absl::MakeSpan(row), 5, 2));
  EXPECT_THAT(row, ElementsAre(3, 4));
}

TEST(RenormRowTest, ZeroAndNegativeMaxNorm) {
  std::vector<float> zeroed = {3, -4};
  EXPECT_TRUE(RenormRow(absl::MakeSpan(zeroed), 0, 2));
  EXPECT_THAT(BitsOf(zeroed), ElementsAre(0x00000000, 0x80000000));
  std::vector<float> flipped = {3, 4};
  EXPECT_TRUE(RenormRow(absl::MakeSpan(flipped), -1, 2));
  EXPECT_THAT(BitsOf(flipped), ElementsAre(0xbf19999a, 0xbf4ccccd));
  std::vector<float> origin = {0, 0};
  EXPECT_FALSE(RenormRow(absl::MakeSpan(origin), 0, 2));
  EXPECT_TRUE(RenormRow(absl::MakeSpan(origin), -1, 2));
  EXPECT_THAT(BitsOf(origin), ElementsAre(0x80000000, 0x80000000));
}

TEST(RenormRowTest, NaNStaysAndInfinityBecomesNaN) {
  std::vector<float> nan_row = {kFloatNaN, 100};
  EXPECT_FALSE(RenormRow(absl::MakeSpan(nan_row), 1, 2));
  EXPECT_EQ(nan_row[1], 100);
  std::vector<float> inf_row = {kFloatInfinity, 100};
  EXPECT_TRUE(RenormRow(absl::MakeSpan(inf_row), 1, 2));
  EXPECT_TRUE(std::isnan(inf_row[0]));
  EXPECT_EQ(inf_row[1], 0);
  std::vector<float> large = {3e19f, 3e19f};  // finite, its norm is not
  EXPECT_TRUE(RenormRow(absl::MakeSpan(large), 1, 2));
  EXPECT_THAT(large, ElementsAre(0, 0));
}

TEST(RenormRowsTest, TouchesTheGivenRowsOnly) {
  const std::vector<float> values = RandomFloats(200 * 3, 1);
  Table table = eqat::testing::TableOf(200, 3, values);
  std::vector<int64_t> even;
  for (int64_t row = 0; row < 200; row += 2) even.push_back(row);
  RenormRows(even, 0.5, 2, table.mutable_view());
  for (int64_t row = 0; row < 200; ++row) {
    std::vector<float> expected(values.begin() + row * 3, values.begin() + row * 3 + 3);
    if (row % 2 == 0) RenormRow(absl::MakeSpan(expected), 0.5, 2);
    EXPECT_EQ(BitsOf(absl::MakeConstSpan(table.Row(row), 3)), BitsOf(expected)) << row;
  }
}

TEST(CopyRowsTest, CopiesBits) {
  const std::vector<float> rows = {-0.0f, kFloatNaN, 1, 2};
  std::vector<float> out(6);
  CopyRows(TableView(rows.data(), 2, 2), {1, 0, 1}, MutableTableView(out.data(), 3, 2));
  EXPECT_EQ(BitsOf(out), BitsOf({1, 2, -0.0f, kFloatNaN, 1, 2}));
}

TEST(CheckShapeTest, NamesBothShapes) {
  const std::vector<float> values(6);
  EXPECT_THAT(CheckShape(TableView(values.data(), 2, 3), 2, 3, "item", "output"), IsOk());
  for (const auto& [rows, cols] : {std::pair<int64_t, int64_t>{3, 3}, {2, 2}}) {
    EXPECT_THAT(
        CheckShape(TableView(values.data(), 2, 3), rows, cols, "item", "output"),
        StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("item: output has the wrong shape (got [2, 3]")));
  }
}

// One batch with everything that TableGradient looks at.
struct GradientBatch {
  std::vector<int64_t> indices;
  std::vector<int64_t> offsets;
  std::vector<float> weights;
  std::vector<float> grad_output;
  int64_t cols = 5;
};

GradientBatch RandomGradientBatch() {
  GradientBatch batch;
  batch.indices = RandomIndices(400, 60, 2);
  for (int64_t i = 0; i < 100; ++i) batch.indices[i * 3] = 7;  // a hot row
  batch.offsets = {0, 0, 1, 50, 50, 130, 131, 399};
  batch.weights = RandomFloats(400, 3);
  batch.grad_output = RandomFloats(8 * batch.cols, 4);
  return batch;
}

LookupContext ContextOf(const GradientBatch& batch, PoolMode mode, bool weighted) {
  LookupInput input;
  input.indices = batch.indices;
  input.offsets = batch.offsets;
  if (weighted) input.per_sample_weights = batch.weights;
  LookupContext context;
  context.bags = *MakeBags(input, 60, false, mode, "test");
  return context;
}

// The definition in the header, position by position.
std::map<int64_t, std::vector<float>> NaiveGradient(const GradientBatch& batch, PoolMode mode, bool weighted,
                                                    std::optional<int64_t> padding_idx, bool by_frequency) {
  std::map<int64_t, std::vector<float>> gradient;
  for (size_t bag = 0; bag < batch.offsets.size(); ++bag) {
    const int64_t begin = batch.offsets[bag];
    const int64_t end = bag + 1 < batch.offsets.size() ? batch.offsets[bag + 1] : batch.indices.size();
    int64_t counted = 0;
    for (int64_t k = begin; k < end; ++k) counted += batch.indices[k] != padding_idx;
    for (int64_t k = begin; k < end; ++k) {
      const int64_t row = batch.indices[k];
      if (row == padding_idx) continue;
      const auto occurrences = std::count(batch.indices.begin(), batch.indices.end(), row);
      std::vector<float>& sum = gradient[row];
      sum.resize(batch.cols);
      for (int64_t c = 0; c < batch.cols; ++c) {
        float term = batch.grad_output[bag * batch.cols + c];
        if (mode == PoolMode::kMean) term = term * static_cast<float>(1.0 / counted);
        if (weighted) term = term * batch.weights[k];
        sum[c] = by_frequency ? std::fma(term, static_cast<float>(1.0 / occurrences), sum[c]) : sum[c] + term;
      }
    }
  }
  return gradient;
}

TEST(TableGradientTest, EqualsTheDefinitionForAnyNumberOfThreads) {
  const GradientBatch batch = RandomGradientBatch();
  const TableView grad_output(batch.grad_output.data(), 8, batch.cols);
  for (const int threads : {1, 2, 5}) {
    SetNumThreads(threads);
    for (const PoolMode mode : {PoolMode::kSum, PoolMode::kMean}) {
      for (const bool weighted : {false, true}) {
        if (weighted && mode == PoolMode::kMean) continue;
        for (const bool by_frequency : {false, true}) {
          for (const std::optional<int64_t> padding : {std::optional<int64_t>(), std::optional<int64_t>(7)}) {
            SCOPED_TRACE(::testing::Message()
                         << threads << " threads, mode " << static_cast<int>(mode) << ", weights " << weighted
                         << ", frequency " << by_frequency << ", padding " << padding.value_or(-1));
            const SparseGrad grad =
                TableGradient(ContextOf(batch, mode, weighted), grad_output, mode, padding, by_frequency);
            const auto expected = NaiveGradient(batch, mode, weighted, padding, by_frequency);
            ASSERT_EQ(grad.rows.size(), expected.size());
            size_t i = 0;
            for (const auto& [row, values] : expected) {
              EXPECT_EQ(grad.rows[i], row);
              EXPECT_EQ(BitsOf(absl::MakeConstSpan(grad.view().Row(i), batch.cols)), BitsOf(values)) << row;
              ++i;
            }
          }
        }
      }
    }
  }
  SetNumThreads(0);
}

TEST(TableGradientTest, MaskMultiplies) {
  LookupContext context;
  LookupInput input;
  const std::vector<int64_t> indices = {4, 2, 4};
  input.indices = indices;
  context.bags = *BagsOfOne(input, 5, "test");
  context.mask = {1, 0, 0, 1};  // rows 2 and 4
  const std::vector<float> g = {1, 2, 3, kFloatInfinity, 5, 6};
  const SparseGrad grad = TableGradient(context, TableView(g.data(), 3, 2), PoolMode::kSum, std::nullopt, false);
  EXPECT_THAT(grad.rows, ElementsAre(2, 4));
  EXPECT_EQ(grad.values[0], 3);
  EXPECT_TRUE(std::isnan(grad.values[1]));  // infinity times 0, as torch
  EXPECT_EQ(grad.values[2], 0);
  EXPECT_EQ(grad.values[3], 8);
}

TEST(PerSampleWeightsGradientTest, IsTheDotProductOfThePositionsRow) {
  const GradientBatch batch = RandomGradientBatch();
  LookupContext context = ContextOf(batch, PoolMode::kSum, true);
  context.rows = RandomFloats(context.distinct().size() * batch.cols, 5);
  const std::vector<float> grad =
      PerSampleWeightsGradient(context, TableView(batch.grad_output.data(), 8, batch.cols), 7);
  ASSERT_EQ(grad.size(), batch.indices.size());
  for (size_t k = 0; k < grad.size(); ++k) {
    const int64_t bag =
        std::upper_bound(batch.offsets.begin(), batch.offsets.end(), static_cast<int64_t>(k)) - batch.offsets.begin();
    const float* const row = context.rows.data() + context.distinct().slots()[k] * batch.cols;
    float expected = 0;  // narrower than a vector: summed in order
    for (int64_t c = 0; c < batch.cols; ++c) expected += batch.grad_output[(bag - 1) * batch.cols + c] * row[c];
    EXPECT_EQ(grad[k], batch.indices[k] == 7 ? 0 : expected) << k;
  }
}

}  // namespace
}  // namespace eqat::nn
