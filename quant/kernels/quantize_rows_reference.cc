#include <cmath>
#include <vector>

#include "quant/kernels/fake_quantize_kernels.h"
#include "quant/kernels/pack_kernels.h"
#include "quant/kernels/quantize_rows_kernels.h"

namespace eqat::quant::kernels::reference {
namespace {

bool FindBounds(TableView x, int64_t row, float* min_val, float* max_val) {
  bool finite;
  reference::RowMinMax(x.Row(row), x.cols, min_val, max_val, &finite);
  return finite;
}

}  // namespace

int64_t QuantizeRowsByOwnBounds(TableView x, const QParamsRule& rule, int bits, const MutablePackedRows& out) {
  std::vector<QParams> qparams(x.rows);
  for (int64_t row = 0; row < x.rows; ++row) {
    float min_val, max_val;
    if (!FindBounds(x, row, &min_val, &max_val)) return row;
    qparams[row] = ChooseQParams(min_val, max_val, rule);
    if (!std::isfinite(qparams[row].scale) || !std::isfinite(qparams[row].zero_point)) return row;
  }
  return reference::QuantizeRowsWithQParams(x, qparams.data(), rule, bits, out);
}

int64_t QuantizeRowsWithQParams(TableView x, const QParams* qparams, const QParamsRule& rule, int bits,
                                const MutablePackedRows& out) {
  std::vector<int32_t> codes(x.cols);
  for (int64_t row = 0; row < x.rows; ++row) {
    float min_val, max_val;
    if (!FindBounds(x, row, &min_val, &max_val)) return row;
    const AffineParams params = {qparams[row].scale, qparams[row].zero_point, rule.quant_min, rule.quant_max,
                                 /*float_zero_point=*/true};
    reference::FakeQuantizeRow(x.Row(row), x.cols, params, /*y=*/nullptr, /*mask=*/nullptr, codes.data());
    reference::PackRow(codes.data(), x.cols, bits, out.Codes(row));
    out.Params(row) = qparams[row];
  }
  return x.rows;
}

}  // namespace eqat::quant::kernels::reference
