#include "float_modules/embedding.h"

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/float_modules/golden_values.h"
#include "tests/golden/float_golden.h"
#include "tests/support/status_matchers.h"

namespace eqat::nn {
namespace {

using ::eqat::testing::BitsOf;
using ::eqat::testing::FloatsOf;
using ::eqat::testing::IsOk;
using ::eqat::testing::LookupGolden;
using ::eqat::testing::RandomFloats;
using ::eqat::testing::StatusIs;
using ::eqat::testing::TableOf;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

EmbeddingOptions Sized(int64_t rows, int64_t cols) { return {.num_embeddings = rows, .embedding_dim = cols}; }

LookupInput InputOf(const std::vector<int64_t>& indices) {
  LookupInput input;
  input.indices = indices;
  return input;
}

struct Result {
  std::vector<float> values;
  LookupContext context;
};

Result MustForward(Embedding& module, const LookupInput& input) {
  Result result;
  const absl::StatusOr<int64_t> rows = module.NumOutputs(input);
  EXPECT_THAT(rows, IsOk());
  result.values.resize(*rows * module.embedding_dim());
  EXPECT_THAT(
      module.Forward(input, MutableTableView(result.values.data(), *rows, module.embedding_dim()), &result.context),
      IsOk());
  return result;
}

std::vector<float> MustLookup(const Embedding& module, const LookupInput& input) {
  const absl::StatusOr<int64_t> rows = module.NumOutputs(input);
  EXPECT_THAT(rows, IsOk());
  std::vector<float> values(*rows * module.embedding_dim());
  EXPECT_THAT(module.Lookup(input, MutableTableView(values.data(), *rows, module.embedding_dim())), IsOk());
  return values;
}

SparseGrad MustBackward(const Embedding& module, const LookupContext& context, const std::vector<float>& grad_output) {
  const absl::StatusOr<EmbeddingGradients> gradients =
      module.Backward(context, TableView(grad_output.data(), context.bags.num_bags(), module.embedding_dim()));
  EXPECT_THAT(gradients, IsOk());
  return gradients->weight;
}

EmbeddingOptions OptionsOf(const LookupGolden& golden) {
  EmbeddingOptions options = Sized(golden.rows, golden.cols);
  if (golden.padding_idx >= 0) options.padding_idx = golden.padding_idx;
  options.max_norm = golden.max_norm;
  options.norm_type = golden.norm_type;
  options.scale_grad_by_freq = golden.scale_grad_by_freq;
  options.sparse = golden.sparse;
  return options;
}

TEST(EmbeddingTest, MatchesTorch) {
  for (const LookupGolden& golden : eqat::testing::LookupGoldens()) {
    if (*golden.mode != '\0') continue;
    SCOPED_TRACE(golden.name);
    EQAT_ASSERT_OK_AND_ASSIGN(
        Embedding module,
        Embedding::FromWeight(TableOf(golden.rows, golden.cols, FloatsOf(golden.weight)), OptionsOf(golden)));
    const std::vector<int32_t> narrow(golden.indices.begin(), golden.indices.end());
    LookupInput input = InputOf(golden.indices);
    if (golden.int32) input.indices = narrow;
    input.shape = golden.shape;

    const std::vector<float> looked_up = MustLookup(module, input);
    EXPECT_EQ(BitsOf(module.weight()), golden.weight);
    const Result result = MustForward(module, input);
    EXPECT_EQ(BitsOf(looked_up), BitsOf(result.values));
    if (golden.max_norm.has_value()) {
      // The norm is within 2 ulps of torch's, the product adds its own rounding.
      const std::vector<float> weight(module.weight().data(), module.weight().data() + golden.rows * golden.cols);
      eqat::testing::ExpectWithinUlps(weight, FloatsOf(golden.weight_after), 3);
      eqat::testing::ExpectWithinUlps(result.values, FloatsOf(golden.output), 3);
    } else {
      EXPECT_EQ(BitsOf(module.weight()), golden.weight);
      EXPECT_EQ(BitsOf(result.values), golden.output);
    }
    EQAT_ASSERT_OK_AND_ASSIGN(const Table dense,
                              ToDense(MustBackward(module, result.context, FloatsOf(golden.grad_output)), golden.rows));
    EXPECT_EQ(BitsOf(dense), golden.grad_weight);
  }
}

TEST(EmbeddingTest, CreateDrawsStandardNormalWithAZeroPaddingRow) {
  EmbeddingOptions options = Sized(2000, 8);
  options.padding_idx = -3;
  EQAT_ASSERT_OK_AND_ASSIGN(const Embedding module, Embedding::Create(options, 1, "item"));
  EXPECT_EQ(module.options().padding_idx, 1997);
  EXPECT_THAT(absl::MakeConstSpan(module.weight().Row(1997), 8), Each(0));
  double sum = 0;
  double squares = 0;
  for (int64_t row = 0; row < 2000; ++row) {
    for (int64_t c = 0; c < 8; ++c) {
      const double x = module.weight().Row(row)[c];
      sum += x;
      squares += x * x;
    }
  }
  // Five standard errors of 16000 draws: 5 / sqrt(16000) and 5 sqrt(2 / 16000).
  EXPECT_NEAR(sum / 16000, 0, 0.04);
  EXPECT_NEAR(squares / 16000, 1, 0.056);
}

TEST(EmbeddingTest, CreateDependsOnSeedAndName) {
  const auto weight_bits = [](uint64_t seed, const std::string& name) {
    return BitsOf(Embedding::Create(Sized(5, 4), seed, name)->weight());
  };
  EXPECT_EQ(weight_bits(1, "item"), weight_bits(1, "item"));
  EXPECT_NE(weight_bits(1, "item"), weight_bits(2, "item"));
  EXPECT_NE(weight_bits(1, "item"), weight_bits(1, "user"));
}

TEST(EmbeddingTest, CreateReportsBadOptions) {
  EXPECT_THAT(Embedding::Create(Sized(-1, 4), 1),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("nn.Embedding: num_embeddings is negative")));
  EXPECT_THAT(Embedding::Create(Sized(int64_t{1} << 50, 1 << 10), 1, "item"),
              StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("item: ")));
}

