#include "cli/train_command.h"

#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <string>
#include <system_error>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "cli/data_reading.h"
#include "cli/interrupt.h"
#include "cli/memory_note.h"
#include "cli/path_checks.h"
#include "cli/progress_bar.h"
#include "core/huge_pages.h"
#include "core/status_macros.h"
#include "train/trainer.h"

namespace eqat::cli {
namespace {

struct TrainArguments {
  std::string model, data, config, out;
  bool resume = false;
};

// 0 where there are none: training says what is wrong.
int64_t ParameterBytes(const std::string& model) {
  std::error_code error;
  const uintmax_t bytes = std::filesystem::file_size(std::filesystem::path(model) / "model.safetensors", error);
  return error ? 0 : static_cast<int64_t>(bytes);
}

absl::StatusOr<std::string> RunTrain(const TrainArguments& arguments, const CommonOptions& common) {
  EQAT_RETURN_IF_ERROR(CheckNotInput("--out", arguments.out, arguments.model));
  EQAT_ASSIGN_OR_RETURN(const train::TrainConfig config, train::ReadTrainConfig(arguments.config));
  train::TrainOptions options;
  options.model_path = arguments.model;
  options.out_path = arguments.out;
  options.resume = arguments.resume;
  options.seed = common.seed;
  EQAT_RETURN_IF_ERROR(train::CheckPaths(options));  // reading data may take long
  EQAT_ASSIGN_OR_RETURN(const train::Dataset data, ReadDataset(arguments.data, common));
  std::fputs(SmallPagesNote(ParameterBytes(arguments.model), SystemHugePages()).c_str(), stderr);

  const InterruptGuard interrupt;
  ProgressBar bar("training", "steps", ProgressBar::StyleFor(common.progress));
  options.stop = [&interrupt] { return interrupt.interrupted(); };
  options.progress = [&bar](const train::TrainProgress& progress) {
    bar.Update(progress.step, progress.total_steps, absl::StrFormat("loss %.6f", progress.loss));
  };
  const absl::StatusOr<train::TrainResult> result = train::Train(options, config, data);
  if (absl::IsCancelled(result.status())) {
    return absl::CancelledError(absl::StrCat(std::string(result.status().message()), "; continue with --resume"));
  }
  EQAT_RETURN_IF_ERROR(result.status());
  return absl::StrFormat("%d steps, loss %.6f, written to %s\n", result->steps, result->loss, arguments.out);
}

}  // namespace

Action DeclareTrain(CLI::App& verb) {
  auto arguments = std::make_shared<TrainArguments>();
  verb.add_option("MODEL", arguments->model, "Directory of a float or a quantization-aware model")
      ->required()
      ->type_name("");
  verb.add_option("--data", arguments->data, "JSON file that describes the data")->required()->type_name("FILE");
  verb.add_option("--config", arguments->config, "JSON file with epochs, batch size, optimizer and schedules")
      ->required()
      ->type_name("FILE");
  verb.add_option("--out", arguments->out, "Directory to write")->required()->type_name("DIR");
  verb.add_flag("--resume", arguments->resume, "Go on from the checkpoint in --out, if there is one");
  verb.footer(
      "Trains and writes the model with its training state to --out, now and then and at the end. The first ctrl-C "
      "saves\n"
      "a checkpoint and stops; a run stopped or killed at any moment and resumed ends in the same bytes as an "
      "undisturbed\n"
      "one. --seed replaces the seed of the config file.\n"
      "\n"
      "Reads the model's two files, the config, the data spec and the files it names; writes model.json,\n"
      "model.safetensors, optimizer.safetensors, trainer.json and metrics.jsonl (one line per report) to --out.\n"
      "Examples:\n"
      "  eqat train qat_model --data data.json --config train.json --out trained_model\n"
      "  eqat train qat_model --data data.json --config train.json --out trained_model --resume");
  return [arguments](const CommonOptions& common) { return RunTrain(*arguments, common); };
}

}  // namespace eqat::cli
