// PackedRows, MutablePackedRows: non-owning views of rows of packed codes (kernels/pack_kernels.h) with a scale and a
// zero point each. Codes and parameters have strides of their own, so that a row's parameters may follow its codes or
// lie in an array beside them. Copying a view copies no rows.
#ifndef EQAT_QUANT_PACKED_ROWS_H_
#define EQAT_QUANT_PACKED_ROWS_H_

#include <cstdint>

#include "quant/choose_qparams.h"

namespace eqat::quant {

struct PackedRows {
  const uint8_t* codes = nullptr;   // of row 0
  int64_t code_stride = 0;          // bytes from one row's codes to the next row's
  const uint8_t* params = nullptr;  // QParams of row 0, aligned to 4 bytes
  int64_t param_stride = 0;         // bytes, a multiple of 4
  int64_t rows = 0;
  int64_t cols = 0;
  int bits = 8;
  bool is_signed = false;  // codes are two's complement
  // Null, or for unsigned codes of at most 4 bits the kValues values of each row's codes, repeated if they are fewer:
  // [rows, kValues], aligned to a cache line.
  static constexpr int kValues = 16;
  const float* values = nullptr;

  const uint8_t* Codes(int64_t row) const { return codes + row * code_stride; }
  const QParams& Params(int64_t row) const { return *reinterpret_cast<const QParams*>(params + row * param_stride); }
};

// Rows to be filled. The codes are all zero bits at first; bits beyond a row's last column must stay zero.
struct MutablePackedRows {
  uint8_t* codes = nullptr;
  int64_t code_stride = 0;
  uint8_t* params = nullptr;
  int64_t param_stride = 0;

  uint8_t* Codes(int64_t row) const { return codes + row * code_stride; }
  QParams& Params(int64_t row) const { return *reinterpret_cast<QParams*>(params + row * param_stride); }
  // The rows from `row` on.
  MutablePackedRows From(int64_t row) const {
    return {Codes(row), code_stride, params + row * param_stride, param_stride};
  }
};

}  // namespace eqat::quant

#endif  // EQAT_QUANT_PACKED_ROWS_H_