TEST(EmbeddingTest, FromWeightTakesTheTableAndLeavesThePaddingRow) {
  Table weight = TableOf(2, 2, {1, 2, 3, 4});
  const float* const data = weight.data();
  EmbeddingOptions options = Sized(2, 2);
  options.padding_idx = 1;
  EQAT_ASSERT_OK_AND_ASSIGN(const Embedding module, Embedding::FromWeight(std::move(weight), options));
  EXPECT_EQ(module.weight().data(), data);
  EXPECT_THAT(MustLookup(module, InputOf({1})), ElementsAre(3, 4));
}

TEST(EmbeddingTest, FromWeightRejectsOtherShapesAndKeepsTheTable) {
  Table weight = TableOf(2, 2, {1, 2, 3, 4});
  EXPECT_THAT(Embedding::FromWeight(std::move(weight), Sized(2, 3), "item"),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("item: weight has the wrong shape (got [2, 2], expected [2, 3])")));
  EXPECT_EQ(weight.rows(), 2);
}

TEST(EmbeddingTest, FromPretrainedKeepsValuesSharesDataAndFreezes) {
  Table weight = TableOf(2, 3, {1, 2, 3, 4, 5, 6});
  const float* const data = weight.data();
  EQAT_ASSERT_OK_AND_ASSIGN(const Embedding frozen, Embedding::FromPretrained(std::move(weight), {2, 3}));
  EXPECT_EQ(frozen.weight().data(), data);
  EXPECT_FALSE(frozen.options().requires_grad);
  EXPECT_EQ(frozen.num_embeddings(), 2);
  EXPECT_EQ(frozen.embedding_dim(), 3);
  EXPECT_THAT(MustLookup(frozen, InputOf({1, 0})), ElementsAre(4, 5, 6, 1, 2, 3));
}

