// Per-target pieces that the kernels of affine quantization share. Included once per target by Highway sources.
#if defined(EQAT_QUANT_KERNELS_AFFINE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef EQAT_QUANT_KERNELS_AFFINE_INL_H_
#undef EQAT_QUANT_KERNELS_AFFINE_INL_H_
#else
#define EQAT_QUANT_KERNELS_AFFINE_INL_H_
#endif

#include <cmath>
#include <cstddef>
#include <cstdint>

#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace eqat::quant::kernels {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// a * b + c, rounded once on every target.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V FusedMulAdd(D d, V a, V b, V c) {
#if HWY_NATIVE_FMA
  (void)d;
  return hn::MulAdd(a, b, c);
#else
  HWY_ALIGN float lanes_a[hn::MaxLanes(D())];
  HWY_ALIGN float lanes_b[hn::MaxLanes(D())];
  HWY_ALIGN float lanes_c[hn::MaxLanes(D())];
  hn::Store(a, d, lanes_a);
  hn::Store(b, d, lanes_b);
  hn::Store(c, d, lanes_c);
  for (size_t i = 0; i < hn::Lanes(d); ++i) lanes_c[i] = std::fma(lanes_a[i], lanes_b[i], lanes_c[i]);
  return hn::Load(d, lanes_c);
#endif
}

// Codes to values: f32((double(code) - zero_point) * scale), rounded once.
class Dequantizer {
 public:
  Dequantizer(float scale, float zero_point)
      : zero_point_(static_cast<double>(zero_point)), scale_(static_cast<double>(scale)) {}

  template <class D, class VI>
  HWY_INLINE hn::Vec<D> operator()(D d, VI code) const {
#if HWY_TARGET != HWY_SCALAR && HWY_TARGET != HWY_EMU128
    if constexpr (hn::MaxLanes(D()) >= 2) {
      const hn::RebindToSigned<D> di;
      const hn::Half<decltype(di)> half;
      return hn::Combine(d, OfHalf(d, hn::UpperHalf(half, code)), OfHalf(d, hn::LowerHalf(half, code)));
    }
#endif
    // Highway's conversion to float saturates on targets without vectors; here overflow is infinity.
    HWY_ALIGN int32_t codes[hn::MaxLanes(D())];
    HWY_ALIGN float values[hn::MaxLanes(D())];
    hn::Store(code, hn::RebindToSigned<D>(), codes);
    for (size_t i = 0; i < hn::Lanes(d); ++i) values[i] = static_cast<float>((codes[i] - zero_point_) * scale_);
    return hn::Load(d, values);
  }

 private:
#if HWY_TARGET != HWY_SCALAR && HWY_TARGET != HWY_EMU128
  template <class D, class VI>
  HWY_INLINE hn::Vec<hn::Half<D>> OfHalf(D /*d*/, VI code) const {
    const hn::Half<D> half;
    const hn::Rebind<double, decltype(half)> dd;
    const auto offset = hn::Sub(hn::PromoteTo(dd, code), hn::Set(dd, zero_point_));
    return hn::DemoteTo(half, hn::Mul(offset, hn::Set(dd, scale_)));
  }
#endif

  double zero_point_;
  double scale_;
};

}  // namespace HWY_NAMESPACE
}  // namespace eqat::quant::kernels
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
