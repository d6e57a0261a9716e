#include "float_modules/gradient_kernels.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <vector>

#include "core/parallel_for.h"
#include "core/rng.h"
#include "tests/support/simd_targets.h"
#include "tests/support/special_floats.h"

namespace eqat::nn {
namespace {

using ::eqat::testing::ForEachSimdTarget;
using ::eqat::testing::kFloatInfinity;

constexpr float kUntouched = 0x1.23456p7f;

// The same bits; which NaN a sum of NaNs gives is left open.
bool SameBits(float a, float b) {
  return std::bit_cast<uint32_t>(a) == std::bit_cast<uint32_t>(b) || (std::isnan(a) && std::isnan(b));
}

float SomeValue(const Rng& rng, int64_t position) {
  constexpr float kSpecial[] = {0.0f, -0.0f, 1e-40f, -1e-40f, 3e38f, -3e38f, 0x1.0p-126f, kFloatInfinity, -1.0f};
  const uint64_t choice = rng.Below(2 * position, 40);
  return choice < std::size(kSpecial) ? kSpecial[choice] : rng.Normal(2 * position + 1);
}

// A batch of `num_bags` bags in views that start at odd addresses and have gaps. Row 3 is in every third position.
struct Case {
  Case(int64_t num_bags, int64_t max_length, int64_t cols_in, uint64_t seed) : cols(cols_in), stride(cols_in + 3) {
    const Rng rng(seed, 1);
    for (int64_t bag = 0; bag < num_bags; ++bag) {
      const int64_t length = static_cast<int64_t>(rng.Below(bag, max_length + 1));
      bag_of.insert(bag_of.end(), length, bag);
    }
    std::vector<int64_t> indices(bag_of.size());
    for (size_t k = 0; k < indices.size(); ++k) {
      indices[k] = k % 3 == 0 ? 3 : static_cast<int64_t>(Rng(seed, 2).Below(k, 200));
      weights.push_back(SomeValue(Rng(seed, 3), static_cast<int64_t>(k)));
    }
    distinct = DistinctRows(indices);
    distinct.GroupPositions();
    for (int64_t bag = 0; bag < num_bags; ++bag) factors.push_back(1.0f / static_cast<float>(1 + bag % 7));
    for (int64_t i = 0; i < num_bags * stride + 1; ++i) g.push_back(SomeValue(Rng(seed, 4), i));
    for (int64_t i = 0; i < distinct.size() * cols + 1; ++i) mask.push_back(Rng(seed, 5).Below(i, 4) > 0 ? 1 : 0);
    // A source of each element among the positions of its bag, or none.
    std::vector<int64_t> begins(num_bags, -1), lengths(num_bags, 0);
    for (size_t k = 0; k < bag_of.size(); ++k) {
      if (lengths[bag_of[k]]++ == 0) begins[bag_of[k]] = static_cast<int64_t>(k);
    }
    for (int64_t i = 0; i < num_bags * cols; ++i) {
      const int64_t bag = i / cols;
      const bool none = lengths[bag] == 0;
      max_positions.push_back(none ? -1 : begins[bag] + static_cast<int64_t>(Rng(seed, 6).Below(i, lengths[bag])));
    }
    num_bags_ = num_bags;
  }

  GradientArgs args() const {
    GradientArgs args;
    args.grad_output = TableView(g.data() + 1, num_bags_, cols, stride);
    args.distinct = &distinct;
    args.bag_of = bag_of.data();
    return args;
  }

  // All forms of the sum.
  std::vector<GradientArgs> AllArgs() const {
    std::vector<GradientArgs> all;
    for (const bool masked : {false, true}) {
      for (const int64_t skipped : {int64_t{-1}, int64_t{0}, distinct.SlotOf(3), distinct.size() - 1}) {
        GradientArgs args = this->args();
        if (masked) args.mask = mask.data() + 1;
        args.skipped_slot = skipped;
        for (const bool by_count : {false, true}) {
          args.scale_by_count = by_count;
          all.push_back(args);
          all.push_back(args);
          all.back().bag_factors = factors.data();
          all.push_back(args);
          all.back().position_factors = weights.data();
        }
        args.scale_by_count = false;
        args.max_positions = max_positions.data();
        all.push_back(args);
      }
    }
    return all;
  }

