// Parallel loops over rows that may fail, with errors that do not depend on the number of threads. Internal to quant/.
#ifndef EQAT_QUANT_ROW_SCAN_H_
#define EQAT_QUANT_ROW_SCAN_H_

#include <cstdint>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/types/span.h"

namespace eqat::quant {

// Rows per block of work in parallel loops over rows of `cols` values.
int64_t RowBlock(int64_t cols);

// Runs `body(i)` for i in [0, n), in parallel over blocks of rows of `cols` values; the rest of a block is left out
// after its first failure (false). Returns the smallest i that failed, or n.
int64_t FirstFailure(int64_t n, int64_t cols, absl::FunctionRef<bool(int64_t i)> body);

// Runs `body(begin, end)` for blocks of [0, n) rows of `cols` values, in parallel; all blocks are run. The error of the
// first block that has one.
absl::Status FirstError(int64_t n, int64_t cols, absl::FunctionRef<absl::Status(int64_t begin, int64_t end)> body);

// InvalidArgument that names the row and its first value that is NaN or infinite.
absl::Status NotFiniteError(int64_t row, absl::Span<const float> values);

}  // namespace eqat::quant

#endif  // EQAT_QUANT_ROW_SCAN_H_
