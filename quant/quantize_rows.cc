#include "quant/quantize_rows.h"

#include <cassert>
#include <numeric>
#include <vector>

#include "absl/types/span.h"
#include "core/error.h"
#include "core/status_macros.h"
#include "quant/bounds.h"
#include "quant/deploy_arithmetic.h"
#include "quant/kernels/pack_kernels.h"
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

// Some rows from `first` on, and where they go.
struct Block {
  int64_t first;
  TableView content;
  MutablePackedRows packed;
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

// The parameters that the observer would give.
absl::Status Evaluate(const Conversion& conversion, int64_t first, TableView content, QParams* qparams) {
  std::vector<int64_t> rows(content.rows);
  std::iota(rows.begin(), rows.end(), first);
  return conversion.fake_quantize.EvaluateContent(conversion.table, rows, content, MutableTableView(),
                                                  /*codes=*/nullptr, qparams);
}

absl::Status QuantizeDeployed(const Conversion& conversion, const DeployTraits& deploy, const Block& block) {
  const TableView& content = block.content;
  std::vector<int32_t> codes(content.cols);
  for (int64_t i = 0; i < content.rows; ++i) {
    const absl::Span<const float> values = absl::MakeConstSpan(content.Row(i), content.cols);
    const DeployedRow row = {.codes = codes.data(), .params = &block.packed.Params(i)};
    if (!QuantizeDeployedRow(deploy, values, row)) {
      return Evaluate(conversion, block.first + i, TableView(values.data(), 1, content.cols), /*qparams=*/nullptr);
    }
    kernels::PackRow(codes.data(), codes.size(), deploy.bits, block.packed.Codes(i));
  }
  return absl::OkStatus();
}

absl::Status QuantizeBlock(const Conversion& conversion, const Block& block) {
  if (const DeployTraits* const deploy = DeployOf(conversion.fake_quantize.config())) {
    return QuantizeDeployed(conversion, *deploy, block);
  }
  const TableView& content = block.content;
  int64_t bad;
  if (conversion.own_bounds) {
    bad = kernels::QuantizeRowsByOwnBounds(content, conversion.rule, conversion.bits, block.packed);
  } else {
    std::vector<QParams> evaluated;
    const absl::Span<const QParams> frozen = conversion.fake_quantize.FrozenQParams();
    if (frozen.empty()) {
      evaluated.resize(content.rows);
      EQAT_RETURN_IF_ERROR(Evaluate(conversion, block.first, content, evaluated.data()));
    }
    const QParams* const qparams = frozen.empty() ? evaluated.data() : frozen.data() + block.first;
    bad = kernels::QuantizeRowsWithQParams(content, qparams, conversion.rule, conversion.bits, block.packed);
  }
  if (bad == content.rows) return absl::OkStatus();
  const absl::Status status =
      Evaluate(conversion, block.first + bad, TableView(content.Row(bad), 1, content.cols), /*qparams=*/nullptr);
  assert(!status.ok());
  return status;
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
    const TableView rows(content.Row(block_begin), block_end - block_begin, content.cols, content.stride);
    return QuantizeBlock(conversion, {begin + block_begin, rows, packed.From(block_begin)});
  });
}

}  // namespace eqat::quant
