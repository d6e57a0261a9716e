// ChooseQParams: the only place where scale and zero point are computed from observed bounds. All arithmetic float32,
// as torch.ao.quantization.observer's _calculate_qparams (semantics per scheme in docs/numerics.md).
//
//   per_channel_affine_float_qparams   s = (max - min) / (qmax - qmin);  s = s > eps ? s : 1;  z = (-1 * min) / s
//   *_affine                           min' = min(min, 0), max' = max(max, 0);  s = max((max' - min') / len, eps)
//                                      z = clamp(qmin - rne(min' / s), qmin, qmax)
//   *_symmetric                        m = max(-min', max');  s = max(m / (len / 2), eps);  z = 0, or mid-range
//   unsigned
#ifndef EQAT_QUANT_CHOOSE_QPARAMS_H_
#define EQAT_QUANT_CHOOSE_QPARAMS_H_

#include <algorithm>
#include <cassert>
#include <cmath>
#include <cstdint>

#include "absl/status/statusor.h"
#include "quant/types/qconfig.h"

namespace eqat::quant {

// One channel's parameters. For schemes with an integer zero point `zero_point` holds that integer exactly.
struct QParams {
  float scale = 1.0f;
  float zero_point = 0.0f;
};

// What ChooseQParams needs of a config, resolved once.
struct QParamsRule {
  QScheme qscheme = QScheme::kPerChannelAffineFloatQParams;
  int32_t quant_min = 0;
  int32_t quant_max = 255;
  float eps = 1.1920928955078125e-07f;
  float symmetric_zero_point = 0.0f;  // 0, or for unsigned dtypes 128 / floor((qmin + qmax) / 2) with a custom range
};
absl::StatusOr<QParamsRule> MakeQParamsRule(const ObserverConfig& config);

// REQUIRES: min_val <= max_val, neither is NaN. Inline: it runs once for each row of a batch.
inline QParams ChooseQParams(float min_val, float max_val, const QParamsRule& rule) {
  assert(min_val <= max_val);
  const QSchemeTraits& qscheme = TraitsOf(rule.qscheme);
  const float length = static_cast<float>(rule.quant_max - rule.quant_min);
  if (qscheme.float_zero_point) {
    const float scale = (max_val - min_val) / length;
    const float kept = scale > rule.eps ? scale : 1.0f;
    return {kept, -1.0f * min_val / kept};
  }
  const float lower = std::min(min_val, 0.0f);
  const float upper = std::max(max_val, 0.0f);
  if (qscheme.symmetric) {
    return {std::max(std::max(-lower, upper) / (length / 2.0f), rule.eps), rule.symmetric_zero_point};
  }
  const float scale = std::max((upper - lower) / length, rule.eps);
  const float quant_min = static_cast<float>(rule.quant_min);
  const float zero_point = quant_min - std::nearbyint(lower / scale);
  return {scale, std::clamp(zero_point, quant_min, static_cast<float>(rule.quant_max))};
}

}  // namespace eqat::quant

#endif  // EQAT_QUANT_CHOOSE_QPARAMS_H_
