// RowObserver: the bounds of every row of a table, kept without ever passing over the table. What fake_quantize.h
// promises about rows is implemented here. Internal to quant/.
//
// The table is observed as a whole at each counted forward, but only the rows of the batch are looked at. Any other row
// still holds what it held at the last forward, unless somebody announced a write, and then its bounds were recorded
// before the write. So at any time:
//   bounds of a row as of the last forward = its record, brought up to date with its present content where necessary.
//
// A row whose content gives no usable bounds (NaN, infinity, a range beyond float32) is passed over, not recorded: once
// it has been repaired it counts as having held the repaired content.
//
// Thread safety: const methods may run concurrently, others not with any other.
#ifndef EQAT_QUANT_ROW_OBSERVER_H_
#define EQAT_QUANT_ROW_OBSERVER_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "core/row_bounds.h"
#include "core/table_view.h"
#include "quant/bounds.h"
#include "quant/choose_qparams.h"
#include "quant/types/qconfig.h"

namespace eqat::quant {

class RowObserver {
 public:
  static std::unique_ptr<RowObserver> Create(const ObserverConfig& config, const QParamsRule& qparams_rule);
  RowObserver(const ObserverConfig& config, const QParamsRule& qparams_rule)
      : rule_(config), qparams_rule_(qparams_rule) {}
  virtual ~RowObserver() = default;

  // Makes room for `rows` rows. To be called before the first of CountForward and SetBounds; again is cheap.
  // ResourceExhausted when memory is not to be had.
  virtual absl::Status Prepare(int64_t rows) = 0;

  bool observed() const { return forwards_ > 0; }

  // Bounds of `row` as of the last forward. `present` is its present content, empty when the table is not at hand.
  // nullopt if that content is needed and is missing or holds NaN or infinity. REQUIRES: observed().
  virtual std::optional<Bounds> BoundsNow(int64_t row, absl::Span<const float> present) const = 0;

  // Bounds of `row` after one more observation, of `content` (the present content or a variant of it); they may have
  // overflowed. False as above, also for `content`. (FindBounds says why this is an out-parameter.)
  virtual bool BoundsAfter(int64_t row, absl::Span<const float> present, absl::Span<const float> content,
                           Bounds* bounds) const = 0;

  // Whether the bounds of a row are those of its content at the last forward alone.
  virtual bool memoryless() const = 0;

  // Counts one forward that gave `rows` (ascending) these BoundsAfter. A memoryless observer needs neither.
  virtual void CountForward(absl::Span<const int64_t> rows, std::vector<Bounds> bounds) = 0;

  // The same for every row.
  void CountForwardOfAll(std::vector<Bounds> bounds) {
    ++forwards_;
    SetBounds(std::move(bounds));
  }

  // Replaces the bounds of all rows as of the last forward; counts a first forward if there was none.
  virtual void SetBounds(std::vector<Bounds> bounds) = 0;

  // Back to never observed.
  virtual void Reset() = 0;

  // A number for the last forward that no other forward of any observer has.
  uint64_t NameOfLastForward();

  // Record rows that are about to be written. `bounds` (may be null): see FakeQuantize::WillModifyRows.
  virtual void WillModifyRows(TableView table, absl::Span<const int64_t> rows, const RowBounds* bounds) = 0;
  virtual void WillModifyAllRows(TableView table) = 0;

 protected:
  // BoundsNow if they can be recorded.
  std::optional<Bounds> UsableBoundsNow(int64_t row, TableView table) const;

  const BoundsRule rule_;
  const QParamsRule qparams_rule_;
  int64_t forwards_ = 0;
  uint64_t name_of_last_forward_ = 0;  // 0: it has none
};

}  // namespace eqat::quant

#endif  // EQAT_QUANT_ROW_OBSERVER_H_
