// QuantizeRows: float rows straight to packed rows, as the table that a fake-quantized one is converted to holds them.
#ifndef EQAT_QUANT_QUANTIZE_ROWS_H_
#define EQAT_QUANT_QUANTIZE_ROWS_H_

#include <cstdint>

#include "absl/status/status.h"
#include "core/table_view.h"
#include "quant/fake_quantize.h"
#include "quant/packed_rows.h"

namespace eqat::quant {

// Rows [begin, end) of `table`, which lie inside it: the parameters and codes of FakeQuantize::EvaluateContent, packed
// (kernels/pack_kernels.h) for the dtype of `fake_quantize`. Row 0 of `packed` is row `begin`; every byte of its codes
// is written, padding bits as zeros. Parallel over blocks of rows; the same bits and the same error for any number of
// threads.
//
// InvalidArgument naming the first row that holds NaN or infinity or whose range overflows float32, or unless the
// qscheme is per_channel_affine_float_qparams by rows and `table` has the rows that `fake_quantize` has seen;
// FailedPrecondition if the observer is off and never ran. What `packed` holds after an error is not specified.
absl::Status QuantizeRows(const FakeQuantize& fake_quantize, TableView table, int64_t begin, int64_t end,
                          const MutablePackedRows& packed);

// The same for rows [begin, begin + content.rows) with `content` in place of what they hold (a renormalized copy, say).
absl::Status QuantizeContent(const FakeQuantize& fake_quantize, TableView table, int64_t begin, TableView content,
                             const MutablePackedRows& packed);

}  // namespace eqat::quant

#endif  // EQAT_QUANT_QUANTIZE_ROWS_H_
