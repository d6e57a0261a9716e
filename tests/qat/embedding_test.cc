// What qat::Embedding and qat::EmbeddingBag have in common; bags alone: embedding_bag_test.cc.
#include "qat/embedding.h"

#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/naive_embedding.h"
#include "tests/support/qat_modules.h"
#include "tests/support/special_floats.h"
#include "tests/support/status_matchers.h"

namespace eqat {
namespace {

using ::eqat::testing::kFloatInfinity;
using ::eqat::testing::kFloatNaN;
using ::testing::AllOf;
using testing::Batch;
using testing::BitsOf;
using ::testing::Each;
using ::testing::ElementsAre;
using testing::EmbeddingBagFamily;
using testing::EmbeddingFamily;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::MakeFloat;
using testing::MakeQat;
using testing::Matrix;
using testing::MatrixOf;
using testing::NaiveFakeQuantize;
using ::testing::Not;
using testing::QConfigOf;
using testing::RandomMatrix;
using testing::RowObserver;
using testing::StatusIs;

template <typename F>
class QatModule : public ::testing::Test {
 public:
  using Family = F;
  using Options = typename Family::Options;

  // One output per index: for bags, bags of one.
  static Batch Rows(std::vector<int64_t> rows) {
    Batch batch;
    if constexpr (std::is_same_v<Family, EmbeddingBagFamily>) {
      batch.shape = {static_cast<int64_t>(rows.size()), 1};
    }
    batch.indices = std::move(rows);
    return batch;
  }

