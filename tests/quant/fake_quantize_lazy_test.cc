// The promise of fake_quantize.h, against the obvious model: an Observer that passes over the whole table at every
// forward, and the reference kernel. Random sequences of everything that can happen to a table; every state, output and
// mask must be the same bits.
#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/distinct_rows.h"
#include "core/parallel_for.h"
#include "core/pool_kernels.h"
#include "core/rng.h"
#include "core/row_bounds.h"
#include "core/table.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "quant/fake_quantize.h"
#include "quant/observer.h"
#include "tests/support/float_bits.h"
#include "tests/support/special_floats.h"
#include "tests/support/status_matchers.h"

namespace eqat::quant {
namespace {

using eqat::testing::BitsOf;
using ::eqat::testing::kFloatNaN;
using eqat::testing::StatusIs;
using ::testing::HasSubstr;

constexpr int64_t kRows = 23;
constexpr int64_t kCols = 7;

// averaging_constant 0: min/max with history.
WeightConfig Config(double averaging_constant, QScheme qscheme = QScheme::kPerChannelAffineFloatQParams) {
  WeightConfig config;
  config.observer.kind =
      averaging_constant == 0.0 ? ObserverKind::kPerChannelMinMax : ObserverKind::kMovingAveragePerChannelMinMax;
  if (averaging_constant != 0.0) config.observer.averaging_constant = averaging_constant;
  config.observer.qscheme = qscheme;
  config.observer.dtype = Dtype::kQUInt4x2;
  return config;
}

Table MakeTable(uint64_t seed) {
  absl::StatusOr<Table> table = Table::Zeros(kRows, kCols);
  EQAT_EXPECT_OK(table);
  FillNormal(Rng(seed, 1), table->mutable_view());
  return *std::move(table);
}

// torch's FakeQuantize on the whole table.
class Model {
 public:
  explicit Model(const WeightConfig& config) : observer_(*Observer::Create(config.observer)) {
    const QParamsRule rule = *MakeQParamsRule(config.observer);
    params_.quant_min = rule.quant_min;
    params_.quant_max = rule.quant_max;
    params_.float_zero_point = TraitsOf(rule.qscheme).float_zero_point;
  }

  void Forward(TableView table) {
    if (!observer_enabled) return;
    EQAT_EXPECT_OK(observer_.Observe(table));
    qparams_ = *observer_.CalculateQParams();
  }
  // What one more observation of `content` would give, without counting it.
  Model After(TableView content) const {
    Model next = *this;
    next.Forward(content);
    return next;
  }
  void Reset() { observer_.ResetMinMaxVals(); }
  bool ready() const { return static_cast<int64_t>(qparams_.size()) == kRows; }

  std::vector<float> Row(const float* values, int64_t row, std::vector<uint8_t>* mask) const {
    std::vector<float> y(values, values + kCols);
    mask->assign(kCols, 1);
    if (!fake_quant_enabled) return y;
    kernels::reference::FakeQuantizeRow(values, kCols, Params(row), y.data(), mask->data(), nullptr);
    return y;
  }
  std::vector<int32_t> Codes(const float* values, int64_t row) const {
    std::vector<int32_t> codes(kCols);
    kernels::reference::FakeQuantizeRow(values, kCols, Params(row), nullptr, nullptr, codes.data());
    return codes;
  }

  FakeQuantizeState State() const {
    FakeQuantizeState state;
    state.fake_quant_enabled = fake_quant_enabled;
    state.observer_enabled = observer_enabled;
    state.min_val = observer_.min_val();
    state.max_val = observer_.max_val();
    state.scale.clear();
    state.zero_point.clear();
    for (const QParams& qparams : qparams_) {
      state.scale.push_back(qparams.scale);
      state.zero_point.push_back(qparams.zero_point);
    }
    return state;
  }
  const std::vector<QParams>& qparams() const { return qparams_; }

  bool fake_quant_enabled = true;
  bool observer_enabled = true;

 private:
  kernels::AffineParams Params(int64_t row) const {
    kernels::AffineParams params = params_;
    params.scale = qparams_[row].scale;
    params.zero_point = qparams_[row].zero_point;
    return params;
  }

