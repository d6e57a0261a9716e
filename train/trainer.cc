#include "train/trainer.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <memory>
#include <numeric>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/checked_math.h"
#include "core/error.h"
#include "core/status_macros.h"
#include "io/file.h"
#include "io/json_reader.h"
#include "model/model_directory.h"
#include "train/batch_source.h"
#include "train/checkpoint.h"

namespace eqat::train {
namespace {

bool AllFinite(const std::vector<float>& values) {
  constexpr uint32_t kExponent = 0x7f800000u;
  uint32_t found = 0;
  for (const float value : values) {
    uint32_t bits;
    std::memcpy(&bits, &value, sizeof(bits));
    found |= (bits & kExponent) == kExponent ? 1u : 0u;
  }
  return found == 0;
}

std::string NonFiniteText(double value) { return std::isnan(value) ? "nan" : value > 0 ? "inf" : "-inf"; }

template <typename Visitor>
void ForEachQat(model::Model& model, Visitor visit) {
  for (const std::string& name : model.module_names()) {
    model::Module& module = *model.FindMutable(name);
    if (auto* embedding = std::get_if<qat::Embedding>(&module)) visit(*embedding);
    if (auto* bag = std::get_if<qat::EmbeddingBag>(&module)) visit(*bag);
  }
}

bool HasQat(model::Model& model) {
  bool found = false;
  ForEachQat(model, [&](auto&) { found = true; });
  return found;
}

// The state that the schedule asks for when `step` steps are done.
absl::Status ApplyQatSchedule(const TrainConfig& config, int64_t step, int64_t total_steps, model::Model& model) {
  absl::Status status;
  ForEachQat(model, [&](auto& table) {
    if (!status.ok()) return;
    if (config.fake_quant_start) {
      const bool wanted = step >= StepOf(*config.fake_quant_start, total_steps);
      if (wanted)
        table.EnableFakeQuant();
      else
        table.DisableFakeQuant();
    }
    if (config.observer_freeze && step >= StepOf(*config.observer_freeze, total_steps) &&
        table.weight_fake_quant().observer_enabled()) {
      status = AtPlace(table.name(), table.DisableObserver());
    }
  });
  return status;
}

absl::Status CheckTrainable(const TrainConfig& config, const Dataset& data, model::Model& model) {
  if (model.frozen()) {
    return FailedPrecondition("model", "it is frozen: its parameters are constants", "",
                              "the model that it was frozen from");
  }
  const bool batch_of_one = config.batch_size == 1 || data.rows() % config.batch_size == 1;
  for (const std::string& name : model.module_names()) {
    const model::Module& module = *model.Find(name);
    if (std::holds_alternative<quantized::Embedding>(module) ||
        std::holds_alternative<quantized::EmbeddingBag>(module)) {
      return InvalidArgument(absl::StrCat("module '", name, "'"), "a quantized table cannot be trained",
                             model::TypeName(module), "the QAT model that it was converted from, or a float one");
    }
    if (std::holds_alternative<nn::BatchNorm1d>(module) && batch_of_one) {
      return InvalidArgument(absl::StrCat("module '", name, "'"), "batch norm cannot train on a batch of one row",
                             absl::StrCat(data.rows(), " rows in batches of ", config.batch_size),
                             "another \"batch_size\"");
    }
  }
  if ((config.fake_quant_start || config.observer_freeze) && !HasQat(model)) {
    return InvalidArgument("train config: qat", "the model has no qat modules", "", "no \"qat\" section");
  }
  const std::vector<model::Parameter> parameters = model.Parameters();
  if (std::none_of(parameters.begin(), parameters.end(), [](const auto& p) { return p.requires_grad; })) {
    return InvalidArgument("model", "has no parameter to train", "", "one with requires_grad");
  }
  return absl::OkStatus();
}

// One batch through the model without training, so that what does not fit is found before anything is written.
absl::Status DryRun(const TrainConfig& config, const Dataset& data, const model::Model& model) {
  std::vector<int64_t> rows(std::min(config.batch_size, data.rows()));
  std::iota(rows.begin(), rows.end(), 0);
  const Batch batch = data.MakeBatch(rows);
  EQAT_ASSIGN_OR_RETURN(const Tensor output, model.Evaluate(FeedOf(batch, BagInputs(model))));
  EQAT_ASSIGN_OR_RETURN(const int64_t classes, ClassesOf(config.loss, output));
  EQAT_RETURN_IF_ERROR(ComputeLoss(config.loss, output, batch.labels).status());
  return AtPlace("data", CheckLabels(config.loss, classes, data.labels()));
}

absl::StatusOr<int64_t> TotalSteps(const TrainConfig& config, const Dataset& data) {
  if (data.rows() == 0) return InvalidArgument("data", "has no rows");
  const int64_t per_epoch = (data.rows() - 1) / config.batch_size + 1;
  const std::optional<int64_t> total = CheckedMul(config.epochs, per_epoch);
  if (total) return *total;
  return InvalidArgument("train config: epochs", "too many steps", absl::StrCat(config.epochs, " epochs"));
}

// A run between its first step and its last.
class Run {
 public:
  Run(const TrainOptions& options, const TrainConfig& config, const Dataset& data, RunIdentity identity,
      model::Model model, Optimizer optimizer, RunProgress progress)
      : options_(options),
        config_(config),
        identity_(std::move(identity)),
        model_(std::move(model)),
        optimizer_(std::move(optimizer)),
        progress_(std::move(progress)),
        steps_per_epoch_(identity_.total_steps / config_.epochs),
        batches_(data, BagInputs(model_), BatchOrderOf()) {}

