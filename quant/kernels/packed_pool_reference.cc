#include <vector>

#include "quant/kernels/pack_kernels.h"
#include "quant/kernels/packed_pool_kernels.h"

namespace eqat::quant::kernels::reference {

void DequantizePackedRows(const PackedRows& table, const int64_t* ids, int64_t n, MutableTableView out) {
  std::vector<int32_t> codes(table.cols);
  for (int64_t i = 0; i < n; ++i) {
    UnpackRow(table.Codes(ids[i]), table.cols, table.bits, codes.data());
    const double scale = table.Params(ids[i]).scale;
    const double zero_point = table.Params(ids[i]).zero_point;
    for (int64_t col = 0; col < table.cols; ++col) {
      const int32_t code = table.is_signed ? static_cast<int8_t>(codes[col]) : codes[col];
      out.Row(i)[col] = static_cast<float>((code - zero_point) * scale);
    }
  }
}

void PoolPackedRows(const PackedRows& table, const PoolArgs& args, MutableTableView out) {
  const int64_t n = args.offsets[args.num_bags];
  std::vector<float> values(n * table.cols);
  std::vector<int64_t> positions(n);
  PoolArgs pooled = args;
  pooled.rows = TableView(values.data(), n, table.cols);
  pooled.ids = positions.data();
  DequantizePackedRows(table, args.ids, n, MutableTableView(values.data(), n, table.cols));
  for (int64_t k = 0; k < n; ++k) positions[k] = args.ids[k] == args.padding_id ? n : k;
  pooled.padding_id = n;
  PoolRowsReference(pooled, out);
}

}  // namespace eqat::quant::kernels::reference
