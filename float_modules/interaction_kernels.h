// Dot products of every two features of a row, as DLRM's interaction: the one definition of order and rounding.
// Internal to this folder.
//
// Features are [rows, dim] each, without gaps. Pair p = i * (i - 1) / 2 + j, j < i, of a row:
//   dot[p] = a sum from 0 of lane[0], ..., lane[7] in order, then of the last dim mod 8 products in order; lane[l] is
//            the sum, in order and from 0, of the products f_i[c] * f_j[c] with c mod 8 = l among the first whole
//            eights
//   gradient of f_k[c] = the sum, in order of m and from 0, of g[pair of k and m] * f_m[c] over all m but k
// Every product and every sum is rounded.
//
// Every dispatch target and the reference give the same bits (which NaN aside); any dim, any alignment of 4 bytes.
// Single thread.
#ifndef EQAT_FLOAT_MODULES_INTERACTION_KERNELS_H_
#define EQAT_FLOAT_MODULES_INTERACTION_KERNELS_H_

#include <cstdint>

#include "absl/types/span.h"

namespace eqat::nn {

// So many rows at a time suit every target.
inline constexpr int64_t kInteractionRows = 16;

// Rows [begin, end) of dots [rows, pairs].
void InteractRows(absl::Span<const float* const> features, int64_t dim, int64_t begin, int64_t end, float* dots);

// Rows [begin, end) of the features' gradients from that of the dots; all of them are written.
void InteractRowsBackward(absl::Span<const float* const> features, int64_t dim, const float* grad_dots, int64_t begin,
                          int64_t end, absl::Span<float* const> gradients);

// The slow obvious versions that the others are tested against.
void InteractRowsReference(absl::Span<const float* const> features, int64_t dim, int64_t begin, int64_t end,
                           float* dots);
void InteractRowsBackwardReference(absl::Span<const float* const> features, int64_t dim, const float* grad_dots,
                                   int64_t begin, int64_t end, absl::Span<float* const> gradients);

}  // namespace eqat::nn

#endif  // EQAT_FLOAT_MODULES_INTERACTION_KERNELS_H_