TEST(EmbeddingTest, FromPretrainedKeepsOptions) {
  EmbeddingOptions options;
  options.padding_idx = -1;
  options.max_norm = 1.5;
  options.norm_type = 1;
  options.scale_grad_by_freq = true;
  options.sparse = true;
  EQAT_ASSERT_OK_AND_ASSIGN(Embedding module,
                            Embedding::FromPretrained(TableOf(2, 3, {1, 2, 3, 4, 5, 6}), {2, 3}, Freeze::kNo, options));
  EXPECT_EQ(module.options().padding_idx, 1);
  EXPECT_EQ(module.options().max_norm, 1.5);
  EXPECT_EQ(module.options().norm_type, 1);
  EXPECT_TRUE(module.options().scale_grad_by_freq);
  EXPECT_TRUE(module.options().sparse);
  EXPECT_TRUE(module.options().requires_grad);
  const std::vector<float> out = MustForward(module, InputOf({0, 1})).values;
  for (int row = 0; row < 2; ++row) EXPECT_LE(RowNorm(absl::MakeConstSpan(out).subspan(row * 3, 3), 1), 1.5);
}

TEST(EmbeddingTest, FromPretrainedWantsTwoDimensions) {
  for (const std::vector<int64_t>& shape : {std::vector<int64_t>{6}, {1, 2, 3}, {}}) {
    Table weight = TableOf(2, 3, {1, 2, 3, 4, 5, 6});
    EXPECT_THAT(Embedding::FromPretrained(std::move(weight), shape),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("not 2-dimensional")));
    EXPECT_EQ(weight.rows(), 2);
  }
  EXPECT_THAT(Embedding::FromPretrained(TableOf(2, 3, {1, 2, 3, 4, 5, 6}), {3, 2}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("expected [3, 2]")));
}

TEST(EmbeddingTest, AnyIndexShapeGivesOneRowPerIndex) {
  EQAT_ASSERT_OK_AND_ASSIGN(const Embedding module, Embedding::Create(Sized(9, 3), 5));
  const std::vector<int64_t> indices = {8, 0, 3, 3, 1, 7, 8, 8, 2, 5, 6, 4};
  const std::vector<float> flat = MustLookup(module, InputOf(indices));
  for (const std::vector<int64_t>& shape : {std::vector<int64_t>{12}, {3, 4}, {2, 3, 2}, {1, 12, 1, 1}}) {
    LookupInput input = InputOf(indices);
    input.shape = shape;
    EXPECT_EQ(BitsOf(MustLookup(module, input)), BitsOf(flat));
  }
}

TEST(EmbeddingTest, EmptyTablesAndBatches) {
  EQAT_ASSERT_OK_AND_ASSIGN(Embedding no_rows, Embedding::Create(Sized(0, 3), 1));
  const Result empty = MustForward(no_rows, InputOf({}));
  EXPECT_THAT(empty.values, IsEmpty());
  const SparseGrad grad = MustBackward(no_rows, empty.context, {});
  EXPECT_THAT(grad.rows, IsEmpty());
  EXPECT_EQ(grad.cols, 3);
  EXPECT_THAT(no_rows.Lookup(InputOf({0}), MutableTableView(nullptr, 1, 3)),
              StatusIs(absl::StatusCode::kOutOfRange, HasSubstr("position 0")));

  EQAT_ASSERT_OK_AND_ASSIGN(Embedding no_cols, Embedding::Create(Sized(3, 0), 1));
  const Result narrow = MustForward(no_cols, InputOf({2, 1}));
  EXPECT_THAT(narrow.values, IsEmpty());
  EXPECT_THAT(MustBackward(no_cols, narrow.context, {}).rows, ElementsAre(1, 2));
}

