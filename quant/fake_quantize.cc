#include "quant/fake_quantize.h"

#include <algorithm>
#include <cassert>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/error.h"
#include "core/parallel_for.h"
#include "core/status_macros.h"
#include "core/table_view.h"
#include "quant/bounds.h"
#include "quant/deploy_arithmetic.h"
#include "quant/fake_quantize_state.h"
#include "quant/observer.h"
#include "quant/row_observer.h"
#include "quant/row_scan.h"
#include "quant/tensor_text.h"

namespace eqat::quant {
namespace {

constexpr int64_t kPrefetchRows = 16;

absl::Span<const float> RowOf(TableView table, int64_t row) { return absl::MakeConstSpan(table.Row(row), table.cols); }

bool AllFinite(absl::Span<const float> values) { return values.empty() || BoundsOf(values).has_value(); }

void PrefetchRow(TableView table, int64_t row) {
  constexpr int64_t kFloatsPerLine = 16;
  for (int64_t col = 0; col < table.cols; col += kFloatsPerLine) __builtin_prefetch(table.Row(row) + col);
}

// Fake quantization switched off.
void PassThrough(absl::Span<const float> values, float* y, uint8_t* mask) {
  if (y != nullptr && y != values.data()) std::copy(values.begin(), values.end(), y);
  if (mask != nullptr) std::fill_n(mask, values.size(), uint8_t{1});
}

// No frozen scale and zero point stand for the parameters of a deployed format.
absl::Status FrozenDeployError(absl::string_view name) {
  return FailedPrecondition("observer",
                            absl::StrCat("cannot be off: deploy ", std::string(name), " follows the rows as they are"),
                            "observer_enabled 0", "observer_enabled 1");
}

absl::Status DeployedRowError(int64_t row, absl::string_view name, const Bounds& bounds) {
  return InvalidArgument(absl::StrCat("row ", row),
                         absl::StrCat("range of values does not fit into deploy ", std::string(name)),
                         absl::StrCat(bounds.min_val, " to ", bounds.max_val), "what its scale and offset can hold");
}

// Where the results of some rows go; each may be null.
struct RowOutputs {
  MutableTableView y;
  uint8_t* mask = nullptr;
  int32_t* codes = nullptr;
  QParams* qparams = nullptr;
  Bounds* bounds = nullptr;
};

// Where the parameters in use come from.
enum class QParamsSource {
  kNone,    // neither observed nor loaded
  kStored,  // Impl::stored, one per channel
  kBounds,  // the bounds of each row as of the last forward
};

}  // namespace

struct FakeQuantize::Impl {
  Impl(const WeightConfig& config_in, const QParamsRule& rule_in, Observer observer_in)
      : config(config_in), rule(rule_in), observer(std::move(observer_in)) {
    if (TraitsOf(config.observer.qscheme).per_channel && config.observer.ch_axis == 0) {
      row_observer = RowObserver::Create(config.observer, rule);
    }
    deploy = DeployOf(config);
  }

  bool row_wise() const { return row_observer != nullptr; }
  void Store(std::vector<QParams> qparams) {
    stored = std::move(qparams);
    source = QParamsSource::kStored;
  }
  void FollowBounds(int64_t rows) {
    channels = rows;
    std::vector<QParams>().swap(stored);
    source = QParamsSource::kBounds;
  }

  // One forward after which every row's bounds are those of its content.
  void CountFreshForward(int64_t rows) {
    row_observer->CountForward({}, {});
    FollowBounds(rows);
  }

  absl::Status CheckTable(TableView table) const;
  absl::Status CheckReady() const;

  // Parameters for `values`, the content of `row` or what stands for it; false if there are none (RowError says why).
  // With the observer on, `bounds` receives the bounds they were chosen from.
  bool RowQParams(int64_t row, absl::Span<const float> present, absl::Span<const float> values, QParams* qparams,
                  Bounds* bounds) const;
  absl::Status RowError(int64_t row, absl::Span<const float> present, absl::Span<const float> values) const;

