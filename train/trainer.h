// Train: the training loop with learning-rate and QAT schedules, checkpoints and bitwise resume.
//
// Checkpoint: the output directory itself, replaced as a whole: model.json, model.safetensors, optimizer.safetensors,
// trainer.json, metrics.jsonl (train/checkpoint.h). A run killed at any moment and resumed ends in the same bytes as an
// undisturbed one; metrics therefore hold no times.
#ifndef EQAT_TRAIN_TRAINER_H_
#define EQAT_TRAIN_TRAINER_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "train/dataset.h"
#include "train/evaluate.h"
#include "train/train_config.h"

namespace eqat::train {

struct TrainProgress {
  int64_t step = 0;
  int64_t total_steps = 0;
  int64_t rows = 0;  // trained so far in this process
  double loss = 0;   // mean since the last line of metrics.jsonl
};

struct TrainOptions {
  std::string model_path;                              // input model directory
  std::string out_path;                                // output model directory
  bool resume = false;                                 // go on from out_path's checkpoint if there is one
  std::optional<uint64_t> seed;                        // overrides the config's
  std::function<void(const TrainProgress&)> progress;  // called after every step
  std::function<bool()> stop;  // polled between steps: true saves a checkpoint and returns Cancelled
};

struct TrainResult {
  int64_t steps = 0;
  double loss = 0;  // mean over the last log interval
};

// What Train says of the two paths, without data: an out_path that holds another run without `resume` or cannot be
// written, a MODEL that cannot be read. Nothing is changed. Costs what loading the model costs.
absl::Status CheckPaths(const TrainOptions& options);

// InvalidArgument before anything is written for: inputs the model needs and the data lacks (and the other way round),
// indices that a table cannot hold, labels the loss does not take, quantized modules, a "qat" schedule without QAT
// modules, an out_path that holds another run without `resume`, a checkpoint of another data set, model or config.
// FailedPrecondition "step S: loss is nan ..." stops the run; the last checkpoint stays. With `resume` an out_path
// without a checkpoint starts from the beginning, and one of a finished run returns at once.
absl::StatusOr<TrainResult> Train(const TrainOptions& options, const TrainConfig& config, const Dataset& data);

}  // namespace eqat::train

#endif  // EQAT_TRAIN_TRAINER_H_
