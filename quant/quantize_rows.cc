#include "quant/quantize_rows.h"

#include <algorithm>
#include <cassert>
#include <numeric>
#include <vector>

#include "absl/types/span.h"
#include "core/error.h"
#include "core/status_macros.h"
#include "quant/bounds.h"
#include "quant/kernels/quantize_rows_kernels.h"
#include "quant/row_scan.h"

namespace eqat::quant {
namespace {

// What is the same for all rows.
struct Conversion {
  const FakeQuantize& fake_quantize;
  TableView table;
  QParamsRule rule;
  int bits;
  bool own_bounds;  // each row's parameters come from its content alone
};

absl::StatusOr<Conversion> MakeConversion(const FakeQuantize& fake_quantize, TableView table) {
  const ObserverConfig& config = fake_quantize.config().observer;
  if (!TraitsOf(config.qscheme).float_zero_point) {
    return InvalidArgument("fake quantizer", "rows cannot be packed", TraitsOf(config.qscheme).name,
                           TraitsOf(QScheme::kPerChannelAffineFloatQParams).name);
  }
  // Its checks of the table and the observer.
  EQAT_RETURN_IF_ERROR(fake_quantize.EvaluateContent(table, {}, TableView(nullptr, 0, table.cols), MutableTableView(),
                                                     /*codes=*/nullptr, /*qparams=*/nullptr));
  EQAT_ASSIGN_OR_RETURN(const QParamsRule rule, MakeQParamsRule(config));
  return Conversion{fake_quantize, table, rule, TraitsOf(config.dtype).bits,
                    fake_quantize.observer_enabled() && BoundsRule(config).memoryless()};
}

// Rows of `content` stand for rows `first`, ... of the table.
absl::Status QuantizeByOwnBounds(const Conversion& conversion, int64_t first, TableView content,
                                 const MutablePackedRows& packed) {
  const int64_t bad = kernels::QuantizeRowsByOwnBounds(content, conversion.rule, conversion.bits, packed);
  if (bad == content.rows) return absl::OkStatus();
  const int64_t row = first + bad;
  const absl::Status status = conversion.fake_quantize.EvaluateContent(
      conversion.table, absl::MakeConstSpan(&row, 1), TableView(content.Row(bad), 1, content.cols), MutableTableView(),
      /*codes=*/nullptr, /*qparams=*/nullptr);
  assert(!status.ok());
  return status;
}

absl::Status QuantizeByObserver(const Conversion& conversion, int64_t first, TableView content,
                                const MutablePackedRows& packed) {
  std::vector<int64_t> rows(content.rows);
  std::iota(rows.begin(), rows.end(), first);
  std::vector<QParams> qparams(content.rows);
  EQAT_RETURN_IF_ERROR(conversion.fake_quantize.EvaluateContent(conversion.table, rows, content, MutableTableView(),
                                                                /*codes=*/nullptr, qparams.data()));
  kernels::QuantizeRowsWithQParams(content, qparams.data(), conversion.rule, conversion.bits, packed);
  return absl::OkStatus();
}

}  // namespace

absl::Status QuantizeRows(const FakeQuantize& fake_quantize, TableView table, int64_t begin, int64_t end,
                          const MutablePackedRows& packed) {
  assert(begin <= end);
  const TableView content(table.Row(begin), end - begin, table.cols, table.stride);
  return QuantizeContent(fake_quantize, table, begin, content, packed);
}

absl::Status QuantizeContent(const FakeQuantize& fake_quantize, TableView table, int64_t begin, TableView content,
                             const MutablePackedRows& packed) {
  assert(0 <= begin && begin + content.rows <= table.rows && content.cols == table.cols);
  EQAT_ASSIGN_OR_RETURN(const Conversion conversion, MakeConversion(fake_quantize, table));
  if (table.cols == 0) {
    for (int64_t i = 0; i < content.rows; ++i) packed.Params(i) = QParams();
    return absl::OkStatus();
  }
  return FirstError(content.rows, content.cols, [&](int64_t block_begin, int64_t block_end) {
    const TableView block(content.Row(block_begin), block_end - block_begin, content.cols, content.stride);
    const MutablePackedRows block_packed = packed.From(block_begin);
    return conversion.own_bounds ? QuantizeByOwnBounds(conversion, begin + block_begin, block, block_packed)
                                 : QuantizeByObserver(conversion, begin + block_begin, block, block_packed);
  });
}

}  // namespace eqat::quant
