#include "quant/fake_quantize.h"

#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/float_bits.h"
#include "tests/support/special_floats.h"
#include "tests/support/status_matchers.h"

namespace eqat::quant {
namespace {

using eqat::testing::BitsOf;
using ::eqat::testing::kFloatInfinity;
using ::eqat::testing::kFloatNaN;
using eqat::testing::StatusIs;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

auto Invalid(const char* part) { return StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(part)); }

WeightConfig WeightConfigOf(QScheme qscheme, Dtype dtype = Dtype::kQUInt8) {
  WeightConfig config;
  config.observer.kind = TraitsOf(qscheme).per_channel ? ObserverKind::kPerChannelMinMax : ObserverKind::kMinMax;
  config.observer.qscheme = qscheme;
  config.observer.dtype = dtype;
  return config;
}

WeightConfig RowConfig() { return WeightConfigOf(QScheme::kPerChannelAffineFloatQParams); }

FakeQuantize Make(const WeightConfig& config) {
  absl::StatusOr<FakeQuantize> fake_quantize = FakeQuantize::Create(config);
  EQAT_EXPECT_OK(fake_quantize);
  return *std::move(fake_quantize);
}

// A [2, 3] table with a place for results.
struct Batch {
  std::vector<float> x = {-1.0f, 0.5f, 2.0f, 0.1f, 0.5f, 2.0f};
  std::vector<float> y = std::vector<float>(6);
  std::vector<uint8_t> mask = std::vector<uint8_t>(6, 9);
  TableView in() const { return TableView(x.data(), 2, 3); }
  MutableTableView out() { return MutableTableView(y.data(), 2, 3); }
  absl::Status Forward(FakeQuantize& fake_quantize) { return fake_quantize.Forward(in(), out(), mask.data()); }
  absl::Status ForwardRows(FakeQuantize& fake_quantize) {
    return fake_quantize.ForwardRows(in(), {0, 1}, out(), mask.data());
  }
};

FakeQuantizeState LoadedState() {
  FakeQuantizeState state;
  state.scale = {0.5f, 0.25f};
  state.zero_point = {2.0f, -3.5f};
  state.min_val = {-1.0f, 0.0f};
  state.max_val = {1.0f, 7.0f};
  return state;
}

TEST(FakeQuantizeTest, CreateRefusesWhatCannotFakeQuantize) {
  WeightConfig config = RowConfig();
  config.fake_quantize = false;
  EXPECT_THAT(FakeQuantize::Create(config), Invalid("an observer alone"));
  config = RowConfig();
  config.observer.kind = ObserverKind::kNoop;
  EXPECT_THAT(FakeQuantize::Create(config), Invalid("NoopObserver"));
}

TEST(FakeQuantizeTest, StartsAsTorch) {
  const FakeQuantize fake_quantize = Make(RowConfig());
  EXPECT_TRUE(fake_quantize.IsRowWise());
  EXPECT_EQ(fake_quantize.code_range().quant_max, 255);
  EQAT_ASSERT_OK_AND_ASSIGN(const FakeQuantizeState state, fake_quantize.State(nullptr));
  EXPECT_TRUE(state.fake_quant_enabled);
  EXPECT_TRUE(state.observer_enabled);
  EXPECT_THAT(state.scale, ElementsAre(1.0f));
  EXPECT_THAT(state.zero_point, ElementsAre(0.0f));
  EXPECT_EQ(state.eps, 0x1p-23f);
  EXPECT_THAT(state.min_val, IsEmpty());
  EQAT_ASSERT_OK_AND_ASSIGN(const FakeQuantizeState per_tensor,
                            Make(WeightConfigOf(QScheme::kPerTensorAffine)).State(nullptr));
  EXPECT_THAT(per_tensor.min_val, ElementsAre(kFloatInfinity));
  EXPECT_THAT(per_tensor.max_val, ElementsAre(-kFloatInfinity));
}

TEST(FakeQuantizeTest, ForwardMayWorkInPlace) {
  for (const QScheme qscheme :
       {QScheme::kPerChannelAffineFloatQParams, QScheme::kPerChannelSymmetric, QScheme::kPerTensorAffine}) {
    for (const int ch_axis : {0, 1}) {
      WeightConfig config = WeightConfigOf(qscheme, Dtype::kQUInt4x2);
      config.observer.ch_axis = ch_axis;
      Batch batch;
      FakeQuantize fake_quantize = Make(config);
      EQAT_ASSERT_OK(batch.Forward(fake_quantize));
      FakeQuantize in_place = Make(config);
      EQAT_ASSERT_OK(in_place.Forward(batch.in(), MutableTableView(batch.x.data(), 2, 3), nullptr));
      EXPECT_EQ(BitsOf(batch.x), BitsOf(batch.y));
    }
  }
}

TEST(FakeQuantizeTest, ObserverOffAndNeverRanIsAnError) {
  for (const QScheme qscheme : {QScheme::kPerChannelAffineFloatQParams, QScheme::kPerTensorAffine}) {
    FakeQuantize fake_quantize = Make(WeightConfigOf(qscheme));
    EQAT_ASSERT_OK(fake_quantize.DisableObserver(nullptr));
    Batch batch;
    const auto not_ready = StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("never ran"));
    EXPECT_THAT(batch.Forward(fake_quantize), not_ready);
    if (!fake_quantize.IsRowWise()) continue;
    EXPECT_THAT(batch.ForwardRows(fake_quantize), not_ready);
    EXPECT_THAT(fake_quantize.EvaluateRows(batch.in(), {}, MutableTableView()), not_ready);
    EXPECT_THAT(fake_quantize.EvaluateContent(batch.in(), {0, 1}, batch.in(), batch.out(), nullptr, nullptr),
                not_ready);
    // A single row too, though torch then takes scale 1.
    EXPECT_THAT(fake_quantize.ForwardRows(TableView(batch.x.data(), 1, 3), {0}, batch.out(), nullptr), not_ready);
  }
}