  Observer observer_;
  std::vector<QParams> qparams_ = std::vector<QParams>(1);
  kernels::AffineParams params_;
};

void ExpectSameState(const FakeQuantizeState& got, const FakeQuantizeState& want) {
  EXPECT_EQ(got.fake_quant_enabled, want.fake_quant_enabled);
  EXPECT_EQ(got.observer_enabled, want.observer_enabled);
  EXPECT_EQ(got.eps, want.eps);
  EXPECT_EQ(BitsOf(got.scale), BitsOf(want.scale));
  EXPECT_EQ(BitsOf(got.zero_point), BitsOf(want.zero_point));
  EXPECT_EQ(BitsOf(got.min_val), BitsOf(want.min_val));
  EXPECT_EQ(BitsOf(got.max_val), BitsOf(want.max_val));
}

class Sequence {
 public:
  Sequence(const WeightConfig& config, uint64_t seed)
      : config_(config),
        rng_(seed, 2),
        table_(MakeTable(seed)),
        model_(config),
        fake_quantize_(*FakeQuantize::Create(config)) {}

  void Run(int steps) {
    for (int i = 0; i < steps && !::testing::Test::HasFailure(); ++i) Step();
    CheckState();
  }

 private:
  uint64_t Draw(uint64_t bound) { return rng_.Below(position_++, bound); }

  void Step() {
    const uint64_t kind = Draw(24);
    SCOPED_TRACE(absl::StrCat("draw ", position_, " kind ", kind));
    const TableView view = table_.view();
    if (kind < 8) return Draw(2) == 0 ? ForwardRows() : ForwardPool();
    if (kind < 14) return WriteSomeRows();
    switch (kind) {
      case 14:
        return WriteAllRows();
      case 15:
        return ForwardWhole();
      case 16:
      case 17:
        return CheckState();
      case 18:
        return Evaluate();
      case 19:
        EQAT_EXPECT_OK(fake_quantize_.DisableObserver(&view));
        model_.observer_enabled = false;
        return;
      case 20:
        fake_quantize_.EnableObserver();
        model_.observer_enabled = true;
        return;
      case 21:
        return Reload();
      case 22:
        if (Draw(2) == 0) {
          fake_quantize_.DisableFakeQuant();
        } else {
          fake_quantize_.EnableFakeQuant();
        }
        model_.fake_quant_enabled = fake_quantize_.fake_quant_enabled();
        return;
      default:
        if (Draw(4) != 0) return;
        EQAT_EXPECT_OK(fake_quantize_.ResetMinMaxVals(&view));
        model_.Reset();
    }
  }

  // Each row with probability 1 / Draw; sometimes none, sometimes all.
  std::vector<int64_t> SomeRows() {
    const uint64_t one_in = 1 + Draw(8);
    std::vector<int64_t> rows;
    for (int64_t row = 0; row < kRows; ++row) {
      if (Draw(one_in) == 0) rows.push_back(row);
    }
    return rows;
  }

  bool Unready() const { return model_.fake_quant_enabled && !model_.observer_enabled && !model_.ready(); }

  void ForwardRows() {
    const std::vector<int64_t> rows = SomeRows();
    std::vector<float> y(rows.size() * kCols);
    std::vector<uint8_t> mask(rows.size() * kCols);
    const MutableTableView y_view(y.data(), static_cast<int64_t>(rows.size()), kCols);
    const absl::Status status = fake_quantize_.ForwardRows(table_.view(), rows, y_view, mask.data());
    if (Unready()) {
      EXPECT_THAT(status, StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("never ran")));
      return;
    }
    EQAT_ASSERT_OK(status);
    model_.Forward(table_.view());
    for (size_t i = 0; i < rows.size(); ++i) {
      std::vector<uint8_t> want_mask;
      const std::vector<float> want = model_.Row(table_.Row(rows[i]), rows[i], &want_mask);
      ASSERT_EQ(BitsOf(absl::MakeConstSpan(y).subspan(i * kCols, kCols)), BitsOf(want));
      ASSERT_TRUE(std::equal(want_mask.begin(), want_mask.end(), mask.begin() + i * kCols));
    }
    last_rows_ = rows;
  }

