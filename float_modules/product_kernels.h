// Products of matrices in one fixed order of summation. Internal to this folder.
#ifndef EQAT_FLOAT_MODULES_PRODUCT_KERNELS_H_
#define EQAT_FLOAT_MODULES_PRODUCT_KERNELS_H_

#include <cstdint>

#include "core/table_view.h"

namespace eqat::nn {

// The left matrix [rows, depth]: element (i, k) is data[i * row_stride + k * depth_stride].
struct LeftMatrix {
  const float* data = nullptr;
  int64_t row_stride = 0;
  int64_t depth_stride = 1;
};

// A sum is cut into stretches of this length.
inline constexpr int64_t kDepthBlock = 240;

// Columns [0, num_cols) of out = left * right, with right [depth, at least num_cols] and num_cols a multiple of 8. Each
// element is the sum, in order, of the sums of the stretches [0, 240), [240, 480), ... of its products, each of them
// from 0 and in order; every product and every sum is rounded. Single thread; every dispatch target gives the same
// bits.
void MultiplyInOrder(const LeftMatrix& left, TableView right, int64_t num_cols, MutableTableView out);

// The slow obvious version that MultiplyInOrder is tested against.
void MultiplyInOrderReference(const LeftMatrix& left, TableView right, int64_t num_cols, MutableTableView out);

}  // namespace eqat::nn

#endif  // EQAT_FLOAT_MODULES_PRODUCT_KERNELS_H_
