#include "quant/kernels/fake_quantize_kernels.h"

#include <algorithm>
#include <cmath>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "quant/kernels/fake_quantize_kernels.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace eqat::quant::kernels {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

constexpr size_t kMaxDoubles = 8;
constexpr size_t kMaxFloats = 16;

// a * b + c, rounded once on every target.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V FusedMulAdd(D d, V a, V b, V c) {
#if HWY_NATIVE_FMA
  (void)d;
  return hn::MulAdd(a, b, c);
#else
  HWY_ALIGN float lanes_a[kMaxFloats];
  HWY_ALIGN float lanes_b[kMaxFloats];
  HWY_ALIGN float lanes_c[kMaxFloats];
  hn::Store(a, d, lanes_a);
  hn::Store(b, d, lanes_b);
  hn::Store(c, d, lanes_c);
  for (size_t i = 0; i < hn::Lanes(d); ++i) lanes_c[i] = std::fma(lanes_a[i], lanes_b[i], lanes_c[i]);
  return hn::Load(d, lanes_c);
#endif
}

// Rounded to float, overflow to infinity. Highway's targets without vectors would saturate instead.
template <class DD, class DF = hn::Rebind<float, DD>>
HWY_INLINE hn::Vec<DF> RoundedToFloat(DD dd, hn::Vec<DD> v) {
  const DF df;
#if HWY_TARGET == HWY_SCALAR || HWY_TARGET == HWY_EMU128
  HWY_ALIGN double wide[kMaxDoubles];
  HWY_ALIGN float narrow[kMaxDoubles];
  hn::Store(v, dd, wide);
  for (size_t i = 0; i < hn::Lanes(dd); ++i) narrow[i] = static_cast<float>(wide[i]);
  return hn::Load(df, narrow);
#else
  (void)dd;
  return hn::DemoteTo(df, v);
#endif
}

// The sign of a zero bound is that of the first zero, as in a sequential search; lanes would make it depend on the
// target.
HWY_INLINE float WithSignOfFirstZero(const float* x, size_t n, float bound) {
  return bound == 0.0f ? *std::find(x, x + n, 0.0f) : bound;
}

void RowMinMax(const float* x, size_t n, float* min_val, float* max_val, bool* finite) {
  const hn::CappedTag<float, kMaxFloats> d;
  const size_t lanes = hn::Lanes(d);
  auto min = hn::Set(d, x[0]);
  auto max = min;
  // Stays +-0 as long as every value times 0 does: NaN and infinity make it NaN.
  auto zeros = hn::Zero(d);
  size_t i = 0;
  for (; i + lanes <= n; i += lanes) {
    const auto v = hn::LoadU(d, x + i);
    min = hn::Min(min, v);
    max = hn::Max(max, v);
    zeros = hn::MulAdd(v, hn::Zero(d), zeros);
  }
  if (i < n) {
    HWY_ALIGN float rest[kMaxFloats];
    std::fill(rest, rest + lanes, x[0]);
    std::copy(x + i, x + n, rest);
    const auto v = hn::Load(d, rest);
    min = hn::Min(min, v);
    max = hn::Max(max, v);
    zeros = hn::MulAdd(v, hn::Zero(d), zeros);
  }
  *finite = hn::AllTrue(d, hn::Eq(zeros, hn::Zero(d)));
  if (!*finite) return;
  *min_val = WithSignOfFirstZero(x, n, hn::GetLane(hn::MinOfLanes(d, min)));
  *max_val = WithSignOfFirstZero(x, n, hn::GetLane(hn::MaxOfLanes(d, max)));
}

// Codes and dequantized values of one vector. `DD` is a tag of doubles; every other vector has as many lanes.
template <class DD>
class Quantizer {
  using DF = hn::Rebind<float, DD>;
  using DI = hn::Rebind<int32_t, DD>;
  using DU8 = hn::Rebind<uint8_t, DD>;

 public:
  explicit Quantizer(const AffineParams& params) : params_(params), inverse_(1.0f / params.scale) {}

  HWY_INLINE void Quantize(const float* x, float* y, uint8_t* mask, int32_t* codes) const {
    const DF df;
    const DI di;
    const auto rounded = Rounded(hn::LoadU(df, x));
    const auto quant_min = hn::Set(df, static_cast<float>(params_.quant_min));
    const auto quant_max = hn::Set(df, static_cast<float>(params_.quant_max));
    // False for NaN, as every comparison with it.
    const auto fits_int64 = hn::Lt(hn::Abs(rounded), hn::Set(df, 0x1p63f));
    const auto clamped = hn::Min(hn::Max(rounded, quant_min), quant_max);
    const auto code = hn::ConvertTo(di, hn::IfThenElse(fits_int64, clamped, quant_min));
    if (codes != nullptr) hn::StoreU(code, di, codes);
    if (mask != nullptr) {
      const auto in_range = hn::And(hn::Le(quant_min, rounded), hn::Le(rounded, quant_max));
      const auto ones = hn::IfThenElseZero(hn::RebindMask(di, in_range), hn::Set(di, 1));
      hn::StoreU(hn::DemoteTo(DU8(), ones), DU8(), mask);
    }
    if (y != nullptr) hn::StoreU(Dequantized(code), df, y);
  }

