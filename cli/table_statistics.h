// TableStatistics: what a look at a table's rows should tell before and after quantization.
#ifndef EQAT_CLI_TABLE_STATISTICS_H_
#define EQAT_CLI_TABLE_STATISTICS_H_

#include <cstdint>
#include <optional>

#include "absl/functional/function_ref.h"
#include "model/module.h"

namespace eqat::cli {

struct TableStatistics {
  // Over rows without NaN and infinity; absent when there is none or they are empty.
  std::optional<float> min;
  std::optional<float> max;
  std::optional<double> mean_norm;  // of the Euclidean norms
  int64_t constant_rows = 0;        // all values equal, zero rows included
  int64_t non_finite_rows = 0;
};

// `read_rows(begin, end, out)` writes rows [begin, end) to out [end - begin, cols]; called from several threads. The
// result does not depend on their number.
TableStatistics StatisticsOf(int64_t rows, int64_t cols,
                             absl::FunctionRef<void(int64_t begin, int64_t end, float* out)> read_rows);

// Of a table module's weight (quantized ones as they dequantize); nullopt for a module that is no table.
std::optional<TableStatistics> StatisticsOf(const model::Module& module);

}  // namespace eqat::cli

#endif  // EQAT_CLI_TABLE_STATISTICS_H_
