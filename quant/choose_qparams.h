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

// REQUIRES: min_val <= max_val, neither is NaN.
QParams ChooseQParams(float min_val, float max_val, const QParamsRule& rule);

}  // namespace eqat::quant

#endif  // EQAT_QUANT_CHOOSE_QPARAMS_H_
