// Bounds of channels and the rule by which an observer changes them. Internal to quant/.
#ifndef EQAT_QUANT_BOUNDS_H_
#define EQAT_QUANT_BOUNDS_H_

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <optional>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "core/error.h"
#include "quant/choose_qparams.h"
#include "quant/kernels/fake_quantize_kernels.h"
#include "quant/kernels/fake_quantize_pool_kernels.h"
#include "quant/types/qconfig.h"

namespace eqat::quant {

// Smallest and largest of `values` (at least one); false if one of them is NaN or infinite. An out-parameter, because
// GCC returns two floats through a store-to-load stall that costs as much as the search.
inline bool FindBounds(absl::Span<const float> values, Bounds* bounds) {
  bool finite = false;
  kernels::RowMinMax(values.data(), values.size(), &bounds->min_val, &bounds->max_val, &finite);
  return finite;
}

inline std::optional<Bounds> BoundsOf(absl::Span<const float> values) {
  Bounds bounds;
  return FindBounds(values, &bounds) ? std::optional<Bounds>(bounds) : std::nullopt;
}

// The parameters for `bounds`; false when they or their range overflowed float32, which no scale can follow.
inline bool FindQParams(const Bounds& bounds, const QParamsRule& rule, QParams* qparams) {
  if (!std::isfinite(bounds.min_val) || !std::isfinite(bounds.max_val)) return false;
  *qparams = ChooseQParams(bounds.min_val, bounds.max_val, rule);
  return std::isfinite(qparams->scale) && std::isfinite(qparams->zero_point);
}

// The rule of the kernels that find parameters on the way, where they hold for `rule`.
inline std::optional<kernels::FreshRule> FreshRuleOf(const QParamsRule& rule) {
  if (!TraitsOf(rule.qscheme).float_zero_point) return std::nullopt;
  if (!kernels::SupportsFakeQuantizePool(rule.quant_min, rule.quant_max, rule.eps)) return std::nullopt;
  return kernels::FreshRule{rule.quant_max, rule.eps};
}

inline bool IsUsable(const Bounds& bounds, const QParamsRule& rule) {
  QParams qparams;
  return FindQParams(bounds, rule, &qparams);
}

// InvalidArgument for bounds that are not usable.
inline absl::Status RangeError(absl::string_view where, Bounds bounds) {
  return InvalidArgument(where, "range of values overflows float32",
                         absl::StrCat(bounds.min_val, " to ", bounds.max_val), "a finite scale");
}

class BoundsRule {
 public:
  explicit BoundsRule(const ObserverConfig& config)
      : average_(TraitsOf(config.kind).moving_average), constant_(static_cast<float>(config.averaging_constant)) {}

  // The bounds are those of the last observation alone.
  bool memoryless() const { return average_ && constant_ == 1.0f; }

  // `old` after one observation of `current`.
  Bounds Next(Bounds old, Bounds current) const {
    if (memoryless()) return current;
    if (!average_) {
      return {current.min_val < old.min_val ? current.min_val : old.min_val,
              current.max_val > old.max_val ? current.max_val : old.max_val};
    }
    const float min_val = old.min_val + constant_ * (current.min_val - old.min_val);
    const float max_val = old.max_val + constant_ * (current.max_val - old.max_val);
    // Rounding may exchange bounds that are an ulp apart.
    return {min_val, std::max(min_val, max_val)};
  }

  // `old` after `count` observations of the same `current`.
  Bounds Repeat(Bounds old, Bounds current, int64_t count) const {
    for (int64_t i = 0; i < count; ++i) {
      const Bounds next = Next(old, current);
      const bool settled = next.min_val == old.min_val && next.max_val == old.max_val;
      old = next;
      if (settled) break;
    }
    return old;
  }

 private:
  bool average_;
  float constant_;
};

}  // namespace eqat::quant

#endif  // EQAT_QUANT_BOUNDS_H_
