#include "train/update_kernels.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "train/update_kernels.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace eqat::train {
namespace HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;

template <class D>
using Vec = hn::Vec<D>;

// How many listed rows ahead memory is asked for, and how much of each row.
constexpr int64_t kPrefetchRows = 8;
constexpr int64_t kPrefetchFloats = 256;
constexpr int64_t kFloatsPerCacheLine = 16;

// Pointers to the same elements of the parameter and of its state; a rule uses those it has.
struct Elements {
  const float* HWY_RESTRICT grad;
  float* HWY_RESTRICT w;
  float* HWY_RESTRICT a;
  float* HWY_RESTRICT b;
};

// g, or g + wd * w
template <bool kDecay, class D>
HWY_INLINE Vec<D> Decayed(D d, const Elements& at, float weight_decay) {
  const Vec<D> g = hn::LoadU(d, at.grad);
  if constexpr (!kDecay) return g;
  return hn::Add(g, hn::Mul(hn::Set(d, weight_decay), hn::LoadU(d, at.w)));
}

// w -= change
template <class D>
HWY_INLINE void Subtract(D d, Vec<D> change, float* HWY_RESTRICT w) {
  hn::StoreU(hn::Sub(hn::LoadU(d, w), change), d, w);
}

// A rule updates one vector of elements. kStates: how many state elements an element has.

template <bool kDecay>
struct Sgd {
  static constexpr int kStates = 0;
  const SgdFactors& f;
  template <class D>
  HWY_INLINE void Update(D d, const Elements& at) const {
    Subtract(d, hn::Mul(hn::Set(d, f.lr), Decayed<kDecay>(d, at, f.weight_decay)), at.w);
  }
};

template <bool kDecay>
struct SgdMomentum {
  static constexpr int kStates = 1;
  const SgdFactors& f;
  template <class D>
  HWY_INLINE void Update(D d, const Elements& at) const {
    const Vec<D> momentum = hn::Set(d, f.momentum);
    const Vec<D> g = Decayed<kDecay>(d, at, f.weight_decay);
    const Vec<D> buf = hn::Add(hn::Mul(hn::LoadU(d, at.a), momentum), hn::Mul(hn::Set(d, f.gradient_share), g));
    hn::StoreU(buf, d, at.a);
    Subtract(d, hn::Mul(hn::Set(d, f.lr), f.nesterov ? hn::Add(g, hn::Mul(momentum, buf)) : buf), at.w);
  }
};

template <bool kDecay>
struct Adagrad {
  static constexpr int kStates = 1;
  const AdagradFactors& f;
  template <class D>
  HWY_INLINE void Update(D d, const Elements& at) const {
    const Vec<D> g = Decayed<kDecay>(d, at, f.weight_decay);
    const Vec<D> sum = hn::Add(hn::LoadU(d, at.a), hn::Mul(g, g));
    hn::StoreU(sum, d, at.a);
    const Vec<D> root = hn::Add(hn::Sqrt(sum), hn::Set(d, f.eps));
    Subtract(d, hn::Div(hn::Mul(hn::Set(d, f.lr), g), root), at.w);
  }
};

struct SparseAdagrad {
  static constexpr int kStates = 1;
  const AdagradFactors& f;
  template <class D>
  HWY_INLINE void Update(D d, const Elements& at) const {
    const Vec<D> g = hn::LoadU(d, at.grad);
    const Vec<D> sum = hn::Add(hn::LoadU(d, at.a), hn::Mul(g, g));
    hn::StoreU(sum, d, at.a);
    const Vec<D> root = hn::Add(hn::Sqrt(sum), hn::Set(d, f.eps));
    Subtract(d, hn::Mul(hn::Set(d, f.lr), hn::Div(g, root)), at.w);
  }
};

template <bool kDecay>
struct Adam {
  static constexpr int kStates = 2;
  const AdamFactors& f;
  template <class D>
  HWY_INLINE void Update(D d, const Elements& at) const {
    const Vec<D> g = Decayed<kDecay>(d, at, f.weight_decay);
    const Vec<D> m =
        hn::Add(hn::Mul(hn::LoadU(d, at.a), hn::Set(d, f.beta1)), hn::Mul(hn::Set(d, f.one_minus_beta1), g));
    const Vec<D> v = hn::Add(hn::Mul(hn::LoadU(d, at.b), hn::Set(d, f.beta2)),
                             hn::Mul(hn::Mul(hn::Set(d, f.one_minus_beta2), g), g));
    hn::StoreU(m, d, at.a);
    hn::StoreU(v, d, at.b);
    const Vec<D> root = hn::Add(hn::Div(hn::Sqrt(v), hn::Set(d, f.sqrt_bias_correction2)), hn::Set(d, f.eps));
    Subtract(d, hn::Div(hn::Mul(hn::Set(d, f.step_size), m), root), at.w);
  }
};