  absl::Status ToTheEnd() {
    while (progress_.step < identity_.total_steps) {
      if (options_.stop && options_.stop()) {
        EQAT_RETURN_IF_ERROR(Save());
        return absl::CancelledError(
            absl::StrCat(options_.out_path, ": interrupted at step ", progress_.step, " of ", identity_.total_steps));
      }
      if (const absl::Status status = Step(); !status.ok()) {
        return AtPlace(absl::StrCat("step ", progress_.step + 1), status);
      }
      ++progress_.step;
      const bool last = progress_.step == identity_.total_steps;
      if (last || IsMultiple(config_.log_every_steps)) Log();
      Report();
      if (last) EQAT_RETURN_IF_ERROR(ApplyQatSchedule(config_, progress_.step, identity_.total_steps, model_));
      if (last || IsMultiple(config_.checkpoint_every_steps)) EQAT_RETURN_IF_ERROR(Save());
    }
    return absl::OkStatus();
  }

  const RunProgress& progress() const { return progress_; }

 private:
  bool IsMultiple(int64_t every) const { return every > 0 && progress_.step % every == 0; }

  absl::Status Save() const { return WriteCheckpoint(options_.out_path, model_, optimizer_, identity_, progress_); }

  double LearningRate(int64_t step) const {
    return config_.optimizer.lr * LrFactor(config_.lr_schedule, step, identity_.total_steps);
  }

  absl::Status Step() {
    EQAT_RETURN_IF_ERROR(ApplyQatSchedule(config_, progress_.step, identity_.total_steps, model_));
    const std::unique_ptr<const FedBatch> fed = batches_.Next();
    const Batch& batch = fed->batch;
    std::shared_ptr<model::Tape> tape;
    EQAT_ASSIGN_OR_RETURN(const Tensor logits, model_.ForwardTraining(fed->feed, config_.seed,
                                                                      static_cast<uint64_t>(progress_.step), &tape));
    EQAT_ASSIGN_OR_RETURN(const LossResult loss, ComputeLoss(config_.loss, logits, batch.labels));
    if (!std::isfinite(loss.sum)) {
      return FailedPrecondition("training", absl::StrCat("loss is ", NonFiniteText(loss.sum), CauseText(batch)));
    }
    EQAT_ASSIGN_OR_RETURN(const model::Gradients gradients, model_.Backward(*tape, loss.grad));
    EQAT_RETURN_IF_ERROR(CheckFinite(gradients));
    EQAT_RETURN_IF_ERROR(optimizer_.Step(gradients, LearningRate(progress_.step)));
    progress_.loss_sum += loss.sum;
    progress_.loss_count += loss.count;
    trained_rows_ += loss.count;
    return absl::OkStatus();
  }

