#include "quant/deploy_arithmetic.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/float16.h"
#include "core/table_view.h"
#include "quant/bounds.h"
#include "quant/kernels/fake_quantize_kernels.h"

namespace eqat::quant {
namespace {

constexpr float kSmallestHalf = 0x1p-24f;

CodeRange CodesOf(const DeployTraits& traits) {
  const DtypeTraits& dtype = TraitsOf(DtypeOf(traits));
  return {dtype.quant_min, dtype.quant_max};
}

// Parameters of one group and what its values are multiplied with.
struct GroupParams {
  QParams params;
  float inverse = 1.0f;
};

GroupParams ByteBias(Bounds bounds, float levels) {
  const float range = bounds.max_val - bounds.min_val;
  return {{range / levels, bounds.min_val}, levels / (range + 1e-8f)};
}

GroupParams HalfBias(Bounds bounds, float levels) {
  const float bias = RoundToFloat16(bounds.min_val);
  const float range = bounds.max_val - bias;
  float scale = RoundToFloat16(range == 0.0f ? 1.0f : range / levels);
  if (scale == 0.0f || std::isinf(1.0f / scale)) scale = 1.0f;
  return {{scale, bias}, 1.0f / scale};
}

GroupParams HalfSigned(Bounds bounds) {
  const float largest = std::max(-bounds.min_val, bounds.max_val);
  const float scale = std::max(RoundToFloat16(largest / 127.0f), kSmallestHalf);
  return {{scale, 0.0f}, 1.0f / scale};
}

GroupParams HalfCentered(absl::Span<const float> x, float center) {
  const float largest =
      *std::max_element(x.begin(), x.end(), [](float a, float b) { return std::abs(a) < std::abs(b); });
  float scale = RoundToFloat16(largest / -center);
  if (scale == 0.0f) scale = kSmallestHalf;
  return {{scale, center}, 1.0f / scale};
}

GroupParams IntegerZeroPoint(Bounds bounds, CodeRange codes) {
  QParamsRule rule;
  rule.qscheme = QScheme::kPerChannelAffine;
  rule.quant_min = codes.quant_min;
  rule.quant_max = codes.quant_max;
  rule.eps = std::numeric_limits<float>::min();
  const QParams params = ChooseQParams(bounds.min_val, bounds.max_val, rule);
  return {params, 1.0f / params.scale};
}

GroupParams ParamsOf(const DeployTraits& traits, absl::Span<const float> x, Bounds bounds) {
  const CodeRange codes = CodesOf(traits);
  const float levels = static_cast<float>(codes.quant_max);
  switch (traits.params) {
    case DeployParams::kByteBias:
      return ByteBias(bounds, levels);
    case DeployParams::kHalfBias:
      return HalfBias(bounds, levels);
    case DeployParams::kHalfSigned:
      return HalfSigned(bounds);
    case DeployParams::kHalfCentered:
      return HalfCentered(x, static_cast<float>(1 << (traits.bits - 1)));
    case DeployParams::kIntegerZeroPoint:
      return IntegerZeroPoint(bounds, codes);
  }
  return {};
}

// A bias of -0 counts as 0, as it does where it is added to a sum that starts at 0.
float BiasedValue(float code, const QParams& params) { return std::fma(params.scale, code, 0.0f + params.zero_point); }

void QuantizeWithBias(absl::Span<const float> x, const GroupParams& group, float levels, const DeployedRow& row) {
  for (size_t i = 0; i < x.size(); ++i) {
    const float rounded = std::nearbyint((x[i] - group.params.zero_point) * group.inverse);
    const float code = std::clamp(rounded, 0.0f, levels);
    if (row.mask != nullptr) row.mask[i] = rounded == code;
    if (row.codes != nullptr) row.codes[i] = static_cast<int32_t>(code);
    if (row.y != nullptr) row.y[i] = BiasedValue(code, group.params);
  }
}

kernels::AffineParams AffineOf(const QParams& params, CodeRange codes) {
  return {params.scale, params.zero_point, codes.quant_min, codes.quant_max, /*float_zero_point=*/false};
}

// Calls body(begin, size, group) for each group of a row of `cols` columns.
template <typename Body>
bool ForEachGroup(const DeployTraits& traits, int64_t cols, Body body) {
  const int64_t size = traits.group == 0 ? cols : traits.group;
  for (int64_t begin = 0, group = 0; begin < cols; begin += size, ++group) {
    if (!body(begin, std::min(size, cols - begin), group)) return false;
  }
  return true;
}

}  // namespace

bool QuantizeDeployedRow(const DeployTraits& traits, absl::Span<const float> x, const DeployedRow& row) {
  const CodeRange codes = CodesOf(traits);
  return ForEachGroup(traits, static_cast<int64_t>(x.size()), [&](int64_t begin, int64_t size, int64_t index) {
    const absl::Span<const float> values = x.subspan(begin, size);
    Bounds bounds;
    if (!FindBounds(values, &bounds)) return false;
    const GroupParams group = ParamsOf(traits, values, bounds);
    if (!AreDeployedParams(traits, group.params) || !std::isfinite(group.inverse)) return false;
    if (row.params != nullptr) row.params[index] = group.params;
    const DeployedRow part = {OffsetOrNull(row.y, begin), OffsetOrNull(row.mask, begin), OffsetOrNull(row.codes, begin),
                              nullptr};
    if (traits.has_bias()) {
      QuantizeWithBias(values, group, static_cast<float>(codes.quant_max), part);
    } else {
      kernels::FakeQuantizeRow(values.data(), values.size(), AffineOf(group.params, codes), part.y, part.mask,
                               part.codes);
    }
    return true;
  });
}

void DequantizeDeployedRow(const DeployTraits& traits, const int32_t* codes, const QParams* params, int64_t n,
                           float* y) {
  ForEachGroup(traits, n, [&](int64_t begin, int64_t size, int64_t group) {
    if (traits.has_bias()) {
      for (int64_t i = begin; i < begin + size; ++i) y[i] = BiasedValue(static_cast<float>(codes[i]), params[group]);
    } else {
      kernels::DequantizeRow(codes + begin, size, AffineOf(params[group], CodesOf(traits)), y + begin);
    }
    return true;
  });
}

bool AreDeployedParams(const DeployTraits& traits, const QParams& params) {
  if (!std::isfinite(params.scale) || !std::isfinite(params.zero_point)) return false;
  if (traits.has_half_params() && RoundToFloat16(params.scale) != params.scale) return false;
  const CodeRange codes = CodesOf(traits);
  switch (traits.params) {
    case DeployParams::kByteBias:
      return params.scale >= 0.0f;
    case DeployParams::kHalfBias:
      return RoundToFloat16(params.zero_point) == params.zero_point;
    case DeployParams::kHalfSigned:
      return params.zero_point == 0.0f;
    case DeployParams::kHalfCentered:
      return params.zero_point == static_cast<float>(1 << (traits.bits - 1));
    case DeployParams::kIntegerZeroPoint:
      return params.zero_point == std::nearbyint(params.zero_point) && codes.quant_min <= params.zero_point &&
             params.zero_point <= codes.quant_max;
  }
  return false;
}

}  // namespace eqat::quant
