#include "train/train_config.h"

#include <cmath>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/error.h"
#include "core/status_macros.h"

namespace eqat::train {
namespace {

using io::Json;
using io::ObjectReader;

constexpr int64_t kMaxBatchSize = int64_t{1} << 31;
constexpr double kPi = 3.14159265358979323846;

const std::vector<std::string>& ScheduleNames() {
  static const auto* const names = new std::vector<std::string>{"constant", "linear", "cosine", "step"};
  return *names;
}

absl::Status ReadCount(ObjectReader& object, absl::string_view key, int64_t minimum, int64_t& value) {
  EQAT_ASSIGN_OR_RETURN(std::optional<int64_t> read, object.OptionalInt(key, {.minimum = minimum}));
  if (read) value = *read;
  return absl::OkStatus();
}

absl::Status ReadLrSchedule(ObjectReader& parent, LrSchedule& schedule) {
  EQAT_ASSIGN_OR_RETURN(const Json* json, parent.OptionalObject("lr_schedule"));
  if (json == nullptr) return absl::OkStatus();
  EQAT_ASSIGN_OR_RETURN(ObjectReader object, ObjectReader::Of(*json, parent.file(), parent.PointerTo("lr_schedule")));
  EQAT_ASSIGN_OR_RETURN(const int kind, object.Choice("type", ScheduleNames()));
  schedule.kind = static_cast<LrScheduleKind>(kind);
  EQAT_RETURN_IF_ERROR(ReadCount(object, "warmup_steps", 0, schedule.warmup_steps));
  if (schedule.kind == LrScheduleKind::kLinear || schedule.kind == LrScheduleKind::kCosine) {
    EQAT_ASSIGN_OR_RETURN(std::optional<double> factor, object.OptionalDouble("final_factor", {.minimum = 0.0}));
    schedule.final_factor = factor.value_or(schedule.final_factor);
  }
  if (schedule.kind == LrScheduleKind::kStep) {
    EQAT_ASSIGN_OR_RETURN(schedule.step_size, object.Int("step_size", {.minimum = 1}));
    EQAT_ASSIGN_OR_RETURN(std::optional<double> gamma,
                          object.OptionalDouble("gamma", {.minimum = 0.0, .maximum = 1.0, .exclude_minimum = true}));
    schedule.gamma = gamma.value_or(schedule.gamma);
  }
  return object.Finish();
}

absl::Status ReadPoint(ObjectReader& object, absl::string_view key, std::optional<SchedulePoint>& point) {
  EQAT_ASSIGN_OR_RETURN(const Json* json, object.OptionalAny(key));
  if (json == nullptr) return absl::OkStatus();
  if (json->is_number_integer()) {
    EQAT_ASSIGN_OR_RETURN(point, object.Int(key, {.minimum = 0}));
    return absl::OkStatus();
  }
  if (json->is_number_float() && *json >= 0.0 && *json <= 1.0) {
    point = json->get<double>();
    return absl::OkStatus();
  }
  return object.Error(key, "is no point of a run", "a step as an integer, or a fraction of all steps from 0.0 to 1.0");
}

absl::Status ReadQat(ObjectReader& parent, TrainConfig& config) {
  EQAT_ASSIGN_OR_RETURN(const Json* json, parent.OptionalObject("qat"));
  if (json == nullptr) return absl::OkStatus();
  EQAT_ASSIGN_OR_RETURN(ObjectReader object, ObjectReader::Of(*json, parent.file(), parent.PointerTo("qat")));
  EQAT_RETURN_IF_ERROR(ReadPoint(object, "fake_quant_start", config.fake_quant_start));
  EQAT_RETURN_IF_ERROR(ReadPoint(object, "observer_freeze", config.observer_freeze));
  EQAT_RETURN_IF_ERROR(object.Finish());
  if (config.fake_quant_start || config.observer_freeze) return absl::OkStatus();
  return parent.Error("qat", "is empty", "\"fake_quant_start\" or \"observer_freeze\"");
}

Json PointJson(const SchedulePoint& point) {
  return std::visit([](auto value) { return Json(value); }, point);
}

bool IsValid(const std::optional<SchedulePoint>& point) {
  if (!point) return true;
  if (const int64_t* step = std::get_if<int64_t>(&*point)) return *step >= 0;
  const double fraction = std::get<double>(*point);
  return fraction >= 0.0 && fraction <= 1.0;
}

}  // namespace

int64_t StepOf(const SchedulePoint& point, int64_t total_steps) {
  if (const int64_t* step = std::get_if<int64_t>(&point)) return *step;
  return static_cast<int64_t>(std::floor(std::get<double>(point) * static_cast<double>(total_steps)));
}

double LrFactor(const LrSchedule& schedule, int64_t step, int64_t total_steps) {
  if (step < schedule.warmup_steps) {
    return static_cast<double>(step + 1) / static_cast<double>(schedule.warmup_steps);
  }
  const int64_t last = total_steps - 1 - schedule.warmup_steps;  // steps from the end of the warm-up to the last one
  const double progress =
      last > 0 ? static_cast<double>(step - schedule.warmup_steps) / static_cast<double>(last) : 1.0;
  switch (schedule.kind) {
    case LrScheduleKind::kConstant:
      return 1.0;
    case LrScheduleKind::kLinear:
      return 1.0 + (schedule.final_factor - 1.0) * progress;
    case LrScheduleKind::kCosine:
      return schedule.final_factor + (1.0 - schedule.final_factor) * 0.5 * (1.0 + std::cos(kPi * progress));
    case LrScheduleKind::kStep:
      return std::pow(schedule.gamma, static_cast<double>(step / schedule.step_size));
  }
  return 1.0;
}

absl::Status Validate(const TrainConfig& config) {
  const auto check = [](const char* field, bool valid, const char* expected) {
    return valid ? absl::OkStatus()
                 : InvalidArgument(absl::StrCat("train config: ", field), "is out of range", "", expected);
  };
  EQAT_RETURN_IF_ERROR(check("epochs", config.epochs >= 1, "at least 1"));
  EQAT_RETURN_IF_ERROR(check("batch_size", config.batch_size >= 1 && config.batch_size <= kMaxBatchSize, "1 to 2^31"));
  EQAT_RETURN_IF_ERROR(check("checkpoint_every_steps", config.checkpoint_every_steps >= 0, "at least 0"));
  EQAT_RETURN_IF_ERROR(check("log_every_steps", config.log_every_steps >= 0, "at least 0"));
  EQAT_RETURN_IF_ERROR(check("qat.fake_quant_start", IsValid(config.fake_quant_start), "a step or a fraction"));
  EQAT_RETURN_IF_ERROR(check("qat.observer_freeze", IsValid(config.observer_freeze), "a step or a fraction"));
  const LrSchedule& lr = config.lr_schedule;
  EQAT_RETURN_IF_ERROR(check("lr_schedule.warmup_steps", lr.warmup_steps >= 0, "at least 0"));
  EQAT_RETURN_IF_ERROR(check("lr_schedule.final_factor", std::isfinite(lr.final_factor) && lr.final_factor >= 0,
                             "a finite number, at least 0"));
  EQAT_RETURN_IF_ERROR(
      check("lr_schedule.step_size", lr.kind != LrScheduleKind::kStep || lr.step_size >= 1, "at least 1"));
  EQAT_RETURN_IF_ERROR(check("lr_schedule.gamma", lr.gamma > 0 && lr.gamma <= 1, "above 0, at most 1"));
  return Validate(config.optimizer);
}

absl::StatusOr<TrainConfig> ReadTrainConfig(const std::string& path) {
  EQAT_ASSIGN_OR_RETURN(const Json json, io::ReadJsonFile(path));
  EQAT_ASSIGN_OR_RETURN(ObjectReader object, ObjectReader::Of(json, path, ""));
  TrainConfig config;
  EQAT_RETURN_IF_ERROR(object.Int("version", {.minimum = 1, .maximum = 1}).status());
  EQAT_ASSIGN_OR_RETURN(std::optional<int> loss,
                        object.OptionalChoice("loss", {std::string(LossName(LossKind::kBinaryCrossEntropyWithLogits)),
                                                       std::string(LossName(LossKind::kCrossEntropy))}));
  config.loss = static_cast<LossKind>(loss.value_or(0));
  EQAT_RETURN_IF_ERROR(ReadCount(object, "epochs", 1, config.epochs));
  EQAT_ASSIGN_OR_RETURN(std::optional<int64_t> batch_size,
                        object.OptionalInt("batch_size", {.minimum = 1, .maximum = kMaxBatchSize}));
  config.batch_size = batch_size.value_or(config.batch_size);
  EQAT_ASSIGN_OR_RETURN(std::optional<int64_t> seed, object.OptionalInt("seed", {.minimum = 0}));
  if (seed) config.seed = static_cast<uint64_t>(*seed);
  EQAT_ASSIGN_OR_RETURN(std::optional<bool> shuffle, object.OptionalBool("shuffle"));
  config.shuffle = shuffle.value_or(config.shuffle);
  EQAT_ASSIGN_OR_RETURN(const Json* optimizer, object.Object("optimizer"));
  EQAT_ASSIGN_OR_RETURN(config.optimizer, OptimizerFromJson(*optimizer, path, object.PointerTo("optimizer")));
  EQAT_RETURN_IF_ERROR(ReadLrSchedule(object, config.lr_schedule));
  EQAT_RETURN_IF_ERROR(ReadQat(object, config));
  EQAT_RETURN_IF_ERROR(ReadCount(object, "checkpoint_every_steps", 0, config.checkpoint_every_steps));
  EQAT_RETURN_IF_ERROR(ReadCount(object, "log_every_steps", 0, config.log_every_steps));
  EQAT_RETURN_IF_ERROR(object.Finish());
  return config;
}

Json ToJson(const TrainConfig& config) {
  Json json;
  json["version"] = 1;
  json["loss"] = std::string(LossName(config.loss));
  json["epochs"] = config.epochs;
  json["batch_size"] = config.batch_size;
  json["seed"] = config.seed;
  json["shuffle"] = config.shuffle;
  json["optimizer"] = ToJson(config.optimizer);
  const LrSchedule& lr = config.lr_schedule;
  Json& schedule = json["lr_schedule"];
  schedule["type"] = ScheduleNames()[static_cast<size_t>(lr.kind)];
  schedule["warmup_steps"] = lr.warmup_steps;
  if (lr.kind == LrScheduleKind::kLinear || lr.kind == LrScheduleKind::kCosine) {
    schedule["final_factor"] = lr.final_factor;
  }
  if (lr.kind == LrScheduleKind::kStep) {
    schedule["step_size"] = lr.step_size;
    schedule["gamma"] = lr.gamma;
  }
  if (config.fake_quant_start) json["qat"]["fake_quant_start"] = PointJson(*config.fake_quant_start);
  if (config.observer_freeze) json["qat"]["observer_freeze"] = PointJson(*config.observer_freeze);
  json["checkpoint_every_steps"] = config.checkpoint_every_steps;
  json["log_every_steps"] = config.log_every_steps;
  return json;
}

}  // namespace eqat::train