  // A pooling mode in which a bag of one is its row; -0 aside.
  static Options DefaultOptions() {
    Options options;
    if constexpr (std::is_same_v<Family, EmbeddingBagFamily>) options.mode = PoolMode::kSum;
    return options;
  }
};
using Families = ::testing::Types<EmbeddingFamily, EmbeddingBagFamily>;
TYPED_TEST_SUITE(QatModule, Families);

template <typename Module>
std::vector<uint32_t> StateBits(const Module& module) {
  const quant::FakeQuantizeState state = *module.FakeQuantState();
  std::vector<uint32_t> bits = {state.fake_quant_enabled, state.observer_enabled};
  for (const auto* values : {&state.scale, &state.zero_point, &state.min_val, &state.max_val}) {
    for (const uint32_t value : BitsOf(*values)) bits.push_back(value);
    bits.push_back(0);
  }
  for (const uint32_t value : BitsOf(MatrixOf(module.weight().view()).values)) bits.push_back(value);
  return bits;
}

TYPED_TEST(QatModule, CreateTakesOptionsNameAndRecipe) {
  typename TestFixture::Options options = this->DefaultOptions();
  options.num_embeddings = 6;
  options.embedding_dim = 3;
  options.padding_idx = -2;
  const quant::QConfig qconfig = *quant::QConfigPreset("default_embedding_qat_qconfig_4bit");
  EQAT_ASSERT_OK_AND_ASSIGN(const auto module, TypeParam::Qat::Create(options, qconfig, /*seed=*/3, "user"));
  EXPECT_EQ(module.name(), "user");
  EXPECT_EQ(module.qconfig(), qconfig);
  EXPECT_EQ(module.options().padding_idx, 4);
  EXPECT_EQ(module.weight_fake_quant().code_range().quant_max, 15);
  EQAT_ASSERT_OK_AND_ASSIGN(const auto float_module, TypeParam::Float::Create(options, /*seed=*/3, "user"));
  EXPECT_EQ(MatrixOf(module.weight().view()).values, MatrixOf(float_module.weight().view()).values);
}

TYPED_TEST(QatModule, CreateRefusesBadOptions) {
  typename TestFixture::Options options = this->DefaultOptions();
  options.num_embeddings = -1;
  EXPECT_THAT(TypeParam::Qat::Create(options, QConfigOf(RowObserver()), 0, "user"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("user")));
}

TYPED_TEST(QatModule, FromFloatMovesTheTableAndKeepsEveryOption) {
  typename TestFixture::Options options = this->DefaultOptions();
  options.padding_idx = 1;
  options.max_norm = 2.0;
  options.norm_type = 1.0;
  options.sparse = true;
  options.requires_grad = false;
  auto float_module = MakeFloat<TypeParam>(RandomMatrix(4, 3, 1), options);
  float_module.set_qconfig(QConfigOf(RowObserver()));
  const typename TestFixture::Options expected = float_module.options();
  const float* const storage = float_module.weight().data();
  EQAT_ASSERT_OK_AND_ASSIGN(auto module, TypeParam::Qat::FromFloat(std::move(float_module)));
  EXPECT_EQ(module.weight().data(), storage);
  EXPECT_EQ(module.options(), expected);
  EXPECT_FALSE(module.options().requires_grad);
  EXPECT_EQ(module.name(), "item");

  const typename TypeParam::Float back = std::move(module).ToFloat();
  EXPECT_EQ(back.weight().data(), storage);
  EXPECT_EQ(back.options(), expected);
  EXPECT_EQ(back.name(), "item");
  EXPECT_EQ(back.qconfig(), QConfigOf(RowObserver()));
}

TYPED_TEST(QatModule, ToFloatGivesTheUnquantizedWeight) {
  const Matrix weight = RandomMatrix(4, 3, 1);
  auto module = MakeQat<TypeParam>(weight, this->DefaultOptions(), RowObserver(quant::Dtype::kQUInt4x2));
  EQAT_ASSERT_OK(ForwardOf(module, this->Rows({0, 1})));
  EXPECT_EQ(BitsOf(MatrixOf(std::move(module).ToFloat().weight().view()).values), BitsOf(weight.values));
}

TYPED_TEST(QatModule, FromFloatErrorsLeaveTheModuleUnchanged) {
  quant::QConfig observer_alone = QConfigOf(RowObserver());
  observer_alone.weight.fake_quantize = false;
  quant::ObserverConfig per_tensor;
  quant::ObserverConfig columns = RowObserver();
  columns.ch_axis = 1;
  quant::ObserverConfig empty_range = RowObserver();
  empty_range.quant_min = empty_range.quant_max = 0;
  struct Case {
    std::optional<quant::QConfig> qconfig;
    absl::StatusCode code;
    const char* message;
  };
  const Case cases[] = {
      {std::nullopt, absl::StatusCode::kFailedPrecondition, "no qconfig"},
      {observer_alone, absl::StatusCode::kInvalidArgument, "FakeQuantize"},
      {QConfigOf(per_tensor), absl::StatusCode::kInvalidArgument,
       "(got per_tensor_affine, expected per_channel_affine_float_qparams)"},
      {QConfigOf(columns), absl::StatusCode::kInvalidArgument, "ch_axis"},
      {QConfigOf(empty_range), absl::StatusCode::kInvalidArgument, "quant_m"},
  };
  for (const Case& test : cases) {
    SCOPED_TRACE(test.message);
    auto float_module = MakeFloat<TypeParam>(RandomMatrix(4, 3, 1), this->DefaultOptions());
    float_module.set_qconfig(test.qconfig);
    const float* const storage = float_module.weight().data();
    EXPECT_THAT(TypeParam::Qat::FromFloat(std::move(float_module)),
                StatusIs(test.code, AllOf(HasSubstr("item"), HasSubstr(test.message))));
    EXPECT_EQ(float_module.weight().data(), storage);
    EXPECT_EQ(float_module.weight().rows(), 4);
    EXPECT_EQ(float_module.name(), "item");
    EXPECT_EQ(float_module.qconfig(), test.qconfig);
  }
}

TYPED_TEST(QatModule, ForwardQuantizesWhatItLooksUp) {
  const Matrix weight = RandomMatrix(6, 5, 2);
  auto module = MakeQat<TypeParam>(weight, this->DefaultOptions(), RowObserver(quant::Dtype::kQUInt4x2));
  NaiveFakeQuantize naive(RowObserver(quant::Dtype::kQUInt4x2));
  const Matrix table = naive.Forward(weight);
  const Batch batch = this->Rows({5, 0, 5, 3});
  EQAT_ASSERT_OK_AND_ASSIGN(const Matrix out, ForwardOf(module, batch));
  EXPECT_EQ(BitsOf(out.values), BitsOf(NaiveLookup(table, module.options(), batch).values));
  EXPECT_EQ(BitsOf(MatrixOf(module.weight().view()).values), BitsOf(weight.values));
}

TYPED_TEST(QatModule, ErrorsOfTheBatchNameTheModuleAndChangeNothing) {
  for (const std::optional<double> max_norm : {std::optional<double>(), std::optional<double>(0.1)}) {
    typename TestFixture::Options options = this->DefaultOptions();
    options.max_norm = max_norm;
    auto module = MakeQat<TypeParam>(RandomMatrix(6, 5, 2), options, RowObserver());
    EQAT_ASSERT_OK(ForwardOf(module, this->Rows({1})));
    const std::vector<uint32_t> before = StateBits(module);
    for (const int64_t bad : {int64_t{6}, int64_t{-1}, std::numeric_limits<int64_t>::min()}) {
      Matrix out(2, 5);
      out.values.assign(10, 42.0f);
      const Batch batch = this->Rows({0, bad});
      for (const absl::Status& status : {module.Lookup(batch.input(), out.mutable_view()),
                                         module.Forward(batch.input(), out.mutable_view(), nullptr),
                                         module.ForwardEvaluation(batch.input(), out.mutable_view(), nullptr)}) {
        EXPECT_THAT(status, StatusIs(absl::StatusCode::kOutOfRange, HasSubstr("item")));
      }
      EXPECT_THAT(out.values, Each(42.0f));
    }
    Matrix narrow(1, 4);
    Matrix tall(2, 5);
    for (Matrix* out : {&narrow, &tall}) {
      const Batch batch = this->Rows({0});
      for (const absl::Status& status : {module.Lookup(batch.input(), out->mutable_view()),
                                         module.Forward(batch.input(), out->mutable_view(), nullptr),
                                         module.ForwardEvaluation(batch.input(), out->mutable_view(), nullptr)}) {
        EXPECT_THAT(status, StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("item")));
      }
    }
    EXPECT_EQ(StateBits(module), before);
  }
}

TYPED_TEST(QatModule, NotFiniteRowIsAnErrorWhereItIsTouchedAndHealsWithTheRow) {
  for (const double averaging_constant : {1.0, 0.01, 0.0}) {
    for (const std::optional<double> max_norm : {std::optional<double>(), std::optional<double>(2.0)}) {
      for (const float bad : {kFloatNaN, kFloatInfinity, -kFloatInfinity}) {
        SCOPED_TRACE(::testing::Message() << averaging_constant << " " << max_norm.value_or(0) << " " << bad);
        typename TestFixture::Options options = this->DefaultOptions();
        options.max_norm = max_norm;
        auto module =
            MakeQat<TypeParam>(RandomMatrix(9, 5, 2), options, RowObserver(quant::Dtype::kQUInt8, averaging_constant));
        EQAT_ASSERT_OK(ForwardOf(module, this->Rows({0, 7})));
        const std::vector<uint32_t> before = StateBits(module);
        const float good = module.weight().Row(7)[3];
        module.WillModifyRows({7});
        module.mutable_weight().Row(7)[3] = bad;
        const std::vector<float> rows_before = MatrixOf(module.weight().view()).values;

        const auto names_the_row =
            StatusIs(absl::StatusCode::kInvalidArgument, AllOf(HasSubstr("item"), HasSubstr("row 7"), HasSubstr("3")));
        EXPECT_THAT(ForwardOf(module, this->Rows({2, 7})), names_the_row);
        EXPECT_THAT(ForwardEvaluationOf(module, this->Rows({2, 7})), names_the_row);
        EXPECT_THAT(LookupOf(module, this->Rows({2, 7})), names_the_row);
        EXPECT_THAT(module.Convert(), names_the_row);
        EXPECT_EQ(BitsOf(MatrixOf(module.weight().view()).values), BitsOf(rows_before));
        EQAT_EXPECT_OK(LookupOf(module, this->Rows({1, 8})));

        module.WillModifyRows({7});
        module.mutable_weight().Row(7)[3] = good;
        EXPECT_EQ(StateBits(module), before);
        EQAT_EXPECT_OK(ForwardOf(module, this->Rows({2, 7})));
        EQAT_EXPECT_OK(module.Convert());
      }
    }
  }
}

TYPED_TEST(QatModule, MaxNormThatOverflowsIsAnErrorAndStoresNothing) {
  typename TestFixture::Options options = this->DefaultOptions();
  options.max_norm = -1e300;
  Matrix weight = RandomMatrix(4, 3, 1);
  auto module = MakeQat<TypeParam>(weight, options, RowObserver());
  EXPECT_THAT(ForwardOf(module, this->Rows({2})),
              StatusIs(absl::StatusCode::kInvalidArgument, AllOf(HasSubstr("item"), HasSubstr("row 2"))));
  EXPECT_EQ(BitsOf(MatrixOf(module.weight().view()).values), BitsOf(weight.values));
}

TYPED_TEST(QatModule, ObserverOffFromTheStartIsAnError) {
  for (const int64_t rows : {int64_t{1}, int64_t{3}}) {
    for (const std::optional<double> max_norm : {std::optional<double>(), std::optional<double>(0.1)}) {
      typename TestFixture::Options options = this->DefaultOptions();
      options.max_norm = max_norm;
      const Matrix weight = RandomMatrix(rows, 4, 1);
      auto module = MakeQat<TypeParam>(weight, options, RowObserver());
      EQAT_ASSERT_OK(module.DisableObserver());
      const auto never_observed = StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("item"));
      EXPECT_THAT(ForwardOf(module, this->Rows({0})), never_observed);
      EXPECT_THAT(ForwardEvaluationOf(module, this->Rows({0})), never_observed);
      EXPECT_THAT(LookupOf(module, this->Rows({0})), never_observed);
      EXPECT_THAT(module.Convert(), never_observed);
      EXPECT_EQ(BitsOf(MatrixOf(module.weight().view()).values), BitsOf(weight.values));
    }
  }
}

