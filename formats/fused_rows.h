// Fused rows: each row of a table as the bytes from which PyTorch's and FBGEMM's look-ups read it, its scale and bias
// beside its codes.
//
//   codes   ceil(cols * bits / 8) bytes, low bits first, padding bits 0
//   scale   float32 for torch's 8-bit rows, else float16
//   bias    as scale; y = scale * code + bias
//
// Follows torch.ops.quantized.embedding_bag_{byte,4bit,2bit}_prepack (parameters behind the codes) and the inference
// rows of FBGEMM's table-batched embeddings (parameters before the codes, unless told otherwise).
#ifndef EQAT_FORMATS_FUSED_ROWS_H_
#define EQAT_FORMATS_FUSED_ROWS_H_

#include <cstdint>
#include <vector>

#include "quant/quantized_table.h"

namespace eqat::formats {

struct FusedLayout {
  bool params_first = false;
  int64_t alignment = 1;  // a row is padded with zeros to a multiple of this many bytes, at least 1
};

int64_t FusedRowBytes(const quant::QuantizedTable& table, const FusedLayout& layout);

// [rows, FusedRowBytes]. REQUIRES: a table deployed with a bias and one group in a row.
std::vector<uint8_t> FusedRows(const quant::QuantizedTable& table, const FusedLayout& layout);

}  // namespace eqat::formats

#endif  // EQAT_FORMATS_FUSED_ROWS_H_
