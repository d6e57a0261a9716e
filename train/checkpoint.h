// Checkpoints: the model directory of a training run with optimizer.safetensors, trainer.json and metrics.jsonl in it,
// replaced as a whole. Their content is a function of config, model, data and step alone: no times, no machine.
#ifndef EQAT_TRAIN_CHECKPOINT_H_
#define EQAT_TRAIN_CHECKPOINT_H_

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "io/json_reader.h"
#include "model/model.h"
#include "train/optimizer.h"

namespace eqat::train {

// What a run is made of; a checkpoint of another run is not resumed.
struct RunIdentity {
  io::Json config;  // ToJson(TrainConfig), seed as used
  uint64_t data_fingerprint = 0;
  int64_t data_rows = 0;
  int64_t skipped_lines = 0;
  uint64_t model_fingerprint = 0;  // of the model directory the run started from
  int64_t total_steps = 0;
};

// How far a run is.
struct RunProgress {
  int64_t step = 0;     // done
  double loss_sum = 0;  // over the rows since the last line of metrics
  int64_t loss_count = 0;
  std::optional<double> last_loss;  // of the last line of metrics
  int64_t metrics_lines = 0;
  std::string metrics;  // content of metrics.jsonl
};

absl::Status WriteCheckpoint(const std::string& path, const model::Model& model, const Optimizer& optimizer,
                             const RunIdentity& identity, const RunProgress& progress);

struct Checkpoint {
  RunIdentity identity;
  RunProgress progress;
};
// trainer.json and metrics.jsonl of `directory`; nullopt without a trainer.json. DataLoss when they contradict each
// other.
absl::StatusOr<std::optional<Checkpoint>> ReadCheckpoint(const std::string& directory);
absl::StatusOr<Optimizer> ReadOptimizer(const std::string& directory, const OptimizerConfig& config,
                                        model::Model& model);
// InvalidArgument says what differs.
absl::Status CheckSameRun(const std::string& directory, const RunIdentity& saved, const RunIdentity& now);

// Of model.json and model.safetensors in `directory`.
absl::StatusOr<uint64_t> ModelFingerprint(const std::string& directory);

// The optimizer's state as a safetensors file.
absl::Status WriteOptimizer(const Optimizer& optimizer, const std::string& path);

}  // namespace eqat::train

#endif  // EQAT_TRAIN_CHECKPOINT_H_