TYPED_TEST(QatModule, FrozenObserverClampsAndMasksWhatMovesOut) {
  Matrix weight(2, 4);
  weight.values = {-1, 0, 0.5, 1, 0, 1, 2, 3};
  auto module = MakeQat<TypeParam>(weight, this->DefaultOptions(), RowObserver());
  EQAT_ASSERT_OK(ForwardOf(module, this->Rows({0})));
  EQAT_ASSERT_OK(module.DisableObserver());
  module.WillModifyRows({0});
  for (const int column : {1, 3}) module.mutable_weight().Row(0)[column] *= 10.0f;  // only 1 -> 10 moves out
  Matrix ones(1, 4);
  ones.values.assign(4, 1.0f);
  for (const bool training : {true, false}) {
    SCOPED_TRACE(training);
    nn::LookupContext context;
    EQAT_ASSERT_OK_AND_ASSIGN(const Matrix out, training ? ForwardOf(module, this->Rows({0}), &context)
                                                         : ForwardEvaluationOf(module, this->Rows({0}), &context));
    EXPECT_THAT(out.values, ElementsAre(-1, ::testing::FloatNear(0, 0.008f), ::testing::FloatNear(0.5, 0.008f),
                                        ::testing::FloatNear(1, 1e-6f)));
    EQAT_ASSERT_OK_AND_ASSIGN(const nn::EmbeddingGradients gradients, module.Backward(context, ones.view()));
    EXPECT_THAT(gradients.weight.rows, ElementsAre(0));
    EXPECT_THAT(gradients.weight.values, ElementsAre(1, 1, 1, 0));
  }
  EQAT_ASSERT_OK_AND_ASSIGN(const quant::FakeQuantizeState state, module.FakeQuantState());
  EXPECT_THAT(state.max_val, ElementsAre(1, 3));
  module.EnableObserver();
  EQAT_ASSERT_OK_AND_ASSIGN(const Matrix out, ForwardOf(module, this->Rows({0})));
  EXPECT_NEAR(out.values[3], 10, 1e-5);
}