  // Sums of one row or more each, in any order and with repeats, where that way serves.
  void ForwardPool() {
    std::vector<int64_t> ids, offsets = {0};
    for (uint64_t bag = 0, bags = 1 + Draw(30); bag < bags; ++bag) {
      for (uint64_t i = 0, length = 1 + Draw(3); i < length; ++i) ids.push_back(static_cast<int64_t>(Draw(kRows)));
      offsets.push_back(static_cast<int64_t>(ids.size()));
    }
    PoolArgs args;
    args.rows = table_.view();
    args.ids = ids.data();
    args.offsets = offsets.data();
    args.num_bags = static_cast<int64_t>(offsets.size()) - 1;
    std::vector<float> y(args.num_bags * kCols);
    RowBounds seen;
    if (!fake_quantize_.TryForwardPool(args, MutableTableView(y.data(), args.num_bags, kCols), &seen)) {
      ASSERT_EQ(seen.forward, 0);
      return CheckState();
    }
    model_.Forward(table_.view());
    std::vector<float> quantized(kRows * kCols), want(y.size());
    for (const int64_t row : ids) {
      std::vector<uint8_t> mask;
      const std::vector<float> values = model_.Row(table_.Row(row), row, &mask);
      std::copy(values.begin(), values.end(), quantized.begin() + row * kCols);
    }
    args.rows = TableView(quantized.data(), kRows, kCols);
    PoolRowsReference(args, MutableTableView(want.data(), args.num_bags, kCols));
    ASSERT_EQ(BitsOf(y), BitsOf(want));
    ASSERT_NE(seen.forward, 0);
    const DistinctRows distinct(ids);
    last_rows_.assign(distinct.rows().begin(), distinct.rows().end());
    last_bounds_ = {seen.forward, last_rows_, std::vector<float>(distinct.size()), std::vector<float>(distinct.size())};
    for (size_t k = 0; k < ids.size(); ++k) {
      last_bounds_.min_vals[distinct.slots()[k]] = seen.min_vals[k];
      last_bounds_.max_vals[distinct.slots()[k]] = seen.max_vals[k];
    }
  }

  void ForwardWhole() {
    std::vector<float> y(kRows * kCols);
    std::vector<uint8_t> mask(kRows * kCols);
    const absl::Status status =
        fake_quantize_.Forward(table_.view(), MutableTableView(y.data(), kRows, kCols), mask.data());
    if (Unready()) {
      EXPECT_THAT(status, StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("never ran")));
      return;
    }
    EQAT_ASSERT_OK(status);
    model_.Forward(table_.view());
    for (int64_t row = 0; row < kRows; ++row) {
      std::vector<uint8_t> want_mask;
      const std::vector<float> want = model_.Row(table_.Row(row), row, &want_mask);
      ASSERT_EQ(BitsOf(absl::MakeConstSpan(y).subspan(row * kCols, kCols)), BitsOf(want));
      ASSERT_TRUE(std::equal(want_mask.begin(), want_mask.end(), mask.begin() + row * kCols));
    }
  }

  void Write(int64_t row) {
    constexpr float kFactors[] = {0.01f, 0.01f, 1.0f, 1e4f};
    const float factor = kFactors[Draw(4)];
    if (Draw(10) == 0) std::fill_n(table_.Row(row), kCols, Draw(2) == 0 ? 0.0f : -0.0f);
    for (int64_t col = 0; col < kCols; ++col) {
      if (Draw(3) == 0) table_.Row(row)[col] = factor * rng_.Normal(position_++);
    }
  }

  // The rows of the last batch, as an optimizer does, or any others in any order; sometimes announced twice; sometimes
  // with the bounds of a forward, be it the last one or not.
  void WriteSomeRows() {
    std::vector<int64_t> rows = Draw(2) == 0 ? last_rows_ : SomeRows();
    if (Draw(2) == 0) std::reverse(rows.begin(), rows.end());
    fake_quantize_.WillModifyRows(table_.view(), rows, Draw(3) == 0 ? nullptr : &last_bounds_);
    for (const int64_t row : rows) Write(row);
    if (Draw(4) == 0) fake_quantize_.WillModifyRows(table_.view(), rows);
  }

  void WriteAllRows() {
    fake_quantize_.WillModifyAllRows(table_.view());
    for (int64_t row = 0; row < kRows; ++row) Write(row);
  }

  void CheckState() {
    const TableView view = table_.view();
    EQAT_ASSERT_OK_AND_ASSIGN(const FakeQuantizeState state, fake_quantize_.State(&view));
    ExpectSameState(state, model_.State());
  }

  void Reload() {
    const TableView view = table_.view();
    EQAT_ASSERT_OK_AND_ASSIGN(FakeQuantizeState state, fake_quantize_.State(&view));
    EQAT_ASSERT_OK_AND_ASSIGN(fake_quantize_, FakeQuantize::Create(config_));
    EQAT_ASSERT_OK(fake_quantize_.SetState(std::move(state), kRows));
    CheckState();
  }

