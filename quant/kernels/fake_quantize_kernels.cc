#include "quant/kernels/fake_quantize_kernels.h"

#include <algorithm>
#include <cmath>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "quant/kernels/fake_quantize_kernels.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "hwy/highway.h"
#include "quant/kernels/affine-inl.h"

HWY_BEFORE_NAMESPACE();
namespace eqat::quant::kernels {
namespace HWY_NAMESPACE {

constexpr size_t kMaxLanes = 16;
using DF = hn::CappedTag<float, kMaxLanes>;
using DI = hn::RebindToSigned<DF>;
using DU8 = hn::Rebind<uint8_t, DF>;
using VF = hn::Vec<DF>;
using VI = hn::Vec<DI>;

template <bool kFloatZeroPoint>
class Quantizer {
 public:
  explicit Quantizer(const AffineParams& params)
      : dequantize_(params.scale, params.zero_point),
        inverse_(1.0f / params.scale),
        zero_point_(params.zero_point),
        quant_min_(static_cast<float>(params.quant_min)),
        quant_max_(static_cast<float>(params.quant_max)) {}

  HWY_INLINE void operator()(const float* x, float* y, uint8_t* mask, int32_t* codes) const {
    const DF df;
    const DI di;
    const VF rounded = Rounded(hn::LoadU(df, x));
    const VF quant_min = hn::Set(df, quant_min_);
    const VF quant_max = hn::Set(df, quant_max_);
    // False for NaN, as every comparison with it.
    const auto fits_int64 = hn::Lt(hn::Abs(rounded), hn::Set(df, 0x1p63f));
    const VF clamped = hn::Min(hn::Max(rounded, quant_min), quant_max);
    const VI code = hn::ConvertTo(di, hn::IfThenElse(fits_int64, clamped, quant_min));
    if (codes != nullptr) hn::StoreU(code, di, codes);
    if (mask != nullptr) {
      // Clamping left it alone; NaN equals nothing.
      const auto in_range = hn::RebindMask(di, hn::Eq(clamped, rounded));
      hn::StoreU(hn::DemoteTo(DU8(), hn::IfThenElseZero(in_range, hn::Set(di, 1))), DU8(), mask);
    }
    if (y != nullptr) hn::StoreU(dequantize_(df, code), df, y);
  }

 private:
  HWY_INLINE VF Rounded(VF x) const {
    const DF df;
    const VF inverse = hn::Set(df, inverse_);
    const VF zero_point = hn::Set(df, zero_point_);
    if constexpr (kFloatZeroPoint) return hn::Round(FusedMulAdd(df, x, inverse, zero_point));
    return hn::Add(zero_point, hn::Round(hn::Mul(x, inverse)));
  }