TYPED_TEST(QatModule, EvaluationNeverObserves) {
  for (const double averaging_constant : {1.0, 0.01, 0.0}) {
    SCOPED_TRACE(averaging_constant);
    auto module = MakeQat<TypeParam>(RandomMatrix(5, 4, 3), this->DefaultOptions(),
                                     RowObserver(quant::Dtype::kQUInt8, averaging_constant));
    EQAT_ASSERT_OK(ForwardEvaluationOf(module, this->Rows({0, 1})));
    EQAT_ASSERT_OK(LookupOf(module, this->Rows({0, 1})));
    EXPECT_THAT(module.FakeQuantState()->min_val, IsEmpty());
    EXPECT_THAT(module.FakeQuantState()->scale, ElementsAre(1));

    EQAT_ASSERT_OK(ForwardOf(module, this->Rows({0, 1})));
    const Matrix moved = RandomMatrix(5, 4, 4, 9.0f);
    testing::WriteRows(moved, module);
    const std::vector<uint32_t> before = StateBits(module);
    EQAT_ASSERT_OK(ForwardEvaluationOf(module, this->Rows({0, 3})));
    EQAT_ASSERT_OK(LookupOf(module, this->Rows({0, 3})));
    EQAT_ASSERT_OK(module.Convert());
    EXPECT_EQ(StateBits(module), before);
  }
}

