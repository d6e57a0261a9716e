// Pooling of float rows: the one definition of the order and rounding in which looked-up rows are reduced. The float,
// QAT and quantized modules all end here, which is why they can agree bit for bit.
//
// For bag b with positions k = offsets[b] .. offsets[b+1]-1 whose ids differ from padding_id, in position order:
//   kSum                       out = ((0 + row_1) + row_2) + ...             each sum rounded to float32
//   kSum, weights, no padding  out = fma(w_k, row_k, out)                    rounded once
//   kSum, weights, padding     out = out + f32(w_k * row_k)                  rounded twice
//   kMean                      sum as above, then a true division by the number of rows counted
//   kMax                       first row, then replaced where a later one is strictly greater (a NaN stays only if
//   first)
// Bags with nothing to count give zeros in every mode. (As torch's CPU kernels: fast path without a padding_idx, slow
// path with one. "Padding" above means that the module has a padding_idx, whether or not a bag contains it.)
//
// Every dispatch target and the reference give the same bits; any column count, any alignment of 4 bytes.
#ifndef EQAT_CORE_POOL_KERNELS_H_
#define EQAT_CORE_POOL_KERNELS_H_

#include <cstdint>

#include "core/lookup.h"
#include "core/table_view.h"

namespace eqat {

struct PoolArgs {
  TableView rows;                    // what `ids` point into: a whole table, or a block of its distinct rows
  const int64_t* ids = nullptr;      // [n], each in [0, rows.rows)
  const int64_t* offsets = nullptr;  // [num_bags + 1]
  int64_t num_bags = 0;
  const float* weights = nullptr;  // [n] or null; kSum only
  PoolMode mode = PoolMode::kSum;
  bool has_padding = false;  // the module has a padding_idx: selects the two-rounding weighted sum
  int64_t padding_id = -1;   // id to leave out; -1 when no position of this batch holds it
};

// out: [num_bags, rows.cols]. max_positions: null, or for kMax [num_bags, rows.cols] that receives for each element the
// position k it came from, -1 for bags with nothing to count. Parallel over bags.
void PoolRows(const PoolArgs& args, MutableTableView out, int64_t* max_positions = nullptr);

// The slow obvious version that PoolRows is tested against. Single thread.
void PoolRowsReference(const PoolArgs& args, MutableTableView out, int64_t* max_positions = nullptr);

}  // namespace eqat

#endif  // EQAT_CORE_POOL_KERNELS_H_
