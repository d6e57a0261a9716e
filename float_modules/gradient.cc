#include "float_modules/gradient.h"

#include <algorithm>
#include <cassert>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/error.h"
#include "core/status_macros.h"

namespace eqat::nn {

absl::Status AddTo(SparseGrad& sum, const SparseGrad& other) {
  if (sum.cols != other.cols) {
    return InvalidArgument("gradient", "cannot add gradients of different widths", absl::StrCat(other.cols),
                           absl::StrCat(sum.cols, " columns"));
  }
  SparseGrad merged;
  merged.cols = sum.cols;
  merged.rows.reserve(sum.rows.size() + other.rows.size());
  merged.values.reserve(sum.values.size() + other.values.size());
  const TableView a = sum.view();
  const TableView b = other.view();
  for (int64_t i = 0, j = 0; i < a.rows || j < b.rows;) {
    const bool from_a = j == b.rows || (i < a.rows && sum.rows[i] <= other.rows[j]);
    const bool from_b = i == a.rows || (j < b.rows && other.rows[j] <= sum.rows[i]);
    merged.rows.push_back(from_a ? sum.rows[i] : other.rows[j]);
    for (int64_t c = 0; c < merged.cols; ++c) {
      merged.values.push_back(from_a && from_b ? a.Row(i)[c] + b.Row(j)[c] : (from_a ? a.Row(i)[c] : b.Row(j)[c]));
    }
    i += from_a;
    j += from_b;
  }
  sum = std::move(merged);
  return absl::OkStatus();
}

absl::StatusOr<Table> ToDense(const SparseGrad& grad, int64_t num_rows) {
  assert(grad.rows.empty() || grad.rows.back() < num_rows);
  EQAT_ASSIGN_OR_RETURN(Table dense, Table::Zeros(num_rows, grad.cols));
  const TableView values = grad.view();
  for (int64_t i = 0; i < values.rows; ++i) std::copy_n(values.Row(i), grad.cols, dense.Row(grad.rows[i]));
  return dense;
}

}  // namespace eqat::nn
