#include "quant/row_observer.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <utility>

#include "absl/container/btree_map.h"
#include "absl/strings/str_cat.h"
#include "core/error.h"
#include "core/parallel_for.h"
#include "quant/row_scan.h"

namespace eqat::quant {
namespace {

// Averaging constant 1: the bounds as of the last forward are those of a row's content at that forward. Rows that have
// not changed since need no record. Memory: the rows written since.
class MemorylessRowObserver final : public RowObserver {
 public:
  using RowObserver::RowObserver;

  absl::Status Prepare(int64_t) override { return absl::OkStatus(); }

  std::optional<Bounds> BoundsNow(int64_t row, absl::Span<const float> present) const override {
    if (const std::optional<Bounds> recorded = RecordOf(row)) return recorded;
    if (present.empty()) return std::nullopt;
    return BoundsOf(present);
  }

  bool BoundsAfter(int64_t, absl::Span<const float>, absl::Span<const float> content, Bounds* bounds) const override {
    return FindBounds(content, bounds);
  }

  bool memoryless() const override { return true; }

  void CountForward(absl::Span<const int64_t>, std::vector<Bounds>) override {
    ClearRecords();
    ++forwards_;
    name_of_last_forward_ = 0;
  }

  void SetBounds(std::vector<Bounds> bounds) override {
    ClearRecords();
    all_ = std::move(bounds);
    all_recorded_ = true;
    forwards_ = std::max<int64_t>(forwards_, 1);
    name_of_last_forward_ = 0;
  }

  void Reset() override {
    ClearRecords();
    forwards_ = 0;
    name_of_last_forward_ = 0;
  }

  void WillModifyRows(TableView table, absl::Span<const int64_t> rows, const RowBounds* bounds) override {
    if (!observed() || all_recorded_ || rows == absl::MakeConstSpan(written_rows_)) return;
    const bool first = written_rows_.empty() && written_later_.empty() && all_.empty();
    if (first && bounds != nullptr && TakeOver(rows, *bounds)) return;
    if (first && WriteAllAtOnce(table, rows)) return;
    std::vector<int64_t> unrecorded;
    std::copy_if(rows.begin(), rows.end(), std::back_inserter(unrecorded),
                 [this](int64_t row) { return !RecordOf(row).has_value(); });
    std::vector<Bounds> found(unrecorded.size());
    ParallelFor(static_cast<int64_t>(unrecorded.size()), RowBlock(table.cols), [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) found[i] = UsableBoundsNow(unrecorded[i], table).value_or(kNoBounds);
    });
    for (size_t i = 0; i < unrecorded.size(); ++i) {
      if (!IsRecord(found[i])) continue;
      if (all_.empty()) {
        written_later_.insert_or_assign(unrecorded[i], found[i]);
      } else {
        all_[unrecorded[i]] = found[i];
      }
    }
  }

  void WillModifyAllRows(TableView table) override {
    if (!observed() || all_recorded_) return;
    std::vector<Bounds> bounds(table.rows);
    ParallelFor(table.rows, RowBlock(table.cols), [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) bounds[row] = UsableBoundsNow(row, table).value_or(kNoBounds);
    });
    ClearRecords();
    all_ = std::move(bounds);
    all_recorded_ = std::all_of(all_.begin(), all_.end(), IsRecord);
  }

 private:
  static constexpr Bounds kNoBounds = {std::numeric_limits<float>::quiet_NaN(),
                                       std::numeric_limits<float>::quiet_NaN()};
  static bool IsRecord(const Bounds& bounds) { return !std::isnan(bounds.min_val); }

  std::optional<Bounds> RecordOf(int64_t row) const {
    if (!all_.empty()) return IsRecord(all_[row]) ? std::optional<Bounds>(all_[row]) : std::nullopt;
    const auto position = std::lower_bound(written_rows_.begin(), written_rows_.end(), row);
    if (position != written_rows_.end() && *position == row) return written_bounds_[position - written_rows_.begin()];
    const auto entry = written_later_.find(row);
    return entry == written_later_.end() ? std::nullopt : std::optional<Bounds>(entry->second);
  }

  // Bounds that the last forward saw in exactly these rows, none of which has been written since.
  bool TakeOver(absl::Span<const int64_t> rows, const RowBounds& bounds) {
    if (bounds.forward == 0 || bounds.forward != name_of_last_forward_) return false;
    if (rows != absl::MakeConstSpan(bounds.rows)) return false;
    if (bounds.min_vals.size() != rows.size() || bounds.max_vals.size() != rows.size()) return false;
    written_rows_.assign(rows.begin(), rows.end());
    written_bounds_.resize(rows.size());
    for (size_t i = 0; i < rows.size(); ++i) written_bounds_[i] = {bounds.min_vals[i], bounds.max_vals[i]};
    return true;
  }

  // The rows of a training step, which are ascending and almost always usable. False, having done nothing, if not.
  bool WriteAllAtOnce(TableView table, absl::Span<const int64_t> rows) {
    const std::optional<kernels::FreshRule> rule = FreshRuleOf(qparams_rule_);
    if (!rule.has_value() || !std::is_sorted(rows.begin(), rows.end())) return false;
    written_bounds_.resize(rows.size());
    const auto count = static_cast<int64_t>(rows.size());
    if (!kernels::FindFreshBounds(table, rows.data(), count, *rule, written_bounds_.data())) return false;
    written_rows_.assign(rows.begin(), rows.end());
    return true;
  }

