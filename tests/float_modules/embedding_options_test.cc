#include "float_modules/embedding_options.h"

#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/golden/float_golden.h"
#include "tests/support/status_matchers.h"

namespace eqat::nn {
namespace {

using ::eqat::testing::IsOk;
using ::eqat::testing::kInfinity;
using ::eqat::testing::StatusIs;
using ::testing::ElementsAreArray;
using ::testing::HasSubstr;

EmbeddingOptions TenByThree() { return {.num_embeddings = 10, .embedding_dim = 3}; }

EmbeddingBagOptions TenByThreeBag() {
  EmbeddingBagOptions options;
  options.num_embeddings = 10;
  options.embedding_dim = 3;
  return options;
}

TEST(EmbeddingOptionsTest, PrintsWhatTorchPrints) {
  EmbeddingOptions everything = TenByThree();
  everything.padding_idx = -1;
  everything.max_norm = 2.5;
  everything.norm_type = 3;
  everything.scale_grad_by_freq = true;
  everything.sparse = true;
  ASSERT_THAT(Canonicalize(everything, "e"), IsOk());
  EmbeddingOptions infinite_norm = TenByThree();
  infinite_norm.max_norm = 1;
  infinite_norm.norm_type = kInfinity;
  EmbeddingOptions large = TenByThree();
  large.max_norm = 1e16;
  large.norm_type = 0.1;
  EmbeddingOptions small = TenByThree();
  small.max_norm = 1e-5;
  small.norm_type = 1234567;
  EmbeddingBagOptions max_bag = TenByThreeBag();
  max_bag.mode = PoolMode::kMax;
  max_bag.padding_idx = 0;
  max_bag.include_last_offset = true;
  EmbeddingBagOptions sum_bag = TenByThreeBag();
  sum_bag.max_norm = 0.1;
  sum_bag.norm_type = 1;
  sum_bag.scale_grad_by_freq = true;
  sum_bag.mode = PoolMode::kSum;
  sum_bag.sparse = true;
  sum_bag.padding_idx = 4;
  const std::vector<std::string> printed = {ToString(TenByThree()), ToString(everything), ToString(infinite_norm),
                                            ToString(large),        ToString(small),      ToString(TenByThreeBag()),
                                            ToString(max_bag),      ToString(sum_bag)};
  EXPECT_THAT(printed, ElementsAreArray(eqat::testing::kGoldenPrintedForms));
}

TEST(EmbeddingOptionsTest, WrapsNegativePadding) {
  for (const auto& [given, wrapped] : std::vector<std::pair<int64_t, int64_t>>{{-10, 0}, {-1, 9}, {0, 0}, {9, 9}}) {
    EmbeddingOptions options = TenByThree();
    options.padding_idx = given;
    ASSERT_THAT(Canonicalize(options, "e"), IsOk());
    EXPECT_EQ(options.padding_idx, wrapped);
  }
}

TEST(EmbeddingOptionsTest, RejectsPaddingOutsideTheTable) {
  for (const int64_t padding : {int64_t{-11}, int64_t{10}, std::numeric_limits<int64_t>::min()}) {
    EmbeddingOptions options = TenByThree();
    options.padding_idx = padding;
    EXPECT_THAT(Canonicalize(options, "item"), StatusIs(absl::StatusCode::kInvalidArgument,
                                                        HasSubstr("item: padding_idx is outside the table (got " +
                                                                  std::to_string(padding) + ", expected -10 to 9)")));
    EXPECT_EQ(options.padding_idx, padding);
  }
}

TEST(EmbeddingOptionsTest, RejectsPaddingOfAnEmptyTable) {
  EmbeddingOptions options{.num_embeddings = 0, .embedding_dim = 3};
  options.padding_idx = 0;
  EXPECT_THAT(Canonicalize(options, "item"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("table without rows (got 0, expected none)")));
}

TEST(EmbeddingOptionsTest, AllowsEmptyTablesAndRejectsNegativeSizes) {
  EmbeddingOptions no_rows{.num_embeddings = 0, .embedding_dim = 3};
  EmbeddingOptions no_cols{.num_embeddings = 3, .embedding_dim = 0};
  EXPECT_THAT(Canonicalize(no_rows, "e"), IsOk());
  EXPECT_THAT(Canonicalize(no_cols, "e"), IsOk());
  EmbeddingOptions negative_rows{.num_embeddings = -3, .embedding_dim = 2};
  EXPECT_THAT(Canonicalize(negative_rows, "e"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("e: num_embeddings is negative (got -3")));
  EmbeddingOptions negative_cols{.num_embeddings = 3, .embedding_dim = -2};
  EXPECT_THAT(Canonicalize(negative_cols, "e"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("e: embedding_dim is negative (got -2")));
}

TEST(EmbeddingOptionsTest, RejectsSizesThatOverflow) {
  for (const int64_t rows : {int64_t{1} << 61, int64_t{1} << 62}) {
    EmbeddingOptions options{.num_embeddings = rows, .embedding_dim = 2};
    EXPECT_THAT(Canonicalize(options, "e"), StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("too large")));
  }
}

TEST(EmbeddingOptionsTest, RejectsNaN) {
  EmbeddingOptions max_norm = TenByThree();
  max_norm.max_norm = std::nan("");
  EXPECT_THAT(Canonicalize(max_norm, "e"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("max_norm is not a number")));
  EmbeddingOptions norm_type = TenByThree();
  norm_type.norm_type = std::nan("");
  EXPECT_THAT(Canonicalize(norm_type, "e"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("norm_type is not a number")));
}

TEST(EmbeddingOptionsTest, ModeMaxRefusesFrequencyAndSparse) {
  EmbeddingBagOptions frequency = TenByThreeBag();
  frequency.mode = PoolMode::kMax;
  frequency.scale_grad_by_freq = true;
  EXPECT_THAT(Canonicalize(frequency, "item"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("mode max does not support scale_grad_by_freq")));
  EmbeddingBagOptions sparse = TenByThreeBag();
  sparse.mode = PoolMode::kMax;
  sparse.sparse = true;
  EXPECT_THAT(Canonicalize(sparse, "item"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("mode max does not support sparse")));
}

TEST(EmbeddingOptionsTest, SparseGoesWithFrequency) {
  EmbeddingBagOptions options = TenByThreeBag();
  options.sparse = true;
  options.scale_grad_by_freq = true;
  EXPECT_THAT(Canonicalize(options, "e"), IsOk());
}

}  // namespace
}  // namespace eqat::nn
