// The arithmetic of deployed formats (quant/types/deploy.h), a row at a time: float values to codes with their scales
// and offsets, and codes back to values. What fake quantization simulates, what conversion stores and what the format's
// own consumer computes are this one definition.
//
// For the values x of one group (mn, mx: smallest and largest; L = 2^bits - 1; f16: rounded to float16):
//
//   kByteBias          bias = mn; range = f32(mx - mn); s = f32(range / L); inv = f32(L / f32(range + 1e-8))
//                      q = rne(f32(f32(x - bias) * inv))
//   kHalfBias          bias = f16(mn); range = f32(mx - bias); s = f16(range == 0 ? 1 : range / L), 1 if that is 0 or
//                      1 / s is infinite; q = rne(f32(f32(x - bias) * f32(1 / s)))
//   kHalfSigned        s = max(f16(max|x| / 127), 2^-24); q = rne(f32(x * f32(1 / s)))
//   kHalfCentered      m = the first x of largest magnitude; z = 2^(bits - 1); s = f16(m / -z), 2^-24 if that is 0
//                      q = z + rne(f32(x * f32(1 / s)))
//   kIntegerZeroPoint  per_channel_affine of choose_qparams.h with the smallest normal float32 as eps
//
// Then code = clamp(q) to the codes of the format; the straight-through mask is 1 where the clamp did nothing.
// kByteBias and kHalfBias follow the byte, 4-bit and 2-bit row prepacking of torch.ops.quantized, and FBGEMM's
// FloatOrHalfToFusedNBitRowwiseQuantizedSBHalf; the GGUF kinds round the scale before the codes are found, which fits
// the values that come out closer than ggml's order does.
//
// One thread, no allocation, the same bits on every target.
#ifndef EQAT_QUANT_DEPLOY_ARITHMETIC_H_
#define EQAT_QUANT_DEPLOY_ARITHMETIC_H_

#include <cstdint>

#include "absl/types/span.h"
#include "quant/choose_qparams.h"
#include "quant/types/deploy.h"

namespace eqat::quant {

// Receives what a row is quantized to; each pointer may be null.
struct DeployedRow {
  float* y = nullptr;         // [x.size()], may be x itself
  uint8_t* mask = nullptr;    // [x.size()], 0 or 1
  int32_t* codes = nullptr;   // [x.size()]
  QParams* params = nullptr;  // [GroupsOf(x.size())]; zero_point holds the bias where the format has one
};

// False, with any content in `row`, if `x` holds NaN or infinity or the parameters do not fit into the format.
bool QuantizeDeployedRow(const DeployTraits& traits, absl::Span<const float> x, const DeployedRow& row);

// y: [n] values of `codes` [n] with `params` [GroupsOf(n)].
void DequantizeDeployedRow(const DeployTraits& traits, const int32_t* codes, const QParams* params, int64_t n,
                           float* y);

// Whether a file of the format can hold these parameters: finite, float16 or an integer code where the format asks so.
bool AreDeployedParams(const DeployTraits& traits, const QParams& params);

}  // namespace eqat::quant

#endif  // EQAT_QUANT_DEPLOY_ARITHMETIC_H_
