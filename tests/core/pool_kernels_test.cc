#include "core/pool_kernels.h"

#include <bit>
#include <cmath>
#include <cstdint>
#include <vector>

#include "core/parallel_for.h"
#include "core/rng.h"
#include "tests/support/simd_targets.h"
#include "tests/support/special_floats.h"
#include "tests/support/status_matchers.h"

namespace eqat {
namespace {

using ::eqat::testing::ForEachSimdTarget;
using ::eqat::testing::kFloatInfinity;
using ::eqat::testing::kFloatNaN;
using ::testing::ElementsAre;

// The same bits; which NaN a sum of NaNs gives is left open.
bool SameBits(float a, float b) {
  return std::bit_cast<uint32_t>(a) == std::bit_cast<uint32_t>(b) || (std::isnan(a) && std::isnan(b));
}

// Every value of a wide range of sizes, with the special ones among them.
float SomeValue(const Rng& rng, int64_t position) {
  constexpr float kSpecial[] = {0.0f,        -0.0f,          1e-40f,    -1e-40f, 1e38f, -1e38f,
                                0x1.0p-126f, kFloatInfinity, kFloatNaN, 1.0f,    -1.0f};
  constexpr uint64_t kNumSpecial = sizeof(kSpecial) / sizeof(kSpecial[0]);
  const uint64_t choice = rng.Below(3 * position, 40);
  if (choice < kNumSpecial) return kSpecial[choice];
  const int exponent = static_cast<int>(rng.Below(3 * position + 1, 8)) - 4;
  return std::ldexp(rng.Normal(3 * position + 2), exponent);
}

// One table and batch with everything pooling can meet, in views that start at odd addresses and have gaps.
struct Case {
  Case(int64_t rows, int64_t cols, int64_t num_bags, uint64_t seed) : num_cols(cols), stride(cols + 3) {
    const Rng values(seed, 1);
    table.resize(rows * stride + 1);
    for (size_t i = 0; i < table.size(); ++i) table[i] = SomeValue(values, static_cast<int64_t>(i));
    const Rng bags(seed, 2);
    for (int64_t bag = 0; bag < num_bags; ++bag) {
      const int64_t length = bag % 5 == 0 ? 0 : static_cast<int64_t>(bags.Below(bag, 9));
      offsets.push_back(offsets.back() + length);
    }
    const Rng indices(seed, 3);
    for (int64_t k = 0; k < offsets.back(); ++k) {
      ids.push_back(static_cast<int64_t>(indices.Below(2 * k, rows)));
      weights.push_back(std::fabs(values.Normal(2 * k + 1)) < 0.1f ? -0.0f : values.Normal(k));
    }
  }

  int64_t num_bags() const { return static_cast<int64_t>(offsets.size()) - 1; }
  PoolArgs args() const {
    PoolArgs args;
    args.rows = TableView(table.data() + 1, static_cast<int64_t>(table.size()) / stride, num_cols, stride);
    args.ids = ids.data();
    args.offsets = offsets.data();
    args.num_bags = num_bags();
    return args;
  }