  // False if the deployed format cannot hold the values (RowError says why).
  bool QuantizeValues(absl::Span<const float> values, const QParams& qparams, float* y, uint8_t* mask,
                      int32_t* codes) const;
  // The rows themselves where `quantize` is false. `content`: what stands for the rows, null for the rows of `table`.
  absl::Status QuantizeRows(TableView table, absl::Span<const int64_t> rows, const TableView* content, bool quantize,
                            const RowOutputs& out) const;

  absl::Status ForwardByRows(TableView x, MutableTableView y, uint8_t* mask);
  absl::Status ForwardWhole(TableView x, MutableTableView y, uint8_t* mask);
  void QuantizeColumns(TableView x, MutableTableView y, uint8_t* mask) const;

  // Set where the one-pass kernels hold: every parameter comes from the present content of its row.
  std::optional<kernels::FreshRule> FreshRuleFor(TableView table) const;

  // Bounds of all rows as of the last forward.
  absl::StatusOr<std::vector<Bounds>> AllBounds(const TableView* table) const;
  std::vector<QParams> AllQParams(absl::Span<const Bounds> bounds) const;
  // Makes bounds and parameters independent of the table.
  absl::Status Freeze(const TableView* table);

  WeightConfig config;
  QParamsRule rule;
  const DeployTraits* deploy = nullptr;  // whose arithmetic takes the place of scale and zero point
  bool fake_quant_enabled = true;
  bool observer_enabled = true;
  std::unique_ptr<RowObserver> row_observer;  // row-wise schemes; null for the others,
  Observer observer;                          // which observe here
  int64_t channels = 0;                       // of row-wise schemes; 0: not known yet
  QParamsSource source = QParamsSource::kNone;
  std::vector<QParams> stored = std::vector<QParams>(1);
};

absl::Status FakeQuantize::Impl::CheckTable(TableView table) const {
  if (!row_wise()) {
    return InvalidArgument("fake quantizer", "does not work by rows", TraitsOf(rule.qscheme).name,
                           "a per-channel scheme with ch_axis 0");
  }
  if (channels == 0 || table.rows == channels) return absl::OkStatus();
  return InvalidArgument("fake quantizer", "number of rows has changed", absl::StrCat(table.rows),
                         absl::StrCat(channels));
}

absl::Status FakeQuantize::Impl::CheckReady() const {
  if (observer_enabled || source != QParamsSource::kNone) return absl::OkStatus();
  return FailedPrecondition("fake quantizer", "scale and zero point are not known: the observer is off and never ran");
}

bool FakeQuantize::Impl::RowQParams(int64_t row, absl::Span<const float> present, absl::Span<const float> values,
                                    QParams* qparams, Bounds* bounds) const {
  if (!observer_enabled) {
    if (source == QParamsSource::kStored) *qparams = stored[row];
    return AllFinite(values);
  }
  if (!row_observer->BoundsAfter(row, present, values, bounds)) return false;
  return FindQParams(*bounds, rule, qparams);
}

absl::Status FakeQuantize::Impl::RowError(int64_t row, absl::Span<const float> present,
                                          absl::Span<const float> values) const {
  if (!AllFinite(values)) return NotFiniteError(row, values);
  Bounds bounds;
  if (!row_observer->BoundsAfter(row, present, values, &bounds)) return NotFiniteError(row, present);
  if (deploy != nullptr && IsUsable(bounds, rule)) return DeployedRowError(row, deploy->name, bounds);
  return RangeError(absl::StrCat("row ", row), bounds);
}

bool FakeQuantize::Impl::QuantizeValues(absl::Span<const float> values, const QParams& qparams, float* y, uint8_t* mask,
                                        int32_t* codes) const {
  if (deploy != nullptr) return QuantizeDeployedRow(*deploy, values, {y, mask, codes});
  const kernels::AffineParams params = {qparams.scale, qparams.zero_point, rule.quant_min, rule.quant_max,
                                        TraitsOf(rule.qscheme).float_zero_point};
  kernels::FakeQuantizeRow(values.data(), values.size(), params, y, mask, codes);
  return true;
}

absl::Status FakeQuantize::Impl::QuantizeRows(TableView table, absl::Span<const int64_t> rows, const TableView* content,
                                              bool quantize, const RowOutputs& out) const {
  const int64_t count = static_cast<int64_t>(rows.size());
  const auto values_of = [&](int64_t i) { return content == nullptr ? RowOf(table, rows[i]) : RowOf(*content, i); };
  const int64_t bad = FirstFailure(count, table.cols, [&](int64_t i) {
    if (i + kPrefetchRows < count) PrefetchRow(table, rows[i + kPrefetchRows]);
    const absl::Span<const float> values = values_of(i);
    QParams qparams;
    Bounds unasked;
    Bounds* bounds = out.bounds == nullptr ? &unasked : &out.bounds[i];
    if (!RowQParams(rows[i], RowOf(table, rows[i]), values, &qparams, bounds)) return false;
    if (out.qparams != nullptr) out.qparams[i] = qparams;
    float* y = OffsetOrNull(out.y.data, i * out.y.stride);
    uint8_t* mask = OffsetOrNull(out.mask, i * table.cols);
    if (quantize) return QuantizeValues(values, qparams, y, mask, OffsetOrNull(out.codes, i * table.cols));
    PassThrough(values, y, mask);
    return true;
  });
  if (bad == count) return absl::OkStatus();
  return RowError(rows[bad], RowOf(table, rows[bad]), values_of(bad));
}

std::optional<kernels::FreshRule> FakeQuantize::Impl::FreshRuleFor(TableView table) const {
  if (deploy != nullptr) return std::nullopt;
  const bool fresh = row_wise() && observer_enabled && fake_quant_enabled && row_observer->memoryless();
  return fresh && CheckTable(table).ok() ? FreshRuleOf(rule) : std::nullopt;
}

// Two passes, since y may be x and an error must leave it alone.
absl::Status FakeQuantize::Impl::ForwardByRows(TableView x, MutableTableView y, uint8_t* mask) {
  EQAT_RETURN_IF_ERROR(CheckTable(x));
  std::vector<Bounds> bounds(x.rows);
  std::vector<QParams> qparams(x.rows);
  if (observer_enabled) EQAT_RETURN_IF_ERROR(row_observer->Prepare(x.rows));
  const int64_t bad = FirstFailure(x.rows, x.cols, [&](int64_t row) {
    if (!RowQParams(row, RowOf(x, row), RowOf(x, row), &qparams[row], &bounds[row])) return false;
    return deploy == nullptr || !fake_quant_enabled || QuantizeDeployedRow(*deploy, RowOf(x, row), {});
  });
  if (bad < x.rows) return RowError(bad, RowOf(x, bad), RowOf(x, bad));
  if (observer_enabled) {
    row_observer->CountForwardOfAll(std::move(bounds));
    FollowBounds(x.rows);
  }
  ParallelFor(x.rows, RowBlock(x.cols), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      if (fake_quant_enabled) {
        QuantizeValues(RowOf(x, row), qparams[row], y.Row(row), OffsetOrNull(mask, row * x.cols), nullptr);
      } else {
        PassThrough(RowOf(x, row), y.Row(row), OffsetOrNull(mask, row * x.cols));
      }
    }
  });
  return absl::OkStatus();
}

