// Row kernels of affine fake quantization, following torch's CPU operators fake_quantize_per_channel_affine_cachemask
// and fake_quantize_per_tensor_affine_cachemask.
//
// Float zero point:    pre = fma(x, inv, z), inv = f32(1 / s);  q = rne(pre)
// Integer zero point:  q = z + rne(f32(x * inv))
// Both:                code = clamp(q, qmin, qmax);  mask = qmin <= q <= qmax
//                      y = f32((double(code) - double(z)) * double(s))
// A q that is NaN or at least 2^63 in magnitude (so every infinity) gets code qmin and mask 0, as x86 converts it to
// int64; any other q beyond the range clamps to the nearer end. torch dequantizes per tensor in float32: with an
// integer zero point code - z and its double product with s are exact, so both round once and are the same bits.
//
// Every dispatch target and the reference give the same bits, for any n and any alignment of 4 bytes. No allocation.
#ifndef EQAT_QUANT_KERNELS_FAKE_QUANTIZE_KERNELS_H_
#define EQAT_QUANT_KERNELS_FAKE_QUANTIZE_KERNELS_H_

#include <cstddef>
#include <cstdint>

namespace eqat::quant::kernels {

struct AffineParams {
  float scale = 1.0f;
  float zero_point = 0.0f;
  int32_t quant_min = 0;  // both within +-2^24
  int32_t quant_max = 255;
  bool float_zero_point = true;  // where the zero point is added
};

// Smallest and largest of x[0..n), n >= 1, the first of equal ones (which matters for the sign of zero). *finite is
// false if any value is NaN or infinite; min and max are then unspecified.
void RowMinMax(const float* x, size_t n, float* min_val, float* max_val, bool* finite);

// y may be x. `y`, `mask` (n bytes of 0 or 1) and `codes` (n int32) may be null.
void FakeQuantizeRow(const float* x, size_t n, const AffineParams& params, float* y, uint8_t* mask, int32_t* codes);

// The arithmetic of y alone, from codes.
void DequantizeRow(const int32_t* codes, size_t n, const AffineParams& params, float* y);
void DequantizeRow(const uint8_t* codes, size_t n, const AffineParams& params, float* y);
void DequantizeRow(const int8_t* codes, size_t n, const AffineParams& params, float* y);

// grad[i] = grad[i] * mask[i], a true product (inf * 0 is NaN, as in torch).
void ApplyMask(const uint8_t* mask, size_t n, float* grad);

namespace reference {
void RowMinMax(const float* x, size_t n, float* min_val, float* max_val, bool* finite);
void FakeQuantizeRow(const float* x, size_t n, const AffineParams& params, float* y, uint8_t* mask, int32_t* codes);
void DequantizeRow(const int32_t* codes, size_t n, const AffineParams& params, float* y);
}  // namespace reference

}  // namespace eqat::quant::kernels

#endif  // EQAT_QUANT_KERNELS_FAKE_QUANTIZE_KERNELS_H_
