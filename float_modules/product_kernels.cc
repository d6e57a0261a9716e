#include "float_modules/product_kernels.h"

#include <algorithm>
#include <cassert>
#include <cstddef>
#include <cstdint>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "float_modules/product_kernels.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace eqat::nn {
namespace HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;

template <class D>
using Vec = hn::Vec<D>;

// One stretch [begin, end) of the depth.
struct Stretch {
  int64_t begin;
  int64_t end;
};

// total + sum, where the first stretch's total is 0.
template <class D>
HWY_INLINE void AddTo(D d, const Stretch& stretch, Vec<D> sum, float* HWY_RESTRICT out) {
  hn::StoreU(hn::Add(stretch.begin == 0 ? hn::Zero(d) : hn::LoadU(d, out), sum), d, out);
}

// Rows [row, row + kRows) and one vector of columns from `col`. Eight sums hide the latency of an addition, and an
// element of the left matrix that is used once needs no register: processors multiply by it straight from memory.
template <int kRows, class D>
HWY_INLINE void MultiplyTile(D d, const LeftMatrix& left, const TableView& right, const Stretch& stretch, int64_t row,
                             int64_t col, const MutableTableView& out) {
  static_assert(kRows == 1 || kRows == 4 || kRows == 8);
  Vec<D> sum0 = hn::Zero(d), sum1 = hn::Zero(d), sum2 = hn::Zero(d), sum3 = hn::Zero(d);
  Vec<D> sum4 = hn::Zero(d), sum5 = hn::Zero(d), sum6 = hn::Zero(d), sum7 = hn::Zero(d);
  const int64_t step = left.row_stride;
  const float* HWY_RESTRICT a = left.data + row * step + stretch.begin * left.depth_stride;
  const float* HWY_RESTRICT b = right.Row(stretch.begin) + col;
  for (int64_t k = stretch.begin; k < stretch.end; ++k, a += left.depth_stride, b += right.stride) {
    const Vec<D> columns = hn::LoadU(d, b);
    sum0 = hn::Add(sum0, hn::Mul(hn::Set(d, a[0]), columns));
    if constexpr (kRows >= 4) {
      sum1 = hn::Add(sum1, hn::Mul(hn::Set(d, a[step]), columns));
      sum2 = hn::Add(sum2, hn::Mul(hn::Set(d, a[2 * step]), columns));
      sum3 = hn::Add(sum3, hn::Mul(hn::Set(d, a[3 * step]), columns));
    }
    if constexpr (kRows == 8) {
      sum4 = hn::Add(sum4, hn::Mul(hn::Set(d, a[4 * step]), columns));
      sum5 = hn::Add(sum5, hn::Mul(hn::Set(d, a[5 * step]), columns));
      sum6 = hn::Add(sum6, hn::Mul(hn::Set(d, a[6 * step]), columns));
      sum7 = hn::Add(sum7, hn::Mul(hn::Set(d, a[7 * step]), columns));
    }
  }
  AddTo(d, stretch, sum0, out.Row(row) + col);
  if constexpr (kRows >= 4) {
    AddTo(d, stretch, sum1, out.Row(row + 1) + col);
    AddTo(d, stretch, sum2, out.Row(row + 2) + col);
    AddTo(d, stretch, sum3, out.Row(row + 3) + col);
  }
  if constexpr (kRows == 8) {
    AddTo(d, stretch, sum4, out.Row(row + 4) + col);
    AddTo(d, stretch, sum5, out.Row(row + 5) + col);
    AddTo(d, stretch, sum6, out.Row(row + 6) + col);
    AddTo(d, stretch, sum7, out.Row(row + 7) + col);
  }
}

// All rows of the columns [col, end_col) that whole vectors fill; returns where it stopped.
template <class D>
HWY_INLINE int64_t MultiplyVectors(D d, const LeftMatrix& left, const TableView& right, const Stretch& stretch,
                                   int64_t col, int64_t end_col, const MutableTableView& out) {
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  for (; col + lanes <= end_col; col += lanes) {
    int64_t row = 0;
    for (; row + 8 <= out.rows; row += 8) MultiplyTile<8>(d, left, right, stretch, row, col, out);
    for (; row + 4 <= out.rows; row += 4) MultiplyTile<4>(d, left, right, stretch, row, col, out);
    for (; row < out.rows; ++row) MultiplyTile<1>(d, left, right, stretch, row, col, out);
  }
  return col;
}

void MultiplyInOrder(const LeftMatrix& left, const TableView& right, int64_t num_cols, const MutableTableView& out) {
  const hn::ScalableTag<float> full;
  const hn::CappedTag<float, 8> group;
  const hn::CappedTag<float, 1> single;
  for (int64_t begin = 0; begin < right.rows; begin += kDepthBlock) {
    const Stretch stretch = {begin, std::min(begin + kDepthBlock, right.rows)};
    int64_t col = MultiplyVectors(full, left, right, stretch, 0, num_cols, out);
    col = MultiplyVectors(group, left, right, stretch, col, num_cols, out);
    MultiplyVectors(single, left, right, stretch, col, num_cols, out);
  }
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace eqat::nn
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace eqat::nn {

HWY_EXPORT(MultiplyInOrder);

void MultiplyInOrder(const LeftMatrix& left, TableView right, int64_t num_cols, MutableTableView out) {
  assert(num_cols % 8 == 0 && num_cols <= right.cols && num_cols <= out.cols && right.rows > 0);
  HWY_DYNAMIC_DISPATCH(MultiplyInOrder)(left, right, num_cols, out);
}

}  // namespace eqat::nn
#endif  // HWY_ONCE