TEST(FakeQuantizeTest, BothOffPassesTheRows) {
  FakeQuantize fake_quantize = Make(RowConfig());
  EQAT_ASSERT_OK(fake_quantize.DisableObserver(nullptr));
  fake_quantize.DisableFakeQuant();
  Batch batch;
  EQAT_ASSERT_OK(batch.ForwardRows(fake_quantize));
  EXPECT_EQ(batch.y, batch.x);
  EXPECT_THAT(batch.mask, Each(1));
}

TEST(FakeQuantizeTest, ObservesWithFakeQuantOff) {
  FakeQuantize fake_quantize = Make(RowConfig());
  fake_quantize.DisableFakeQuant();
  Batch batch;
  EQAT_ASSERT_OK(batch.ForwardRows(fake_quantize));
  EXPECT_EQ(batch.y, batch.x);
  const TableView table = batch.in();
  EQAT_ASSERT_OK_AND_ASSIGN(const FakeQuantizeState state, fake_quantize.State(&table));
  EXPECT_THAT(state.min_val, ElementsAre(-1.0f, 0.1f));
}

TEST(FakeQuantizeTest, ErrorInForwardChangesNothing) {
  for (const QScheme qscheme :
       {QScheme::kPerChannelAffineFloatQParams, QScheme::kPerChannelAffine, QScheme::kPerTensorAffine}) {
    FakeQuantize fake_quantize = Make(WeightConfigOf(qscheme));
    Batch batch;
    EQAT_ASSERT_OK(batch.Forward(fake_quantize));
    EQAT_ASSERT_OK_AND_ASSIGN(const FakeQuantizeState before, fake_quantize.State(nullptr));
    batch.x = {-5.0f, 5.0f, 5.0f, 0.0f, 1.0f, kFloatNaN};
    const std::vector<uint32_t> x = BitsOf(batch.x);
    EXPECT_THAT(fake_quantize.Forward(batch.in(), MutableTableView(batch.x.data(), 2, 3), nullptr),
                Invalid("row 1: holds a value that is not finite (got nan at column 2"));
    EXPECT_EQ(BitsOf(batch.x), x);
    EQAT_ASSERT_OK_AND_ASSIGN(const FakeQuantizeState after, fake_quantize.State(nullptr));
    EXPECT_EQ(after.min_val, before.min_val);
    EXPECT_EQ(after.scale, before.scale);
    EQAT_ASSERT_OK(fake_quantize.DisableObserver(nullptr));
    EXPECT_THAT(batch.Forward(fake_quantize), Invalid("row 1: holds a value that is not finite"));
  }
}