  BatchOrder BatchOrderOf() const {
    BatchOrder order;
    order.seed = config_.seed;
    order.shuffle = config_.shuffle;
    order.batch_size = config_.batch_size;
    order.steps_per_epoch = steps_per_epoch_;
    order.first_step = progress_.step;
    order.total_steps = identity_.total_steps;
    return order;
  }

  static absl::Status CheckFinite(const model::Gradients& gradients) {
    for (const auto& [name, gradient] : gradients) {
      if (!AllFinite(gradient.rows ? gradient.rows->values : gradient.dense)) {
        return FailedPrecondition(name, "gradient is not finite", "", "a smaller learning rate, or smaller inputs");
      }
    }
    return absl::OkStatus();
  }

  // ": 'item' row 7 is not finite" for the first parameter that explains a loss that is not finite.
  std::string CauseText(const Batch& batch) {
    for (const model::Parameter& parameter : model_.Parameters()) {
      const auto is_finite = [&](int64_t row) {
        const float* values = parameter.values.Row(row);
        return std::all_of(values, values + parameter.values.cols, [](float x) { return std::isfinite(x); });
      };
      if (!parameter.is_table) {
        for (int64_t row = 0; row < parameter.values.rows; ++row) {
          if (!is_finite(row)) return absl::StrCat(": ", parameter.name, " is not finite");
        }
        continue;
      }
      for (const model::Node& node : model_.inlined_graph().nodes) {
        if (node.op != model::Op::kCallModule || absl::StrCat(node.target, ".weight") != parameter.name) continue;
        for (const int64_t row : batch.jagged.at(node.args.front()).indices) {
          if (!is_finite(row)) return absl::StrCat(": ", parameter.name, " row ", row, " is not finite");
        }
      }
    }
    return "";
  }

  void Log() {
    const double loss = progress_.loss_sum / static_cast<double>(progress_.loss_count);
    io::Json line;
    line["step"] = progress_.step;
    line["epoch"] = static_cast<double>(progress_.step) / static_cast<double>(steps_per_epoch_);
    line["loss"] = loss;
    line["lr"] = LearningRate(progress_.step - 1);
    absl::StrAppend(&progress_.metrics, line.dump(), "\n");
    ++progress_.metrics_lines;
    progress_.last_loss = loss;
    progress_.loss_sum = 0;
    progress_.loss_count = 0;
  }

  void Report() const {
    if (!options_.progress) return;
    const double loss = progress_.loss_count > 0 ? progress_.loss_sum / static_cast<double>(progress_.loss_count)
                                                 : progress_.last_loss.value_or(0);
    options_.progress({progress_.step, identity_.total_steps, trained_rows_, loss});
  }

