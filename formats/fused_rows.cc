#include "formats/fused_rows.h"

#include <algorithm>
#include <cassert>
#include <cstring>

#include "core/float16.h"
#include "core/parallel_for.h"
#include "formats/source_table.h"

namespace eqat::formats {
namespace {

int64_t ParamBytes(const quant::QuantizedTable& table) {
  return table.deploy()->has_half_params() ? sizeof(uint16_t) : sizeof(float);
}

void WriteParam(float value, int64_t bytes, uint8_t* out) {
  if (bytes == sizeof(float)) {
    std::memcpy(out, &value, sizeof(float));
  } else {
    const uint16_t half = ToFloat16Bits(value);
    std::memcpy(out, &half, sizeof(half));
  }
}

}  // namespace

int64_t FusedRowBytes(const quant::QuantizedTable& table, const FusedLayout& layout) {
  const int64_t bytes = table.row_bytes() + 2 * ParamBytes(table);
  return (bytes + layout.alignment - 1) / layout.alignment * layout.alignment;
}

std::vector<uint8_t> FusedRows(const quant::QuantizedTable& table, const FusedLayout& layout) {
  assert(table.deploy() != nullptr && table.deploy()->has_bias() && table.groups() == 1);
  const int64_t stride = FusedRowBytes(table, layout), param_bytes = ParamBytes(table);
  const int64_t codes_at = layout.params_first ? 2 * param_bytes : 0;
  const int64_t params_at = layout.params_first ? 0 : table.row_bytes();
  std::vector<uint8_t> bytes(table.rows() * stride);
  ParallelFor(table.rows(), RowsPerBlock(table.cols()), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      uint8_t* const out = bytes.data() + row * stride;
      std::copy_n(table.codes(row).data(), table.row_bytes(), out + codes_at);
      WriteParam(table.scale(row), param_bytes, out + params_at);
      WriteParam(table.zero_point(row), param_bytes, out + params_at + param_bytes);
    }
  });
  return bytes;
}

}  // namespace eqat::formats
