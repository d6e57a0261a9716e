#include "cli/table_statistics.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <type_traits>
#include <variant>
#include <vector>

#include "core/parallel_for.h"
#include "core/table_view.h"

namespace eqat::cli {
namespace {

constexpr int64_t kBlockRows = 1024;

struct BlockSums {
  float min = INFINITY;
  float max = -INFINITY;
  double norms = 0;
  int64_t finite_rows = 0;
  int64_t constant_rows = 0;
};

void AddRow(const float* row, int64_t cols, BlockSums& sums) {
  float min = INFINITY, max = -INFINITY;
  double squares = 0;
  for (int64_t i = 0; i < cols; ++i) {
    if (!std::isfinite(row[i])) return;
    min = std::min(min, row[i]);
    max = std::max(max, row[i]);
    squares += static_cast<double>(row[i]) * row[i];
  }
  sums.min = std::min(sums.min, min);
  sums.max = std::max(sums.max, max);
  sums.norms += std::sqrt(squares);
  sums.finite_rows += 1;
  sums.constant_rows += min == max ? 1 : 0;
}

}  // namespace

TableStatistics StatisticsOf(int64_t rows, int64_t cols,
                             absl::FunctionRef<void(int64_t begin, int64_t end, float* out)> read_rows) {
  std::vector<BlockSums> blocks((rows + kBlockRows - 1) / kBlockRows);
  ParallelFor(rows, kBlockRows, [&](int64_t begin, int64_t end) {
    std::vector<float> values((end - begin) * cols);
    read_rows(begin, end, values.data());
    BlockSums& sums = blocks[begin / kBlockRows];
    for (int64_t row = 0; row < end - begin; ++row) AddRow(values.data() + row * cols, cols, sums);
  });
  BlockSums all;
  for (const BlockSums& block : blocks) {
    all.min = std::min(all.min, block.min);
    all.max = std::max(all.max, block.max);
    all.norms += block.norms;
    all.finite_rows += block.finite_rows;
    all.constant_rows += block.constant_rows;
  }
  TableStatistics statistics;
  statistics.constant_rows = all.constant_rows;
  statistics.non_finite_rows = rows - all.finite_rows;
  if (all.finite_rows > 0 && cols > 0) {
    statistics.min = all.min;
    statistics.max = all.max;
    statistics.mean_norm = all.norms / static_cast<double>(all.finite_rows);
  }
  return statistics;
}

std::optional<TableStatistics> StatisticsOf(const model::Module& module) {
  return std::visit(
      [](const auto& typed) -> std::optional<TableStatistics> {
        using T = std::decay_t<decltype(typed)>;
        if constexpr (std::is_same_v<T, quantized::Embedding> || std::is_same_v<T, quantized::EmbeddingBag>) {
          const quant::QuantizedTable& table = typed.weight();
          return StatisticsOf(table.rows(), table.cols(), [&table](int64_t begin, int64_t end, float* out) {
            std::vector<int64_t> rows(end - begin);
            std::iota(rows.begin(), rows.end(), begin);
            table.DequantizeRows(rows, MutableTableView(out, end - begin, table.cols()));
          });
        } else if constexpr (std::is_base_of_v<EmbeddingLookup, T>) {
          const TableView table = typed.weight().view();
          return StatisticsOf(table.rows, table.cols, [&table](int64_t begin, int64_t end, float* out) {
            std::copy(table.Row(begin), table.Row(end), out);
          });
        } else {
          return std::nullopt;
        }
      },
      module);
}

}  // namespace eqat::cli
