#include "core/distinct_rows.h"

#include <cstdint>
#include <limits>
#include <map>
#include <vector>

#include "core/rng.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace eqat {
namespace {

using ::testing::ElementsAre;
using ::testing::ElementsAreArray;
using ::testing::IsEmpty;

TEST(DistinctRows, ListsEachRowOnce) {
  DistinctRows distinct(std::vector<int64_t>{7, 2, 7, 9, 2, 7});
  distinct.GroupPositions();
  EXPECT_THAT(distinct.rows(), ElementsAre(2, 7, 9));
  EXPECT_THAT(distinct.slots(), ElementsAre(1, 0, 1, 2, 0, 1));
  EXPECT_THAT(distinct.PositionsOf(0), ElementsAre(1, 4));
  EXPECT_THAT(distinct.PositionsOf(1), ElementsAre(0, 2, 5));
  EXPECT_THAT(distinct.PositionsOf(2), ElementsAre(3));
  EXPECT_EQ(distinct.SlotOf(2), 0);
  EXPECT_EQ(distinct.SlotOf(9), 2);
  for (const int64_t absent : {-1, 0, 3, 8, 10}) EXPECT_EQ(distinct.SlotOf(absent), -1) << absent;
}

TEST(DistinctRows, OfNothingIsEmpty) {
  for (const DistinctRows& distinct : {DistinctRows(), DistinctRows(std::vector<int64_t>{})}) {
    EXPECT_EQ(distinct.size(), 0);
    EXPECT_THAT(distinct.rows(), IsEmpty());
    EXPECT_THAT(distinct.slots(), IsEmpty());
    EXPECT_EQ(distinct.SlotOf(0), -1);
  }
}

TEST(DistinctRows, AgreesWithAMapAtEverySizeAndRange) {
  constexpr int64_t kMax = std::numeric_limits<int64_t>::max();
  // Every way of finding them, one to five digits, ranges that do not start at 0.
  for (const int64_t n : {1, 2, 511, 512, 513, 5000}) {
    for (const int64_t range : {int64_t{1}, int64_t{5}, int64_t{2048}, int64_t{2049}, int64_t{10'000'000}, kMax}) {
      for (const int64_t smallest : {int64_t{0}, int64_t{123'456}}) {
        if (range == kMax && smallest != 0) continue;
        SCOPED_TRACE(::testing::Message() << n << " look-ups of " << range << " rows from " << smallest);
        const Rng rng(n, range);
        std::vector<int64_t> indices(n);
        std::map<int64_t, std::vector<int64_t>> positions;
        for (int64_t k = 0; k < n; ++k) {
          indices[k] = smallest + static_cast<int64_t>(rng.Below(k, range));
          positions[indices[k]].push_back(k);
        }
        DistinctRows distinct(indices);
        distinct.GroupPositions();
        ASSERT_EQ(distinct.size(), static_cast<int64_t>(positions.size()));
        int64_t slot = 0;
        for (const auto& [row, expected_positions] : positions) {
          ASSERT_EQ(distinct.rows()[slot], row);
          ASSERT_EQ(distinct.SlotOf(row), slot);
          ASSERT_THAT(distinct.PositionsOf(slot), ElementsAreArray(expected_positions));
          for (const int64_t position : expected_positions) ASSERT_EQ(distinct.slots()[position], slot);
          ++slot;
        }
      }
    }
  }
}

TEST(RepeatsRows, TellsTheManyLookupsOfFewRows) {
  const auto repeats = [](int64_t n, int64_t used_rows, int64_t rows) {
    const Rng rng(n, rows);
    std::vector<int64_t> indices(n);
    for (int64_t k = 0; k < n; ++k) indices[k] = static_cast<int64_t>(rng.Below(k, used_rows));
    return RepeatsRows(indices, rows);
  };
  EXPECT_TRUE(repeats(10'240, 1024, 1024));
  EXPECT_TRUE(repeats(10'240, 100, 1'000'000));
  EXPECT_TRUE(repeats(1024, 1, 1'000'000));
  EXPECT_FALSE(repeats(10'240, 1'000'000, 1'000'000));
  EXPECT_FALSE(repeats(10'240, 5000, 5000));
  EXPECT_FALSE(repeats(100, 5, 5));
  EXPECT_FALSE(RepeatsRows({}, 0));
}

}  // namespace
}  // namespace eqat
