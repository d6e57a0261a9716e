#include <algorithm>
#include <cmath>

#include "quant/kernels/fake_quantize_kernels.h"

namespace eqat::quant::kernels::reference {
namespace {

constexpr float kInt64Limit = 0x1p63f;

float DequantizeCode(int32_t code, const AffineParams& params) {
  const double offset = static_cast<double>(code) - static_cast<double>(params.zero_point);
  return static_cast<float>(offset * static_cast<double>(params.scale));
}

}  // namespace

void RowMinMax(const float* x, size_t n, float* min_val, float* max_val, bool* finite) {
  *min_val = x[0];
  *max_val = x[0];
  *finite = true;
  for (size_t i = 0; i < n; ++i) {
    if (!std::isfinite(x[i])) *finite = false;
    if (x[i] < *min_val) *min_val = x[i];
    if (x[i] > *max_val) *max_val = x[i];
  }
}

void FakeQuantizeRow(const float* x, size_t n, const AffineParams& params, float* y, uint8_t* mask, int32_t* codes) {
  const float inverse = 1.0f / params.scale;
  for (size_t i = 0; i < n; ++i) {
    const float rounded = params.float_zero_point ? std::nearbyint(std::fma(x[i], inverse, params.zero_point))
                                                  : params.zero_point + std::nearbyint(x[i] * inverse);
    int64_t code = params.quant_min;
    bool in_range = false;
    if (std::abs(rounded) < kInt64Limit) {
      code = static_cast<int64_t>(rounded);
      in_range = params.quant_min <= code && code <= params.quant_max;
      code = std::clamp<int64_t>(code, params.quant_min, params.quant_max);
    }
    if (mask != nullptr) mask[i] = in_range;
    if (codes != nullptr) codes[i] = static_cast<int32_t>(code);
    if (y != nullptr) y[i] = DequantizeCode(static_cast<int32_t>(code), params);
  }
}

void DequantizeRow(const int32_t* codes, size_t n, const AffineParams& params, float* y) {
  for (size_t i = 0; i < n; ++i) y[i] = DequantizeCode(codes[i], params);
}

}  // namespace eqat::quant::kernels::reference
