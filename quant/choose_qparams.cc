#include "quant/choose_qparams.h"

#include <algorithm>
#include <cassert>
#include <cmath>

#include "core/status_macros.h"

namespace eqat::quant {
namespace {

// torch centres symmetric codes for quint8 alone: quint4x2 keeps zero point 0. The dtypes torch does not have follow
// quint8.
float SymmetricZeroPoint(const ObserverConfig& config, CodeRange range) {
  const DtypeTraits& dtype = TraitsOf(config.dtype);
  if (dtype.quant_min < 0 || config.dtype == Dtype::kQUInt4x2) return 0.0f;
  if (config.quant_min.has_value() && config.quant_max.has_value()) {
    return std::floor(static_cast<float>(range.quant_min + range.quant_max) / 2.0f);
  }
  return static_cast<float>(1 << (dtype.bits - 1));
}

}  // namespace

absl::StatusOr<QParamsRule> MakeQParamsRule(const ObserverConfig& config) {
  EQAT_ASSIGN_OR_RETURN(const CodeRange range, CodeRangeOf(config));
  QParamsRule rule;
  rule.qscheme = config.qscheme;
  rule.quant_min = range.quant_min;
  rule.quant_max = range.quant_max;
  rule.eps = static_cast<float>(config.eps);
  rule.symmetric_zero_point = SymmetricZeroPoint(config, range);
  return rule;
}

QParams ChooseQParams(float min_val, float max_val, const QParamsRule& rule) {
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