  void ClearRecords() {
    written_rows_.clear();
    written_bounds_.clear();
    written_later_.clear();
    std::vector<Bounds>().swap(all_);  // as large as the table: give it back
    all_recorded_ = false;
  }

  std::vector<int64_t> written_rows_;  // rows written since the last forward, ascending: those announced first,
  std::vector<Bounds> written_bounds_;
  absl::btree_map<int64_t, Bounds> written_later_;  // and any others
  std::vector<Bounds> all_;                         // empty, or one for each row in place of the three above
  bool all_recorded_ = false;                       // `all_` has no gaps
};

// Observers with a history: a record for each row, made in zero pages that cost nothing until a row is touched. A row
// that missed forwards catches up by observing its content once for each.
class HistoryRowObserver final : public RowObserver {
 public:
  using RowObserver::RowObserver;

  absl::Status Prepare(int64_t rows) override {
    if (records_ != nullptr || rows == 0) return absl::OkStatus();
    records_.reset(static_cast<Record*>(std::calloc(rows, sizeof(Record))));
    if (records_ == nullptr) {
      return ResourceExhausted("observer", "no memory for the bounds of all rows", absl::StrCat(rows, " rows"));
    }
    return absl::OkStatus();
  }

  std::optional<Bounds> BoundsNow(int64_t row, absl::Span<const float> present) const override {
    const Record& record = records_[row];
    if (record.forwards == forwards_) return record.bounds;
    if (present.empty()) return std::nullopt;
    const std::optional<Bounds> current = BoundsOf(present);
    if (!current.has_value()) return std::nullopt;
    return Observed(record, *current, forwards_ - record.forwards);
  }

  bool BoundsAfter(int64_t row, absl::Span<const float> present, absl::Span<const float> content,
                   Bounds* bounds) const override {
    if (!FindBounds(content, bounds)) return false;
    if (!observed()) return true;
    if (present.data() == content.data()) {
      *bounds = Observed(records_[row], *bounds, forwards_ + 1 - records_[row].forwards);
      return true;
    }
    const std::optional<Bounds> now = BoundsNow(row, present);
    if (now.has_value()) *bounds = rule_.Next(*now, *bounds);
    return now.has_value();
  }

  bool memoryless() const override { return false; }

  void CountForward(absl::Span<const int64_t> rows, std::vector<Bounds> bounds) override {
    ++forwards_;
    for (size_t i = 0; i < rows.size(); ++i) records_[rows[i]] = {forwards_, bounds[i]};
  }

  void SetBounds(std::vector<Bounds> bounds) override {
    forwards_ = std::max<int64_t>(forwards_, 1);
    ParallelFor(static_cast<int64_t>(bounds.size()), RowBlock(1), [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) records_[row] = {forwards_, bounds[row]};
    });
  }

  void Reset() override {
    records_.reset();
    forwards_ = 0;
  }

  void WillModifyRows(TableView table, absl::Span<const int64_t> rows, const RowBounds* /*bounds*/) override {
    if (!observed()) return;
    ParallelFor(static_cast<int64_t>(rows.size()), RowBlock(table.cols), [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) CatchUp(rows[i], table);
    });
  }

  void WillModifyAllRows(TableView table) override {
    if (!observed()) return;
    ParallelFor(table.rows, RowBlock(table.cols), [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) CatchUp(row, table);
    });
  }

 private:
  struct Record {
    int64_t forwards;  // counted into `bounds`; 0: none yet
    Bounds bounds;
  };
  struct Free {
    void operator()(Record* records) const { std::free(records); }
  };

  Bounds Observed(const Record& record, Bounds current, int64_t count) const {
    if (record.forwards == 0) return rule_.Repeat(current, current, count - 1);
    return rule_.Repeat(record.bounds, current, count);
  }

  void CatchUp(int64_t row, TableView table) {
    if (records_[row].forwards == forwards_) return;
    const std::optional<Bounds> now = UsableBoundsNow(row, table);
    if (now.has_value()) records_[row] = {forwards_, *now};
  }

  std::unique_ptr<Record[], Free> records_;
};

}  // namespace

std::unique_ptr<RowObserver> RowObserver::Create(const ObserverConfig& config, const QParamsRule& qparams_rule) {
  if (BoundsRule(config).memoryless()) return std::make_unique<MemorylessRowObserver>(config, qparams_rule);
  return std::make_unique<HistoryRowObserver>(config, qparams_rule);
}

uint64_t RowObserver::NameOfLastForward() {
  static std::atomic<uint64_t> last_name{0};
  if (name_of_last_forward_ == 0) name_of_last_forward_ = last_name.fetch_add(1, std::memory_order_relaxed) + 1;
  return name_of_last_forward_;
}

std::optional<Bounds> RowObserver::UsableBoundsNow(int64_t row, TableView table) const {
  const std::optional<Bounds> bounds = BoundsNow(row, absl::MakeConstSpan(table.Row(row), table.cols));
  if (!bounds.has_value() || !IsUsable(*bounds, qparams_rule_)) return std::nullopt;
  return bounds;
}

}  // namespace eqat::quant