  const TrainOptions& options_;
  const TrainConfig& config_;
  const RunIdentity identity_;
  model::Model model_;
  Optimizer optimizer_;
  RunProgress progress_;
  const int64_t steps_per_epoch_;
  int64_t trained_rows_ = 0;
  BatchSource batches_;
};

bool SameDirectory(const std::string& a, const std::string& b) {
  std::error_code error;
  return std::filesystem::equivalent(a, b, error) && !error;
}

// The checkpoint in out_path, if there is one. Refuses an out_path that this run must not or cannot replace.
absl::StatusOr<std::optional<Checkpoint>> FindCheckpoint(const TrainOptions& options, std::string& directory) {
  EQAT_RETURN_IF_ERROR(io::AtomicDirectoryWriter::Create(options.out_path, model::ModelDirectoryFiles()).status());
  absl::StatusOr<std::string> opened = io::OpenDirectory(options.out_path);
  if (absl::IsNotFound(opened.status())) return std::nullopt;
  EQAT_ASSIGN_OR_RETURN(directory, std::move(opened));
  EQAT_ASSIGN_OR_RETURN(std::optional<Checkpoint> checkpoint, ReadCheckpoint(directory));
  if (checkpoint && !options.resume) {
    return InvalidArgument(options.out_path, "holds a training run already",
                           absl::StrCat("step ", checkpoint->progress.step, " of ", checkpoint->identity.total_steps),
                           "--resume to go on with it, or another directory");
  }
  return checkpoint;
}

// A run in place has replaced the model it started from.
bool ReplacedItsModel(const TrainOptions& options, const std::optional<Checkpoint>& checkpoint,
                      const std::string& out_directory) {
  return checkpoint && SameDirectory(options.model_path, out_directory);
}

}  // namespace

absl::Status CheckPaths(const TrainOptions& options) {
  std::string out_directory;
  EQAT_ASSIGN_OR_RETURN(const std::optional<Checkpoint> checkpoint, FindCheckpoint(options, out_directory));
  const bool replaced = ReplacedItsModel(options, checkpoint, out_directory);
  return model::LoadModel(replaced ? out_directory : options.model_path).status();
}

absl::StatusOr<TrainResult> Train(const TrainOptions& options, const TrainConfig& given_config, const Dataset& data) {
  TrainConfig config = given_config;
  if (options.seed) config.seed = *options.seed;
  EQAT_RETURN_IF_ERROR(Validate(config));
  RunIdentity identity;
  identity.config = ToJson(config);
  identity.data_fingerprint = data.Fingerprint();
  identity.data_rows = data.rows();
  identity.skipped_lines = data.skipped_lines();
  EQAT_ASSIGN_OR_RETURN(identity.total_steps, TotalSteps(config, data));

  std::string out_directory;
  EQAT_ASSIGN_OR_RETURN(std::optional<Checkpoint> checkpoint, FindCheckpoint(options, out_directory));
  if (ReplacedItsModel(options, checkpoint, out_directory)) {
    identity.model_fingerprint = checkpoint->identity.model_fingerprint;
  } else {
    EQAT_ASSIGN_OR_RETURN(const std::string model_directory, io::OpenDirectory(options.model_path));
    EQAT_ASSIGN_OR_RETURN(identity.model_fingerprint, ModelFingerprint(model_directory));
  }
  if (checkpoint) EQAT_RETURN_IF_ERROR(CheckSameRun(out_directory, checkpoint->identity, identity));

  EQAT_ASSIGN_OR_RETURN(model::Model model, model::LoadModel(checkpoint ? out_directory : options.model_path));
  EQAT_RETURN_IF_ERROR(CheckInputs(model, data));
  EQAT_RETURN_IF_ERROR(CheckTrainable(config, data, model));
  EQAT_RETURN_IF_ERROR(DryRun(config, data, model));
  absl::StatusOr<Optimizer> optimizer = checkpoint ? ReadOptimizer(out_directory, config.optimizer, model)
                                                   : Optimizer::Create(config.optimizer, model.Parameters());
  EQAT_RETURN_IF_ERROR(optimizer.status());

  Run run(options, config, data, std::move(identity), std::move(model), *std::move(optimizer),
          checkpoint ? std::move(checkpoint->progress) : RunProgress());
  EQAT_RETURN_IF_ERROR(run.ToTheEnd());
  return TrainResult{run.progress().step, run.progress().last_loss.value_or(0)};
}

}  // namespace eqat::train