TYPED_TEST(QatModule, MaxNormStoresTheRowsOfTheBatchBeforeTheyAreObserved) {
  typename TestFixture::Options options = this->DefaultOptions();
  options.max_norm = 1.0;
  options.padding_idx = 2;
  Matrix weight(4, 2);
  weight.values = {3, 4, 0.3f, 0.4f, 6, 8, 9, 12};
  for (const bool training : {true, false}) {
    SCOPED_TRACE(training);
    auto module = MakeQat<TypeParam>(weight, options, RowObserver());
    const Batch batch = this->Rows({0, 1, 2, 0});
    EQAT_ASSERT_OK(LookupOf(module, batch));
    EXPECT_EQ(MatrixOf(module.weight().view()).values, weight.values);
    EQAT_ASSERT_OK(training ? ForwardOf(module, batch) : ForwardEvaluationOf(module, batch));
    const std::vector<uint32_t> stored = BitsOf(MatrixOf(module.weight().view()).values);
    EXPECT_THAT(std::vector<uint32_t>(stored.begin(), stored.begin() + 4),
                ElementsAre(0x3f19999au, 0x3f4ccccdu, BitsOf(0.3f), BitsOf(0.4f)));
    EXPECT_NEAR(module.weight().Row(2)[0], 0.6f, 1e-6);  // the padding row is renormalized too
    EXPECT_EQ(module.weight().Row(3)[1], 12);            // not looked up
    EQAT_ASSERT_OK_AND_ASSIGN(const quant::FakeQuantizeState state, module.FakeQuantState());
    if (training) {
      EXPECT_EQ(BitsOf(state.max_val[0]), 0x3f4ccccdu);
      EXPECT_EQ(state.max_val[3], 12);
    } else {
      EXPECT_THAT(state.max_val, IsEmpty());
    }
  }
}

TYPED_TEST(QatModule, MaxNormActsWithFakeQuantizationDisabled) {
  typename TestFixture::Options options = this->DefaultOptions();
  options.max_norm = 1.0;
  Matrix weight(1, 2);
  weight.values = {3, 4};
  auto module = MakeQat<TypeParam>(weight, options, RowObserver());
  module.DisableFakeQuant();
  for (int call = 0; call < 3; ++call) {
    EQAT_ASSERT_OK_AND_ASSIGN(const Matrix out, call == 0   ? LookupOf(module, this->Rows({0}))
                                                : call == 1 ? ForwardEvaluationOf(module, this->Rows({0}))
                                                            : ForwardOf(module, this->Rows({0})));
    EXPECT_THAT(BitsOf(out.values), ElementsAre(0x3f19999au, 0x3f4ccccdu));
  }
}

TYPED_TEST(QatModule, FakeQuantizationDisabledIsTheFloatModule) {
  const Matrix weight = RandomMatrix(6, 5, 2);
  auto module = MakeQat<TypeParam>(weight, this->DefaultOptions(), RowObserver(quant::Dtype::kQUInt4x2));
  module.DisableFakeQuant();
  const Batch batch = this->Rows({5, 0, 5, 3});
  const std::vector<uint32_t> expected = BitsOf(NaiveLookup(weight, module.options(), batch).values);
  nn::LookupContext context;
  EQAT_ASSERT_OK_AND_ASSIGN(const Matrix out, ForwardOf(module, batch, &context));
  EXPECT_EQ(BitsOf(out.values), expected);
  EXPECT_THAT(context.mask, Each(1));
  EXPECT_EQ(BitsOf(LookupOf(module, batch)->values), expected);
  EXPECT_EQ(BitsOf(ForwardEvaluationOf(module, batch, &context)->values), expected);
  EXPECT_EQ(module.FakeQuantState()->min_val.size(), 6);  // it went on observing

  EXPECT_THAT(module.Convert(),
              StatusIs(absl::StatusCode::kFailedPrecondition, AllOf(HasSubstr("item"), HasSubstr("disabled"))));
  module.EnableFakeQuant();
  EQAT_EXPECT_OK(module.Convert());
}

