#include <algorithm>

#include "float_modules/product_kernels.h"

namespace eqat::nn {

void MultiplyInOrderReference(const LeftMatrix& left, TableView right, int64_t num_cols, MutableTableView out) {
  for (int64_t i = 0; i < out.rows; ++i) {
    for (int64_t col = 0; col < num_cols; ++col) {
      float total = 0;
      for (int64_t begin = 0; begin < right.rows; begin += kDepthBlock) {
        float sum = 0;
        for (int64_t k = begin; k < std::min(begin + kDepthBlock, right.rows); ++k) {
          sum += left.data[i * left.row_stride + k * left.depth_stride] * right.Row(k)[col];
        }
        total += sum;
      }
      out.Row(i)[col] = total;
    }
  }
}

}  // namespace eqat::nn
