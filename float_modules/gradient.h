// Gradients of tables: row-sparse inside, dense or coalesced sparse at the border.
#ifndef EQAT_FLOAT_MODULES_GRADIENT_H_
#define EQAT_FLOAT_MODULES_GRADIENT_H_

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "core/row_bounds.h"
#include "core/table.h"

namespace eqat::nn {

// Coalesced: `rows` distinct and ascending; values[i] is the gradient of row rows[i]. Rows not listed have gradient 0.
struct SparseGrad {
  std::vector<int64_t> rows;
  std::vector<float> values;  // [rows.size(), cols]
  int64_t cols = 0;
  RowBounds bounds;  // of `rows`, where a QAT module's forward has left them; for WillModifyRows

  TableView view() const { return TableView(values.data(), static_cast<int64_t>(rows.size()), cols); }
  MutableTableView mutable_view() { return MutableTableView(values.data(), static_cast<int64_t>(rows.size()), cols); }
};

// this += other, row by row (a table used twice in one graph). InvalidArgument when the widths differ.
absl::Status AddTo(SparseGrad& sum, const SparseGrad& other);

// [num_rows, cols], zero where no row is listed. ResourceExhausted when it does not fit.
absl::StatusOr<Table> ToDense(const SparseGrad& grad, int64_t num_rows);

}  // namespace eqat::nn

#endif  // EQAT_FLOAT_MODULES_GRADIENT_H_
