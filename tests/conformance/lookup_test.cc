// One suite for everything that is an EmbeddingLookup: float, QAT and quantized, plain and pooled, against the naive
// model of tests/support/naive_embedding.h.
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "core/embedding_lookup.h"
#include "core/parallel_for.h"
#include "core/rng.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/naive_embedding.h"
#include "tests/support/qat_modules.h"
#include "tests/support/status_matchers.h"

namespace eqat {
namespace {

using ::testing::AllOf;
using testing::AllRows;
using testing::Batch;
using testing::BitsOf;
using ::testing::Each;
using testing::EmbeddingBagFamily;
using testing::EmbeddingFamily;
using ::testing::HasSubstr;
using testing::Matrix;
using testing::NaiveFakeQuantize;
using testing::RandomMatrix;
using testing::RowObserver;
using testing::StatusIs;

quant::ObserverConfig Observer() { return RowObserver(quant::Dtype::kQUInt4x2); }

Matrix Renormed(Matrix weight, const nn::EmbeddingOptions& options) {
  testing::NaiveRenorm(options, AllRows(weight), weight);
  return weight;
}

// The kinds of module: how to make one of a float table, and the table that its look-ups read.
template <typename F>
struct FloatKind {
  using Family = F;
  static std::unique_ptr<EmbeddingLookup> Make(const Matrix& weight, const typename Family::Options& options) {
    return std::make_unique<typename Family::Float>(testing::MakeFloat<Family>(weight, options));
  }
  static Matrix TableOf(const Matrix& weight, const typename Family::Options& options) {
    return Renormed(weight, options);
  }
};

template <typename F>
struct QatKind {
  using Family = F;
  static std::unique_ptr<EmbeddingLookup> Make(const Matrix& weight, const typename Family::Options& options) {
    return std::make_unique<typename Family::Qat>(testing::MakeQat<Family>(weight, options, Observer()));
  }
  static Matrix TableOf(const Matrix& weight, const typename Family::Options& options) {
    return NaiveFakeQuantize(Observer()).Forward(Renormed(weight, options));
  }
};

template <typename F>
struct QuantizedKind {
  using Family = F;
  static std::unique_ptr<EmbeddingLookup> Make(const Matrix& weight, const typename Family::Options& options) {
    return std::make_unique<typename Family::Quantized>(
        *testing::MakeQat<Family>(weight, options, Observer()).Convert());
  }
  static Matrix TableOf(const Matrix& weight, const typename Family::Options& options) {
    return QatKind<Family>::TableOf(weight, options);
  }
};

template <typename Kind>
class LookupConformance : public ::testing::Test {
 public:
  using Options = typename Kind::Family::Options;
  static constexpr bool kPooled = std::is_same_v<typename Kind::Family, EmbeddingBagFamily>;

  // Options for a seed, so that a run of seeds meets every combination.
  static Options OptionsOf(uint64_t seed) {
    Options options;
    if (seed % 2 == 1) options.padding_idx = static_cast<int64_t>(seed % 5) - 2;
    if (seed % 3 == 1) options.max_norm = 1.0 + 0.25 * static_cast<double>(seed % 7);
    if (seed % 9 == 4) options.norm_type = 1.0;
    if constexpr (kPooled) {
      options.mode = static_cast<PoolMode>(seed / 2 % 3);
      options.include_last_offset = seed / 6 % 2 == 1;
    }
    return options;
  }

  static bool Weighted(uint64_t seed, const Options& options) {
    if constexpr (kPooled) return options.mode == PoolMode::kSum && seed / 12 % 2 == 0;
    return false;
  }

  static std::unique_ptr<EmbeddingLookup> Make(const Matrix& weight, const Options& options) {
    return Kind::Make(weight, options);
  }

