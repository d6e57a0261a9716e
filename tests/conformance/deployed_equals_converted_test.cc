// A table that is trained for the format of another program: training forward, evaluation and conversion compute the
// same values, bit for bit, for every format, option and kind of module; and they are those of the format.
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "quant/deploy_arithmetic.h"
#include "tests/support/naive_embedding.h"
#include "tests/support/qat_modules.h"
#include "tests/support/status_matchers.h"

namespace eqat {
namespace {

using quant::DeployTraits;
using testing::Batch;
using testing::BitsOf;
using testing::EmbeddingBagFamily;
using testing::EmbeddingFamily;
using ::testing::HasSubstr;
using testing::Matrix;

constexpr int64_t kDeployedRows = 19;

std::vector<int64_t> WidthsOf(const DeployTraits& deploy) {
  const int64_t step = deploy.column_multiple;
  return {step, 3 * step, 96};
}

Matrix TableOfDeployableRows(int64_t cols, uint64_t seed) {
  Matrix table = testing::RandomMatrix(kDeployedRows, cols, seed);
  for (int64_t c = 0; c < cols; ++c) {
    table.Row(0)[c] = 0.7f;
    table.Row(1)[c] = 100.0f + 0.001f * static_cast<float>(c);
    table.Row(2)[c] = c % 2 == 0 ? -0.0f : 0.0f;
    table.Row(3)[c] = 1e-40f * static_cast<float>(c);
    table.Row(4)[c] = c % 2 == 0 ? 3e4f : -2e4f;
  }
  return table;
}

quant::QConfig ConfigFor(const DeployTraits& deploy) {
  quant::QConfig config = testing::QConfigOf(testing::RowObserver(quant::DtypeOf(deploy)));
  config.weight.deploy = deploy.deploy;
  return config;
}

template <typename Family>
typename Family::Qat MakeDeployed(const Matrix& weight, typename Family::Options options, const DeployTraits& deploy) {
  typename Family::Float module = testing::MakeFloat<Family>(weight, std::move(options));
  module.set_qconfig(ConfigFor(deploy));
  return *Family::Qat::FromFloat(std::move(module));
}

template <typename Family>
Batch AllRows() {
  Batch batch;
  for (int64_t row = 0; row < kDeployedRows; ++row) batch.indices.push_back(row);
  if constexpr (std::is_same_v<Family, EmbeddingBagFamily>) batch.shape = {kDeployedRows, 1};
  return batch;
}

template <typename Family>
Batch Repeated() {
  Batch batch;
  batch.indices = {3, 0, 4, 4, 1, 2, 18, 18, 18, 7, 5, 3};
  if constexpr (std::is_same_v<Family, EmbeddingBagFamily>) batch.shape = {4, 3};
  return batch;
}

template <typename Family>
void ExpectSameEverywhere(const DeployTraits& deploy, const typename Family::Options& options) {
  for (const int64_t cols : WidthsOf(deploy)) {
    SCOPED_TRACE(absl::StrCat(deploy.name, " ", deploy.bits, " bits, ", cols, " columns"));
    typename Family::Qat prepared = MakeDeployed<Family>(TableOfDeployableRows(cols, 5), options, deploy);
    for (const Batch& batch : {AllRows<Family>(), Repeated<Family>()}) {
      EQAT_ASSERT_OK(ForwardOf(prepared, batch));
      testing::WriteRows(TableOfDeployableRows(cols, batch.indices[0]), prepared);
      const auto converted = prepared.Convert();
      EQAT_ASSERT_OK(converted.status());
      EXPECT_EQ(converted->weight().deploy(), &deploy);
      const auto evaluated = LookupOf(prepared, batch), served = LookupOf(*converted, batch);
      EQAT_ASSERT_OK(evaluated);
      EQAT_ASSERT_OK(served);
      EXPECT_EQ(BitsOf(served->values), BitsOf(evaluated->values));
      const auto called = ForwardEvaluationOf(prepared, batch);
      EQAT_ASSERT_OK(called);
      EXPECT_EQ(BitsOf(called->values), BitsOf(evaluated->values));
      if (!options.max_norm) {  // training renormalizes what is stored
        const auto trained = ForwardOf(prepared, batch);
        EQAT_ASSERT_OK(trained);
        EXPECT_EQ(BitsOf(trained->values), BitsOf(evaluated->values));
      }
    }
  }
}

TEST(DeployedEqualsConvertedTest, Embedding) {
  for (const DeployTraits& deploy : quant::kDeploys) {
    nn::EmbeddingOptions options;
    ExpectSameEverywhere<EmbeddingFamily>(deploy, options);
    options.padding_idx = 2;
    options.max_norm = 2.5;
    ExpectSameEverywhere<EmbeddingFamily>(deploy, options);
  }
}

TEST(DeployedEqualsConvertedTest, EmbeddingBag) {
  for (const DeployTraits& deploy : quant::kDeploys) {
    for (const PoolMode mode : {PoolMode::kSum, PoolMode::kMean, PoolMode::kMax}) {
      nn::EmbeddingBagOptions options;
      options.mode = mode;
      ExpectSameEverywhere<EmbeddingBagFamily>(deploy, options);
      options.padding_idx = 18;
      options.max_norm = 2.5;
      ExpectSameEverywhere<EmbeddingBagFamily>(deploy, options);
    }
  }
}

// The values are those of the format, and the gradient passes where the format did not clip.
TEST(DeployedEqualsConvertedTest, ValuesAndGradientsAreTheFormats) {
  for (const DeployTraits& deploy : quant::kDeploys) {
    SCOPED_TRACE(absl::StrCat(deploy.name, " ", deploy.bits));
    constexpr int64_t kCols = 64;
    const Matrix weight = TableOfDeployableRows(kCols, 9);
    qat::Embedding prepared = MakeDeployed<EmbeddingFamily>(weight, {}, deploy);
    const Batch batch = AllRows<EmbeddingFamily>();
    nn::LookupContext context;
    const auto out = ForwardOf(prepared, batch, &context);
    EQAT_ASSERT_OK(out);
    const Matrix ones = [] {
      Matrix matrix(kDeployedRows, kCols);
      std::fill(matrix.values.begin(), matrix.values.end(), 1.0f);
      return matrix;
    }();
    const auto gradients = prepared.Backward(context, ones.view());
    EQAT_ASSERT_OK(gradients);
    for (int64_t row = 0; row < kDeployedRows; ++row) {
      std::vector<float> y(kCols);
      std::vector<uint8_t> mask(kCols);
      ASSERT_TRUE(quant::QuantizeDeployedRow(deploy, {weight.Row(row), kCols}, {y.data(), mask.data()}));
      const std::vector<float> got(out->Row(row), out->Row(row) + kCols);
      EXPECT_EQ(BitsOf(got), BitsOf(y)) << row;
      for (int64_t c = 0; c < kCols; ++c) EXPECT_EQ(gradients->weight.view().Row(row)[c], mask[c]) << row << ", " << c;
    }
  }
}

TEST(DeployedEqualsConvertedTest, TheObserversStateIsThatOfAnyTable) {
  const DeployTraits& deploy = *quant::FindDeploy(quant::Deploy::kGgufQ8_0, quant::Dtype::kQInt8);
  const Matrix weight = testing::RandomMatrix(kDeployedRows, 32, 1);
  qat::Embedding prepared = MakeDeployed<EmbeddingFamily>(weight, {}, deploy);
  qat::Embedding plain = testing::MakeQat<EmbeddingFamily>(weight, {}, testing::RowObserver(quant::Dtype::kQInt8));
  EQAT_ASSERT_OK(ForwardOf(prepared, AllRows<EmbeddingFamily>()));
  EQAT_ASSERT_OK(ForwardOf(plain, AllRows<EmbeddingFamily>()));
  const auto state = prepared.FakeQuantState(), expected = plain.FakeQuantState();
  EQAT_ASSERT_OK(state);
  EQAT_ASSERT_OK(expected);
  EXPECT_EQ(BitsOf(state->min_val), BitsOf(expected->min_val));
  EXPECT_EQ(BitsOf(state->scale), BitsOf(expected->scale));
  EQAT_EXPECT_OK(prepared.SetFakeQuantState(*state));
}

TEST(DeployedEqualsConvertedTest, Refusals) {
  const DeployTraits& half = *quant::FindDeploy(quant::Deploy::kTorch, quant::Dtype::kQUInt4x2);
  Matrix weight = testing::RandomMatrix(kDeployedRows, 8, 1);
  qat::Embedding prepared = MakeDeployed<EmbeddingFamily>(weight, {}, half);
  EXPECT_THAT(prepared.DisableObserver(), testing::StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("torch")));
  auto state = prepared.FakeQuantState();
  state->observer_enabled = false;
  EXPECT_THAT(prepared.SetFakeQuantState(*state),
              testing::StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("observer")));

  // A row that float16 cannot hold is named wherever it is touched, and repairing it repairs everything.
  weight.Row(6)[3] = 1e6f;
  testing::WriteRows(weight, prepared);
  const auto unfit = testing::StatusIs(absl::StatusCode::kInvalidArgument,
                                       HasSubstr("row 6: range of values does not fit into deploy torch"));
  EXPECT_THAT(ForwardOf(prepared, AllRows<EmbeddingFamily>()), unfit);
  EXPECT_THAT(LookupOf(prepared, AllRows<EmbeddingFamily>()), unfit);
  EXPECT_THAT(prepared.Convert(), unfit);
  weight.Row(6)[3] = 1.0f;
  testing::WriteRows(weight, prepared);
  EQAT_EXPECT_OK(prepared.Convert());

  nn::Embedding odd = testing::MakeFloat<EmbeddingFamily>(testing::RandomMatrix(3, 7, 1), {});
  odd.set_qconfig(ConfigFor(half));
  EXPECT_THAT(qat::Embedding::FromFloat(std::move(odd)),
              testing::StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("7 columns, expected a multiple of 2")));
}

}  // namespace
}  // namespace eqat
