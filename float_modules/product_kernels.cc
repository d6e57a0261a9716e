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

// Rows [row, row + 4) and two vectors of columns from `col`: as many sums as hide the latency of an addition.
template <class D>
HWY_INLINE void FourRows(D d, const LeftMatrix& left, const TableView& right, const Stretch& stretch, int64_t row,
                         int64_t col, const MutableTableView& out) {
  const size_t lanes = hn::Lanes(d);
  Vec<D> sum00 = hn::Zero(d), sum01 = hn::Zero(d), sum10 = hn::Zero(d), sum11 = hn::Zero(d);
  Vec<D> sum20 = hn::Zero(d), sum21 = hn::Zero(d), sum30 = hn::Zero(d), sum31 = hn::Zero(d);
  const float* HWY_RESTRICT a = left.data + row * left.row_stride + stretch.begin * left.depth_stride;
  const float* HWY_RESTRICT b = right.Row(stretch.begin) + col;
  for (int64_t k = stretch.begin; k < stretch.end; ++k, a += left.depth_stride, b += right.stride) {
    const Vec<D> b0 = hn::LoadU(d, b);
    const Vec<D> b1 = hn::LoadU(d, b + lanes);
    const Vec<D> a0 = hn::Set(d, a[0]);
    const Vec<D> a1 = hn::Set(d, a[left.row_stride]);
    const Vec<D> a2 = hn::Set(d, a[2 * left.row_stride]);
    const Vec<D> a3 = hn::Set(d, a[3 * left.row_stride]);
    sum00 = hn::Add(sum00, hn::Mul(a0, b0));
    sum01 = hn::Add(sum01, hn::Mul(a0, b1));
    sum10 = hn::Add(sum10, hn::Mul(a1, b0));
    sum11 = hn::Add(sum11, hn::Mul(a1, b1));
    sum20 = hn::Add(sum20, hn::Mul(a2, b0));
    sum21 = hn::Add(sum21, hn::Mul(a2, b1));
    sum30 = hn::Add(sum30, hn::Mul(a3, b0));
    sum31 = hn::Add(sum31, hn::Mul(a3, b1));
  }
  AddTo(d, stretch, sum00, out.Row(row) + col);
  AddTo(d, stretch, sum01, out.Row(row) + col + lanes);
  AddTo(d, stretch, sum10, out.Row(row + 1) + col);
  AddTo(d, stretch, sum11, out.Row(row + 1) + col + lanes);
  AddTo(d, stretch, sum20, out.Row(row + 2) + col);
  AddTo(d, stretch, sum21, out.Row(row + 2) + col + lanes);
  AddTo(d, stretch, sum30, out.Row(row + 3) + col);
  AddTo(d, stretch, sum31, out.Row(row + 3) + col + lanes);
}

// One row and one vector of columns.
template <class D>
HWY_INLINE void OneRow(D d, const LeftMatrix& left, const TableView& right, const Stretch& stretch, int64_t row,
                       int64_t col, const MutableTableView& out) {
  Vec<D> sum = hn::Zero(d);
  const float* HWY_RESTRICT a = left.data + row * left.row_stride;
  for (int64_t k = stretch.begin; k < stretch.end; ++k) {
    sum = hn::Add(sum, hn::Mul(hn::Set(d, a[k * left.depth_stride]), hn::LoadU(d, right.Row(k) + col)));
  }
  AddTo(d, stretch, sum, out.Row(row) + col);
}

// All rows of the columns [col, end_col) that whole pairs of vectors fill; returns where it stopped.
template <class D>
HWY_INLINE int64_t PairsOfVectors(D d, const LeftMatrix& left, const TableView& right, const Stretch& stretch,
                                  int64_t col, int64_t end_col, const MutableTableView& out) {
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  for (; col + 2 * lanes <= end_col; col += 2 * lanes) {
    int64_t row = 0;
    for (; row + 4 <= out.rows; row += 4) FourRows(d, left, right, stretch, row, col, out);
    for (; row < out.rows; ++row) {
      OneRow(d, left, right, stretch, row, col, out);
      OneRow(d, left, right, stretch, row, col + lanes, out);
    }
  }
  return col;
}

void MultiplyInOrder(const LeftMatrix& left, const TableView& right, int64_t num_cols, const MutableTableView& out) {
  const hn::ScalableTag<float> full;
  const hn::CappedTag<float, 4> quarter;  // two of them are a group of columns
  const hn::CappedTag<float, 1> single;
  for (int64_t begin = 0; begin < right.rows; begin += kDepthBlock) {
    const Stretch stretch = {begin, std::min(begin + kDepthBlock, right.rows)};
    int64_t col = PairsOfVectors(full, left, right, stretch, 0, num_cols, out);
    col = PairsOfVectors(quarter, left, right, stretch, col, num_cols, out);
    PairsOfVectors(single, left, right, stretch, col, num_cols, out);
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