TYPED_TEST(QatModule, WithEverythingOffOnlyNotFiniteRowsAreErrors) {
  for (const std::optional<double> max_norm : {std::optional<double>(), std::optional<double>(2.0)}) {
    typename TestFixture::Options options = this->DefaultOptions();
    options.max_norm = max_norm;
    Matrix weight = RandomMatrix(4, 3, 1);
    weight.Row(2)[1] = kFloatNaN;
    auto module = MakeQat<TypeParam>(weight, options, RowObserver());
    module.DisableFakeQuant();
    EQAT_ASSERT_OK(module.DisableObserver());  // and it has never run
    testing::NaiveRenorm(options, {0, 3}, weight);
    const Batch good = this->Rows({0, 3});
    const Batch bad = this->Rows({0, 1, 2});
    const std::vector<uint32_t> expected = BitsOf(NaiveLookup(weight, module.options(), good).values);
    const auto names_the_row = StatusIs(
        absl::StatusCode::kInvalidArgument,
        HasSubstr("item: row 2: holds a value that is not finite (got nan at column 1, expected finite values)"));
    EXPECT_THAT(LookupOf(module, bad), names_the_row);
    EXPECT_THAT(ForwardEvaluationOf(module, bad), names_the_row);
    EXPECT_THAT(ForwardOf(module, bad), names_the_row);
    EXPECT_EQ(BitsOf(LookupOf(module, good)->values), expected);
    EXPECT_EQ(BitsOf(ForwardEvaluationOf(module, good)->values), expected);
    EXPECT_EQ(BitsOf(ForwardOf(module, good)->values), expected);
    EXPECT_THAT(module.FakeQuantState()->min_val, IsEmpty());
  }
}

TYPED_TEST(QatModule, BackwardIsTheFloatGradientWhileNothingIsClamped) {
  typename TestFixture::Options options = this->DefaultOptions();
  options.padding_idx = 2;
  options.scale_grad_by_freq = true;
  const Matrix weight = RandomMatrix(6, 3, 2);
  auto module = MakeQat<TypeParam>(weight, options, RowObserver());
  auto float_module = MakeFloat<TypeParam>(weight, options);
  const Batch batch = this->Rows({5, 0, 5, 2, 5});
  nn::LookupContext context, float_context;
  EQAT_ASSERT_OK(ForwardOf(module, batch, &context));
  EQAT_ASSERT_OK(ForwardOf(float_module, batch, &float_context));
  const Matrix grad_output = RandomMatrix(5, 3, 8);
  EQAT_ASSERT_OK_AND_ASSIGN(const nn::EmbeddingGradients actual, module.Backward(context, grad_output.view()));
  EQAT_ASSERT_OK_AND_ASSIGN(const nn::EmbeddingGradients expected,
                            float_module.Backward(float_context, grad_output.view()));
  EXPECT_THAT(actual.weight.rows, ElementsAre(0, 5));
  EXPECT_EQ(actual.weight.rows, expected.weight.rows);
  EXPECT_EQ(BitsOf(actual.weight.values), BitsOf(expected.weight.values));
  EXPECT_THAT(module.Backward(context, RandomMatrix(4, 3, 8).view()),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("item")));
}

TYPED_TEST(QatModule, FrozenTableHasNoGradient) {
  typename TestFixture::Options options = this->DefaultOptions();
  options.requires_grad = false;
  auto module = MakeQat<TypeParam>(RandomMatrix(6, 3, 2), options, RowObserver());
  nn::LookupContext context;
  EQAT_ASSERT_OK(ForwardOf(module, this->Rows({1, 2}), &context));
  const Matrix grad_output = RandomMatrix(2, 3, 8);
  EQAT_ASSERT_OK_AND_ASSIGN(const nn::EmbeddingGradients frozen, module.Backward(context, grad_output.view()));
  EXPECT_THAT(frozen.weight.rows, IsEmpty());
  module.set_requires_grad(true);
  EQAT_ASSERT_OK_AND_ASSIGN(const nn::EmbeddingGradients thawed, module.Backward(context, grad_output.view()));
  EXPECT_THAT(thawed.weight.rows, ElementsAre(1, 2));
}