TEST(EmbeddingTest, PaddingRowIsReturnedAndReceivesNoGradient) {
  for (const int64_t padding : {1, -2}) {
    EmbeddingOptions options = Sized(3, 2);
    options.padding_idx = padding;
    EQAT_ASSERT_OK_AND_ASSIGN(Embedding module, Embedding::FromWeight(TableOf(3, 2, {1, 2, 7, 7, 5, 6}), options));
    const Result result = MustForward(module, InputOf({1, 2, 1, 0}));
    EXPECT_THAT(result.values, ElementsAre(7, 7, 5, 6, 7, 7, 1, 2));
    const SparseGrad grad = MustBackward(module, result.context, {1, 1, 2, 2, 3, 3, 4, 4});
    EXPECT_THAT(grad.rows, ElementsAre(0, 2));
    EXPECT_THAT(grad.values, ElementsAre(4, 4, 2, 2));
  }
}

TEST(EmbeddingTest, NaNRowsAreLookedUpAsTheyAre) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  EQAT_ASSERT_OK_AND_ASSIGN(Embedding module, Embedding::FromWeight(TableOf(2, 2, {nan, -0.0f, 3, 4}), Sized(2, 2)));
  EXPECT_EQ(BitsOf(MustForward(module, InputOf({0, 1})).values), BitsOf({nan, -0.0f, 3, 4}));
}

TEST(EmbeddingTest, ScaleGradByFreqDividesByTheRowsCount) {
  EmbeddingOptions options = Sized(4, 1);
  options.scale_grad_by_freq = true;
  for (const bool sparse : {false, true}) {
    options.sparse = sparse;
    EQAT_ASSERT_OK_AND_ASSIGN(Embedding module, Embedding::Create(options, 1));
    const Result thrice = MustForward(module, InputOf({2, 2, 2}));
    EXPECT_THAT(BitsOf(MustBackward(module, thrice.context, {1, 1e-8f, 1}).values), ElementsAre(0x3f2aaaab));
    const std::vector<int64_t> indices = {1, 1, 3, 1};
    LookupInput square = InputOf(indices);
    square.shape = {2, 2};
    const SparseGrad grad = MustBackward(module, MustForward(module, square).context, {1, 1, 1, 1});
    EXPECT_THAT(grad.rows, ElementsAre(1, 3));
    EXPECT_THAT(grad.values, Each(::testing::FloatEq(1)));
  }
}

TEST(EmbeddingTest, FrozenTableHasNoGradient) {
  EQAT_ASSERT_OK_AND_ASSIGN(Embedding module, Embedding::FromPretrained(TableOf(2, 2, {1, 2, 3, 4}), {2, 2}));
  const Result result = MustForward(module, InputOf({1, 0}));
  EXPECT_THAT(MustBackward(module, result.context, {1, 1, 1, 1}).rows, IsEmpty());
}

TEST(EmbeddingTest, MaxNormRenormalizesRepeatedIndicesOnce) {
  EmbeddingOptions options = Sized(22, 5);
  options.max_norm = 1;
  EQAT_ASSERT_OK_AND_ASSIGN(Embedding module, Embedding::Create(options, 3));
  const std::vector<float> untouched(module.weight().Row(4), module.weight().Row(4) + 5);
  EQAT_ASSERT_OK_AND_ASSIGN(Table once, module.weight().Clone());
  for (const int64_t row : {2, 8}) RenormRow(absl::MakeSpan(once.Row(row), 5), 1, 2);

  const std::vector<float> out = MustForward(module, InputOf({2, 8, 8, 2})).values;
  EXPECT_EQ(BitsOf(absl::MakeConstSpan(out).subspan(5, 5)), BitsOf(absl::MakeConstSpan(out).subspan(10, 5)));
  EXPECT_EQ(BitsOf(absl::MakeConstSpan(out).subspan(0, 5)), BitsOf(absl::MakeConstSpan(out).subspan(15, 5)));
  for (int i = 0; i < 4; ++i) EXPECT_LE(RowNorm(absl::MakeConstSpan(out).subspan(i * 5, 5), 2), 1 + 1e-6);
  EXPECT_EQ(BitsOf(module.weight()), BitsOf(once));
  EXPECT_EQ(BitsOf(absl::MakeConstSpan(module.weight().Row(4), 5)), BitsOf(untouched));
}