  Dequantizer dequantize_;
  float inverse_;
  float zero_point_;
  float quant_min_;
  float quant_max_;
};

// The sign of a zero bound is that of the first zero, as in a sequential search; lanes would make it depend on the
// target.
HWY_INLINE float WithSignOfFirstZero(const float* x, size_t n, float bound) {
  return bound == 0.0f ? *std::find(x, x + n, 0.0f) : bound;
}

void RowMinMax(const float* x, size_t n, float* min_val, float* max_val, bool* finite) {
  const DF df;
  const size_t lanes = hn::Lanes(df);
  VF min = hn::Set(df, x[0]);
  VF max = min;
  // Stays +-0 as long as every value times 0 does: NaN and infinity make it NaN.
  VF zeros = hn::Zero(df);
  const auto add = [&](VF v) HWY_ATTR {
    min = hn::Min(min, v);
    max = hn::Max(max, v);
    zeros = hn::MulAdd(v, hn::Zero(df), zeros);
  };
  size_t i = 0;
  for (; i + lanes <= n; i += lanes) add(hn::LoadU(df, x + i));
  if (i < n) {
    HWY_ALIGN float rest[kMaxLanes];
    std::fill(rest, rest + lanes, x[0]);
    std::copy(x + i, x + n, rest);
    add(hn::Load(df, rest));
  }
  *finite = hn::AllTrue(df, hn::Eq(zeros, hn::Zero(df)));
  if (!*finite) return;
  *min_val = WithSignOfFirstZero(x, n, hn::GetLane(hn::MinOfLanes(df, min)));
  *max_val = WithSignOfFirstZero(x, n, hn::GetLane(hn::MaxOfLanes(df, max)));
}

template <bool kFloatZeroPoint>
HWY_INLINE void FakeQuantizeRowOf(const float* x, size_t n, const AffineParams& params, float* y, uint8_t* mask,
                                  int32_t* codes) {
  const size_t lanes = hn::Lanes(DF());
  const Quantizer<kFloatZeroPoint> quantize(params);
  size_t i = 0;
  for (; i + lanes <= n; i += lanes) {
    quantize(x + i, y == nullptr ? nullptr : y + i, mask == nullptr ? nullptr : mask + i,
             codes == nullptr ? nullptr : codes + i);
  }
  if (i == n) return;
  HWY_ALIGN float rest[kMaxLanes] = {};
  HWY_ALIGN uint8_t rest_mask[kMaxLanes];
  HWY_ALIGN int32_t rest_codes[kMaxLanes];
  std::copy(x + i, x + n, rest);
  quantize(rest, rest, rest_mask, rest_codes);
  if (y != nullptr) std::copy_n(rest, n - i, y + i);
  if (mask != nullptr) std::copy_n(rest_mask, n - i, mask + i);
  if (codes != nullptr) std::copy_n(rest_codes, n - i, codes + i);
}

void FakeQuantizeRow(const float* x, size_t n, const AffineParams& params, float* y, uint8_t* mask, int32_t* codes) {
  if (params.float_zero_point) {
    FakeQuantizeRowOf<true>(x, n, params, y, mask, codes);
  } else {
    FakeQuantizeRowOf<false>(x, n, params, y, mask, codes);
  }
}

HWY_INLINE VI LoadCodes(const int32_t* codes) { return hn::LoadU(DI(), codes); }
HWY_INLINE VI LoadCodes(const uint8_t* codes) { return hn::PromoteTo(DI(), hn::LoadU(DU8(), codes)); }
HWY_INLINE VI LoadCodes(const int8_t* codes) { return hn::PromoteTo(DI(), hn::LoadU(hn::Rebind<int8_t, DF>(), codes)); }

template <typename Code>
HWY_INLINE void DequantizeRowOf(const Code* codes, size_t n, const AffineParams& params, float* y) {
  const DF df;
  const size_t lanes = hn::Lanes(df);
  const Dequantizer dequantize(params.scale, params.zero_point);
  size_t i = 0;
  for (; i + lanes <= n; i += lanes) hn::StoreU(dequantize(df, LoadCodes(codes + i)), df, y + i);
  if (i == n) return;
  HWY_ALIGN Code rest_codes[kMaxLanes] = {};
  HWY_ALIGN float rest[kMaxLanes];
  std::copy(codes + i, codes + n, rest_codes);
  hn::Store(dequantize(df, LoadCodes(rest_codes)), df, rest);
  std::copy_n(rest, n - i, y + i);
}

void DequantizeRow(const int32_t* codes, size_t n, const AffineParams& params, float* y) {
  DequantizeRowOf(codes, n, params, y);
}

void DequantizeRowOfUint8(const uint8_t* codes, size_t n, const AffineParams& params, float* y) {
  DequantizeRowOf(codes, n, params, y);
}

void DequantizeRowOfInt8(const int8_t* codes, size_t n, const AffineParams& params, float* y) {
  DequantizeRowOf(codes, n, params, y);
}

}  // namespace HWY_NAMESPACE
}  // namespace eqat::quant::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace eqat::quant::kernels {

HWY_EXPORT(RowMinMax);
HWY_EXPORT(FakeQuantizeRow);
HWY_EXPORT(DequantizeRow);
HWY_EXPORT(DequantizeRowOfUint8);
HWY_EXPORT(DequantizeRowOfInt8);

void RowMinMax(const float* x, size_t n, float* min_val, float* max_val, bool* finite) {
  HWY_DYNAMIC_DISPATCH(RowMinMax)(x, n, min_val, max_val, finite);
}

void FakeQuantizeRow(const float* x, size_t n, const AffineParams& params, float* y, uint8_t* mask, int32_t* codes) {
  HWY_DYNAMIC_DISPATCH(FakeQuantizeRow)(x, n, params, y, mask, codes);
}

void DequantizeRow(const int32_t* codes, size_t n, const AffineParams& params, float* y) {
  HWY_DYNAMIC_DISPATCH(DequantizeRow)(codes, n, params, y);
}

void DequantizeRow(const uint8_t* codes, size_t n, const AffineParams& params, float* y) {
  HWY_DYNAMIC_DISPATCH(DequantizeRowOfUint8)(codes, n, params, y);
}

void DequantizeRow(const int8_t* codes, size_t n, const AffineParams& params, float* y) {
  HWY_DYNAMIC_DISPATCH(DequantizeRowOfInt8)(codes, n, params, y);
}

void ApplyMask(const uint8_t* mask, size_t n, float* grad) {
  for (size_t i = 0; i < n; ++i) grad[i] *= static_cast<float>(mask[i]);
}

}  // namespace eqat::quant::kernels
#endif  // HWY_ONCE
