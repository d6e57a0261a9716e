// Frozen models against the models they were frozen from, on random graphs.
#include <cmath>

#include "gmock/gmock.h"
#include "model/freeze/freeze.h"
#include "tests/model/freeze/error_analysis.h"
#include "tests/model/freeze/freezing.h"
#include "tests/model/freeze/random_model.h"

namespace eqat::model {
namespace {

#ifdef __SANITIZE_ADDRESS__
constexpr uint64_t kGraphs = 400;  // each takes ten times as long
#else
constexpr uint64_t kGraphs = 3000;
#endif

bool HasDropout(const Model& model) {
  for (const Node& node : model.graph()->nodes) {
    if (node.op == Op::kCallModule && std::holds_alternative<Dropout>(*model.Find(node.target))) return true;
  }
  return false;
}

TEST(RandomGraphs, PassesThatMoveNoArithmeticKeepEveryBit) {
  int64_t smaller = 0;
  for (uint64_t seed = 1; seed <= kGraphs && !::testing::Test::HasFailure(); ++seed) {
    SCOPED_TRACE(::testing::Message() << "seed " << seed);
    const RandomModel random = MakeRandomModel(seed);
    const std::vector<uint32_t> before = OutputBits(random.model, random.feed);
    EQAT_ASSERT_OK_AND_ASSIGN(
        const FrozenModel frozen,
        Freeze(random.model, {.preserve = random.preserve,
                              .optimize_numerics = false,
                              .tables = seed % 2 == 0 ? FrozenTables::kPacked : FrozenTables::kFloat}));
    EXPECT_EQ(OutputBits(frozen.model, random.feed), before);
    EXPECT_TRUE(!random.preserve.empty() || !HasDropout(frozen.model));
    smaller += frozen.model.graph()->nodes.size() < random.model.inlined_graph().nodes.size() ? 1 : 0;
  }
  EXPECT_GT(smaller, kGraphs / 2);
}

TEST(RandomGraphs, NumericFoldsStayWithinTheDerivedBound) {
  int64_t folds = 0, compared = 0;
  for (uint64_t seed = 1; seed <= kGraphs && !::testing::Test::HasFailure(); ++seed) {
    SCOPED_TRACE(::testing::Message() << "seed " << seed);
    const RandomModel random = MakeRandomModel(seed);
    EQAT_ASSERT_OK_AND_ASSIGN(const FrozenModel frozen, Freeze(random.model, {.preserve = random.preserve}));
    EQAT_ASSERT_OK_AND_ASSIGN(const Tensor before, random.model.Evaluate(random.feed));
    EQAT_ASSERT_OK_AND_ASSIGN(const Tensor after, frozen.model.Evaluate(random.feed));
    ASSERT_EQ(before.shape, after.shape);
    const std::vector<double> bounds = OutputErrorBounds(random.model, random.feed);
    ASSERT_EQ(bounds.size(), before.values.size());
    folds += static_cast<int64_t>(frozen.report.bounds.size());
    for (size_t i = 0; i < bounds.size(); ++i) {
      if (!std::isfinite(bounds[i])) continue;
      EXPECT_LE(std::abs(double{before.values[i]} - after.values[i]), 2 * bounds[i]) << "value " << i;
      ++compared;
    }
  }
  EXPECT_GT(folds, kGraphs / 2);
  EXPECT_GT(compared, 10 * kGraphs);
}

TEST(RandomGraphs, FreezingTwiceChangesNothing) {
  for (uint64_t seed = 1; seed <= kGraphs / 4 && !::testing::Test::HasFailure(); ++seed) {
    SCOPED_TRACE(::testing::Message() << "seed " << seed);
    const RandomModel random = MakeRandomModel(seed);
    EQAT_ASSERT_OK_AND_ASSIGN(const FrozenModel once, Freeze(random.model, {.preserve = random.preserve}));
    EQAT_ASSERT_OK_AND_ASSIGN(const FrozenModel twice, Freeze(once.model));
    EXPECT_EQ(*twice.model.graph(), *once.model.graph());
    EXPECT_EQ(twice.model.module_names(), once.model.module_names());
    EXPECT_EQ(OutputBits(twice.model, random.feed), OutputBits(once.model, random.feed));
  }
}

}  // namespace
}  // namespace eqat::model
