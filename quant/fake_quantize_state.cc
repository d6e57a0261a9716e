#include "quant/fake_quantize_state.h"

#include <cmath>
#include <limits>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "core/error.h"
#include "core/status_macros.h"

namespace eqat::quant {
namespace {

absl::Status CheckSize(absl::string_view field, size_t size, int64_t unset_size, int64_t channels) {
  if (static_cast<int64_t>(size) == unset_size || static_cast<int64_t>(size) == channels) return absl::OkStatus();
  return InvalidArgument(field, "has the wrong number of values", absl::StrCat(size),
                         unset_size == channels ? absl::StrCat(channels) : absl::StrCat(unset_size, " or ", channels));
}

absl::Status ValueError(absl::string_view field, size_t channel, float value, absl::string_view expected) {
  return InvalidArgument(absl::StrCat(field, "[", channel, "]"), "is out of range", absl::StrCat(value), expected);
}

absl::Status CheckQParams(const FakeQuantizeState& state, const QParamsRule& rule, int64_t channels) {
  EQAT_RETURN_IF_ERROR(CheckSize("scale", state.scale.size(), 1, channels));
  const int64_t scales = static_cast<int64_t>(state.scale.size());
  EQAT_RETURN_IF_ERROR(CheckSize("zero_point", state.zero_point.size(), scales, scales));
  for (size_t i = 0; i < state.scale.size(); ++i) {
    const float scale = state.scale[i];
    if (!std::isfinite(scale) || scale < 0.0f) return ValueError("scale", i, scale, "finite and at least 0");
    const float zero_point = state.zero_point[i];
    if (!std::isfinite(zero_point)) return ValueError("zero_point", i, zero_point, "finite");
    if (TraitsOf(rule.qscheme).float_zero_point) continue;
    if (zero_point != std::nearbyint(zero_point) || zero_point < rule.quant_min || zero_point > rule.quant_max) {
      return ValueError("zero_point", i, zero_point,
                        absl::StrCat("an integer from ", rule.quant_min, " to ", rule.quant_max));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckBounds(const FakeQuantizeState& state, const QParamsRule& rule, int64_t channels) {
  const int64_t unset_size = TraitsOf(rule.qscheme).per_channel ? 0 : 1;
  EQAT_RETURN_IF_ERROR(CheckSize("min_val", state.min_val.size(), unset_size, channels));
  const int64_t bounds = static_cast<int64_t>(state.min_val.size());
  EQAT_RETURN_IF_ERROR(CheckSize("max_val", state.max_val.size(), bounds, bounds));
  if (!HasBounds(state)) return absl::OkStatus();
  for (size_t i = 0; i < state.min_val.size(); ++i) {
    const float min_val = state.min_val[i];
    const float max_val = state.max_val[i];
    if (!std::isfinite(min_val)) return ValueError("min_val", i, min_val, "finite");
    if (!std::isfinite(max_val)) return ValueError("max_val", i, max_val, "finite");
    if (min_val > max_val) return ValueError("max_val", i, max_val, absl::StrCat("at least min_val ", min_val));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckState(const FakeQuantizeState& state, const QParamsRule& rule, int64_t channels) {
  EQAT_RETURN_IF_ERROR(CheckQParams(state, rule, channels));
  return CheckBounds(state, rule, channels);
}

bool HasBounds(const FakeQuantizeState& state) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  return !state.min_val.empty() && !(state.min_val[0] == kInfinity && state.max_val[0] == -kInfinity);
}

bool HasQParams(const FakeQuantizeState& state, int64_t channels) {
  if (channels == 0 || static_cast<int64_t>(state.scale.size()) != channels) return false;
  return channels != 1 || HasBounds(state) || state.scale[0] != 1.0f || state.zero_point[0] != 0.0f;
}

}  // namespace eqat::quant
