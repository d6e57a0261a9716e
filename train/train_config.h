// TrainConfig: what a training run does, apart from its model and data.
//
// {"version": 1, "loss": "bce_with_logits" | "cross_entropy", "epochs": 1, "batch_size": 512, "seed": 1, "shuffle":
// true,
//  "optimizer": {"type": "RowWiseAdagrad", "lr": 0.05},
//  "lr_schedule": {"type": "constant" | "linear" | "cosine" | "step", "warmup_steps": 0,
//                  "final_factor": 0.0,                           linear, cosine
//                  "step_size": 1000, "gamma": 0.1},              step
//  "qat": {"fake_quant_start": 0.5, "observer_freeze": 0.9},      fractions of all steps, or step numbers as integers
//  "checkpoint_every_steps": 500, "log_every_steps": 100}
#ifndef EQAT_TRAIN_TRAIN_CONFIG_H_
#define EQAT_TRAIN_TRAIN_CONFIG_H_

#include <cstdint>
#include <optional>
#include <string>
#include <variant>

#include "absl/status/statusor.h"
#include "io/json_reader.h"
#include "train/loss.h"
#include "train/optimizer.h"

namespace eqat::train {

// A point of a run: a step number, or a fraction (0 to 1) of all steps, rounded down to a step.
using SchedulePoint = std::variant<int64_t, double>;
int64_t StepOf(const SchedulePoint& point, int64_t total_steps);

enum class LrScheduleKind : uint8_t { kConstant, kLinear, kCosine, kStep };
struct LrSchedule {
  LrScheduleKind kind = LrScheduleKind::kConstant;
  int64_t warmup_steps = 0;   // factor of step s among the first: (s + 1) / warmup_steps
  double final_factor = 0.0;  // linear, cosine: factor at the last step
  int64_t step_size = 0;      // step: factor is gamma^floor(step / step_size); required
  double gamma = 0.1;
};
// Learning-rate factor of `step` (from 0) of `total_steps`.
double LrFactor(const LrSchedule& schedule, int64_t step, int64_t total_steps);

struct TrainConfig {
  LossKind loss = LossKind::kBinaryCrossEntropyWithLogits;
  int64_t epochs = 1;
  int64_t batch_size = 512;
  uint64_t seed = 1;
  bool shuffle = true;
  OptimizerConfig optimizer;
  LrSchedule lr_schedule;
  std::optional<SchedulePoint> fake_quant_start;  // before it fake quantization is off; absent: as the model has it
  std::optional<SchedulePoint> observer_freeze;   // from it on observers are off; absent: as the model has it
  int64_t checkpoint_every_steps = 1000;          // 0: only at the end
  int64_t log_every_steps = 100;                  // lines of metrics.jsonl; 0: only at the end
};
absl::StatusOr<TrainConfig> ReadTrainConfig(const std::string& path);
// As the file would have it, every value written out. ReadTrainConfig gives the same config back.
io::Json ToJson(const TrainConfig& config);
absl::Status Validate(const TrainConfig& config);  // InvalidArgument names the field

}  // namespace eqat::train

#endif  // EQAT_TRAIN_TRAIN_CONFIG_H_
