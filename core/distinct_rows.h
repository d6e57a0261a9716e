// DistinctRows: which rows a batch touches, each once, and where. The step that makes the cost of a QAT forward,
// backward and update follow the batch and not the table.
//
// Cost: O(n log n) for n look-ups, O(n) memory; independent of the table. Deterministic.
#ifndef EQAT_CORE_DISTINCT_ROWS_H_
#define EQAT_CORE_DISTINCT_ROWS_H_

#include <cstdint>
#include <vector>

#include "absl/types/span.h"

namespace eqat {

class DistinctRows {
 public:
  DistinctRows() = default;
  explicit DistinctRows(absl::Span<const int64_t> indices);

  // The distinct indices, ascending. "Slot" is a position in this list.
  absl::Span<const int64_t> rows() const { return rows_; }
  int64_t size() const { return static_cast<int64_t>(rows_.size()); }
  // [n]: the slot of each position of the batch.
  absl::Span<const int64_t> slots() const { return slots_; }
  // Positions of the batch that look up slot `slot`, ascending; never empty.
  absl::Span<const int64_t> PositionsOf(int64_t slot) const {
    return absl::MakeConstSpan(positions_).subspan(begins_[slot], begins_[slot + 1] - begins_[slot]);
  }
  // Slot of `row`, or -1 when the batch does not touch it. O(log size).
  int64_t SlotOf(int64_t row) const;

 private:
  std::vector<int64_t> rows_;
  std::vector<int64_t> slots_;
  std::vector<int64_t> positions_;     // by slot, then ascending
  std::vector<int64_t> begins_ = {0};  // [size + 1] into positions_
};

}  // namespace eqat

#endif  // EQAT_CORE_DISTINCT_ROWS_H_