struct SparseAdam {
  static constexpr int kStates = 2;
  const AdamFactors& f;
  template <class D>
  HWY_INLINE void Update(D d, const Elements& at) const {
    const Vec<D> g = hn::LoadU(d, at.grad);
    const Vec<D> old_m = hn::LoadU(d, at.a);
    const Vec<D> old_v = hn::LoadU(d, at.b);
    const Vec<D> m = hn::Add(old_m, hn::Mul(hn::Sub(g, old_m), hn::Set(d, f.one_minus_beta1)));
    const Vec<D> v = hn::Add(old_v, hn::Mul(hn::Sub(hn::Mul(g, g), old_v), hn::Set(d, f.one_minus_beta2)));
    hn::StoreU(m, d, at.a);
    hn::StoreU(v, d, at.b);
    const Vec<D> root = hn::Add(hn::Sqrt(v), hn::Set(d, f.eps));
    Subtract(d, hn::Mul(hn::Set(d, f.step_size), hn::Div(m, root)), at.w);
  }
};

// w -= step * g, the second half of row-wise Adagrad.
struct Descend {
  float step;
  template <class D>
  HWY_INLINE void Update(D d, const Elements& at) const {
    Subtract(d, hn::Mul(hn::Set(d, step), hn::LoadU(d, at.grad)), at.w);
  }
};

template <int kStates>
HWY_INLINE Elements Advance(const Elements& from, int64_t by) {
  return {from.grad + by, from.w + by, kStates > 0 ? from.a + by : nullptr, kStates > 1 ? from.b + by : nullptr};
}

// `rule` on n elements.
template <int kStates, class Rule>
HWY_INLINE void UpdateElements(const Rule& rule, const Elements& first, int64_t n) {
  const hn::ScalableTag<float> full;
  const hn::CappedTag<float, 4> quarter;
  const hn::CappedTag<float, 1> single;
  const int64_t full_lanes = static_cast<int64_t>(hn::Lanes(full));
  const int64_t quarter_lanes = static_cast<int64_t>(hn::Lanes(quarter));
  int64_t i = 0;
  for (; i + full_lanes <= n; i += full_lanes) rule.Update(full, Advance<kStates>(first, i));
  for (; i + quarter_lanes <= n; i += quarter_lanes) rule.Update(quarter, Advance<kStates>(first, i));
  for (; i < n; ++i) rule.Update(single, Advance<kStates>(first, i));
}

HWY_INLINE void PrefetchForWriting(const float* row, int64_t n) {
  const int64_t floats = std::min(n, kPrefetchFloats);
  for (int64_t i = 0; i < floats; i += kFloatsPerCacheLine) __builtin_prefetch(row + i, 1);
  __builtin_prefetch(row + floats - 1, 1);  // a row need not start with a cache line
}

// The stretch that is updated kPrefetchRows after stretch i; -1 for none.
HWY_INLINE int64_t RowAhead(const Stretches& stretches, int64_t i) {
  return stretches.rows != nullptr && i + kPrefetchRows < stretches.count ? stretches.rows[i + kPrefetchRows] : -1;
}

HWY_INLINE int64_t RowAt(const Stretches& stretches, int64_t i) {
  return stretches.rows != nullptr ? stretches.rows[i] : i;
}

template <class Rule>
HWY_INLINE void UpdateStretches(const Rule& rule, const Stretches& stretches, float* w, float* a, float* b) {
  const int64_t n = stretches.n;
  if (n == 0) return;
  for (int64_t i = 0; i < stretches.count; ++i) {
    if (const int64_t ahead = RowAhead(stretches, i); ahead >= 0) {
      PrefetchForWriting(w + ahead * n, n);
      if constexpr (Rule::kStates > 0) PrefetchForWriting(a + ahead * n, n);
      if constexpr (Rule::kStates > 1) PrefetchForWriting(b + ahead * n, n);
    }
    Elements first = Advance<Rule::kStates>({stretches.grad, w, a, b}, RowAt(stretches, i) * n);
    first.grad = stretches.grad + i * n;
    UpdateElements<Rule::kStates>(rule, first, n);
  }
}

// Sum of squares: element i in lane i mod 8, then the lanes in a fixed tree.
HWY_INLINE float SumOfSquares(const float* HWY_RESTRICT grad, int64_t n) {
  constexpr int64_t kLanes = 8;
  const hn::CappedTag<float, kLanes> d;
  HWY_ALIGN float lanes[kLanes] = {};
  int64_t i = 0;
  if (hn::Lanes(d) == kLanes) {
    Vec<decltype(d)> sums = hn::Zero(d);
    for (; i + kLanes <= n; i += kLanes) {
      const auto g = hn::LoadU(d, grad + i);
      sums = hn::Add(sums, hn::Mul(g, g));
    }
    hn::Store(sums, d, lanes);
  } else {
    for (; i + kLanes <= n; i += kLanes) {
      for (int64_t lane = 0; lane < kLanes; ++lane) lanes[lane] += grad[i + lane] * grad[i + lane];
    }
  }
  for (int64_t lane = 0; i < n; ++i, ++lane) lanes[lane] += grad[i] * grad[i];
  return ((lanes[0] + lanes[4]) + (lanes[2] + lanes[6])) + ((lanes[1] + lanes[5]) + (lanes[3] + lanes[7]));
}