// Per tensor, or one channel per column.
absl::Status FakeQuantize::Impl::ForwardWhole(TableView x, MutableTableView y, uint8_t* mask) {
  const bool by_columns = TraitsOf(rule.qscheme).per_channel;
  if (observer_enabled) {
    Observer next = observer;
    EQAT_RETURN_IF_ERROR(next.Observe(x));
    EQAT_ASSIGN_OR_RETURN(std::vector<QParams> qparams, next.CalculateQParams());
    observer = std::move(next);
    Store(std::move(qparams));
  } else {
    const int64_t bad = FirstFailure(x.rows, x.cols, [&](int64_t row) { return AllFinite(RowOf(x, row)); });
    if (bad < x.rows) return NotFiniteError(bad, RowOf(x, bad));
    if (fake_quant_enabled && by_columns && static_cast<int64_t>(stored.size()) != x.cols) {
      return InvalidArgument("fake quantizer", "number of channels has changed", absl::StrCat(x.cols),
                             absl::StrCat(stored.size()));
    }
  }
  if (fake_quant_enabled && by_columns) {
    QuantizeColumns(x, y, mask);
    return absl::OkStatus();
  }
  ParallelFor(x.rows, RowBlock(x.cols), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      if (fake_quant_enabled) {
        QuantizeValues(RowOf(x, row), stored[0], y.Row(row), OffsetOrNull(mask, row * x.cols), nullptr);
      } else {
        PassThrough(RowOf(x, row), y.Row(row), OffsetOrNull(mask, row * x.cols));
      }
    }
  });
  return absl::OkStatus();
}

