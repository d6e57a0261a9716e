// Float rows straight to packed codes, each row with its own scale and float zero point: the codes of FakeQuantizeRow
// (fake_quantize_kernels.h) in the order of PackRow (pack_kernels.h), without the steps in between.
//
// Every dispatch target and the reference give the same bits, for any number of columns >= 1 and any alignment that the
// types allow. No allocation, one thread.
#ifndef EQAT_QUANT_KERNELS_QUANTIZE_ROWS_KERNELS_H_
#define EQAT_QUANT_KERNELS_QUANTIZE_ROWS_KERNELS_H_

#include <cstdint>

#include "core/table_view.h"
#include "quant/choose_qparams.h"
#include "quant/packed_rows.h"

namespace eqat::quant::kernels {

// Both return the first row that fails, or x.rows if none does; what `out` holds after a failure is not specified. The
// `bits` (1 to 8) hold every code.

// Parameters by `rule` (per_channel_affine_float_qparams) from each row's own smallest and largest value. A row fails
// if it holds NaN or infinity or its parameters overflow float32.
int64_t QuantizeRowsByOwnBounds(TableView x, const QParamsRule& rule, int bits, const MutablePackedRows& out);

// Parameters qparams[r] for row r of `x`, codes clamped to [quant_min, quant_max] of `rule`. A row fails if it holds
// NaN or infinity.
int64_t QuantizeRowsWithQParams(TableView x, const QParams* qparams, const QParamsRule& rule, int bits,
                                const MutablePackedRows& out);

namespace reference {
int64_t QuantizeRowsByOwnBounds(TableView x, const QParamsRule& rule, int bits, const MutablePackedRows& out);
int64_t QuantizeRowsWithQParams(TableView x, const QParams* qparams, const QParamsRule& rule, int bits,
                                const MutablePackedRows& out);
}  // namespace reference

}  // namespace eqat::quant::kernels

#endif  // EQAT_QUANT_KERNELS_QUANTIZE_ROWS_KERNELS_H_
