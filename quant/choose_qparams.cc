#include "quant/choose_qparams.h"

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

}  // namespace eqat::quant