  HWY_INLINE void Dequantize(const int32_t* codes, float* y) const {
    hn::StoreU(Dequantized(hn::LoadU(DI(), codes)), DF(), y);
  }

 private:
  HWY_INLINE hn::Vec<DF> Rounded(hn::Vec<DF> x) const {
    const DF df;
    const auto inverse = hn::Set(df, inverse_);
    const auto zero_point = hn::Set(df, params_.zero_point);
    if (params_.float_zero_point) return hn::Round(FusedMulAdd(df, x, inverse, zero_point));
    return hn::Add(zero_point, hn::Round(hn::Mul(x, inverse)));
  }

  HWY_INLINE hn::Vec<DF> Dequantized(hn::Vec<DI> code) const {
    const DD dd;
    const auto offset = hn::Sub(hn::PromoteTo(dd, code), hn::Set(dd, static_cast<double>(params_.zero_point)));
    return RoundedToFloat(dd, hn::Mul(offset, hn::Set(dd, static_cast<double>(params_.scale))));
  }

  AffineParams params_;
  float inverse_;
};

void FakeQuantizeRow(const float* x, size_t n, const AffineParams& params, float* y, uint8_t* mask, int32_t* codes) {
  const hn::CappedTag<double, kMaxDoubles> dd;
  const size_t lanes = hn::Lanes(dd);
  const Quantizer<decltype(dd)> quantizer(params);
  size_t i = 0;
  for (; i + lanes <= n; i += lanes) {
    quantizer.Quantize(x + i, y == nullptr ? nullptr : y + i, mask == nullptr ? nullptr : mask + i,
                       codes == nullptr ? nullptr : codes + i);
  }
  if (i == n) return;
  HWY_ALIGN float rest[kMaxDoubles] = {};
  HWY_ALIGN uint8_t rest_mask[kMaxDoubles];
  HWY_ALIGN int32_t rest_codes[kMaxDoubles];
  std::copy(x + i, x + n, rest);
  quantizer.Quantize(rest, rest, rest_mask, rest_codes);
  if (y != nullptr) std::copy_n(rest, n - i, y + i);
  if (mask != nullptr) std::copy_n(rest_mask, n - i, mask + i);
  if (codes != nullptr) std::copy_n(rest_codes, n - i, codes + i);
}

void DequantizeRow(const int32_t* codes, size_t n, const AffineParams& params, float* y) {
  const hn::CappedTag<double, kMaxDoubles> dd;
  const size_t lanes = hn::Lanes(dd);
  const Quantizer<decltype(dd)> quantizer(params);
  size_t i = 0;
  for (; i + lanes <= n; i += lanes) quantizer.Dequantize(codes + i, y + i);
  if (i == n) return;
  HWY_ALIGN int32_t rest_codes[kMaxDoubles] = {};
  HWY_ALIGN float rest[kMaxDoubles];
  std::copy(codes + i, codes + n, rest_codes);
  quantizer.Dequantize(rest_codes, rest);
  std::copy_n(rest, n - i, y + i);
}

}  // namespace HWY_NAMESPACE
}  // namespace eqat::quant::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace eqat::quant::kernels {

HWY_EXPORT(RowMinMax);
HWY_EXPORT(FakeQuantizeRow);
HWY_EXPORT(DequantizeRow);

void RowMinMax(const float* x, size_t n, float* min_val, float* max_val, bool* finite) {
  HWY_DYNAMIC_DISPATCH(RowMinMax)(x, n, min_val, max_val, finite);
}

void FakeQuantizeRow(const float* x, size_t n, const AffineParams& params, float* y, uint8_t* mask, int32_t* codes) {
  HWY_DYNAMIC_DISPATCH(FakeQuantizeRow)(x, n, params, y, mask, codes);
}

void DequantizeRow(const int32_t* codes, size_t n, const AffineParams& params, float* y) {
  HWY_DYNAMIC_DISPATCH(DequantizeRow)(codes, n, params, y);
}

void ApplyMask(const uint8_t* mask, size_t n, float* grad) {
  for (size_t i = 0; i < n; ++i) grad[i] *= static_cast<float>(mask[i]);
}

}  // namespace eqat::quant::kernels
#endif  // HWY_ONCE
