// Dequantize and pool in one pass over looked-up rows of packed codes:
//
//   y = f32((double(code) - double(zero_point)) * double(scale))
//
// and the rows of y are reduced as PoolRows does (core/pool_kernels.h): the same bits as from a table of floats.
//
// Every dispatch target and the reference give the same bits, for 1 to 8 bits, any number of columns, any alignment of
// the codes and of 4 bytes for all else. Reads the codes of the rows that are looked up and nothing outside
// [codes of row 0, codes of the last row].
#ifndef EQAT_QUANT_KERNELS_PACKED_POOL_KERNELS_H_
#define EQAT_QUANT_KERNELS_PACKED_POOL_KERNELS_H_

#include <cstdint>

#include "core/pool_kernels.h"
#include "core/table_view.h"
#include "quant/packed_rows.h"

namespace eqat::quant::kernels {

// What args.ids point into is `table`; args.rows is not read. out: [args.num_bags, table.cols]. Parallel over bags.
void PoolPackedRows(const PackedRows& table, const PoolArgs& args, MutableTableView out);

// Fills what may become table.values: [table.rows, PackedRows::kValues]. Single thread.
void TabulateValues(const PackedRows& table, float* values);

// Row ids[i] of `table` as floats in row i of out: [n, table.cols]. Parallel.
void DequantizePackedRows(const PackedRows& table, const int64_t* ids, int64_t n, MutableTableView out);

namespace reference {
void PoolPackedRows(const PackedRows& table, const PoolArgs& args, MutableTableView out);
void DequantizePackedRows(const PackedRows& table, const int64_t* ids, int64_t n, MutableTableView out);
}  // namespace reference

}  // namespace eqat::quant::kernels

#endif  // EQAT_QUANT_KERNELS_PACKED_POOL_KERNELS_H_
