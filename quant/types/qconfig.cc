#include "quant/types/qconfig.h"

#include <limits>
#include <string>

#include "absl/strings/str_cat.h"
#include "core/error.h"
#include "core/status_macros.h"

namespace eqat::quant {
namespace {

// Errors name the field; who holds the config puts its own place in front.
constexpr char kRangeFields[] = "quant_min, quant_max";

std::string RangeText(int64_t quant_min, int64_t quant_max) { return absl::StrCat(quant_min, "..", quant_max); }

bool IsReducible(Dtype dtype) { return TraitsOf(dtype).bits == 8; }

// Integer division rounded down, as torch's: -128 / 2 and 127 / 2 are -64 and 63.
int32_t FloorHalf(int32_t value) { return value >> 1; }

QConfig EmbeddingQat(const std::string& suffix, Dtype dtype) {
  QConfig qconfig;
  qconfig.name = "default_embedding_qat_qconfig" + suffix;
  qconfig.activation = ObserverKind::kNoop;
  qconfig.weight.fake_quantize = true;
  qconfig.weight.observer.kind = ObserverKind::kMovingAveragePerChannelMinMax;
  qconfig.weight.observer.dtype = dtype;
  qconfig.weight.observer.qscheme = QScheme::kPerChannelAffineFloatQParams;
  qconfig.weight.observer.quant_min = TraitsOf(dtype).quant_min;
  qconfig.weight.observer.quant_max = TraitsOf(dtype).quant_max;
  qconfig.weight.observer.averaging_constant = 1.0;
  return qconfig;
}

QConfig FloatQParamsWeightOnly(const std::string& suffix, Dtype dtype) {
  QConfig qconfig;
  qconfig.name = "float_qparams_weight_only_qconfig" + suffix;
  qconfig.activation = ObserverKind::kPlaceholder;
  qconfig.weight.fake_quantize = false;
  qconfig.weight.observer.kind = ObserverKind::kPerChannelMinMax;
  qconfig.weight.observer.dtype = dtype;
  qconfig.weight.observer.qscheme = QScheme::kPerChannelAffineFloatQParams;
  return qconfig;
}

absl::Status CheckObserverAgainstScheme(const ObserverConfig& config) {
  const ObserverKindTraits& kind = TraitsOf(config.kind);
  const QSchemeTraits& scheme = TraitsOf(config.qscheme);
  if (kind.per_channel == scheme.per_channel) return absl::OkStatus();
  return InvalidArgument("qscheme", absl::StrCat("does not suit ", kind.name), scheme.name,
                         kind.per_channel ? "a per_channel qscheme" : "a per_tensor qscheme");
}

std::string DtypesOf(Deploy deploy) {
  std::string names;
  for (const DtypeTraits& dtype : kDtypes) {
    if (FindDeploy(deploy, dtype.dtype) != nullptr) absl::StrAppend(&names, names.empty() ? "" : " or ", dtype.name);
  }
  return names;
}

absl::Status CheckDeploy(Deploy deploy, const ObserverConfig& observer) {
  const std::string name = DeployName(deploy);
  if (FindDeploy(deploy, observer.dtype) == nullptr) {
    return InvalidArgument("dtype", absl::StrCat("does not suit deploy ", name), TraitsOf(observer.dtype).name,
                           DtypesOf(deploy));
  }
  if (observer.quant_min.has_value() || observer.reduce_range) {
    return InvalidArgument(observer.reduce_range ? "reduce_range" : kRangeFields,
                           absl::StrCat("deploy ", name, " uses every code"), "a smaller code range",
                           absl::StrCat("no ", kRangeFields, " or reduce_range"));
  }
  if (observer.kind != ObserverKind::kMovingAveragePerChannelMinMax || observer.ch_axis != 0 ||
      observer.averaging_constant != 1.0) {
    return InvalidArgument("observer", absl::StrCat("deploy ", name, " finds the parameters of each row in the row"),
                           TraitsOf(observer.kind).name,
                           "MovingAveragePerChannelMinMaxObserver with averaging_constant 1 and ch_axis 0");
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<CodeRange> CodeRangeOf(const ObserverConfig& config) {
  const DtypeTraits& dtype = TraitsOf(config.dtype);
  if (config.quant_min.has_value() != config.quant_max.has_value()) {
    return InvalidArgument(kRangeFields, "a custom code range needs both bounds",
                           config.quant_min.has_value() ? "quant_min alone" : "quant_max alone",
                           "quant_min and quant_max, or neither");
  }
  CodeRange range{config.quant_min.value_or(dtype.quant_min), config.quant_max.value_or(dtype.quant_max)};
  const std::string text = RangeText(range.quant_min, range.quant_max);
  if (range.quant_min >= range.quant_max) {
    return InvalidArgument(kRangeFields, "code range is empty", text, "quant_min less than quant_max");
  }
  if (range.quant_min > 0 || range.quant_max < 0) {
    return InvalidArgument(kRangeFields, "code range must include 0", text);
  }
  if (range.quant_min < dtype.quant_min || range.quant_max > dtype.quant_max) {
    return InvalidArgument(kRangeFields, absl::StrCat("code range does not fit ", dtype.name), text,
                           absl::StrCat("within ", RangeText(dtype.quant_min, dtype.quant_max)));
  }
  if (config.reduce_range && IsReducible(config.dtype)) {
    range = {FloorHalf(range.quant_min), FloorHalf(range.quant_max)};
    if (range.quant_min == range.quant_max) {
      return InvalidArgument(kRangeFields, "code range is empty after reduce_range", text,
                             "a range of more than two codes");
    }
  }
  return range;
}

absl::Status Validate(const ObserverConfig& config) {
  const ObserverKindTraits& kind = TraitsOf(config.kind);
  EQAT_RETURN_IF_ERROR(CodeRangeOf(config).status());
  if (kind.computes_qparams) EQAT_RETURN_IF_ERROR(CheckObserverAgainstScheme(config));
  if (config.reduce_range && TraitsOf(config.qscheme).symmetric && IsReducible(config.dtype) &&
      TraitsOf(config.dtype).quant_min == 0) {
    return InvalidArgument("reduce_range", "cannot reduce the range of symmetric quantization to unsigned codes",
                           TraitsOf(config.dtype).name, "reduce_range false, or qint8");
  }
  // Scales are compared with eps in float32, where it must not become 0 or infinity.
  using Limits = std::numeric_limits<float>;
  if (!(config.eps >= Limits::min() && config.eps <= Limits::max())) {
    return InvalidArgument("eps", "is out of range", absl::StrCat(config.eps),
                           absl::StrCat("from ", Limits::min(), " to ", Limits::max()));
  }
  if (!(config.averaging_constant > 0.0 && config.averaging_constant <= 1.0)) {
    return InvalidArgument("averaging_constant", "is out of range", absl::StrCat(config.averaging_constant),
                           "greater than 0 and at most 1");
  }
  if (config.ch_axis != 0 && config.ch_axis != 1) {
    return InvalidArgument("ch_axis", "is out of range", absl::StrCat(config.ch_axis), "0 or 1");
  }
  return absl::OkStatus();
}

absl::Status Validate(const WeightConfig& config) {
  const ObserverKindTraits& kind = TraitsOf(config.observer.kind);
  if (!kind.computes_qparams) {
    return InvalidArgument("observer", "finds no range", kind.name, "a MinMax observer");
  }
  EQAT_RETURN_IF_ERROR(Validate(config.observer));
  return config.deploy.has_value() ? CheckDeploy(*config.deploy, config.observer) : absl::OkStatus();
}

const DeployTraits* DeployOf(const WeightConfig& config) {
  return config.deploy.has_value() ? FindDeploy(*config.deploy, config.observer.dtype) : nullptr;
}

absl::Status CheckDeployedWidth(const DeployTraits& deploy, int64_t cols) {
  if (cols > 0 && cols % deploy.column_multiple == 0) return absl::OkStatus();
  return InvalidArgument(
      "deploy", absl::StrCat(deploy.name, " cannot hold rows of this width"), absl::StrCat(cols, " columns"),
      deploy.column_multiple == 1 ? "at least 1 column" : absl::StrCat("a multiple of ", deploy.column_multiple));
}

const std::vector<QConfig>& QConfigPresets() {
  static const auto& presets = *new std::vector<QConfig>{
      EmbeddingQat("", Dtype::kQUInt8),
      EmbeddingQat("_4bit", Dtype::kQUInt4x2),
      EmbeddingQat("_2bit", Dtype::kQUInt2x4),
      FloatQParamsWeightOnly("", Dtype::kQUInt8),
      FloatQParamsWeightOnly("_4bit", Dtype::kQUInt4x2),
      FloatQParamsWeightOnly("_2bit", Dtype::kQUInt2x4),
  };
  return presets;
}

std::optional<QConfig> QConfigPreset(absl::string_view name) {
  for (const QConfig& preset : QConfigPresets()) {
    if (name == preset.name) return preset;
  }
  return std::nullopt;
}

}  // namespace eqat::quant