  // As the module has it, with sizes and a padding_idx that counts from the front.
  static Options Canonical(const Matrix& weight, Options options) {
    options.num_embeddings = weight.rows;
    options.embedding_dim = weight.cols;
    EXPECT_TRUE(nn::Canonicalize(options, "item").ok());
    return options;
  }
};

using Kinds =
    ::testing::Types<FloatKind<EmbeddingFamily>, QatKind<EmbeddingFamily>, QuantizedKind<EmbeddingFamily>,
                     FloatKind<EmbeddingBagFamily>, QatKind<EmbeddingBagFamily>, QuantizedKind<EmbeddingBagFamily>>;
TYPED_TEST_SUITE(LookupConformance, Kinds);

TYPED_TEST(LookupConformance, EqualsTheNaiveModel) {
  for (uint64_t seed = 0; seed < 180; ++seed) {
    const Matrix weight = RandomMatrix(1 + static_cast<int64_t>(seed % 19 + 3), static_cast<int64_t>(seed % 37), seed);
    const auto options = this->Canonical(weight, this->OptionsOf(seed));
    SCOPED_TRACE(::testing::Message() << "seed " << seed << " " << nn::ToString(options));
    const auto module = this->Make(weight, options);
    EXPECT_EQ(module->num_embeddings(), weight.rows);
    EXPECT_EQ(module->embedding_dim(), weight.cols);
    const Matrix table = TypeParam::TableOf(weight, options);
    for (uint64_t i = 0; i < 5; ++i) {
      const Batch batch = testing::RandomBatch(weight.rows, options, this->Weighted(seed, options), Rng(seed, i));
      const Matrix expected = NaiveLookup(table, options, batch);
      EQAT_ASSERT_OK_AND_ASSIGN(const int64_t outputs, module->NumOutputs(batch.input()));
      ASSERT_EQ(outputs, expected.rows);
      EQAT_ASSERT_OK_AND_ASSIGN(const Matrix out, LookupOf(*module, batch));
      ASSERT_EQ(BitsOf(out.values), BitsOf(expected.values));
    }
  }
}

TYPED_TEST(LookupConformance, IntegerTypesMix) {
  const Matrix weight = RandomMatrix(9, 6, 1);
  const auto options = this->Canonical(weight, this->OptionsOf(0));
  const auto module = this->Make(weight, options);
  const std::vector<int64_t> indices64 = {8, 0, 0, 3}, offsets64 = {0, 1, 1};
  const std::vector<int32_t> indices32 = {8, 0, 0, 3}, offsets32 = {0, 1, 1};
  std::vector<std::vector<uint32_t>> results;
  for (const IndexSpan indices : {IndexSpan(indices64), IndexSpan(indices32)}) {
    for (const IndexSpan offsets : {IndexSpan(offsets64), IndexSpan(offsets32)}) {
      LookupInput input;
      input.indices = indices;
      if (this->kPooled) input.offsets = offsets;
      Matrix out(this->kPooled ? 3 : 4, 6);
      EQAT_ASSERT_OK(module->Lookup(input, out.mutable_view()));
      results.push_back(BitsOf(out.values));
    }
  }
  EXPECT_THAT(results, Each(results[0]));
}

TYPED_TEST(LookupConformance, WritesInsideItsRowsOnly) {
  const Matrix weight = RandomMatrix(9, 6, 1);
  const auto options = this->Canonical(weight, this->OptionsOf(4));
  const auto module = this->Make(weight, options);
  Batch batch;
  batch.indices = {8, 0, 3};
  if (this->kPooled) batch.shape = {3, 1};
  std::vector<float> memory(3 * 10, 42.0f);
  EQAT_ASSERT_OK(module->Lookup(batch.input(), MutableTableView(memory.data(), 3, 6, /*stride_in=*/10)));
  const Matrix expected = NaiveLookup(TypeParam::TableOf(weight, options), options, batch);
  for (int64_t row = 0; row < 3; ++row) {
    for (int64_t c = 0; c < 10; ++c) {
      EXPECT_EQ(memory[row * 10 + c], c < 6 ? expected.Row(row)[c] : 42.0f) << row << ", " << c;
    }
  }
}

TYPED_TEST(LookupConformance, ConcurrentLookupsAgree) {
  const Matrix weight = RandomMatrix(50, 16, 1);
  const auto options = this->Canonical(weight, this->OptionsOf(4));
  const auto module = this->Make(weight, options);
  const Batch batch = testing::RandomBatch(50, options, /*weighted=*/false, Rng(5, 5));
  EQAT_ASSERT_OK_AND_ASSIGN(const Matrix expected, LookupOf(*module, batch));
  std::vector<int> agreed(4);
  std::vector<std::thread> threads;
  for (int& count : agreed) {
    threads.emplace_back([&] {
      for (int i = 0; i < 25; ++i) {
        const absl::StatusOr<Matrix> out = LookupOf(*module, batch);
        count += out.ok() && BitsOf(out->values) == BitsOf(expected.values);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_THAT(agreed, Each(25));
}

TYPED_TEST(LookupConformance, SameBitsForAnyNumberOfThreads) {
  const int before = NumThreads();
  const Matrix weight = RandomMatrix(3000, 19, 1);
  const auto options = this->Canonical(weight, this->OptionsOf(4));
  Batch batch;
  for (int i = 0; i < 6000; ++i) batch.indices.push_back(static_cast<int64_t>(Rng(1, 2).Below(i, 3000)));
  if (this->kPooled) batch.shape = {1500, 4};
  std::vector<std::vector<uint32_t>> results;
  for (const int num_threads : {1, 2, 5}) {
    SetNumThreads(num_threads);
    const auto module = this->Make(weight, options);
    EQAT_ASSERT_OK_AND_ASSIGN(const Matrix out, LookupOf(*module, batch));
    results.push_back(BitsOf(out.values));
  }
  SetNumThreads(before);
  EXPECT_THAT(results, Each(results[0]));
}

TYPED_TEST(LookupConformance, TablesWithoutRowsOrColumns) {
  for (const auto& [rows, cols] : {std::pair<int64_t, int64_t>{0, 3}, {4, 0}, {0, 0}}) {
    SCOPED_TRACE(::testing::Message() << rows << " x " << cols);
    const Matrix weight(rows, cols);
    const auto options = this->Canonical(weight, this->OptionsOf(0));
    const auto module = this->Make(weight, options);
    Batch batch;
    if (rows > 0) batch.indices = {3, 0};
    if (this->kPooled) batch.offsets = {0, 0};
    EQAT_ASSERT_OK_AND_ASSIGN(const Matrix out, LookupOf(*module, batch));
    EXPECT_EQ(out.rows, this->kPooled ? 2 : static_cast<int64_t>(batch.indices.size()));
    EXPECT_THAT(out.values, Each(0.0f));
    batch.indices = {rows};
    EXPECT_THAT(module->Lookup(batch.input(), Matrix(this->kPooled ? 2 : 1, cols).mutable_view()),
                StatusIs(absl::StatusCode::kOutOfRange, HasSubstr("item")));
  }
}

// A batch that must be refused, with what the message has to say.
struct BadBatch {
  const char* name;
  Batch batch;
  absl::StatusCode code;
  const char* message;
};

template <typename Test>
void ExpectRefused(const EmbeddingLookup& module, const BadBatch& test, const Test&) {
  SCOPED_TRACE(test.name);
  for (const int64_t outputs : {0, 1, 2, 3}) {  // whatever the caller expects of it
    Matrix out(outputs, module.embedding_dim());
    out.values.assign(out.values.size(), 42.0f);
    const absl::Status status = module.Lookup(test.batch.input(), out.mutable_view());
    EXPECT_THAT(status, StatusIs(test.code, AllOf(HasSubstr("item"), HasSubstr(test.message))));
    EXPECT_THAT(out.values, Each(42.0f));
  }
}

TYPED_TEST(LookupConformance, BadIndicesAreRefused) {
  const Matrix weight = RandomMatrix(5, 3, 1);
  for (const uint64_t seed : {0, 3, 4}) {
    const auto module = this->Make(weight, this->OptionsOf(seed));
    for (const int64_t bad : {int64_t{5}, int64_t{-1}, int64_t{1} << 32, std::numeric_limits<int64_t>::max(),
                              std::numeric_limits<int64_t>::min()}) {
      Batch batch;
      batch.indices = {0, 4, bad};
      if (this->kPooled) batch.offsets = {0, 2};
      if (this->kPooled && this->OptionsOf(seed).padding_idx.has_value()) batch.offsets = {0};
      const std::string text = std::to_string(bad);
      ExpectRefused(*module, {"index", batch, absl::StatusCode::kOutOfRange, text.c_str()}, *this);
      ExpectRefused(*module, {"position", batch, absl::StatusCode::kOutOfRange, "2"}, *this);
    }
  }
}

TYPED_TEST(LookupConformance, BadShapesAreRefused) {
  const Matrix weight = RandomMatrix(5, 3, 1);
  const auto module = this->Make(weight, this->OptionsOf(0));
  std::vector<BadBatch> cases;
  const auto add = [&cases](const char* name, std::vector<int64_t> indices, std::vector<int64_t> shape,
                            std::optional<std::vector<int64_t>> offsets, const char* message) {
    cases.push_back({name, Batch{std::move(indices), std::move(shape), std::move(offsets), std::nullopt},
                     absl::StatusCode::kInvalidArgument, message});
  };
  if constexpr (std::is_same_v<typename TypeParam::Family, EmbeddingFamily>) {
    add("too few indices", {0, 1}, {3}, std::nullopt, "");
    add("negative extent", {}, {-1, 0}, std::nullopt, "");
    add("extents that overflow", {}, {int64_t{1} << 62, 8}, std::nullopt, "");
    add("offsets", {0, 1}, {}, {{0}}, "offsets");
    cases.push_back({"weights", Batch{{0, 1}, {}, std::nullopt, {{1.0f, 1.0f}}}, absl::StatusCode::kInvalidArgument,
                     "per_sample_weights"});
  } else {
    add("too few indices", {0, 1}, {3, 1}, std::nullopt, "");
    add("extents that overflow", {}, {int64_t{1} << 62, 8}, std::nullopt, "");
    add("three dimensions", {0, 1}, {1, 2, 1}, std::nullopt, "");
    add("two dimensions with offsets", {0, 1}, {2, 1}, {{0, 1}}, "offsets");
    add("one dimension without offsets", {0, 1}, {}, std::nullopt, "offsets");
    add("late first offset", {0, 1}, {}, {{1}}, "offsets");
    add("negative offset", {0, 1}, {}, {{0, -1}}, "offsets");
    add("decreasing offsets", {0, 1, 2}, {}, {{0, 2, 1}}, "offsets");
    add("offset beyond the indices", {0, 1}, {}, {{0, 3}}, "offset");
    cases.push_back({"too few weights", Batch{{0, 1}, {}, {{0}}, {{1.0f}}}, absl::StatusCode::kInvalidArgument,
                     "per_sample_weights"});
  }
  for (const BadBatch& test : cases) ExpectRefused(*module, test, *this);
}

TYPED_TEST(LookupConformance, OutputOfTheWrongShapeIsRefused) {
  const Matrix weight = RandomMatrix(5, 3, 1);
  const auto module = this->Make(weight, this->OptionsOf(0));
  Batch batch;
  batch.indices = {0, 1};
  if (this->kPooled) batch.shape = {2, 1};
  for (const auto& [rows, cols] : {std::pair<int64_t, int64_t>{1, 3}, {3, 3}, {2, 2}, {2, 4}}) {
    Matrix out(rows, cols);
    out.values.assign(out.values.size(), 42.0f);
    EXPECT_THAT(module->Lookup(batch.input(), out.mutable_view()),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("item")));
    EXPECT_THAT(out.values, Each(42.0f));
  }
}

template <typename Kind>
class BagConformance : public LookupConformance<Kind> {};
using BagKinds =
    ::testing::Types<FloatKind<EmbeddingBagFamily>, QatKind<EmbeddingBagFamily>, QuantizedKind<EmbeddingBagFamily>>;
TYPED_TEST_SUITE(BagConformance, BagKinds);

TYPED_TEST(BagConformance, LastOffsetMustBeTheEnd) {
  nn::EmbeddingBagOptions options;
  options.include_last_offset = true;
  const auto module = this->Make(RandomMatrix(5, 3, 1), options);
  const BadBatch cases[] = {
      {"short", Batch{{0, 1, 2}, {}, {{0, 2}}, std::nullopt}, absl::StatusCode::kInvalidArgument, "offset"},
      {"long", Batch{{0, 1, 2}, {}, {{0, 4}}, std::nullopt}, absl::StatusCode::kInvalidArgument, "offset"},
      {"none", Batch{{}, {}, {std::vector<int64_t>()}, std::nullopt}, absl::StatusCode::kInvalidArgument, "offset"},
  };
  for (const BadBatch& test : cases) ExpectRefused(*module, test, *this);
}

TYPED_TEST(BagConformance, WeightsNeedASum) {
  for (const PoolMode mode : {PoolMode::kMean, PoolMode::kMax}) {
    nn::EmbeddingBagOptions options;
    options.mode = mode;
    const auto module = this->Make(RandomMatrix(5, 3, 1), options);
    ExpectRefused(
        *module,
        {"weights", Batch{{0, 1}, {}, {{0}}, {{1.0f, 2.0f}}}, absl::StatusCode::kInvalidArgument, "per_sample_weights"},
        *this);
  }
}

TYPED_TEST(BagConformance, ARectangleKeepsItsLastBagWithIncludeLastOffset) {
  const Matrix weight = RandomMatrix(5, 3, 1);
  nn::EmbeddingBagOptions options;
  options.include_last_offset = true;
  const auto module = this->Make(weight, options);
  Batch batch;
  batch.indices = {0, 1, 2, 3, 4, 0};
  batch.shape = {3, 2};
  EQAT_ASSERT_OK_AND_ASSIGN(const Matrix out, LookupOf(*module, batch));
  EXPECT_EQ(out.rows, 3);
  EXPECT_EQ(BitsOf(out.values), BitsOf(NaiveLookup(TypeParam::TableOf(weight, options), options, batch).values));
}

TYPED_TEST(BagConformance, BagsWithNothingToCountAreZero) {
  for (const PoolMode mode : {PoolMode::kSum, PoolMode::kMean, PoolMode::kMax}) {
    nn::EmbeddingBagOptions options;
    options.mode = mode;
    options.padding_idx = 2;
    const auto module = this->Make(RandomMatrix(5, 3, 1, /*offset=*/-9.0f), options);
    Batch batch;
    batch.indices = {2, 2, 0};
    batch.offsets = {0, 0, 2, 3};  // empty, all padding, one row, empty
    EQAT_ASSERT_OK_AND_ASSIGN(const Matrix out, LookupOf(*module, batch));
    for (const int64_t bag : {0, 1, 3}) {
      EXPECT_THAT(std::vector<float>(out.Row(bag), out.Row(bag) + 3), Each(0.0f)) << bag;
    }
    EXPECT_LT(out.Row(2)[0], -4.0f);
    batch.offsets = std::vector<int64_t>();
    EQAT_ASSERT_OK_AND_ASSIGN(const Matrix none, LookupOf(*module, batch));
    EXPECT_EQ(none.rows, 0);
  }
}

}  // namespace
}  // namespace eqat
