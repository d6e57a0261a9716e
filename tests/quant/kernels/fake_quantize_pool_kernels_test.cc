#include "quant/kernels/fake_quantize_pool_kernels.h"

#include <cmath>
#include <cstring>
#include <numeric>
#include <vector>

#include "core/parallel_for.h"
#include "core/rng.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "quant/choose_qparams.h"
#include "quant/kernels/fake_quantize_kernels.h"
#include "tests/support/float_bits.h"
#include "tests/support/simd_targets.h"
#include "tests/support/special_floats.h"

namespace eqat::quant::kernels {
namespace {

using ::eqat::testing::kFloatInfinity;
using ::eqat::testing::kFloatNaN;

using eqat::testing::BitsOf;
using eqat::testing::ForEachSimdTarget;

constexpr int64_t kRows = 37;

QParamsRule RuleOf(const FreshRule& fresh) {
  QParamsRule rule;
  rule.quant_max = fresh.quant_max;
  rule.eps = fresh.eps;
  return rule;
}

// Rows of every kind the kernel serves: zero points in each binade and sign, all zeros, constants, denormals, the
// largest ranges, values on ties of the code grid. One float past each row, and a base that is not aligned.
class Rows {
 public:
  Rows(int64_t cols, const FreshRule& rule, uint64_t stream) : cols_(cols), values_(kRows * (cols + 1) + 1, 1e9f) {
    const Rng rng(11, stream);
    const double length = rule.quant_max;
    // A column alone is a constant row, whose zero point is its value: values stay below 2^20.
    uint64_t draw = 0;
    for (int64_t row = 0; row < kRows; ++row) {
      float* const x = Row(row);
      const double zero_point =
          row < 20 ? length * rng.Uniform(draw++) : std::ldexp(rng.Uniform(draw++) - 0.5, row - 17);
      const int exponent = static_cast<int>(rng.Below(draw++, 22)) - (row < 20 ? 11 : 22);
      const double scale = std::ldexp(1.0 + rng.Uniform(draw++), exponent);
      for (int64_t col = 0; col < cols; ++col) {
        double code = length * rng.Uniform(draw++);
        if (rng.Below(draw++, 3) == 0) code = std::floor(code) + 0.5;
        if (col == cols / 2) code = 0;
        if (col == cols / 3) code = length;
        x[col] = static_cast<float>((code - zero_point) * scale);
      }
    }
    for (int64_t col = 0; col < cols; ++col) {
      Row(0)[col] = 0.0f;
      Row(1)[col] = col % 2 == 0 ? -0.0f : 0.0f;
      Row(2)[col] = 3.25f;
      Row(3)[col] = col % 2 == 0 ? 1e-45f : -3e-42f;
      Row(4)[col] = cols == 1 ? 0.5f : col % 2 == 0 ? 1.7e38f : -1.7e38f;
      Row(5)[col] = col % 3 == 0 ? 0.0f : 3.4e38f;
      Row(6)[col] = 1000.0f + static_cast<float>(col % 5);
    }
  }

  float* Row(int64_t row) { return values_.data() + 1 + row * (cols_ + 1); }
  TableView view() { return TableView(Row(0), kRows, cols_, cols_ + 1); }

 private:
  int64_t cols_;
  std::vector<float> values_;
};

// The rows of the table, each fake-quantized by its own bounds, the slow way.
std::vector<float> Quantized(TableView table, const FreshRule& fresh) {
  std::vector<float> y(table.rows * table.cols);
  for (int64_t row = 0; row < table.rows; ++row) {
    Bounds bounds;
    bool finite = false;
    reference::RowMinMax(table.Row(row), table.cols, &bounds.min_val, &bounds.max_val, &finite);
    EXPECT_TRUE(finite);
    const QParams qparams = ChooseQParams(bounds.min_val, bounds.max_val, RuleOf(fresh));
    const AffineParams params = {qparams.scale, qparams.zero_point, 0, fresh.quant_max, true};
    reference::FakeQuantizeRow(table.Row(row), table.cols, params, y.data() + row * table.cols, nullptr, nullptr);
  }
  return y;
}

// Those of RowMinMax for the row at each position.
void ExpectBoundsOf(TableView table, const std::vector<int64_t>& ids, const RowBounds& bounds) {
  ASSERT_EQ(bounds.min_vals.size(), ids.size());
  ASSERT_EQ(bounds.max_vals.size(), ids.size());
  for (size_t k = 0; k < ids.size(); ++k) {
    float min_val, max_val;
    bool finite;
    reference::RowMinMax(table.Row(ids[k]), table.cols, &min_val, &max_val, &finite);
    ASSERT_EQ(BitsOf(std::vector<float>{bounds.min_vals[k], bounds.max_vals[k]}),
              BitsOf(std::vector<float>{min_val, max_val}))
        << "position " << k << " row " << ids[k] << " cols " << table.cols;
  }
}

struct Batch {
  std::vector<int64_t> ids;
  std::vector<int64_t> offsets = {0};
  std::vector<float> weights;