  // Of the table, and of other content in place of it (as after max_norm).
  void Evaluate() {
    if (model_.observer_enabled || model_.ready()) {
      const std::vector<int64_t> rows = SomeRows();
      const int64_t count = static_cast<int64_t>(rows.size());
      std::vector<float> y(rows.size() * kCols);
      EQAT_ASSERT_OK(fake_quantize_.EvaluateRows(table_.view(), rows, MutableTableView(y.data(), count, kCols)));
      const Model after = model_.After(table_.view());
      std::vector<uint8_t> mask;
      for (int64_t i = 0; i < count; ++i) {
        ASSERT_EQ(BitsOf(absl::MakeConstSpan(y).subspan(i * kCols, kCols)),
                  BitsOf(after.Row(table_.Row(rows[i]), rows[i], &mask)));
      }
      EvaluateContent(rows);
    }
    CheckState();
  }

  void EvaluateContent(const std::vector<int64_t>& rows) {
    const int64_t count = static_cast<int64_t>(rows.size());
    EQAT_ASSERT_OK_AND_ASSIGN(Table other, table_.Clone());
    std::vector<float> content(rows.size() * kCols);
    for (int64_t i = 0; i < count; ++i) {
      for (int64_t col = 0; col < kCols; ++col) other.Row(rows[i])[col] *= 0.75f;
      std::copy_n(other.Row(rows[i]), kCols, content.data() + i * kCols);
    }
    std::vector<float> y(content.size());
    std::vector<int32_t> codes(content.size());
    std::vector<QParams> qparams(rows.size());
    EQAT_ASSERT_OK(fake_quantize_.EvaluateContent(table_.view(), rows, TableView(content.data(), count, kCols),
                                                  MutableTableView(y.data(), count, kCols), codes.data(),
                                                  qparams.data()));
    Model after = model_.After(other.view());
    after.fake_quant_enabled = true;
    std::vector<uint8_t> mask;
    for (int64_t i = 0; i < count; ++i) {
      ASSERT_EQ(BitsOf(absl::MakeConstSpan(y).subspan(i * kCols, kCols)),
                BitsOf(after.Row(other.Row(rows[i]), rows[i], &mask)));
      const std::vector<int32_t> want = after.Codes(other.Row(rows[i]), rows[i]);
      ASSERT_TRUE(std::equal(want.begin(), want.end(), codes.begin() + i * kCols));
      ASSERT_EQ(qparams[i].scale, after.qparams()[rows[i]].scale);
      ASSERT_EQ(qparams[i].zero_point, after.qparams()[rows[i]].zero_point);
    }
  }

  WeightConfig config_;
  Rng rng_;
  uint64_t position_ = 0;
  Table table_;
  Model model_;
  FakeQuantize fake_quantize_;
  std::vector<int64_t> last_rows_;
  RowBounds last_bounds_;
};

void RunSequences(int num_threads) {
  SetNumThreads(num_threads);
  for (const double constant : {1.0, 0.0, 0.01, 0.5}) {
    for (const QScheme qscheme : {QScheme::kPerChannelAffineFloatQParams, QScheme::kPerChannelAffine}) {
      for (uint64_t seed = 0; seed < 40; ++seed) {
        SCOPED_TRACE(absl::StrCat("averaging constant ", constant, " seed ", seed));
        Sequence(Config(constant, qscheme), seed).Run(150);
        if (::testing::Test::HasFailure()) return;
      }
    }
  }
  SetNumThreads(0);
}

TEST(FakeQuantizeLazyTest, RandomSequencesEqualTheWholeTableModel) { RunSequences(1); }

TEST(FakeQuantizeLazyTest, RandomSequencesOnSeveralThreads) { RunSequences(4); }