  int64_t cols;
  int64_t stride;
  int64_t num_bags_;
  std::vector<int64_t> bag_of;
  DistinctRows distinct;
  std::vector<float> g, weights, factors;
  std::vector<uint8_t> mask;
  std::vector<int64_t> max_positions;
};

// Into a view that starts at an odd address and has gaps; returns all of its memory, gaps included.
template <typename Sum>
std::vector<float> Summed(const GradientArgs& args, Sum sum) {
  const int64_t rows = args.distinct->size() - (args.skipped_slot >= 0 ? 1 : 0);
  const int64_t stride = args.grad_output.cols + 2;
  std::vector<float> memory(rows * stride + 1, kUntouched);
  sum(args, MutableTableView(memory.data() + 1, rows, args.grad_output.cols, stride));
  return memory;
}

void ExpectReference(const GradientArgs& args) {
  const std::vector<float> expected = Summed(args, SumGradientsReference);
  const std::vector<float> actual = Summed(args, SumGradients);
  for (size_t i = 0; i < expected.size(); ++i) {
    ASSERT_TRUE(SameBits(actual[i], expected[i])) << "at " << i << ": " << actual[i] << ", expected " << expected[i];
  }
}

class GradientKernelsTest : public ::testing::Test {
 protected:
  ~GradientKernelsTest() override { SetNumThreads(0); }
};

TEST_F(GradientKernelsTest, EveryTargetEqualsTheReference) {
  for (const int64_t cols : {1, 2, 3, 4, 5, 7, 8, 13, 16, 17, 31, 33, 64, 65, 100, 130}) {
    SCOPED_TRACE(::testing::Message() << cols << " columns");
    const Case batch(40, 6, cols, static_cast<uint64_t>(cols));
    for (const GradientArgs& args : batch.AllArgs()) {
      SCOPED_TRACE(::testing::Message() << "bag factors " << (args.bag_factors != nullptr) << ", position factors "
                                        << (args.position_factors != nullptr) << ", max "
                                        << (args.max_positions != nullptr) << ", by count " << args.scale_by_count
                                        << ", mask " << (args.mask != nullptr) << ", skipped " << args.skipped_slot);
      ForEachSimdTarget([&] { ExpectReference(args); });
    }
  }
}

TEST_F(GradientKernelsTest, PositionsThatAreBags) {
  Case batch(300, 1, 20, 9);
  batch.bag_of.clear();  // the positions are fewer than the bags
  GradientArgs args = batch.args();
  args.bag_of = nullptr;
  ForEachSimdTarget([&] { ExpectReference(args); });
}

// Thousands of positions of one row, whose columns are summed apart.
TEST_F(GradientKernelsTest, HotRowsForAnyNumberOfThreads) {
  for (const int64_t cols : {1, 32, 33, 70}) {
    const Case batch(900, 10, cols, static_cast<uint64_t>(cols) + 50);
    ASSERT_GT(batch.distinct.PositionsOf(batch.distinct.SlotOf(3)).size(), 1024u);
    for (const int threads : {1, 2, 5}) {
      SCOPED_TRACE(::testing::Message() << cols << " columns, " << threads << " threads");
      SetNumThreads(threads);
      for (const GradientArgs& args : batch.AllArgs()) ExpectReference(args);
    }
  }
}

// 0 + (-0): as a sum that starts at 0.
TEST_F(GradientKernelsTest, OneTermThatIsMinusZeroGivesZero) {
  const std::vector<int64_t> indices = {5};
  DistinctRows distinct(indices);
  distinct.GroupPositions();
  const std::vector<float> g(40, -0.0f);
  GradientArgs args;
  args.grad_output = TableView(g.data(), 1, 40);
  args.distinct = &distinct;
  ForEachSimdTarget([&] {
    std::vector<float> sum(40, kUntouched);
    SumGradients(args, MutableTableView(sum.data(), 1, 40));
    for (const float x : sum) EXPECT_EQ(std::bit_cast<uint32_t>(x), 0u);
  });
}

TEST_F(GradientKernelsTest, NothingToDo) {
  const DistinctRows none;
  GradientArgs args;
  args.distinct = &none;
  SumGradients(args, MutableTableView(nullptr, 0, 8));
  const std::vector<int64_t> indices = {1};
  DistinctRows one(indices);
  one.GroupPositions();
  args.distinct = &one;
  args.skipped_slot = 0;
  SumGradients(args, MutableTableView(nullptr, 0, 8));
}

}  // namespace
}  // namespace eqat::nn