TEST(FakeQuantizeTest, OverflowingRangeIsAnErrorThatNamesTheRow) {
  Batch batch;
  batch.x = {0.0f, 1.0f, 2.0f, -3e38f, 0.0f, 1e38f};
  FakeQuantize fake_quantize = Make(RowConfig());
  EXPECT_THAT(batch.ForwardRows(fake_quantize),
              Invalid("row 1: range of values overflows float32 (got -3e+38 to 1e+38, expected a finite scale)"));
  EXPECT_THAT(batch.Forward(fake_quantize), Invalid("row 1: range of values overflows float32"));
  FakeQuantize per_tensor = Make(WeightConfigOf(QScheme::kPerTensorAffine));
  EXPECT_THAT(batch.Forward(per_tensor), Invalid("range of values overflows float32"));
  // Symmetric scales need no range.
  FakeQuantize symmetric = Make(WeightConfigOf(QScheme::kPerChannelSymmetric, Dtype::kQInt8));
  EQAT_EXPECT_OK(batch.ForwardRows(symmetric));
}

TEST(FakeQuantizeTest, RowsNeedARowWiseSchemeAndTheSameTable) {
  Batch batch;
  FakeQuantize per_tensor = Make(WeightConfigOf(QScheme::kPerTensorAffine));
  EXPECT_THAT(batch.ForwardRows(per_tensor), Invalid("does not work by rows"));
  WeightConfig columns = WeightConfigOf(QScheme::kPerChannelAffine);
  columns.observer.ch_axis = 1;
  EXPECT_FALSE(Make(columns).IsRowWise());
  FakeQuantize fake_quantize = Make(RowConfig());
  EQAT_ASSERT_OK(batch.ForwardRows(fake_quantize));
  const TableView shorter(batch.x.data(), 1, 3);
  EXPECT_THAT(fake_quantize.ForwardRows(shorter, {0}, batch.out(), nullptr), Invalid("number of rows has changed"));
  EXPECT_THAT(fake_quantize.State(&shorter), Invalid("number of rows has changed"));
}

TEST(FakeQuantizeTest, ColumnsMustStayAsMany) {
  WeightConfig config = WeightConfigOf(QScheme::kPerChannelAffine);
  config.observer.ch_axis = 1;
  FakeQuantize fake_quantize = Make(config);
  Batch batch;
  EQAT_ASSERT_OK(batch.Forward(fake_quantize));
  std::vector<float> y(6);
  const auto turned = [&] {
    return fake_quantize.Forward(TableView(batch.x.data(), 3, 2), MutableTableView(y.data(), 3, 2), nullptr);
  };
  EXPECT_THAT(turned(), Invalid("number of channels has changed"));
  EQAT_ASSERT_OK(fake_quantize.DisableObserver(nullptr));
  EXPECT_THAT(turned(), Invalid("number of channels has changed"));
}

TEST(FakeQuantizeTest, OutputMustHaveTheShapeOfTheInput) {
  FakeQuantize fake_quantize = Make(RowConfig());
  Batch batch;
  EXPECT_THAT(fake_quantize.Forward(batch.in(), MutableTableView(batch.y.data(), 3, 2), nullptr),
              Invalid("output has another shape (got [3, 2], expected [2, 3])"));
}