void RowWiseAdagradUpdate(const AdagradFactors& f, const Stretches& stretches, float* w, float* sum) {
  const int64_t n = stretches.n;
  if (n == 0) return;
  for (int64_t i = 0; i < stretches.count; ++i) {
    if (const int64_t ahead = RowAhead(stretches, i); ahead >= 0) {
      PrefetchForWriting(w + ahead * n, n);
      __builtin_prefetch(sum + ahead, 1);
    }
    const int64_t row = RowAt(stretches, i);
    const float* const grad = stretches.grad + i * n;
    sum[row] += SumOfSquares(grad, n) / static_cast<float>(n);
    const Descend descend = {f.lr / (std::sqrt(sum[row]) + f.eps)};
    UpdateElements<0>(descend, {grad, w + row * n, nullptr, nullptr}, n);
  }
}

void SgdUpdate(const SgdFactors& f, const Stretches& stretches, float* w) {
  if (f.weight_decay == 0.0f) return UpdateStretches(Sgd<false>{f}, stretches, w, nullptr, nullptr);
  UpdateStretches(Sgd<true>{f}, stretches, w, nullptr, nullptr);
}

void SgdMomentumUpdate(const SgdFactors& f, const Stretches& stretches, float* w, float* buf) {
  if (f.weight_decay == 0.0f) return UpdateStretches(SgdMomentum<false>{f}, stretches, w, buf, nullptr);
  UpdateStretches(SgdMomentum<true>{f}, stretches, w, buf, nullptr);
}

void AdagradUpdate(const AdagradFactors& f, const Stretches& stretches, float* w, float* sum) {
  if (f.weight_decay == 0.0f) return UpdateStretches(Adagrad<false>{f}, stretches, w, sum, nullptr);
  UpdateStretches(Adagrad<true>{f}, stretches, w, sum, nullptr);
}

void SparseAdagradUpdate(const AdagradFactors& f, const Stretches& stretches, float* w, float* sum) {
  UpdateStretches(SparseAdagrad{f}, stretches, w, sum, nullptr);
}

void AdamUpdate(const AdamFactors& f, const Stretches& stretches, float* w, float* m, float* v) {
  if (f.weight_decay == 0.0f) return UpdateStretches(Adam<false>{f}, stretches, w, m, v);
  UpdateStretches(Adam<true>{f}, stretches, w, m, v);
}

void SparseAdamUpdate(const AdamFactors& f, const Stretches& stretches, float* w, float* m, float* v) {
  UpdateStretches(SparseAdam{f}, stretches, w, m, v);
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace eqat::train
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace eqat::train {

HWY_EXPORT(SgdUpdate);
HWY_EXPORT(SgdMomentumUpdate);
HWY_EXPORT(AdagradUpdate);
HWY_EXPORT(SparseAdagradUpdate);
HWY_EXPORT(RowWiseAdagradUpdate);
HWY_EXPORT(AdamUpdate);
HWY_EXPORT(SparseAdamUpdate);

void SgdUpdate(const SgdFactors& factors, const Stretches& stretches, float* w) {
  HWY_DYNAMIC_DISPATCH(SgdUpdate)(factors, stretches, w);
}
void SgdMomentumUpdate(const SgdFactors& factors, const Stretches& stretches, float* w, float* buf) {
  HWY_DYNAMIC_DISPATCH(SgdMomentumUpdate)(factors, stretches, w, buf);
}
void AdagradUpdate(const AdagradFactors& factors, const Stretches& stretches, float* w, float* sum) {
  HWY_DYNAMIC_DISPATCH(AdagradUpdate)(factors, stretches, w, sum);
}
void SparseAdagradUpdate(const AdagradFactors& factors, const Stretches& stretches, float* w, float* sum) {
  HWY_DYNAMIC_DISPATCH(SparseAdagradUpdate)(factors, stretches, w, sum);
}
void RowWiseAdagradUpdate(const AdagradFactors& factors, const Stretches& stretches, float* w, float* sum) {
  HWY_DYNAMIC_DISPATCH(RowWiseAdagradUpdate)(factors, stretches, w, sum);
}
void AdamUpdate(const AdamFactors& factors, const Stretches& stretches, float* w, float* m, float* v) {
  HWY_DYNAMIC_DISPATCH(AdamUpdate)(factors, stretches, w, m, v);
}
void SparseAdamUpdate(const AdamFactors& factors, const Stretches& stretches, float* w, float* m, float* v) {
  HWY_DYNAMIC_DISPATCH(SparseAdamUpdate)(factors, stretches, w, m, v);
}

}  // namespace eqat::train
#endif  // HWY_ONCE
