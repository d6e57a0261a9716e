// QConfig: the recipe for quantizing one module, as plain values. torch's QConfig holds factories; here a config is
// copied freely and shares nothing. What the recipe does is in quant/fake_quantize.h.
#ifndef EQAT_QUANT_TYPES_QCONFIG_H_
#define EQAT_QUANT_TYPES_QCONFIG_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "quant/types/deploy.h"
#include "quant/types/dtype.h"
#include "quant/types/qscheme.h"

namespace eqat::quant {

enum class ObserverKind : uint8_t {
  kMinMax,
  kMovingAverageMinMax,
  kPerChannelMinMax,
  kMovingAveragePerChannelMinMax,
  kNoop,
  kPlaceholder,
};

struct ObserverKindTraits {
  ObserverKind kind;
  const char* name;  // torch's class name, also in JSON
  bool per_channel;
  bool moving_average;  // takes averaging_constant
  bool computes_qparams;
};

inline constexpr ObserverKindTraits kObserverKinds[] = {
    {ObserverKind::kMinMax, "MinMaxObserver", false, false, true},
    {ObserverKind::kMovingAverageMinMax, "MovingAverageMinMaxObserver", false, true, true},
    {ObserverKind::kPerChannelMinMax, "PerChannelMinMaxObserver", true, false, true},
    {ObserverKind::kMovingAveragePerChannelMinMax, "MovingAveragePerChannelMinMaxObserver", true, true, true},
    {ObserverKind::kNoop, "NoopObserver", false, false, false},
    {ObserverKind::kPlaceholder, "PlaceholderObserver", false, false, false},
};
constexpr const ObserverKindTraits& TraitsOf(ObserverKind kind) { return kObserverKinds[static_cast<int>(kind)]; }

// Arguments of an observer, torch's names and defaults.
struct ObserverConfig {
  ObserverKind kind = ObserverKind::kMovingAverageMinMax;
  Dtype dtype = Dtype::kQUInt8;
  QScheme qscheme = QScheme::kPerTensorAffine;
  bool reduce_range = false;         // halves 8-bit code ranges: 0..127, -64..63
  std::optional<int32_t> quant_min;  // both or none; must include 0 and fit the dtype
  std::optional<int32_t> quant_max;
  double averaging_constant = 0.01;     // moving averages only; 1 means memoryless
  int ch_axis = 0;                      // per-channel only
  double eps = 1.1920928955078125e-07;  // 2^-23; smallest scale that is kept

  bool operator==(const ObserverConfig&) const = default;
};

// What is done to a weight: FakeQuantize with its observer, or (post-training) the observer alone.
struct WeightConfig {
  bool fake_quantize = true;
  ObserverConfig observer;
  // The format the weight will be served in: codes and values are then those of quant/deploy_arithmetic.h, found from
  // each row itself, and the observer only records.
  std::optional<Deploy> deploy;

  bool operator==(const WeightConfig&) const = default;
};

struct QConfig {
  std::string name;  // preset name, empty for a spelled-out config; not part of equality
  ObserverKind activation = ObserverKind::kNoop;
  WeightConfig weight;

  bool operator==(const QConfig& other) const { return activation == other.activation && weight == other.weight; }
};

// The code range of `config` after dtype default, custom bounds and reduce_range.
struct CodeRange {
  int32_t quant_min = 0;
  int32_t quant_max = 255;
};
absl::StatusOr<CodeRange> CodeRangeOf(const ObserverConfig& config);

// Meaning, not syntax: kind against qscheme, code range, symmetric with reduced quint8, eps and averaging_constant
// finite; with `deploy` a dtype that the format has, its whole code range, and an observer that follows each row.
// InvalidArgument with the offending values.
absl::Status Validate(const ObserverConfig& config);
absl::Status Validate(const WeightConfig& config);
// InvalidArgument unless rows of `cols` values suit the format.
absl::Status CheckDeployedWidth(const DeployTraits& deploy, int64_t cols);
// The format that `config` names; null if it names none, or none that has its dtype.
const DeployTraits* DeployOf(const WeightConfig& config);

// Presets: default_embedding_qat_qconfig, .._4bit, .._2bit, float_qparams_weight_only_qconfig, .._4bit, .._2bit.
const std::vector<QConfig>& QConfigPresets();
std::optional<QConfig> QConfigPreset(absl::string_view name);

}  // namespace eqat::quant

#endif  // EQAT_QUANT_TYPES_QCONFIG_H_