void FakeQuantize::Impl::QuantizeColumns(TableView x, MutableTableView y, uint8_t* mask) const {
  ParallelFor(x.cols, RowBlock(x.rows), [&](int64_t begin, int64_t end) {
    std::vector<float> column(x.rows);
    std::vector<uint8_t> column_mask(x.rows);
    for (int64_t col = begin; col < end; ++col) {
      for (int64_t row = 0; row < x.rows; ++row) column[row] = x.Row(row)[col];
      QuantizeValues(column, stored[col], column.data(), column_mask.data(), nullptr);
      for (int64_t row = 0; row < x.rows; ++row) {
        y.Row(row)[col] = column[row];
        if (mask != nullptr) mask[row * x.cols + col] = column_mask[row];
      }
    }
  });
}

absl::StatusOr<std::vector<Bounds>> FakeQuantize::Impl::AllBounds(const TableView* table) const {
  if (table != nullptr) EQAT_RETURN_IF_ERROR(CheckTable(*table));
  std::vector<Bounds> bounds(channels);
  const bool must_be_usable = source == QParamsSource::kBounds;
  const auto present_of = [table](int64_t row) {
    return table == nullptr ? absl::Span<const float>() : RowOf(*table, row);
  };
  const int64_t bad = FirstFailure(channels, table == nullptr ? 1 : table->cols, [&](int64_t row) {
    const std::optional<Bounds> found = row_observer->BoundsNow(row, present_of(row));
    if (!found.has_value() || (must_be_usable && !IsUsable(*found, rule))) return false;
    bounds[row] = *found;
    return true;
  });
  if (bad == channels) return bounds;
  const std::optional<Bounds> found = row_observer->BoundsNow(bad, present_of(bad));
  if (found.has_value()) return RangeError(absl::StrCat("row ", bad), *found);
  if (table == nullptr) return FailedPrecondition("fake quantizer", "rows are not accounted for without their table");
  return NotFiniteError(bad, present_of(bad));
}

std::vector<QParams> FakeQuantize::Impl::AllQParams(absl::Span<const Bounds> bounds) const {
  if (source != QParamsSource::kBounds) return stored;
  std::vector<QParams> qparams(bounds.size());
  std::transform(bounds.begin(), bounds.end(), qparams.begin(),
                 [this](const Bounds& row) { return ChooseQParams(row.min_val, row.max_val, rule); });
  return qparams;
}

absl::Status FakeQuantize::Impl::Freeze(const TableView* table) {
  if (source != QParamsSource::kBounds) return absl::OkStatus();
  EQAT_ASSIGN_OR_RETURN(std::vector<Bounds> bounds, AllBounds(table));
  Store(AllQParams(bounds));
  row_observer->SetBounds(std::move(bounds));
  return absl::OkStatus();
}

