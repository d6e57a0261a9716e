#include "train/metrics.h"

#include <limits>
#include <vector>

#include "core/rng.h"
#include "gtest/gtest.h"

namespace eqat::train {
namespace {

// Every pair of a positive and a negative, counted one by one.
std::optional<double> PairwiseAuc(const std::vector<float>& scores, const std::vector<float>& labels) {
  double won = 0;
  double pairs = 0;
  for (size_t i = 0; i < scores.size(); ++i) {
    for (size_t j = 0; j < scores.size(); ++j) {
      if (!(labels[i] > 0.5f && labels[j] <= 0.5f)) continue;
      pairs += 1;
      won += scores[i] > scores[j] ? 1.0 : scores[i] == scores[j] ? 0.5 : 0.0;
    }
  }
  if (pairs == 0) return std::nullopt;
  return won / pairs;
}

TEST(AreaUnderCurveTest, EqualsCountingPairs) {
  for (uint64_t seed = 0; seed < 40; ++seed) {
    SCOPED_TRACE(seed);
    const Rng rng(seed, 0);
    const uint64_t n = rng.Below(0, 60);
    const uint64_t distinct = 1 + rng.Below(1, 30);  // few values: many ties
    std::vector<float> scores, labels;
    for (uint64_t i = 0; i < n; ++i) {
      scores.push_back(static_cast<float>(rng.Below(2 * i + 2, distinct)) - 5.0f);
      labels.push_back(static_cast<float>(rng.Below(2 * i + 3, 2)));
    }
    EXPECT_EQ(AreaUnderCurve(scores, labels), PairwiseAuc(scores, labels));
  }
}

TEST(AreaUnderCurveTest, Ends) {
  EXPECT_EQ(AreaUnderCurve(std::vector<float>{1, 2, 3}, std::vector<float>{0, 0, 1}), 1.0);
  EXPECT_EQ(AreaUnderCurve(std::vector<float>{1, 2, 3}, std::vector<float>{1, 0, 0}), 0.0);
  EXPECT_EQ(AreaUnderCurve(std::vector<float>{0.0f, -0.0f}, std::vector<float>{0, 1}), 0.5);
  EXPECT_EQ(AreaUnderCurve(std::vector<float>{1, 2}, std::vector<float>{1, 1}), std::nullopt);
  EXPECT_EQ(AreaUnderCurve(std::vector<float>{1, 2}, std::vector<float>{0, 0}), std::nullopt);
  EXPECT_EQ(AreaUnderCurve({}, {}), std::nullopt);
  const float nan = std::numeric_limits<float>::quiet_NaN();
  EXPECT_EQ(AreaUnderCurve(std::vector<float>{1, nan}, std::vector<float>{0, 1}), std::nullopt);
}

}  // namespace
}  // namespace eqat::train
