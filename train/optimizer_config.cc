// OptimizerConfig: its rules and its JSON form.
#include <cmath>
#include <optional>
#include <string>

#include "absl/strings/str_cat.h"
#include "core/error.h"
#include "core/status_macros.h"
#include "train/optimizer.h"

namespace eqat::train {
namespace {

using io::Json;
using io::ObjectReader;

struct KindTraits {
  OptimizerKind kind;
  const char* name;
  std::optional<double> default_lr;
  double default_eps;
};
constexpr KindTraits kKinds[] = {
    {OptimizerKind::kSgd, "SGD", std::nullopt, 0.0},
    {OptimizerKind::kAdagrad, "Adagrad", 1e-2, 1e-10},
    {OptimizerKind::kRowWiseAdagrad, "RowWiseAdagrad", 1e-2, 1e-8},
    {OptimizerKind::kAdam, "Adam", 1e-3, 1e-8},
    {OptimizerKind::kSparseAdam, "SparseAdam", 1e-3, 1e-8},
};
const KindTraits& TraitsOf(OptimizerKind kind) { return kKinds[static_cast<int>(kind)]; }

bool HasWeightDecay(OptimizerKind kind) {
  return kind == OptimizerKind::kSgd || kind == OptimizerKind::kAdagrad || kind == OptimizerKind::kAdam;
}
bool IsAdagrad(OptimizerKind kind) { return kind == OptimizerKind::kAdagrad || kind == OptimizerKind::kRowWiseAdagrad; }
bool IsAdam(OptimizerKind kind) { return kind == OptimizerKind::kAdam || kind == OptimizerKind::kSparseAdam; }

absl::Status ReadNonNegative(ObjectReader& object, absl::string_view key, double& value) {
  EQAT_ASSIGN_OR_RETURN(std::optional<double> read, object.OptionalDouble(key, {.minimum = 0.0}));
  if (read) value = *read;
  return absl::OkStatus();
}

absl::Status ReadSgd(ObjectReader& object, OptimizerConfig& config) {
  EQAT_RETURN_IF_ERROR(ReadNonNegative(object, "momentum", config.momentum));
  EQAT_ASSIGN_OR_RETURN(std::optional<double> dampening, object.OptionalDouble("dampening"));
  config.dampening = dampening.value_or(0.0);
  EQAT_ASSIGN_OR_RETURN(std::optional<bool> nesterov, object.OptionalBool("nesterov"));
  config.nesterov = nesterov.value_or(false);
  return absl::OkStatus();
}

absl::Status ReadAdagrad(ObjectReader& object, OptimizerConfig& config) {
  if (config.kind == OptimizerKind::kAdagrad)
    EQAT_RETURN_IF_ERROR(ReadNonNegative(object, "lr_decay", config.lr_decay));
  EQAT_RETURN_IF_ERROR(ReadNonNegative(object, "initial_accumulator_value", config.initial_accumulator_value));
  return ReadNonNegative(object, "eps", config.eps);
}

absl::Status ReadAdam(ObjectReader& object, OptimizerConfig& config) {
  EQAT_RETURN_IF_ERROR(ReadNonNegative(object, "eps", config.eps));
  EQAT_ASSIGN_OR_RETURN(const Json* betas, object.OptionalArray("betas"));
  if (betas == nullptr) return absl::OkStatus();
  if (betas->size() != 2 || !(*betas)[0].is_number() || !(*betas)[1].is_number()) {
    return object.Error("betas", "is no pair of numbers", "[beta1, beta2]");
  }
  config.beta1 = (*betas)[0].get<double>();
  config.beta2 = (*betas)[1].get<double>();
  return absl::OkStatus();
}

}  // namespace

absl::Status Validate(const OptimizerConfig& config) {
  const auto check = [](const char* field, double value, bool valid, const char* expected) {
    return valid ? absl::OkStatus()
                 : InvalidArgument(absl::StrCat("optimizer.", field), "is out of range", absl::StrCat(value), expected);
  };
  const auto non_negative = [&](const char* field, double value) {
    return check(field, value, std::isfinite(value) && value >= 0, "a finite number, at least 0");
  };
  EQAT_RETURN_IF_ERROR(non_negative("lr", config.lr));
  EQAT_RETURN_IF_ERROR(non_negative("momentum", config.momentum));
  EQAT_RETURN_IF_ERROR(check("dampening", config.dampening, std::isfinite(config.dampening), "a finite number"));
  EQAT_RETURN_IF_ERROR(non_negative("weight_decay", config.weight_decay));
  EQAT_RETURN_IF_ERROR(non_negative("lr_decay", config.lr_decay));
  EQAT_RETURN_IF_ERROR(non_negative("initial_accumulator_value", config.initial_accumulator_value));
  EQAT_RETURN_IF_ERROR(non_negative("eps", config.eps));
  EQAT_RETURN_IF_ERROR(check("betas", config.beta1, config.beta1 >= 0 && config.beta1 < 1, "beta1 in [0, 1)"));
  EQAT_RETURN_IF_ERROR(check("betas", config.beta2, config.beta2 >= 0 && config.beta2 < 1, "beta2 in [0, 1)"));
  EQAT_RETURN_IF_ERROR(check("weight_decay", config.weight_decay,
                             config.weight_decay == 0 || HasWeightDecay(config.kind), "0 for this kind of optimizer"));
  EQAT_RETURN_IF_ERROR(check("initial_accumulator_value", config.initial_accumulator_value,
                             config.initial_accumulator_value == 0 || IsAdagrad(config.kind),
                             "0 for this kind of optimizer"));
  if (config.nesterov && (config.momentum == 0 || config.dampening != 0)) {
    return InvalidArgument("optimizer.nesterov", "does not fit momentum and dampening",
                           absl::StrCat("momentum ", config.momentum, ", dampening ", config.dampening),
                           "momentum above 0 and dampening 0");
  }
  return absl::OkStatus();
}

absl::string_view OptimizerName(OptimizerKind kind) { return TraitsOf(kind).name; }

absl::StatusOr<OptimizerConfig> OptimizerFromJson(const Json& json, absl::string_view file,
                                                  const std::string& pointer) {
  EQAT_ASSIGN_OR_RETURN(ObjectReader object, ObjectReader::Of(json, std::string(file), pointer));
  std::vector<std::string> names;
  for (const KindTraits& traits : kKinds) names.push_back(traits.name);
  EQAT_ASSIGN_OR_RETURN(const int kind, object.Choice("type", names));
  OptimizerConfig config;
  config.kind = static_cast<OptimizerKind>(kind);
  config.eps = kKinds[kind].default_eps;
  if (kKinds[kind].default_lr) {
    config.lr = *kKinds[kind].default_lr;
    EQAT_RETURN_IF_ERROR(ReadNonNegative(object, "lr", config.lr));
  } else {
    EQAT_ASSIGN_OR_RETURN(config.lr, object.Double("lr", {.minimum = 0.0}));
  }
  if (config.kind == OptimizerKind::kSgd) EQAT_RETURN_IF_ERROR(ReadSgd(object, config));
  if (IsAdagrad(config.kind)) EQAT_RETURN_IF_ERROR(ReadAdagrad(object, config));
  if (IsAdam(config.kind)) EQAT_RETURN_IF_ERROR(ReadAdam(object, config));
  if (HasWeightDecay(config.kind)) {
    EQAT_RETURN_IF_ERROR(ReadNonNegative(object, "weight_decay", config.weight_decay));
  }
  EQAT_RETURN_IF_ERROR(object.Finish());
  EQAT_RETURN_IF_ERROR(AtPlace(absl::StrCat(file, ": ", pointer), Validate(config)));
  return config;
}

Json ToJson(const OptimizerConfig& config) {
  Json json;
  json["type"] = TraitsOf(config.kind).name;
  json["lr"] = config.lr;
  if (config.kind == OptimizerKind::kSgd) {
    json["momentum"] = config.momentum;
    json["dampening"] = config.dampening;
    json["nesterov"] = config.nesterov;
  }
  if (IsAdagrad(config.kind)) {
    if (config.kind == OptimizerKind::kAdagrad) json["lr_decay"] = config.lr_decay;
    json["initial_accumulator_value"] = config.initial_accumulator_value;
    json["eps"] = config.eps;
  }
  if (IsAdam(config.kind)) {
    json["betas"] = {config.beta1, config.beta2};
    json["eps"] = config.eps;
  }
  if (HasWeightDecay(config.kind)) json["weight_decay"] = config.weight_decay;
  return json;
}

}  // namespace eqat::train
