#include "core/lookup.h"

#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "tests/support/status_matchers.h"

namespace eqat {
namespace {

using ::eqat::testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr int64_t kRows = 10;

// A batch that owns what its LookupInput views.
struct Batch {
  std::vector<int64_t> indices;
  std::vector<int64_t> shape;
  std::optional<std::vector<int64_t>> offsets;
  std::optional<std::vector<float>> weights;

  LookupInput input() const {
    LookupInput input;
    input.indices = indices;
    input.shape = shape;
    if (offsets) input.offsets = *offsets;
    if (weights) input.per_sample_weights = absl::MakeConstSpan(*weights);
    return input;
  }
};

absl::StatusOr<Bags> BagsOf(const Batch& batch, bool include_last_offset = false, PoolMode mode = PoolMode::kSum) {
  return MakeBags(batch.input(), kRows, include_last_offset, mode, "item");
}

absl::StatusOr<int64_t> NumBagsOf(const Batch& batch, bool include_last_offset, PoolMode mode = PoolMode::kSum) {
  return NumBags(batch.input(), include_last_offset, mode, "item");
}

TEST(IndexSpan, ReadsBothWidths) {
  const std::vector<int32_t> narrow = {1, -2};
  const std::vector<int64_t> wide = {1, int64_t{1} << 40, 3};
  EXPECT_TRUE(IndexSpan(narrow).is_int32());
  EXPECT_EQ(IndexSpan(narrow).size(), 2);
  EXPECT_EQ(IndexSpan(narrow)[1], -2);
  EXPECT_FALSE(IndexSpan(wide).is_int32());
  EXPECT_EQ(IndexSpan(wide).size(), 3);
  EXPECT_EQ(IndexSpan(wide)[1], int64_t{1} << 40);
  EXPECT_EQ(IndexSpan().size(), 0);
}

TEST(PoolModeName, IsTheNameOfTorch) {
  EXPECT_EQ(PoolModeName(PoolMode::kSum), "sum");
  EXPECT_EQ(PoolModeName(PoolMode::kMean), "mean");
  EXPECT_EQ(PoolModeName(PoolMode::kMax), "max");
}

TEST(BagsOfOne, MakesABagOfEachIndex) {
  const Batch batch = {.indices = {3, 0, 9, 9, 1, 2}, .shape = {1, 3, 2}};
  EQAT_ASSERT_OK_AND_ASSIGN(const Bags bags, BagsOfOne(batch.input(), kRows, "item"));
  EXPECT_EQ(bags.num_bags(), 6);
  EXPECT_THAT(bags.indices(), ElementsAre(3, 0, 9, 9, 1, 2));
  EXPECT_THAT(bags.offsets(), ElementsAre(0, 1, 2, 3, 4, 5, 6));
  EXPECT_FALSE(bags.has_per_sample_weights());
  EXPECT_EQ(*NumBagsOfOne(batch.input(), "item"), 6);
}

TEST(BagsOfOne, AllowsNoIndices) {
  for (const std::vector<int64_t>& shape : {std::vector<int64_t>{}, {0}, {0, 5}, {4, 0}, {int64_t{1} << 62, 4, 0}}) {
    const Batch batch = {.shape = shape};
    EQAT_ASSERT_OK_AND_ASSIGN(const Bags bags, BagsOfOne(batch.input(), 0, "item"));
    EXPECT_EQ(bags.num_bags(), 0);
    EXPECT_THAT(bags.offsets(), ElementsAre(0));
  }
}

TEST(BagsOfOne, RefusesWhatOnlyBagsHave) {
  const Batch offsets = {.indices = {1}, .offsets = {{0}}};
  EXPECT_THAT(BagsOfOne(offsets.input(), kRows, "item"),
              StatusIs(absl::StatusCode::kInvalidArgument, "item: offsets given to an Embedding (expected none)"));
  const Batch weights = {.indices = {1}, .weights = {{1.0f}}};
  EXPECT_THAT(
      BagsOfOne(weights.input(), kRows, "item"),
      StatusIs(absl::StatusCode::kInvalidArgument, "item: per_sample_weights given to an Embedding (expected none)"));
  EXPECT_THAT(NumBagsOfOne(weights.input(), "item"), StatusIs(absl::StatusCode::kInvalidArgument, ::testing::_));
}

TEST(MakeBags, SplitsRowsOfTwoDimensionalIndices) {
  const Batch batch = {.indices = {0, 1, 2, 3, 4, 5}, .shape = {2, 3}};
  for (const bool include_last_offset : {false, true}) {  // all bags count with either
    EQAT_ASSERT_OK_AND_ASSIGN(const Bags bags, BagsOf(batch, include_last_offset));
    EXPECT_THAT(bags.offsets(), ElementsAre(0, 3, 6));
    EXPECT_EQ(*NumBagsOf(batch, include_last_offset), 2);
  }
}

TEST(MakeBags, AllowsEmptyTwoDimensionalIndices) {
  const Batch no_bags = {.shape = {0, 5}};
  EXPECT_EQ(BagsOf(no_bags)->num_bags(), 0);
  const Batch empty_bags = {.shape = {4, 0}};
  EQAT_ASSERT_OK_AND_ASSIGN(const Bags bags, BagsOf(empty_bags));
  EXPECT_THAT(bags.offsets(), ElementsAre(0, 0, 0, 0, 0));
  EXPECT_EQ(*NumBagsOf(empty_bags, false), 4);
}

TEST(MakeBags, LastBagRunsToTheEnd) {
  const Batch batch = {.indices = {1, 2, 3, 4}, .offsets = {{0, 0, 3}}};
  EQAT_ASSERT_OK_AND_ASSIGN(const Bags bags, BagsOf(batch));
  EXPECT_THAT(bags.offsets(), ElementsAre(0, 0, 3, 4));
  EXPECT_EQ(*NumBagsOf(batch, false), 3);
}

TEST(MakeBags, LastOffsetCanBeIncluded) {
  const Batch batch = {.indices = {1, 2, 3, 4}, .offsets = {{0, 0, 3, 4}}};
  EQAT_ASSERT_OK_AND_ASSIGN(const Bags bags, BagsOf(batch, true));
  EXPECT_THAT(bags.offsets(), ElementsAre(0, 0, 3, 4));
  EXPECT_EQ(*NumBagsOf(batch, true), 3);
  EXPECT_EQ(*NumBagsOf({.offsets = {{0}}}, true), 0);
}

TEST(MakeBags, NoOffsetsMeansNoBags) {
  const Batch batch = {.indices = {1, 2}, .offsets = std::vector<int64_t>{}, .weights = {{1.0f, 2.0f}}};
  EQAT_ASSERT_OK_AND_ASSIGN(const Bags bags, BagsOf(batch));
  EXPECT_EQ(bags.num_bags(), 0);
  EXPECT_THAT(bags.offsets(), ElementsAre(0));
  EXPECT_THAT(bags.indices(), IsEmpty());
  EXPECT_THAT(bags.per_sample_weights(), IsEmpty());
  EXPECT_TRUE(bags.has_per_sample_weights());
  EXPECT_EQ(*NumBagsOf(batch, false), 0);
}

TEST(MakeBags, MixesIntegerWidths) {
  const std::vector<int32_t> indices = {5, 6, 7};
  const std::vector<int64_t> wide_offsets = {0, 2};
  const std::vector<int32_t> narrow_offsets = {0, 2};
  LookupInput input;
  input.indices = indices;
  for (const IndexSpan& offsets : {IndexSpan(wide_offsets), IndexSpan(narrow_offsets)}) {
    input.offsets = offsets;
    EQAT_ASSERT_OK_AND_ASSIGN(const Bags bags, MakeBags(input, kRows, false, PoolMode::kMax, "item"));
    EXPECT_THAT(bags.indices(), ElementsAre(5, 6, 7));
    EXPECT_THAT(bags.offsets(), ElementsAre(0, 2, 3));
  }
}

TEST(MakeBags, KeepsWeights) {
  const Batch batch = {.indices = {1, 2}, .shape = {1, 2}, .weights = {{0.5f, -2.0f}}};
  EQAT_ASSERT_OK_AND_ASSIGN(const Bags bags, BagsOf(batch));
  EXPECT_TRUE(bags.has_per_sample_weights());
  EXPECT_THAT(bags.per_sample_weights(), ElementsAre(0.5f, -2.0f));
  const Batch empty = {.shape = {2, 0}, .weights = std::vector<float>{}};
  EXPECT_TRUE(BagsOf(empty)->has_per_sample_weights());
}

struct Refusal {
  Batch batch;
  std::string message;
  bool include_last_offset = false;
  PoolMode mode = PoolMode::kSum;
};

// Shapes, offsets and weights: refused by MakeBags and by NumBags alike.
TEST(MakeBags, RefusesInconsistentBatches) {
  constexpr int64_t kHuge = int64_t{1} << 62;
  const std::vector<Refusal> refusals = {
      {{.indices = {1, 2, 3}, .shape = {2, 2}},
       "item: index shape does not match the number of indices (got [2, 2], expected 3 indices)"},
      {{.indices = {1, 2, 3}, .shape = {kHuge, 4}},
       "item: index shape does not match the number of indices (got [4611686018427387904, 4], expected 3 indices)"},
      {{.indices = {1}, .shape = {-1, -1}},
       "item: index shape has a negative size (got [-1, -1], expected at least 0)"},
      {{.indices = {1}, .shape = {1, 1, 1}}, "item: indices of wrong rank (got [1, 1, 1], expected 1 or 2 dimensions)"},
      {{.indices = {1}, .shape = {1, 1}, .offsets = {{0}}},
       "item: offsets given together with 2-D indices (expected no offsets: each row of the indices is a bag)"},
      {{.indices = {1}}, "item: 1-D indices without offsets (got [1], expected offsets, or 2 dimensions)"},
      {{.indices = {1}, .shape = {1}},
       "item: 1-D indices without offsets (got [1], expected offsets, or 2 dimensions)"},
      {{.indices = {1, 2}, .offsets = {{1}}}, "item: offsets do not start at 0 at position 0 (got 1, expected 0)"},
      {{.indices = {1, 2}, .offsets = {{-1}}}, "item: offsets do not start at 0 at position 0 (got -1, expected 0)"},
      {{.indices = {1, 2, 3}, .offsets = {{0, 2, 1}}},
       "item: offsets decrease at position 2 (got 1 after 2, expected at least 2)"},
      {{.indices = {1, 2, 3}, .offsets = {{0, -1}}},
       "item: offsets decrease at position 1 (got -1 after 0, expected at least 0)"},
      {{.indices = {1, 2, 3}, .offsets = {{0, 4}}},
       "item: offset beyond the indices at position 1 (got 4, expected at most 3)"},
      {{.indices = {1, 2, 3}, .offsets = {{0, 2}}},
       "item: last offset is not the number of indices at position 1 (got 2, expected 3)",
       true},
      {{.offsets = std::vector<int64_t>{}},
       "item: include_last_offset without any offset (got 0 offsets, expected at least 1)",
       true},
      {{.indices = {1, 2}, .offsets = {{0}}, .weights = {{1.0f}}},
       "item: per_sample_weights differ in number from the indices (got 1, expected 2)"},
      {{.indices = {1}, .offsets = {{0}}, .weights = {{1.0f}}},
       "item: per_sample_weights need mode sum (got mode mean)",
       false,
       PoolMode::kMean},
      {{.indices = {1}, .offsets = {{0}}, .weights = {{1.0f}}},
       "item: per_sample_weights need mode sum (got mode max)",
       false,
       PoolMode::kMax},
  };
  for (const Refusal& refusal : refusals) {
    SCOPED_TRACE(refusal.message);
    EXPECT_THAT(BagsOf(refusal.batch, refusal.include_last_offset, refusal.mode),
                StatusIs(absl::StatusCode::kInvalidArgument, refusal.message));
    EXPECT_THAT(NumBagsOf(refusal.batch, refusal.include_last_offset, refusal.mode),
                StatusIs(absl::StatusCode::kInvalidArgument, refusal.message));
  }
}

TEST(MakeBags, NamesTheFirstIndexOutOfRange) {
  const Batch too_large = {.indices = {0, 9, 12, 11}, .offsets = {{0}}};
  EXPECT_THAT(BagsOf(too_large), StatusIs(absl::StatusCode::kOutOfRange,
                                          "item: index out of range at position 2 (got 12, expected 0 to 9)"));
  const Batch negative = {.indices = {-1}, .offsets = {{0}}};
  EXPECT_THAT(BagsOf(negative), StatusIs(absl::StatusCode::kOutOfRange,
                                         "item: index out of range at position 0 (got -1, expected 0 to 9)"));
  const Batch lowest = {.indices = {std::numeric_limits<int64_t>::min()}, .offsets = {{0}}};
  EXPECT_THAT(BagsOf(lowest), StatusIs(absl::StatusCode::kOutOfRange, ::testing::HasSubstr("position 0")));
  const Batch any = {.indices = {0}, .offsets = {{0}}};
  EXPECT_THAT(MakeBags(any.input(), 0, false, PoolMode::kSum, "item"),
              StatusIs(absl::StatusCode::kOutOfRange,
                       "item: index out of range at position 0 (got 0, expected none: the table has no rows)"));
  EXPECT_THAT(BagsOfOne(Batch{.indices = {10}}.input(), kRows, "item"),
              StatusIs(absl::StatusCode::kOutOfRange, ::testing::HasSubstr("got 10, expected 0 to 9")));
  EXPECT_EQ(*NumBagsOf(too_large, false), 1);  // values of indices are not its business
}

// Every value at which one of the two conditions, or the arithmetic that stands for them, turns; at every position, as
// several are looked at together.
template <typename Integer>
void CheckEdges() {
  constexpr int64_t kLargest = std::numeric_limits<int64_t>::max();
  constexpr int64_t kLargest32 = std::numeric_limits<int32_t>::max();
  for (const int64_t rows :
       {int64_t{0}, int64_t{1}, int64_t{5}, kLargest32, kLargest32 + 1, kLargest32 + 2, kLargest}) {
    const std::vector<int64_t> edges = {std::numeric_limits<int64_t>::min(),
                                        std::numeric_limits<int64_t>::min() + 1,
                                        -kLargest32 - 2,
                                        -kLargest32 - 1,
                                        -kLargest32,
                                        -1,
                                        0,
                                        1,
                                        rows - 1,
                                        rows,
                                        rows < kLargest ? rows + 1 : rows,
                                        kLargest32,
                                        kLargest32 + 1,
                                        kLargest};
    for (const int64_t edge : edges) {
      if (edge != static_cast<Integer>(edge)) continue;
      for (size_t position = 0; position < 19; ++position) {
        SCOPED_TRACE(absl::StrCat(edge, " of ", rows, " rows at position ", position));
        std::vector<Integer> indices(rows == 0 ? 1 : 19);
        indices[position % indices.size()] = static_cast<Integer>(edge);
        LookupInput input;
        input.indices = indices;
        const absl::Status status = BagsOfOne(input, rows, "item").status();
        if (edge >= 0 && edge < rows) {
          EXPECT_TRUE(status.ok()) << status;
        } else {
          EXPECT_THAT(
              status,
              StatusIs(absl::StatusCode::kOutOfRange,
                       ::testing::HasSubstr(absl::StrCat("at position ", position % indices.size(), " (got ", edge))));
        }
      }
    }
  }
}

TEST(MakeBags, FindsEveryIndexOutOfRange) {
  CheckEdges<int32_t>();
  CheckEdges<int64_t>();
}

TEST(MakeBags, ChecksIndicesThatNoBagHolds) {
  const Batch batch = {.indices = {10}, .offsets = std::vector<int64_t>{}};
  EXPECT_THAT(BagsOf(batch), StatusIs(absl::StatusCode::kOutOfRange, ::testing::HasSubstr("position 0")));
}

TEST(MakeBags, ChecksNarrowIndices) {
  const std::vector<int32_t> indices = {1, -2};
  LookupInput input;
  input.indices = indices;
  EXPECT_THAT(BagsOfOne(input, kRows, "item"),
              StatusIs(absl::StatusCode::kOutOfRange, ::testing::HasSubstr("position 1 (got -2")));
}

}  // namespace
}  // namespace eqat
