#include "cli/table_statistics.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "core/parallel_for.h"
#include "gtest/gtest.h"
#include "tests/support/special_floats.h"

namespace eqat::cli {
namespace {

using ::eqat::testing::kFloatInfinity;
using ::eqat::testing::kFloatNaN;

TableStatistics Of(int64_t cols, const std::vector<float>& values) {
  const int64_t rows = cols == 0 ? 3 : static_cast<int64_t>(values.size()) / cols;
  return StatisticsOf(rows, cols, [&](int64_t begin, int64_t end, float* out) {
    std::copy(values.begin() + begin * cols, values.begin() + end * cols, out);
  });
}

TEST(TableStatisticsTest, CountsRowsByKind) {
  const TableStatistics statistics = Of(2, {3, 4, 0, 0, 1, 1, kFloatNaN, 100, 7, kFloatInfinity, -6, 8});
  EXPECT_EQ(statistics.min, -6.0f);
  EXPECT_EQ(statistics.max, 8.0f);
  EXPECT_EQ(statistics.constant_rows, 2);
  EXPECT_EQ(statistics.non_finite_rows, 2);
  EXPECT_DOUBLE_EQ(*statistics.mean_norm, (5 + 0 + std::sqrt(2.0) + 10) / 4);
}

TEST(TableStatisticsTest, OfNothing) {
  EXPECT_EQ(Of(4, {}).min, std::nullopt);
  const TableStatistics no_columns = Of(0, {});
  EXPECT_EQ(no_columns.mean_norm, std::nullopt);
  EXPECT_EQ(no_columns.non_finite_rows, 0);
  EXPECT_EQ(no_columns.constant_rows, 0);
}

TEST(TableStatisticsTest, DoesNotDependOnThreads) {
  std::vector<float> values(5000 * 3);
  for (size_t i = 0; i < values.size(); ++i) values[i] = std::sin(static_cast<float>(i));
  SetNumThreads(1);
  const TableStatistics one = Of(3, values);
  SetNumThreads(4);
  const TableStatistics four = Of(3, values);
  SetNumThreads(0);
  EXPECT_EQ(*one.mean_norm, *four.mean_norm);
  EXPECT_EQ(one.min, *std::min_element(values.begin(), values.end()));
  EXPECT_EQ(one.max, *std::max_element(values.begin(), values.end()));
}

}  // namespace
}  // namespace eqat::cli
