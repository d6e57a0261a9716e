#include "cli/eval_command.h"

#include <map>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "cli/data_reading.h"
#include "cli/path_checks.h"
#include "cli/progress_bar.h"
#include "cli/text_table.h"
#include "core/status_macros.h"
#include "core/tensor.h"
#include "io/json_reader.h"
#include "io/safetensors.h"
#include "model/model_directory.h"
#include "train/evaluate.h"
#include "train/loss.h"
#include "train/metrics.h"

namespace eqat::cli {
namespace {

struct EvalArguments {
  std::string model, data, predictions;
  std::string loss = "bce_with_logits";
  bool json = false;
};

const std::map<std::string, train::LossKind>& Losses() {
  static const auto* const losses =
      new std::map<std::string, train::LossKind>{{"bce_with_logits", train::LossKind::kBinaryCrossEntropyWithLogits},
                                                 {"cross_entropy", train::LossKind::kCrossEntropy}};
  return *losses;
}

std::string MetricsJson(const train::Metrics& metrics) {
  io::Json json;
  json["rows"] = metrics.rows;
  json["loss"] = metrics.loss;
  json["accuracy"] = metrics.accuracy;
  json["auc"] = metrics.auc.has_value() ? io::Json(*metrics.auc) : io::Json(nullptr);
  json["skipped_lines"] = metrics.skipped_lines;
  return io::JsonText(json);
}

std::string MetricsTable(const train::Metrics& metrics) {
  using Align = TextTable::Align;
  TextTable table({{"rows", Align::kRight},
                   {"loss", Align::kRight},
                   {"accuracy", Align::kRight},
                   {"AUC", Align::kRight},
                   {"skipped lines", Align::kRight}});
  table.AddRow(
      {absl::StrCat(metrics.rows), absl::StrFormat("%.6f", metrics.loss), absl::StrFormat("%.6f", metrics.accuracy),
       metrics.auc.has_value() ? absl::StrFormat("%.6f", *metrics.auc) : "-", absl::StrCat(metrics.skipped_lines)});
  return table.ToString();
}

absl::Status WritePredictions(const model::Model& model, const train::Dataset& data, const std::string& path) {
  EQAT_ASSIGN_OR_RETURN(const Tensor predictions, train::Predict(model, data));
  return io::WriteSafetensors(path,
                              {{.name = "predictions",
                                .dtype = io::TensorDtype::kF32,
                                .shape = predictions.shape,
                                .bytes = io::AsBytes(absl::MakeConstSpan(predictions.values))}},
                              /*metadata=*/{});
}

absl::StatusOr<std::string> RunEval(const EvalArguments& arguments, const CommonOptions& common) {
  if (!arguments.predictions.empty()) {
    EQAT_RETURN_IF_ERROR(CheckNotInput("--predictions", arguments.predictions, arguments.data));
    EQAT_RETURN_IF_ERROR(CheckFileOut("--predictions", arguments.predictions, arguments.model));
  }
  EQAT_ASSIGN_OR_RETURN(const model::Model model, model::LoadModel(arguments.model));
  EQAT_ASSIGN_OR_RETURN(const train::Dataset data, ReadDataset(arguments.data, common));
  ProgressBar bar("evaluating", "rows", ProgressBar::StyleFor(common.progress));
  EQAT_ASSIGN_OR_RETURN(const train::Metrics metrics,
                        train::Evaluate(model, data, Losses().at(arguments.loss),
                                        [&bar](int64_t done, int64_t total) { bar.Update(done, total); }));
  if (!arguments.predictions.empty()) EQAT_RETURN_IF_ERROR(WritePredictions(model, data, arguments.predictions));
  return arguments.json ? MetricsJson(metrics) : MetricsTable(metrics);
}

}  // namespace

Action DeclareEval(CLI::App& verb) {
  auto arguments = std::make_shared<EvalArguments>();
  verb.add_option("MODEL", arguments->model, "Directory of a float, quantization-aware or quantized model")
      ->required()
      ->type_name("");
  verb.add_option("--data", arguments->data, "JSON file that describes the data")->required()->type_name("FILE");
  verb.add_option("--loss", arguments->loss, "Loss to compute (default: bce_with_logits)")
      ->type_name("LOSS")
      ->check(CLI::IsMember(Losses()));
  verb.add_option("--predictions", arguments->predictions,
                  "Also write the model's outputs (logits), row by row, to this safetensors file")
      ->type_name("FILE");
  verb.add_flag("--json", arguments->json, "Print one JSON object instead of a table");
  verb.footer(
      "Sends every row of the data through the model, in file order, and prints rows, mean loss, accuracy and the "
      "area\n"
      "under the ROC curve. Nothing in the model changes.\n"
      "\n"
      "Reads the model's two files, the data spec and the files it names; writes nothing but what --predictions asks.\n"
      "Examples:\n"
      "  eqat eval trained_model --data test.json\n"
      "  eqat eval small_model --data test.json --json");
  return [arguments](const CommonOptions& common) { return RunEval(*arguments, common); };
}

}  // namespace eqat::cli
