// The gradient of a table's rows from the gradient of the bags: the one definition of order and rounding. Internal to
// this folder.
//
// Row i of the result belongs to slot i of the batch's distinct rows, or to slot i + 1 from skipped_slot on. Per
// element, over the positions k of that slot in order, with b the bag of k, g = grad_output[b] and sum from 0:
//   no max_positions   term = g * f, rounded; f = position_factors[k] or bag_factors[b], 1 without both
//                      sum = sum + term, rounded; with scale_by_count sum = fma(term, f32(1 / positions), sum)
//   max_positions      sum = sum + g where max_positions[b] is k
// and at last sum * mask, if there is a mask.
//
// Every dispatch target and the reference give the same bits (which NaN aside); any column count, any alignment of 4
// bytes.
#ifndef EQAT_FLOAT_MODULES_GRADIENT_KERNELS_H_
#define EQAT_FLOAT_MODULES_GRADIENT_KERNELS_H_

#include <cstdint>

#include "core/distinct_rows.h"
#include "core/table_view.h"

namespace eqat::nn {

struct GradientArgs {
  TableView grad_output;  // [num_bags, cols]
  const DistinctRows* distinct = nullptr;
  const int64_t* bag_of = nullptr;          // [n]; null: position k is bag k
  const float* bag_factors = nullptr;       // [num_bags] or null
  const float* position_factors = nullptr;  // [n] or null; not together with bag_factors
  const int64_t* max_positions = nullptr;   // [num_bags, cols] or null; no factors then
  bool scale_by_count = false;              // not with max_positions
  const uint8_t* mask = nullptr;            // [distinct->size(), cols], 0 or 1; null: all 1
  int64_t skipped_slot = -1;                // left out of the result; -1: none
};

// Writes all of out, [distinct->size() less the skipped slot, cols], which may hold anything before. Parallel over
// rows, and over the columns of rows with very many positions.
void SumGradients(const GradientArgs& args, MutableTableView out);

// The slow obvious version that SumGradients is tested against. Single thread.
void SumGradientsReference(const GradientArgs& args, MutableTableView out);

}  // namespace eqat::nn

#endif  // EQAT_FLOAT_MODULES_GRADIENT_KERNELS_H_