TEST(FakeQuantizeTest, EmptyTablesAreNotObserved) {
  for (const int64_t rows : {0, 2}) {
    FakeQuantize fake_quantize = Make(RowConfig());
    const TableView empty(nullptr, rows, rows == 0 ? 3 : 0);
    std::vector<int64_t> all;
    for (int64_t row = 0; row < rows; ++row) all.push_back(row);
    EQAT_ASSERT_OK(fake_quantize.ForwardRows(empty, all, MutableTableView(nullptr, rows, empty.cols), nullptr));
    EQAT_ASSERT_OK(fake_quantize.EvaluateRows(empty, all, MutableTableView(nullptr, rows, empty.cols)));
    EQAT_ASSERT_OK(fake_quantize.Forward(empty, MutableTableView(nullptr, rows, empty.cols), nullptr));
    std::vector<QParams> qparams(rows);
    EQAT_ASSERT_OK(fake_quantize.EvaluateContent(empty, all, empty, MutableTableView(), nullptr, qparams.data()));
    fake_quantize.WillModifyAllRows(empty);
    EQAT_ASSERT_OK_AND_ASSIGN(const FakeQuantizeState state, fake_quantize.State(&empty));
    EXPECT_THAT(state.min_val, IsEmpty());
  }
}

TEST(FakeQuantizeTest, StateWithoutTheTableNeedsAllRowsAccountedFor) {
  for (const double constant : {1.0, 0.5}) {
    WeightConfig config = RowConfig();
    config.observer.kind = ObserverKind::kMovingAveragePerChannelMinMax;
    config.observer.averaging_constant = constant;
    FakeQuantize fake_quantize = Make(config);
    Batch batch;
    EQAT_ASSERT_OK(batch.Forward(fake_quantize));
    EQAT_EXPECT_OK(fake_quantize.State(nullptr));
    EQAT_ASSERT_OK(fake_quantize.ForwardRows(batch.in(), {0}, MutableTableView(batch.y.data(), 1, 3), nullptr));
    const auto without_table = StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("without their table"));
    EXPECT_THAT(fake_quantize.State(nullptr), without_table);
    EXPECT_THAT(fake_quantize.DisableObserver(nullptr), without_table);
    EXPECT_TRUE(fake_quantize.observer_enabled());
  }
}

TEST(FakeQuantizeTest, LoadedStateIsWhatStateReturns) {
  FakeQuantize fake_quantize = Make(RowConfig());
  FakeQuantizeState loaded = LoadedState();
  loaded.fake_quant_enabled = false;
  loaded.eps = 0.125f;
  EQAT_ASSERT_OK(fake_quantize.SetState(loaded, 2));
  EXPECT_TRUE(fake_quantize.observer_enabled());
  EQAT_ASSERT_OK_AND_ASSIGN(const FakeQuantizeState state, fake_quantize.State(nullptr));
  EXPECT_FALSE(state.fake_quant_enabled);
  EXPECT_EQ(state.eps, 0.125f);
  EXPECT_EQ(state.scale, loaded.scale);
  EXPECT_EQ(state.zero_point, loaded.zero_point);
  EXPECT_EQ(state.min_val, loaded.min_val);
  EXPECT_EQ(state.max_val, loaded.max_val);
}

TEST(FakeQuantizeTest, LoadedParametersAreUsedWithTheObserverOff) {
  FakeQuantize fake_quantize = Make(RowConfig());
  FakeQuantizeState loaded = LoadedState();
  loaded.observer_enabled = false;
  EQAT_ASSERT_OK(fake_quantize.SetState(loaded, 2));
  Batch batch;
  EQAT_ASSERT_OK(batch.ForwardRows(fake_quantize));
  // x / 0.5 + 2 = 0, 3, 6; x / 0.25 - 3.5 = -3.1, -1.5, 4.5, of which the first two clamp to code 0 and 4.5 goes to 4.
  EXPECT_THAT(batch.y, ElementsAre(-1.0f, 0.5f, 2.0f, 0.875f, 0.875f, 1.875f));
  EXPECT_THAT(batch.mask, ElementsAre(1, 1, 1, 0, 0, 1));
}