// A row that missed many forwards of a slow moving average.
TEST(FakeQuantizeLazyTest, LongAbsenceIsMadeUpFor) {
  for (const double constant : {0.01, 0.5, 0.9}) {
    Table table = MakeTable(1);
    Model model(Config(constant));
    EQAT_ASSERT_OK_AND_ASSIGN(FakeQuantize fake_quantize, FakeQuantize::Create(Config(constant)));
    std::vector<float> y(kCols);
    const MutableTableView y_view(y.data(), 1, kCols);
    for (int forward = 0; forward < 3000; ++forward) {
      EQAT_ASSERT_OK(fake_quantize.ForwardRows(table.view(), {0}, y_view, nullptr));
      model.Forward(table.view());
      if (forward % 997 == 0) {
        fake_quantize.WillModifyRows(table.view(), {5, 3});
        table.Row(5)[2] += 4.0f;
        table.Row(3)[1] -= 400.0f;
      }
    }
    const TableView view = table.view();
    EQAT_ASSERT_OK_AND_ASSIGN(const FakeQuantizeState state, fake_quantize.State(&view));
    ExpectSameState(state, model.State());
  }
}

class BadRowTest : public ::testing::TestWithParam<double> {};

// Row 4 goes bad and is repaired; row 9 trains on. Nothing but row 4 notices, and afterwards it counts as having held
// the repaired content all along.
TEST_P(BadRowTest, DisturbsNothingElseAndHealsWhenRepaired) {
  constexpr float kHuge = 3e38f;
  for (const float bad : {kFloatNaN, std::numeric_limits<float>::infinity(), -kHuge}) {
    SCOPED_TRACE(bad);
    Table table = MakeTable(2);
    table.Row(4)[0] = kHuge;  // together with -kHuge a range beyond float32
    Table repaired = *table.Clone();
    table.Row(4)[1] = bad;
    EQAT_ASSERT_OK_AND_ASSIGN(FakeQuantize fake_quantize, FakeQuantize::Create(Config(GetParam())));
    Model model(Config(GetParam()));
    std::vector<float> y(2 * kCols);
    const MutableTableView one(y.data(), 1, kCols);
    const MutableTableView two(y.data(), 2, kCols);
    const TableView view = table.view();
    for (int forward = 0; forward < 3; ++forward) {
      EQAT_ASSERT_OK(fake_quantize.ForwardRows(view, {9}, one, nullptr));
      model.Forward(repaired.view());
      fake_quantize.WillModifyRows(view, {9});
      table.Row(9)[0] += 1.0f;
      repaired.Row(9)[0] += 1.0f;
      if (forward == 1) fake_quantize.WillModifyAllRows(view);
      const auto names_row = StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("row 4: "));
      EXPECT_THAT(fake_quantize.ForwardRows(view, {4, 9}, two, nullptr), names_row);
      EXPECT_THAT(fake_quantize.EvaluateRows(view, {4}, one), names_row);
      EXPECT_THAT(fake_quantize.State(&view), names_row);
      EXPECT_THAT(fake_quantize.DisableObserver(&view), names_row);
      EXPECT_THAT(fake_quantize.ToString(&view), HasSubstr("row 4: "));
    }
    fake_quantize.WillModifyRows(view, {4});
    table.Row(4)[1] = repaired.Row(4)[1];
    EQAT_ASSERT_OK_AND_ASSIGN(const FakeQuantizeState state, fake_quantize.State(&view));
    ExpectSameState(state, model.State());
  }
}

// Repaired once, the row's bounds as of the last forward are those of the repaired content, however it changes later;
// also when all rows were announced while it was bad.
TEST_P(BadRowTest, RepairedContentIsRecordedBeforeTheNextWrite) {
  for (const bool announce_all : {false, true}) {
    Table table = MakeTable(5);
    const Table repaired = *table.Clone();
    table.Row(4)[1] = kFloatNaN;
    EQAT_ASSERT_OK_AND_ASSIGN(FakeQuantize fake_quantize, FakeQuantize::Create(Config(GetParam())));
    Model model(Config(GetParam()));
    const TableView view = table.view();
    std::vector<float> y(kCols);
    EQAT_ASSERT_OK(fake_quantize.ForwardRows(view, {9}, MutableTableView(y.data(), 1, kCols), nullptr));
    model.Forward(repaired.view());
    if (announce_all) fake_quantize.WillModifyAllRows(view);
    fake_quantize.WillModifyRows(view, {4});
    table.Row(4)[1] = repaired.Row(4)[1];
    fake_quantize.WillModifyRows(view, {4});
    table.Row(4)[1] = 50.0f;
    EQAT_ASSERT_OK_AND_ASSIGN(const FakeQuantizeState state, fake_quantize.State(&view));
    ExpectSameState(state, model.State());
  }
}