  int64_t num_cols;
  int64_t stride;
  std::vector<float> table;
  std::vector<int64_t> ids;
  std::vector<int64_t> offsets = {0};
  std::vector<float> weights;
};

// Pools into a view that starts at an odd address and has gaps; returns all of its memory, gaps included.
struct Pooled {
  std::vector<float> memory;
  std::vector<int64_t> positions;
};

template <typename Pool>
Pooled PoolWith(Pool pool, const PoolArgs& args, bool with_positions) {
  const int64_t stride = args.rows.cols + 2;
  Pooled pooled = {std::vector<float>(args.num_bags * stride + 1, 77.0f),
                   std::vector<int64_t>(args.num_bags * args.rows.cols, -2)};
  const MutableTableView out(pooled.memory.data() + 1, args.num_bags, args.rows.cols, stride);
  pool(args, out, with_positions ? pooled.positions.data() : nullptr);
  return pooled;
}

void ExpectAgreesWithReference(const PoolArgs& args, bool with_positions = false) {
  const Pooled expected = PoolWith(PoolRowsReference, args, with_positions);
  const Pooled actual = PoolWith(PoolRows, args, with_positions);
  for (size_t i = 0; i < expected.memory.size(); ++i) {
    ASSERT_TRUE(SameBits(actual.memory[i], expected.memory[i]))
        << "element " << i << ": " << actual.memory[i] << " instead of " << expected.memory[i];
  }
  ASSERT_EQ(actual.positions, expected.positions);
}

void ExpectAllReductionsAgree(const Case& c) {
  for (const int64_t padding_id : {-1, 2}) {
    SCOPED_TRACE(::testing::Message() << "padding " << padding_id);
    PoolArgs args = c.args();
    args.padding_id = padding_id;
    for (const bool has_padding : {padding_id >= 0, true}) {
      args.has_padding = has_padding;
      for (const PoolMode mode : {PoolMode::kSum, PoolMode::kMean, PoolMode::kMax}) {
        SCOPED_TRACE(std::string(PoolModeName(mode)));
        args.mode = mode;
        args.weights = nullptr;
        ExpectAgreesWithReference(args);
      }
      ExpectAgreesWithReference(args, /*with_positions=*/true);
      SCOPED_TRACE(::testing::Message() << "weighted sum, has_padding " << has_padding);
      args.mode = PoolMode::kSum;
      args.weights = c.weights.data();
      ExpectAgreesWithReference(args);
    }
  }
}

TEST(PoolRows, AgreesWithTheReferenceOnEveryTargetAndWidth) {
  ForEachSimdTarget([] {
    for (const int64_t cols :
         {0, 1, 2, 3, 4, 5, 7, 8, 9, 12, 15, 16, 17, 31, 33, 63, 64, 65, 100, 127, 128, 131, 300}) {
      SCOPED_TRACE(::testing::Message() << cols << " columns");
      ExpectAllReductionsAgree(Case(/*rows=*/6, cols, /*num_bags=*/40, /*seed=*/cols));
      if (::testing::Test::HasFatalFailure()) return;
    }
  });
}

TEST(PoolRows, AgreesWithTheReferenceForAnyNumberOfThreads) {
  const Case c(/*rows=*/500, /*cols=*/67, /*num_bags=*/3000, /*seed=*/5);
  for (const int threads : {1, 2, 5}) {
    SCOPED_TRACE(threads);
    SetNumThreads(threads);
    ExpectAllReductionsAgree(c);
  }
  SetNumThreads(0);
}

// One column of rows 0, 1, 2, ... pooled into one bag.
float PoolColumn(const std::vector<float>& column, PoolArgs args, int64_t* max_position = nullptr) {
  std::vector<int64_t> ids(column.size());
  for (size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<int64_t>(i);
  const int64_t offsets[] = {0, static_cast<int64_t>(column.size())};
  args.rows = TableView(column.data(), static_cast<int64_t>(column.size()), 1);
  args.ids = ids.data();
  args.offsets = offsets;
  args.num_bags = 1;
  float expected = 0.0f;
  PoolRowsReference(args, MutableTableView(&expected, 1, 1), max_position);
  float result = 0.0f;
  PoolRows(args, MutableTableView(&result, 1, 1), max_position);
  EXPECT_TRUE(SameBits(result, expected)) << result << " instead of " << expected;
  return result;
}

PoolArgs WithMode(PoolMode mode) {
  PoolArgs args;
  args.mode = mode;
  return args;
}

TEST(PoolRows, SumsInPositionOrderFromZero) {
  EXPECT_EQ(PoolColumn({1e8f, 3.0f, 3.0f, -1e8f}, {}), 0.0f);
  EXPECT_EQ(PoolColumn({1e8f, -1e8f, 3.0f, 3.0f}, {}), 6.0f);
  EXPECT_FALSE(std::signbit(PoolColumn({-0.0f}, {})));
}

TEST(PoolRows, MeanDividesOnce) {
  // A sum and a count for which multiplying by the reciprocal is off in the last bit.
  constexpr float kSum = 5.0f;
  constexpr int kCount = 49;
  static_assert(kSum / kCount != kSum * (1.0f / kCount));
  std::vector<float> column(kCount, 0.0f);
  column[0] = kSum;
  EXPECT_EQ(PoolColumn(column, WithMode(PoolMode::kMean)), kSum / kCount);
}

TEST(PoolRows, MaxKeepsTheFirstOfEqualsAndALeadingNan) {
  int64_t position = -2;
  EXPECT_EQ(PoolColumn({-3.0f, -1.0f, -1.0f}, WithMode(PoolMode::kMax), &position), -1.0f);
  EXPECT_EQ(position, 1);
  EXPECT_TRUE(std::signbit(PoolColumn({-0.0f, 0.0f}, WithMode(PoolMode::kMax), &position)));
  EXPECT_EQ(position, 0);
  EXPECT_TRUE(std::isnan(PoolColumn({kFloatNaN, 5.0f}, WithMode(PoolMode::kMax), &position)));
  EXPECT_EQ(position, 0);
  EXPECT_EQ(PoolColumn({4.0f, kFloatNaN, 5.0f}, WithMode(PoolMode::kMax), &position), 5.0f);
  EXPECT_EQ(position, 2);
}

TEST(PoolRows, WeightedSumRoundsOnceWithoutPaddingAndTwiceWith) {
  // w * row = 1 + 2^-11 + 2^-24 exactly; rounded to float the last term is lost.
  const float x = 1.0f + 0x1.0p-12f;
  const std::vector<float> weights = {1.0f, x};
  PoolArgs args;
  args.weights = weights.data();
  const std::vector<float> column = {-(1.0f + 0x1.0p-11f), x};
  EXPECT_EQ(PoolColumn(column, args), 0x1.0p-24f);
  args.has_padding = true;
  EXPECT_EQ(PoolColumn(column, args), 0.0f);
}

TEST(PoolRows, BagsWithNothingToCountAreZero) {
  const std::vector<float> table = {-5.0f, -6.0f};
  const std::vector<int64_t> ids = {0, 0};
  const std::vector<int64_t> offsets = {0, 0, 2};
  for (const PoolMode mode : {PoolMode::kSum, PoolMode::kMean, PoolMode::kMax}) {
    PoolArgs args = WithMode(mode);
    args.rows = TableView(table.data(), 2, 1);
    args.ids = ids.data();
    args.offsets = offsets.data();
    args.num_bags = 2;
    args.has_padding = true;
    args.padding_id = 0;
    std::vector<float> out = {7.0f, 7.0f};
    std::vector<int64_t> positions = {7, 7};
    PoolRows(args, MutableTableView(out.data(), 2, 1), mode == PoolMode::kMax ? positions.data() : nullptr);
    EXPECT_THAT(out, ElementsAre(0.0f, 0.0f));
    if (mode == PoolMode::kMax) {
      EXPECT_THAT(positions, ElementsAre(-1, -1));
    }
  }
}

TEST(PoolRows, AllowsNoBags) {
  const int64_t offsets[] = {0};
  PoolArgs args;
  args.offsets = offsets;
  PoolRows(args, MutableTableView());
}

}  // namespace
}  // namespace eqat