absl::StatusOr<FakeQuantize> FakeQuantize::Create(const WeightConfig& config) {
  EQAT_RETURN_IF_ERROR(Validate(config));
  if (!config.fake_quantize) {
    return InvalidArgument("weight", "an observer alone does not fake-quantize", "no fake_quantize", "FakeQuantize");
  }
  EQAT_ASSIGN_OR_RETURN(const QParamsRule rule, MakeQParamsRule(config.observer));
  EQAT_ASSIGN_OR_RETURN(Observer observer, Observer::Create(config.observer));
  return FakeQuantize(std::make_unique<Impl>(config, rule, std::move(observer)));
}

FakeQuantize::FakeQuantize(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
FakeQuantize::FakeQuantize(FakeQuantize&&) noexcept = default;
FakeQuantize& FakeQuantize::operator=(FakeQuantize&&) noexcept = default;
FakeQuantize::~FakeQuantize() = default;

const WeightConfig& FakeQuantize::config() const { return impl_->config; }
CodeRange FakeQuantize::code_range() const { return {impl_->rule.quant_min, impl_->rule.quant_max}; }
bool FakeQuantize::fake_quant_enabled() const { return impl_->fake_quant_enabled; }
bool FakeQuantize::observer_enabled() const { return impl_->observer_enabled; }
bool FakeQuantize::IsRowWise() const { return impl_->row_wise(); }
void FakeQuantize::EnableFakeQuant() { impl_->fake_quant_enabled = true; }
void FakeQuantize::DisableFakeQuant() { impl_->fake_quant_enabled = false; }
void FakeQuantize::EnableObserver() { impl_->observer_enabled = true; }

absl::Status FakeQuantize::DisableObserver(const TableView* table) {
  if (impl_->deploy != nullptr) return FrozenDeployError(impl_->deploy->name);
  EQAT_RETURN_IF_ERROR(impl_->Freeze(table));
  impl_->observer_enabled = false;
  return absl::OkStatus();
}

absl::Status FakeQuantize::ResetMinMaxVals(const TableView* table) {
  EQAT_RETURN_IF_ERROR(impl_->Freeze(table));
  if (impl_->row_wise()) impl_->row_observer->Reset();
  impl_->observer.ResetMinMaxVals();
  return absl::OkStatus();
}

absl::Status FakeQuantize::Forward(TableView x, MutableTableView y, uint8_t* mask) {
  if (y.rows != x.rows || y.cols != x.cols) {
    return InvalidArgument("fake quantizer", "output has another shape", absl::StrCat("[", y.rows, ", ", y.cols, "]"),
                           absl::StrCat("[", x.rows, ", ", x.cols, "]"));
  }
  if (x.rows == 0 || x.cols == 0) return absl::OkStatus();
  if (impl_->fake_quant_enabled) EQAT_RETURN_IF_ERROR(impl_->CheckReady());
  return impl_->row_wise() ? impl_->ForwardByRows(x, y, mask) : impl_->ForwardWhole(x, y, mask);
}

absl::Status FakeQuantize::ForwardRows(TableView table, absl::Span<const int64_t> rows, MutableTableView y,
                                       uint8_t* mask) {
  EQAT_RETURN_IF_ERROR(impl_->CheckTable(table));
  if (impl_->fake_quant_enabled) EQAT_RETURN_IF_ERROR(impl_->CheckReady());
  if (table.rows == 0 || table.cols == 0) return absl::OkStatus();
  RowOutputs out = {y, mask};
  if (!impl_->observer_enabled) return impl_->QuantizeRows(table, rows, nullptr, impl_->fake_quant_enabled, out);
  EQAT_RETURN_IF_ERROR(impl_->row_observer->Prepare(table.rows));
  std::vector<Bounds> bounds(rows.size());
  out.bounds = bounds.data();
  EQAT_RETURN_IF_ERROR(impl_->QuantizeRows(table, rows, nullptr, impl_->fake_quant_enabled, out));
  impl_->row_observer->CountForward(rows, std::move(bounds));
  impl_->FollowBounds(table.rows);
  return absl::OkStatus();
}

bool FakeQuantize::TryForwardRows(TableView table, absl::Span<const int64_t> rows, MutableTableView out) {
  const std::optional<kernels::FreshRule> rule = impl_->FreshRuleFor(table);
  if (!rule.has_value() || table.rows == 0 || table.cols == 0) return false;
  const auto count = static_cast<int64_t>(rows.size());
  if (!kernels::FakeQuantizeRows(table, rows.data(), count, *rule, out)) return false;
  impl_->CountFreshForward(table.rows);
  return true;
}

bool FakeQuantize::TryForwardPool(const PoolArgs& args, MutableTableView out, RowBounds* bounds) {
  if (bounds != nullptr) bounds->forward = 0;
  if (args.rows.rows == 0 || args.rows.cols == 0) return false;
  const std::optional<kernels::FreshRule> rule = impl_->FreshRuleFor(args.rows);
  if (!rule.has_value() || !kernels::FakeQuantizePool(args, *rule, out, bounds)) return false;
  impl_->CountFreshForward(args.rows.rows);
  if (bounds != nullptr && !bounds->min_vals.empty()) bounds->forward = impl_->row_observer->NameOfLastForward();
  return true;
}

bool FakeQuantize::TryEvaluatePool(const PoolArgs& args, MutableTableView out) const {
  const std::optional<kernels::FreshRule> rule = impl_->FreshRuleFor(args.rows);
  return rule.has_value() && kernels::FakeQuantizePool(args, *rule, out);
}

absl::Status FakeQuantize::EvaluateRows(TableView table, absl::Span<const int64_t> rows, MutableTableView y) const {
  EQAT_RETURN_IF_ERROR(impl_->CheckTable(table));
  if (impl_->fake_quant_enabled) EQAT_RETURN_IF_ERROR(impl_->CheckReady());
  if (table.cols == 0) return absl::OkStatus();
  if (const std::optional<kernels::FreshRule> rule = impl_->FreshRuleFor(table)) {
    if (kernels::FakeQuantizeRows(table, rows.data(), static_cast<int64_t>(rows.size()), *rule, y)) {
      return absl::OkStatus();
    }
  }
  return impl_->QuantizeRows(table, rows, nullptr, impl_->fake_quant_enabled, {y});
}

absl::Status FakeQuantize::EvaluateContent(TableView table, absl::Span<const int64_t> rows, TableView content,
                                           MutableTableView y, int32_t* codes, QParams* qparams, uint8_t* mask) const {
  assert(content.rows == static_cast<int64_t>(rows.size()) && content.cols == table.cols);
  EQAT_RETURN_IF_ERROR(impl_->CheckTable(table));
  EQAT_RETURN_IF_ERROR(impl_->CheckReady());
  if (table.cols == 0) {
    if (qparams != nullptr) std::fill_n(qparams, rows.size(), QParams());
    return absl::OkStatus();
  }
  return impl_->QuantizeRows(table, rows, &content, /*quantize=*/true, {y, mask, codes, qparams});
}

absl::Span<const QParams> FakeQuantize::FrozenQParams() const {
  if (impl_->observer_enabled || impl_->source != QParamsSource::kStored) return {};
  return impl_->stored;
}

void FakeQuantize::WillModifyRows(TableView table, absl::Span<const int64_t> rows, const RowBounds* bounds) {
  if (impl_->row_wise() && table.cols > 0) impl_->row_observer->WillModifyRows(table, rows, bounds);
}

void FakeQuantize::WillModifyAllRows(TableView table) {
  if (impl_->row_wise() && table.cols > 0) impl_->row_observer->WillModifyAllRows(table);
}

absl::StatusOr<FakeQuantizeState> FakeQuantize::State(const TableView* table) const {
  FakeQuantizeState state;
  state.fake_quant_enabled = impl_->fake_quant_enabled;
  state.observer_enabled = impl_->observer_enabled;
  state.eps = impl_->rule.eps;
  std::vector<Bounds> bounds;
  if (!impl_->row_wise()) {
    state.min_val = impl_->observer.min_val();
    state.max_val = impl_->observer.max_val();
  } else if (impl_->row_observer->observed()) {
    EQAT_ASSIGN_OR_RETURN(bounds, impl_->AllBounds(table));
    for (const Bounds& row : bounds) {
      state.min_val.push_back(row.min_val);
      state.max_val.push_back(row.max_val);
    }
  }
  state.scale.clear();
  state.zero_point.clear();
  for (const QParams& qparams : impl_->AllQParams(bounds)) {
    state.scale.push_back(qparams.scale);
    state.zero_point.push_back(qparams.zero_point);
  }
  return state;
}

absl::Status FakeQuantize::SetState(FakeQuantizeState state, int64_t channels) {
  EQAT_RETURN_IF_ERROR(CheckState(state, impl_->rule, channels));
  if (impl_->deploy != nullptr && !state.observer_enabled) return FrozenDeployError(impl_->deploy->name);
  WeightConfig config = impl_->config;
  config.observer.eps = state.eps;
  EQAT_ASSIGN_OR_RETURN(FakeQuantize next, Create(config));
  Impl& impl = *next.impl_;
  impl.fake_quant_enabled = state.fake_quant_enabled;
  impl.observer_enabled = state.observer_enabled;
  std::vector<QParams> qparams(state.scale.size());
  for (size_t i = 0; i < qparams.size(); ++i) qparams[i] = {state.scale[i], state.zero_point[i]};
  impl.Store(std::move(qparams));
  if (!HasQParams(state, channels)) impl.source = QParamsSource::kNone;
  if (impl.row_wise()) {
    impl.channels = channels;
    EQAT_RETURN_IF_ERROR(impl.row_observer->Prepare(channels));
  }
  if (HasBounds(state) && impl.row_wise()) {
    std::vector<Bounds> bounds(channels);
    for (int64_t row = 0; row < channels; ++row) bounds[row] = {state.min_val[row], state.max_val[row]};
    impl.row_observer->SetBounds(std::move(bounds));
  } else if (HasBounds(state)) {
    impl.observer.SetMinMaxVals(std::move(state.min_val), std::move(state.max_val));
  }
  *this = std::move(next);
  return absl::OkStatus();
}

std::string FakeQuantize::ToString(const TableView* table) const {
  const DtypeTraits& dtype = TraitsOf(impl_->config.observer.dtype);
  const QSchemeTraits& qscheme = TraitsOf(impl_->rule.qscheme);
  const auto flag = [](bool enabled) { return IntTensorText({enabled ? 1 : 0}, "torch.uint8"); };
  std::string text = absl::StrCat(
      "fake_quant_enabled=", flag(fake_quant_enabled()), ", observer_enabled=", flag(observer_enabled()),
      ", quant_min=", impl_->rule.quant_min, ", quant_max=", impl_->rule.quant_max, ", dtype=torch.", dtype.name,
      ", qscheme=torch.", qscheme.name, ", ch_axis=", qscheme.per_channel ? impl_->config.observer.ch_axis : -1);
  const absl::StatusOr<FakeQuantizeState> state = State(table);
  if (!state.ok()) return absl::StrCat(text, ", scale and zero_point unavailable (", state.status().message(), ")");
  absl::StrAppend(&text, ", scale=", FloatTensorText(state->scale), ", zero_point=");
  if (qscheme.float_zero_point) return text + FloatTensorText(state->zero_point);
  return text + IntTensorText(std::vector<int64_t>(state->zero_point.begin(), state->zero_point.end()), "torch.int32");
}

}  // namespace eqat::quant