  // Empty bags, bags of one, bags that end on chunks of 8 to 64 rows or shortly before, and one that is longer than
  // several chunks.
  explicit Batch(uint64_t stream) {
    const Rng rng(5, stream);
    uint64_t draw = 0;
    for (const int64_t length : {3, 0, 1, 12, 0, 16, 1, 17, 14, 20, 20, 20, 0, 0, 150, 8, 0}) {
      for (int64_t i = 0; i < length; ++i) {
        ids.push_back(static_cast<int64_t>(rng.Below(draw++, kRows)));
        weights.push_back(static_cast<float>(rng.Uniform(draw++) - 0.5));
      }
      offsets.push_back(static_cast<int64_t>(ids.size()));
    }
  }
  int64_t num_bags() const { return static_cast<int64_t>(offsets.size()) - 1; }
};

const FreshRule kRules[] = {{255}, {15}, {3}, {1}, {200}, {7}};

TEST(FakeQuantizePoolKernelsTest, PoolingEqualsTheSlowWayOnEveryTarget) {
  struct Reduction {
    PoolMode mode;
    bool weighted;
    bool has_padding;
  };
  const Reduction kReductions[] = {{PoolMode::kSum, false, false},  {PoolMode::kSum, true, false},
                                   {PoolMode::kSum, true, true},    {PoolMode::kSum, false, true},
                                   {PoolMode::kMean, false, false}, {PoolMode::kMean, false, true},
                                   {PoolMode::kMax, false, false},  {PoolMode::kMax, false, true}};
  std::vector<int64_t> widths = {200, 515, 1030};  // of which fewer rows are a chunk
  for (int64_t cols = 1; cols <= 130; cols += cols < 20 ? 1 : 9) widths.push_back(cols);
  for (const int64_t cols : widths) {
    for (const FreshRule& rule : kRules) {
      Rows rows(cols, rule, cols);
      const std::vector<float> quantized = Quantized(rows.view(), rule);
      const Batch batch(cols);
      for (const Reduction& reduction : kReductions) {
        PoolArgs args;
        args.rows = TableView(quantized.data(), kRows, cols);
        args.ids = batch.ids.data();
        args.offsets = batch.offsets.data();
        args.num_bags = batch.num_bags();
        args.weights = reduction.weighted ? batch.weights.data() : nullptr;
        args.mode = reduction.mode;
        args.has_padding = reduction.has_padding;
        args.padding_id = reduction.has_padding ? batch.ids[5] : -1;
        std::vector<float> want(batch.num_bags() * cols);
        PoolRowsReference(args, MutableTableView(want.data(), batch.num_bags(), cols));
        args.rows = rows.view();
        ForEachSimdTarget([&] {
          std::vector<float> got(batch.num_bags() * (cols + 2), -7.0f);
          RowBounds bounds;
          bounds.min_vals = {1, 2, 3};
          ASSERT_TRUE(
              FakeQuantizePool(args, rule, MutableTableView(got.data(), batch.num_bags(), cols, cols + 2), &bounds));
          if (&reduction == &kReductions[0] || &reduction == &kReductions[3]) {
            ExpectBoundsOf(args.rows, batch.ids, bounds);
          }
          for (int64_t bag = 0; bag < batch.num_bags(); ++bag) {
            const float* const begin = got.data() + bag * (cols + 2);
            ASSERT_EQ(std::memcmp(begin, want.data() + bag * cols, cols * sizeof(float)), 0)
                << "cols " << cols << " quant_max " << rule.quant_max << " bag " << bag << " mode "
                << PoolModeName(reduction.mode) << " weighted " << reduction.weighted;
            ASSERT_EQ(begin[cols], -7.0f);
          }
        });
      }
    }
  }
}

// Of a table without rows there is no address to begin with; long rows are looked for in two places.
TEST(FakeQuantizePoolKernelsTest, EmptyBagsOfATableWithoutRowsAreZero) {
  for (const int64_t cols : {64, 300}) {
    const std::vector<int64_t> offsets = {0, 0, 0};
    PoolArgs args;
    args.rows = TableView(nullptr, 0, cols);
    args.offsets = offsets.data();
    args.num_bags = 2;
    ForEachSimdTarget([&] {
      std::vector<float> got(2 * cols, -7.0f);
      RowBounds bounds;
      ASSERT_TRUE(FakeQuantizePool(args, {255}, MutableTableView(got.data(), 2, cols), &bounds));
      EXPECT_EQ(got, std::vector<float>(2 * cols, 0.0f));
      EXPECT_TRUE(bounds.min_vals.empty());
    });
  }
}

TEST(FakeQuantizePoolKernelsTest, RowsAndBoundsEqualTheSlowWayOnEveryTarget) {
  std::vector<int64_t> widths = {192, 193, 515};  // rows from 193 columns on are fetched in two parts
  for (int64_t cols = 1; cols <= 130; cols += cols < 20 ? 1 : 7) widths.push_back(cols);
  for (const int64_t cols : widths) {
    for (const FreshRule& rule : kRules) {
      Rows rows(cols, rule, 1000 + cols);
      const TableView table = rows.view();
      const std::vector<float> want = Quantized(table, rule);
      std::vector<int64_t> ids(kRows);
      std::iota(ids.rbegin(), ids.rend(), 0);
      ForEachSimdTarget([&] {
        std::vector<float> got(kRows * cols);
        ASSERT_TRUE(FakeQuantizeRows(table, ids.data(), kRows, rule, MutableTableView(got.data(), kRows, cols)));
        std::vector<Bounds> bounds(kRows);
        ASSERT_TRUE(FindFreshBounds(table, ids.data(), kRows, rule, bounds.data()));
        for (int64_t i = 0; i < kRows; ++i) {
          const float* const row = got.data() + i * cols;
          ASSERT_EQ(std::memcmp(row, want.data() + ids[i] * cols, cols * sizeof(float)), 0) << "row " << ids[i];
          float min_val, max_val;
          bool finite;
          reference::RowMinMax(table.Row(ids[i]), cols, &min_val, &max_val, &finite);
          ASSERT_EQ(BitsOf(std::vector<float>{bounds[i].min_val, bounds[i].max_val}),
                    BitsOf(std::vector<float>{min_val, max_val}))
              << "row " << ids[i] << " cols " << cols;
        }
      });
    }
  }
}

// Zero points at the borders of the binades where double is not needed, every code, scales with all bits in use.
TEST(FakeQuantizePoolKernelsTest, FloatArithmeticIsExactForManyZeroPoints) {
  constexpr int64_t kCols = 256;
  const Rng rng(3, 9);
  for (const FreshRule& rule : {FreshRule{255}, FreshRule{15}, FreshRule{3}}) {
    std::vector<float> values(kRows * kCols);
    uint64_t draw = 0;
    for (int64_t round = 0; round < 40; ++round) {
      for (int64_t row = 0; row < kRows; ++row) {
        const double scale = 1.0 + rng.Uniform(draw++);
        const double border = (rule.quant_max + 1) / static_cast<double>(1 << rng.Below(draw++, 3));
        const double distance = std::ldexp(1.0, -static_cast<int>(rng.Below(draw++, 24)));
        const double zero_point = border * (1.0 + (rng.Uniform(draw++) - 0.5) * distance);
        for (int64_t col = 0; col < kCols; ++col) {
          values[row * kCols + col] =
              static_cast<float>((static_cast<double>(col % (rule.quant_max + 1)) - zero_point) * scale);
        }
      }
      const TableView table(values.data(), kRows, kCols);
      const std::vector<float> want = Quantized(table, rule);
      std::vector<int64_t> ids(kRows);
      std::iota(ids.begin(), ids.end(), 0);
      ForEachSimdTarget([&] {
        std::vector<float> got(values.size());
        ASSERT_TRUE(FakeQuantizeRows(table, ids.data(), kRows, rule, MutableTableView(got.data(), kRows, kCols)));
        ASSERT_EQ(BitsOf(got), BitsOf(want)) << "quant_max " << rule.quant_max << " round " << round;
      });
    }
  }
}

TEST(FakeQuantizePoolKernelsTest, RefusesRowsThatNeedTheLongWay) {
  const FreshRule rule;
  for (const int64_t cols : {1, 5, 16, 67}) {
    for (int kind = 0; kind < 5; ++kind) {
      Rows rows(cols, rule, 3);
      constexpr int64_t kBad = 21;
      float* const bad = rows.Row(kBad);
      if (kind == 0) bad[cols - 1] = kFloatNaN;
      if (kind == 1) bad[cols / 2] = kFloatInfinity;
      if (kind == 2) bad[0] = -kFloatInfinity;
      if (kind == 3) bad[0] = -3.4e38f, bad[cols - 1] = cols == 1 ? kFloatNaN : 3.4e38f;
      if (kind == 4) std::fill_n(bad, cols, 1048577.0f);  // zero point -1048577 with scale 1
      ForEachSimdTarget([&] {
        for (const PoolMode mode : {PoolMode::kSum, PoolMode::kMean, PoolMode::kMax}) {
          for (const bool padding : {false, true}) {
            const std::vector<int64_t> ids = {2, 8, 9, kBad, 12};
            const std::vector<int64_t> offsets = {0, 2, 5};
            PoolArgs args;
            args.rows = rows.view();
            args.ids = ids.data();
            args.offsets = offsets.data();
            args.num_bags = 2;
            args.mode = mode;
            args.has_padding = padding;
            args.padding_id = padding ? kBad : -1;
            std::vector<float> out(2 * cols);
            EXPECT_FALSE(FakeQuantizePool(args, rule, MutableTableView(out.data(), 2, cols))) << kind << " " << cols;
          }
        }
        const int64_t ids[] = {1, kBad};
        std::vector<float> out(2 * cols);
        Bounds bounds[2];
        EXPECT_FALSE(FakeQuantizeRows(rows.view(), ids, 2, rule, MutableTableView(out.data(), 2, cols)));
        EXPECT_FALSE(FindFreshBounds(rows.view(), ids, 2, rule, bounds));
        EXPECT_TRUE(FakeQuantizeRows(rows.view(), ids, 1, rule, MutableTableView(out.data(), 2, cols)));
      });
    }
  }
}

TEST(FakeQuantizePoolKernelsTest, SupportsRangesFromZeroAndUsualEps) {
  constexpr float kEps = 1.1920929e-07f;
  EXPECT_TRUE(SupportsFakeQuantizePool(0, 255, kEps));
  EXPECT_TRUE(SupportsFakeQuantizePool(0, 1, 1.0f));
  EXPECT_FALSE(SupportsFakeQuantizePool(-128, 127, kEps));
  EXPECT_FALSE(SupportsFakeQuantizePool(0, 256, kEps));
  EXPECT_FALSE(SupportsFakeQuantizePool(0, 0, kEps));
  EXPECT_FALSE(SupportsFakeQuantizePool(0, 255, 0.0f));
  EXPECT_FALSE(SupportsFakeQuantizePool(0, 255, 1.5f));
}

TEST(FakeQuantizePoolKernelsTest, ThreadsChangeNothing) {
  constexpr int64_t kCols = 64;
  const FreshRule rule;
  Rows rows(kCols, rule, 4);
  std::vector<int64_t> ids, offsets = {0};
  const Rng rng(8, 8);
  for (int64_t bag = 0; bag < 500; ++bag) {
    for (uint64_t i = 0; i < rng.Below(bag, 60); ++i)
      ids.push_back(static_cast<int64_t>(rng.Below(1000 + ids.size(), kRows)));
    offsets.push_back(static_cast<int64_t>(ids.size()));
  }
  PoolArgs args;
  args.rows = rows.view();
  args.ids = ids.data();
  args.offsets = offsets.data();
  args.num_bags = 500;
  std::vector<std::vector<float>> results;
  for (const int threads : {1, 2, 5}) {
    SetNumThreads(threads);
    results.emplace_back(500 * kCols);
    ASSERT_TRUE(FakeQuantizePool(args, rule, MutableTableView(results.back().data(), 500, kCols)));
    EXPECT_EQ(BitsOf(results.back()), BitsOf(results.front()));
  }
  SetNumThreads(0);
}

}  // namespace
}  // namespace eqat::quant::kernels