TEST(EmbeddingTest, MaxNormChangesPaddingAndFrozenRowsToo) {
  EmbeddingOptions options;
  options.padding_idx = 0;
  options.max_norm = 1;
  EQAT_ASSERT_OK_AND_ASSIGN(Embedding module,
                            Embedding::FromPretrained(TableOf(2, 2, {3, 4, 6, 8}), {2, 2}, Freeze::kYes, options));
  MustForward(module, InputOf({0}));
  EXPECT_THAT(BitsOf(module.weight()), ElementsAre(0x3f19999a, 0x3f4ccccd, 0x40c00000, 0x41000000));
}

TEST(EmbeddingTest, ErrorsChangeNothing) {
  EmbeddingOptions options = Sized(3, 2);
  options.max_norm = 1;
  EQAT_ASSERT_OK_AND_ASSIGN(Embedding module, Embedding::FromWeight(TableOf(3, 2, {3, 4, 3, 4, 3, 4}), options, "e"));
  std::vector<float> out(4, 9.0f);
  const MutableTableView view(out.data(), 2, 2);
  const auto expect_unchanged = [&](const LookupInput& input, MutableTableView to, absl::StatusCode code,
                                    const std::string& text) {
    LookupContext context;
    EXPECT_THAT(module.Forward(input, to, &context), StatusIs(code, HasSubstr(text)));
    EXPECT_THAT(module.Lookup(input, to), StatusIs(code, HasSubstr(text)));
    EXPECT_THAT(BitsOf(module.weight()), BitsOf({3, 4, 3, 4, 3, 4}));
    EXPECT_THAT(out, Each(9.0f));
    EXPECT_EQ(context.bags.num_bags(), 0);
  };
  expect_unchanged(InputOf({0, 3}), view, absl::StatusCode::kOutOfRange, "e: index out of range at position 1 (got 3");
  expect_unchanged(InputOf({-1, 0}), view, absl::StatusCode::kOutOfRange, "position 0 (got -1");
  expect_unchanged(InputOf({0, 1, 2}), view, absl::StatusCode::kInvalidArgument,
                   "e: output has the wrong shape (got [2, 2], expected [3, 2])");
  const std::vector<int64_t> two = {0, 1};
  LookupInput misshapen = InputOf(two);
  misshapen.shape = {3, 1};
  expect_unchanged(misshapen, view, absl::StatusCode::kInvalidArgument, "[3, 1]");
}

TEST(EmbeddingTest, BackwardChecksTheShape) {
  EQAT_ASSERT_OK_AND_ASSIGN(Embedding module, Embedding::Create(Sized(3, 2), 1, "e"));
  const Result result = MustForward(module, InputOf({0, 1}));
  const std::vector<float> g(6);
  EXPECT_THAT(module.Backward(result.context, TableView(g.data(), 3, 2)),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("e: grad_output has the wrong shape")));
  EXPECT_THAT(module.Backward(result.context, TableView(g.data(), 2, 3)), Not(IsOk()));
}

TEST(EmbeddingTest, OutputAndGradientMayBeStrided) {
  EQAT_ASSERT_OK_AND_ASSIGN(Embedding module, Embedding::FromWeight(TableOf(2, 2, {1, 2, 3, 4}), Sized(2, 2)));
  std::vector<float> out(6, 9.0f);
  LookupContext context;
  ASSERT_THAT(module.Forward(InputOf({1, 0}), MutableTableView(out.data(), 2, 2, 3), &context), IsOk());
  EXPECT_THAT(out, ElementsAre(3, 4, 9, 1, 2, 9));
  EQAT_ASSERT_OK_AND_ASSIGN(const EmbeddingGradients gradients,
                            module.Backward(context, TableView(out.data(), 2, 2, 3)));
  EXPECT_THAT(gradients.weight.values, ElementsAre(1, 2, 3, 4));
}

TEST(EmbeddingTest, PrintsItsOptions) {
  EmbeddingOptions options = Sized(10, 3);
  options.padding_idx = 1;
  EXPECT_EQ(Embedding::Create(options, 1)->ToString(), "Embedding(10, 3, padding_idx=1)");
}

}  // namespace
}  // namespace eqat::nn