TYPED_TEST(QatModule, AFailedForwardLeavesNoContext) {
  auto module = MakeQat<TypeParam>(RandomMatrix(6, 3, 2), this->DefaultOptions(), RowObserver());
  nn::LookupContext context;
  EQAT_ASSERT_OK(ForwardOf(module, this->Rows({1, 2}), &context));
  module.WillModifyRows({4});
  module.mutable_weight().Row(4)[0] = kFloatNaN;
  EXPECT_THAT(ForwardOf(module, this->Rows({0, 3, 4}), &context), Not(testing::IsOk()));
  EXPECT_THAT(module.Backward(context, RandomMatrix(3, 3, 8).view()), Not(testing::IsOk()));
}

TYPED_TEST(QatModule, TablesWithoutRowsOrColumns) {
  for (const auto& [rows, cols] : {std::pair<int64_t, int64_t>{0, 3}, {3, 0}, {0, 0}}) {
    SCOPED_TRACE(::testing::Message() << rows << " x " << cols);
    for (const std::optional<double> max_norm : {std::optional<double>(), std::optional<double>(2.0)}) {
      typename TestFixture::Options options = this->DefaultOptions();
      options.max_norm = max_norm;
      auto module = MakeQat<TypeParam>(Matrix(rows, cols), options, RowObserver());
      const Batch batch = this->Rows(rows == 0 ? std::vector<int64_t>() : std::vector<int64_t>{2, 0});
      nn::LookupContext context;
      EQAT_ASSERT_OK_AND_ASSIGN(const Matrix out, ForwardOf(module, batch, &context));
      EXPECT_EQ(out.rows, rows == 0 ? 0 : 2);
      EQAT_EXPECT_OK(module.Backward(context, out.view()));
      EQAT_EXPECT_OK(ForwardEvaluationOf(module, batch));
      EQAT_EXPECT_OK(LookupOf(module, batch));
      EQAT_EXPECT_OK(module.FakeQuantState());
      EQAT_ASSERT_OK_AND_ASSIGN(const auto converted, module.Convert());
      EQAT_EXPECT_OK(LookupOf(converted, batch));
      EQAT_EXPECT_OK(module.DisableObserver());
    }
  }
}

TYPED_TEST(QatModule, StateRoundTrip) {
  const Matrix weight = RandomMatrix(5, 4, 3);
  for (const double averaging_constant : {1.0, 0.01, 0.0}) {
    auto trained =
        MakeQat<TypeParam>(weight, this->DefaultOptions(), RowObserver(quant::Dtype::kQUInt8, averaging_constant));
    EQAT_ASSERT_OK(ForwardOf(trained, this->Rows({0})));
    testing::WriteRows(RandomMatrix(5, 4, 4), trained);
    EQAT_ASSERT_OK(ForwardOf(trained, this->Rows({1})));
    EQAT_ASSERT_OK(trained.DisableObserver());

    auto loaded = MakeQat<TypeParam>(MatrixOf(trained.weight().view()), this->DefaultOptions(),
                                     RowObserver(quant::Dtype::kQUInt8, averaging_constant));
    EQAT_ASSERT_OK(loaded.SetFakeQuantState(*trained.FakeQuantState()));
    EXPECT_EQ(StateBits(loaded), StateBits(trained));
    EQAT_ASSERT_OK_AND_ASSIGN(const Matrix expected, ForwardOf(trained, this->Rows({0, 4})));
    EQAT_ASSERT_OK_AND_ASSIGN(const Matrix actual, ForwardOf(loaded, this->Rows({0, 4})));
    EXPECT_EQ(BitsOf(actual.values), BitsOf(expected.values));
  }
}

