// DistinctRows: which rows a batch touches, each once, and where. The step that makes the cost of a QAT forward,
// backward and update follow the batch and not the table.
//
// Cost: O(n) for n look-ups (radix sort, or a slot for each row of the batch's range where that is not much
// longer than the batch), O(n) memory; independent of the table. Deterministic.
#ifndef EQAT_CORE_DISTINCT_ROWS_H_
#define EQAT_CORE_DISTINCT_ROWS_H_

#include <cassert>
#include <cstdint>
#include <vector>

#include "absl/types/span.h"

namespace eqat {

class DistinctRows {
 public:
  DistinctRows() = default;
  explicit DistinctRows(absl::Span<const int64_t> indices) { Find(indices); }

  // Becomes the distinct rows of another batch, in the memory of the last.
  void Find(absl::Span<const int64_t> indices);

  // The distinct indices, ascending. "Slot" is a position in this list.
  absl::Span<const int64_t> rows() const { return rows_; }
  int64_t size() const { return static_cast<int64_t>(rows_.size()); }
  // [n]: the slot of each position of the batch.
  absl::Span<const int64_t> slots() const { return slots_; }
  // Slot of `row`, or -1 when the batch does not touch it. O(log size).
  int64_t SlotOf(int64_t row) const;

  // Makes PositionsOf available. O(n); again is free.
  void GroupPositions();
  // Positions of the batch that look up slot `slot`, ascending; never empty. REQUIRES: GroupPositions() was called.
  absl::Span<const int64_t> PositionsOf(int64_t slot) const {
    assert(!positions_.empty());
    return absl::MakeConstSpan(positions_).subspan(begins_[slot], begins_[slot + 1] - begins_[slot]);
  }

 private:
  void MarkRows(absl::Span<const int64_t> indices, int64_t smallest, uint64_t largest_key);
  template <typename Lookups>
  void TakeSorted(Lookups& lookups);

  std::vector<int64_t> rows_;
  std::vector<int64_t> slots_;
  std::vector<int64_t> positions_;  // by slot, then ascending
  std::vector<int64_t> begins_;     // [size + 1] into positions_
};

// Whether the look-ups of a batch in a table of `rows` rows repeat each row about four times or more, as far as the
// size of the table or a sample tells. Constant cost; deterministic.
bool RepeatsRows(absl::Span<const int64_t> indices, int64_t rows);

}  // namespace eqat

#endif  // EQAT_CORE_DISTINCT_ROWS_H_