// A row that was fine at the last forward keeps those bounds, whatever is written to it later.
TEST_P(BadRowTest, LaterBadContentLeavesTheRecordedBounds) {
  Table table = MakeTable(3);
  EQAT_ASSERT_OK_AND_ASSIGN(FakeQuantize fake_quantize, FakeQuantize::Create(Config(GetParam())));
  Model model(Config(GetParam()));
  const TableView view = table.view();
  std::vector<float> y(kCols);
  EQAT_ASSERT_OK(fake_quantize.ForwardRows(view, {0}, MutableTableView(y.data(), 1, kCols), nullptr));
  model.Forward(view);
  fake_quantize.WillModifyRows(view, {0, 8});
  table.Row(0)[0] = kFloatNaN;
  table.Row(8)[0] = kFloatNaN;
  EQAT_ASSERT_OK_AND_ASSIGN(const FakeQuantizeState state, fake_quantize.State(&view));
  ExpectSameState(state, model.State());
}

INSTANTIATE_TEST_SUITE_P(AllRules, BadRowTest, ::testing::Values(1.0, 0.0, 0.01));

// Bounds that a forward has seen are taken over for its rows, which are not read again; not those of an earlier
// forward, of another fake quantizer or of other rows.
TEST(FakeQuantizeLazyTest, BoundsOfTheLastForwardAreTakenOver) {
  enum class Which { kLast, kEarlier, kOther, kOtherRows };
  for (const Which which : {Which::kLast, Which::kEarlier, Which::kOther, Which::kOtherRows}) {
    Table table = MakeTable(6);
    const TableView view = table.view();
    EQAT_ASSERT_OK_AND_ASSIGN(FakeQuantize fake_quantize, FakeQuantize::Create(Config(1.0)));
    EQAT_ASSERT_OK_AND_ASSIGN(FakeQuantize other, FakeQuantize::Create(Config(1.0)));
    const std::vector<int64_t> ids = {3, 7}, offsets = {0, 2};
    PoolArgs args;
    args.rows = view;
    args.ids = ids.data();
    args.offsets = offsets.data();
    args.num_bags = 1;
    std::vector<float> y(kCols);
    const MutableTableView out(y.data(), 1, kCols);
    RowBounds bounds, ignored;
    ASSERT_TRUE(other.TryForwardPool(args, out, which == Which::kOther ? &bounds : &ignored));
    ASSERT_TRUE(fake_quantize.TryForwardPool(args, out, which == Which::kOther ? &ignored : &bounds));
    if (which == Which::kEarlier) {
      ASSERT_TRUE(fake_quantize.TryForwardPool(args, out));
    }
    bounds.rows = which == Which::kOtherRows ? std::vector<int64_t>{3, 8} : ids;
    EQAT_ASSERT_OK_AND_ASSIGN(const FakeQuantizeState before, fake_quantize.State(&view));
    // As no writer may do it: what is recorded tells whether the rows were read.
    table.Row(3)[0] = table.Row(7)[0] = 1e6f;
    fake_quantize.WillModifyRows(view, ids, &bounds);
    EQAT_ASSERT_OK_AND_ASSIGN(const FakeQuantizeState after, fake_quantize.State(&view));
    for (const int64_t row : ids) {
      EXPECT_EQ(after.max_val[row], which == Which::kLast ? before.max_val[row] : 1e6f) << static_cast<int>(which);
    }
  }
}

// What makes a step cost what its batch touches: no other row is read.
TEST(FakeQuantizeLazyTest, ForwardAndAnnouncementReadOnlyTheirRows) {
  for (const double constant : {1.0, 0.0, 0.5}) {
    Table table = MakeTable(4);
    for (int64_t row = 0; row < kRows; ++row) {
      if (row != 3 && row != 7) std::fill_n(table.Row(row), kCols, kFloatNaN);
    }
    EQAT_ASSERT_OK_AND_ASSIGN(FakeQuantize fake_quantize, FakeQuantize::Create(Config(constant)));
    std::vector<float> y(2 * kCols);
    for (int step = 0; step < 3; ++step) {
      EQAT_ASSERT_OK(fake_quantize.ForwardRows(table.view(), {3, 7}, MutableTableView(y.data(), 2, kCols), nullptr));
      fake_quantize.WillModifyRows(table.view(), {3, 7});
      table.Row(3)[0] += 0.5f;
    }
  }
}

}  // namespace
}  // namespace eqat::quant