TYPED_TEST(QatModule, StateOfAnotherTableIsRefused) {
  auto module = MakeQat<TypeParam>(RandomMatrix(5, 4, 3), this->DefaultOptions(), RowObserver());
  EQAT_ASSERT_OK(ForwardOf(module, this->Rows({0})));
  const std::vector<uint32_t> before = StateBits(module);
  quant::FakeQuantizeState state = *module.FakeQuantState();
  state.scale.resize(4);
  EXPECT_THAT(module.SetFakeQuantState(state),
              StatusIs(absl::StatusCode::kInvalidArgument, AllOf(HasSubstr("item"), HasSubstr("scale"))));
  EXPECT_EQ(StateBits(module), before);
}

TYPED_TEST(QatModule, ConvertCarriesOptionsNameAndDtype) {
  typename TestFixture::Options options = this->DefaultOptions();
  options.padding_idx = 1;
  options.max_norm = 0.5;
  auto module = MakeQat<TypeParam>(RandomMatrix(5, 4, 3), options, RowObserver(quant::Dtype::kUInt3));
  const std::vector<uint32_t> before = StateBits(module);
  EQAT_ASSERT_OK_AND_ASSIGN(const typename TypeParam::Quantized converted, module.Convert());
  EXPECT_EQ(StateBits(module), before);
  EXPECT_EQ(converted.name(), "item");
  EXPECT_EQ(converted.weight().dtype(), quant::Dtype::kUInt3);
  typename TestFixture::Options expected = module.options();
  expected.max_norm.reset();
  EXPECT_EQ(converted.options(), expected);
}

TYPED_TEST(QatModule, ResultWithoutNameIsNamedAfterItsType) {
  auto module = MakeQat<TypeParam>(RandomMatrix(5, 4, 3), this->DefaultOptions(), RowObserver(), /*name=*/"");
  EXPECT_THAT(LookupOf(module, this->Rows({5})),
              StatusIs(absl::StatusCode::kOutOfRange, HasSubstr(TypeParam::kQatName)));
}

TYPED_TEST(QatModule, PrintsAsTorchDoes) {
  typename TestFixture::Options options = this->DefaultOptions();
  options.padding_idx = 0;
  const auto module = MakeQat<TypeParam>(RandomMatrix(10, 3, 3), options, RowObserver());
  const std::string text = module.ToString();
  const std::string head = std::is_same_v<TypeParam, EmbeddingFamily>
                               ? "Embedding(\n  10, 3, padding_idx=0\n"
                               : "EmbeddingBag(\n  10, 3, mode=sum, padding_idx=0\n";
  EXPECT_THAT(text, ::testing::StartsWith(head + "  (weight_fake_quant): FakeQuantize(fake_quant_enabled=tensor([1], "
                                                 "dtype=torch.uint8), observer_enabled=tensor([1], "
                                                 "dtype=torch.uint8), quant_min=0, quant_max=255, dtype=torch.quint8"));
  EXPECT_THAT(text, ::testing::EndsWith(")\n)"));
}

TEST(QatEmbedding, KeepsTheSignOfZero) {
  Matrix weight(1, 2);
  weight.values = {-0.0f, 0.0f};
  auto module = MakeQat<EmbeddingFamily>(weight, nn::EmbeddingOptions(), RowObserver());
  module.DisableFakeQuant();
  Batch batch;
  batch.indices = {0};
  EXPECT_THAT(BitsOf(ForwardOf(module, batch)->values), ElementsAre(0x80000000u, 0u));
  EXPECT_THAT(BitsOf(LookupOf(module, batch)->values), ElementsAre(0x80000000u, 0u));
}

TEST(QatEmbedding, ZeroPaddingRowStaysZero) {
  Matrix weight = RandomMatrix(3, 4, 1);
  std::fill_n(weight.Row(1), 4, 0.0f);
  nn::EmbeddingOptions options;
  options.padding_idx = 1;
  auto module = MakeQat<EmbeddingFamily>(weight, options, RowObserver(quant::Dtype::kQUInt4x2));
  Batch batch;
  batch.indices = {1, 0, 1};
  batch.shape = {1, 3};
  EQAT_ASSERT_OK_AND_ASSIGN(const Matrix out, ForwardOf(module, batch));
  for (const int64_t row : {0, 2}) {
    EXPECT_THAT(std::vector<float>(out.Row(row), out.Row(row) + 4), Each(0.0f));
  }
}

}  // namespace
}  // namespace eqat