TEST(FakeQuantizeTest, LoadedBoundsAreHistory) {
  FakeQuantize fake_quantize = Make(RowConfig());
  EQAT_ASSERT_OK(fake_quantize.SetState(LoadedState(), 2));
  Batch batch;
  EQAT_ASSERT_OK(batch.ForwardRows(fake_quantize));
  const TableView table = batch.in();
  EQAT_ASSERT_OK_AND_ASSIGN(const FakeQuantizeState state, fake_quantize.State(&table));
  EXPECT_THAT(state.min_val, ElementsAre(-1.0f, 0.0f));
  EXPECT_THAT(state.max_val, ElementsAre(2.0f, 7.0f));
}

TEST(FakeQuantizeTest, PerTensorStateRoundTrips) {
  Batch batch;
  FakeQuantize fake_quantize = Make(WeightConfigOf(QScheme::kPerTensorAffine));
  EQAT_ASSERT_OK_AND_ASSIGN(const FakeQuantizeState fresh, fake_quantize.State(nullptr));
  EQAT_ASSERT_OK(batch.Forward(fake_quantize));
  EQAT_ASSERT_OK(fake_quantize.DisableObserver(nullptr));
  EQAT_ASSERT_OK_AND_ASSIGN(const FakeQuantizeState state, fake_quantize.State(nullptr));
  FakeQuantize other = Make(WeightConfigOf(QScheme::kPerTensorAffine));
  EQAT_ASSERT_OK(other.SetState(state, 1));
  Batch again;
  EQAT_ASSERT_OK(again.Forward(other));
  EXPECT_EQ(again.y, batch.y);
  EQAT_ASSERT_OK(other.SetState(fresh, 1));
  EQAT_ASSERT_OK(other.DisableObserver(nullptr));
  EXPECT_THAT(again.Forward(other), StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("never ran")));
}

TEST(FakeQuantizeTest, SetStateNamesTheFieldAndChangesNothing) {
  FakeQuantize fake_quantize = Make(RowConfig());
  EQAT_ASSERT_OK(fake_quantize.SetState(LoadedState(), 2));
  const auto with = [&](auto change) {
    FakeQuantizeState state = LoadedState();
    change(state);
    return fake_quantize.SetState(std::move(state), 2);
  };
  using State = FakeQuantizeState;
  EXPECT_THAT(with([](State& s) { s.scale = {1, 1, 1}; }), Invalid("scale: has the wrong number of values (got 3"));
  EXPECT_THAT(with([](State& s) { s.zero_point = {1}; }), Invalid("zero_point: has the wrong number of values"));
  EXPECT_THAT(with([](State& s) { s.min_val = {1}; }), Invalid("min_val: has the wrong number of values"));
  EXPECT_THAT(with([](State& s) { s.max_val.clear(); }), Invalid("max_val: has the wrong number of values"));
  EXPECT_THAT(with([](State& s) { s.scale[1] = -1.0f; }), Invalid("scale[1]: is out of range"));
  EXPECT_THAT(with([](State& s) { s.scale[0] = kFloatNaN; }), Invalid("scale[0]: is out of range"));
  EXPECT_THAT(with([](State& s) { s.scale[0] = kFloatInfinity; }), Invalid("scale[0]: is out of range"));
  EXPECT_THAT(with([](State& s) { s.zero_point[1] = kFloatNaN; }), Invalid("zero_point[1]: is out of range"));
  EXPECT_THAT(with([](State& s) { s.min_val[0] = -kFloatInfinity; }), Invalid("min_val[0]: is out of range"));
  EXPECT_THAT(with([](State& s) { s.max_val[1] = kFloatNaN; }), Invalid("max_val[1]: is out of range"));
  EXPECT_THAT(with([](State& s) { s.max_val[1] = -9.0f; }), Invalid("max_val[1]: is out of range"));
  EXPECT_THAT(with([](State& s) { s.eps = 0.0f; }), Invalid("eps: is out of range"));
  EXPECT_THAT(with([](State& s) { s.eps = kFloatNaN; }), Invalid("eps: is out of range"));
  EQAT_ASSERT_OK_AND_ASSIGN(const FakeQuantizeState state, fake_quantize.State(nullptr));
  EXPECT_EQ(state.scale, LoadedState().scale);
  EXPECT_EQ(state.max_val, LoadedState().max_val);
}

