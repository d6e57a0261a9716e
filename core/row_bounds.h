// RowBounds: the smallest and the largest value of rows, as one forward saw them, for those who need them before the
// rows are written: they need not read the rows again.
#ifndef EQAT_CORE_ROW_BOUNDS_H_
#define EQAT_CORE_ROW_BOUNDS_H_

#include <cstdint>
#include <vector>

namespace eqat {

struct RowBounds {
  uint64_t forward = 0;         // which forward saw them, a number that no other in this process has; 0: none
  std::vector<int64_t> rows;    // whose they are, ascending; empty for one entry at each position of a batch
  std::vector<float> min_vals;  // a zero has the sign of the row's first zero
  std::vector<float> max_vals;
};

}  // namespace eqat

#endif  // EQAT_CORE_ROW_BOUNDS_H_
