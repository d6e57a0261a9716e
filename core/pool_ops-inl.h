// The reductions of PoolRows as operations on vectors, for every kernel that pools. Included once per target by Highway
// sources.
#if defined(EQAT_CORE_POOL_OPS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef EQAT_CORE_POOL_OPS_INL_H_
#undef EQAT_CORE_POOL_OPS_INL_H_
#else
#define EQAT_CORE_POOL_OPS_INL_H_
#endif

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>

#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace eqat {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

template <class D>
using Vec = hn::Vec<D>;

// fma(w, row, sum), rounded once.
template <class D>
HWY_INLINE Vec<D> Fma(D d, Vec<D> w, Vec<D> row, Vec<D> sum) {
#if HWY_NATIVE_FMA
  (void)d;
  return hn::MulAdd(w, row, sum);
#else
  // MulAdd rounds twice on this target.
  HWY_ALIGN float w_lanes[hn::MaxLanes(D())];
  HWY_ALIGN float row_lanes[hn::MaxLanes(D())];
  HWY_ALIGN float sum_lanes[hn::MaxLanes(D())];
  hn::Store(w, d, w_lanes);
  hn::Store(row, d, row_lanes);
  hn::Store(sum, d, sum_lanes);
  for (size_t i = 0; i < hn::Lanes(d); ++i) sum_lanes[i] = std::fma(w_lanes[i], row_lanes[i], sum_lanes[i]);
  return hn::Load(d, sum_lanes);
#endif
}

// A reduction: Start is the first counted row, Next adds another, Finish ends with the number of rows counted. Init is
// a state before the first row: Next(Init, row) is Start(row) for every finite row.

struct SumOp {
  static constexpr bool kWeighted = false;
  template <class D>
  static HWY_INLINE Vec<D> Init(D d) {
    return hn::Zero(d);
  }
  template <class D>
  static HWY_INLINE Vec<D> Start(D d, Vec<D> row, Vec<D> /*w*/) {
    return hn::Add(hn::Zero(d), row);
  }
  template <class D>
  static HWY_INLINE Vec<D> Next(D /*d*/, Vec<D> sum, Vec<D> row, Vec<D> /*w*/) {
    return hn::Add(sum, row);
  }
  template <class D>
  static HWY_INLINE Vec<D> Finish(D /*d*/, Vec<D> sum, int64_t /*count*/) {
    return sum;
  }
};

struct MeanOp : SumOp {
  template <class D>
  static HWY_INLINE Vec<D> Finish(D d, Vec<D> sum, int64_t count) {
    return hn::Div(sum, hn::Set(d, static_cast<float>(count)));
  }
};

struct WeightedSumOp : SumOp {
  static constexpr bool kWeighted = true;
  template <class D>
  static HWY_INLINE Vec<D> Start(D d, Vec<D> row, Vec<D> w) {
    return Fma(d, w, row, hn::Zero(d));
  }
  template <class D>
  static HWY_INLINE Vec<D> Next(D d, Vec<D> sum, Vec<D> row, Vec<D> w) {
    return Fma(d, w, row, sum);
  }
};

struct RoundedWeightedSumOp : SumOp {
  static constexpr bool kWeighted = true;
  template <class D>
  static HWY_INLINE Vec<D> Start(D d, Vec<D> row, Vec<D> w) {
    return hn::Add(hn::Zero(d), hn::Mul(w, row));
  }
  template <class D>
  static HWY_INLINE Vec<D> Next(D /*d*/, Vec<D> sum, Vec<D> row, Vec<D> w) {
    return hn::Add(sum, hn::Mul(w, row));
  }
};

struct MaxOp : SumOp {
  template <class D>
  static HWY_INLINE Vec<D> Init(D d) {
    return hn::Set(d, -std::numeric_limits<float>::infinity());
  }
  template <class D>
  static HWY_INLINE Vec<D> Start(D /*d*/, Vec<D> row, Vec<D> /*w*/) {
    return row;
  }
  template <class D>
  static HWY_INLINE Vec<D> Next(D /*d*/, Vec<D> max, Vec<D> row, Vec<D> /*w*/) {
    return hn::IfThenElse(hn::Gt(row, max), row, max);
  }
};

}  // namespace HWY_NAMESPACE
}  // namespace eqat
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
