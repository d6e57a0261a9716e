// Train, Evaluate: the training loop with learning-rate and QAT schedules, checkpoints and bitwise resume.
//
// {"version": 1, "loss": "bce_with_logits" | "cross_entropy", "epochs": 1, "batch_size": 512, "seed": 1, "shuffle": true,
//  "optimizer": {"type": "RowWiseAdagrad", "lr": 0.05},
//  "lr_schedule": {"type": "constant" | "linear" | "cosine" | "step", "warmup_steps": 0, "final_factor": 0.0, ...},
//  "qat": {"fake_quant_start": 0.5, "observer_freeze": 0.9},     fractions of all steps (below 1 or 1.0), or step numbers as integers
//  "checkpoint_every_steps": 500, "log_every_steps": 100}
//
// Checkpoint: the output directory itself, replaced as a whole: model.json, model.safetensors, optimizer.safetensors,
// trainer.json, metrics.jsonl. A run killed at any moment and resumed ends in the same bytes as an undisturbed one;
// metrics therefore hold no times.
#ifndef EQAT_TRAIN_TRAINER_H_
#define EQAT_TRAIN_TRAINER_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <variant>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "io/json_reader.h"
#include "model/model.h"
#include "train/dataset.h"
#include "train/loss.h"
#include "train/metrics.h"
#include "train/optimizer.h"

namespace eqat::train {

// A point of a run: a step number, or a fraction of all steps.
using SchedulePoint = std::variant<int64_t, double>;

enum class LrScheduleKind : uint8_t { kConstant, kLinear, kCosine, kStep };
struct LrSchedule {
  LrScheduleKind kind = LrScheduleKind::kConstant;
  int64_t warmup_steps = 0;     // factor rises linearly to 1 over the first steps
  double final_factor = 0.0;    // linear, cosine: factor at the last step
  int64_t step_size = 0;        // step: factor is gamma^(step / step_size)
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
  SchedulePoint fake_quant_start = int64_t{0};        // before it fake quantization is off
  std::optional<SchedulePoint> observer_freeze;       // from it on observers are off
  int64_t checkpoint_every_steps = 1000;              // 0: only at the end
  int64_t log_every_steps = 100;
};
absl::StatusOr<TrainConfig> ReadTrainConfig(const std::string& path);

struct TrainProgress {
  int64_t step = 0;
  int64_t total_steps = 0;
  int64_t rows = 0;      // trained so far in this process
  double loss = 0;       // mean since the last report
};

struct TrainOptions {
  std::string model_path;   // input model directory
  std::string out_path;     // output model directory
  bool resume = false;      // go on from out_path's checkpoint if there is one
  std::optional<uint64_t> seed;  // overrides the config's
  std::function<void(const TrainProgress&)> progress;
  std::function<bool()> stop;  // polled between steps: true saves a checkpoint and returns Cancelled
};

struct TrainResult {
  int64_t steps = 0;
  double loss = 0;  // mean over the last log interval
};

// InvalidArgument before anything is written for: inputs the model needs and the data lacks (and the other way round),
// indices that a table cannot hold, an out_path that holds another run without `resume`, a checkpoint of another data set,
// model or config. FailedPrecondition "loss is nan at step S ..." stops the run; the last checkpoint stays.
absl::StatusOr<TrainResult> Train(const TrainOptions& options, const TrainConfig& config, const Dataset& data);

// Loss, accuracy and AUC of any kind of model over all rows, in file order; changes nothing.
absl::StatusOr<Metrics> Evaluate(const model::Model& model, const Dataset& data, LossKind loss,
                                 const std::function<void(int64_t done, int64_t total)>& progress = {});
// The model's outputs (logits) over all rows, in file order.
absl::StatusOr<Tensor> Predict(const model::Model& model, const Dataset& data,
                               const std::function<void(int64_t done, int64_t total)>& progress = {});

}  // namespace eqat::train

#endif  // EQAT_TRAIN_TRAINER_H_