TEST(FakeQuantizeTest, IntegerZeroPointsMustBeCodes) {
  FakeQuantize fake_quantize = Make(WeightConfigOf(QScheme::kPerChannelAffine));
  FakeQuantizeState state = LoadedState();
  EXPECT_THAT(fake_quantize.SetState(state, 2), Invalid("zero_point[1]: is out of range (got -3.5"));
  state.zero_point = {2.0f, 256.0f};
  EXPECT_THAT(fake_quantize.SetState(state, 2), Invalid("expected an integer from 0 to 255"));
  state.zero_point = {2.0f, 255.0f};
  EQAT_EXPECT_OK(fake_quantize.SetState(state, 2));
}

TEST(FakeQuantizeTest, DisableObserverFreezesTheState) {
  FakeQuantize fake_quantize = Make(RowConfig());
  Batch batch;
  const TableView table = batch.in();
  // The other row is accounted for by DisableObserver, which makes the state independent of the table.
  EQAT_ASSERT_OK(fake_quantize.ForwardRows(table, {0}, MutableTableView(batch.y.data(), 1, 3), nullptr));
  EQAT_ASSERT_OK(fake_quantize.DisableObserver(&table));
  EQAT_ASSERT_OK_AND_ASSIGN(const FakeQuantizeState frozen, fake_quantize.State(nullptr));
  fake_quantize.WillModifyRows(table, {0});
  batch.x[0] = 1000.0f;
  EQAT_ASSERT_OK(batch.ForwardRows(fake_quantize));
  EXPECT_THAT(batch.mask, ElementsAre(0, 1, 1, 1, 1, 1));
  EQAT_ASSERT_OK_AND_ASSIGN(const FakeQuantizeState state, fake_quantize.State(nullptr));
  EXPECT_EQ(state.scale, frozen.scale);
  EXPECT_EQ(state.max_val, frozen.max_val);
}

TEST(FakeQuantizeTest, PrintsAsTorch) {
  FakeQuantize fake_quantize = Make(RowConfig());
  EXPECT_EQ(
      fake_quantize.ToString(nullptr),
      "fake_quant_enabled=tensor([1], dtype=torch.uint8), observer_enabled=tensor([1], dtype=torch.uint8), "
      "quant_min=0, quant_max=255, dtype=torch.quint8, qscheme=torch.per_channel_affine_float_qparams, ch_axis=0, "
      "scale=tensor([1.]), zero_point=tensor([0.])");
  Batch batch;
  EQAT_ASSERT_OK(batch.ForwardRows(fake_quantize));
  const TableView table = batch.in();
  EXPECT_THAT(fake_quantize.ToString(&table),
              HasSubstr("scale=tensor([0.0118, 0.0075]), zero_point=tensor([ 85.0000, -13.4211])"));
  FakeQuantize per_tensor = Make(WeightConfigOf(QScheme::kPerTensorSymmetric, Dtype::kQInt8));
  per_tensor.DisableFakeQuant();
  EXPECT_EQ(per_tensor.ToString(nullptr),
            "fake_quant_enabled=tensor([0], dtype=torch.uint8), observer_enabled=tensor([1], dtype=torch.uint8), "
            "quant_min=-128, quant_max=127, dtype=torch.qint8, qscheme=torch.per_tensor_symmetric, ch_axis=-1, "
            "scale=tensor([1.]), zero_point=tensor([0], dtype=torch.int32)");
}

}  // namespace
}  // namespace eqat::quant
