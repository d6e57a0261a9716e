#include "cli/ptq_command.h"

#include <memory>
#include <string>

#include "cli/change_report_text.h"
#include "cli/path_checks.h"
#include "configs/qconfig_json.h"
#include "core/status_macros.h"
#include "model/model_directory.h"
#include "model/prepare_qat.h"

namespace eqat::cli {
namespace {

struct PtqArguments {
  std::string model, qconfig, out;
};

absl::StatusOr<std::string> RunPtq(const PtqArguments& arguments) {
  EQAT_RETURN_IF_ERROR(CheckModelOut(arguments.out, arguments.model));
  EQAT_ASSIGN_OR_RETURN(const quant::QConfigMapping mapping, configs::ReadQConfigMapping(arguments.qconfig));
  EQAT_ASSIGN_OR_RETURN(model::Model model, model::LoadModel(arguments.model));
  const absl::StatusOr<model::ChangeReport> report = model::Ptq(model, mapping);
  if (!report.ok()) return AtQConfigFile(arguments.qconfig, report.status());
  EQAT_RETURN_IF_ERROR(model::SaveModel(model, arguments.out));
  return ChangeReportText(*report, "after");
}

}  // namespace

Action DeclarePtq(CLI::App& verb) {
  auto arguments = std::make_shared<PtqArguments>();
  verb.add_option("MODEL", arguments->model, "Directory of a float model")->required()->type_name("");
  verb.add_option("--qconfig", arguments->qconfig, "JSON file that says which module gets which recipe")
      ->required()
      ->type_name("FILE");
  verb.add_option("--out", arguments->out, "Directory to write")->required()->type_name("DIR");
  verb.footer(
      "Post-training quantization: each row's bounds are observed once and its codes packed, without training. Use it\n"
      "to see what quantization-aware training gains.\n"
      "\n"
      "Reads MODEL/model.json, MODEL/model.safetensors and the qconfig file; writes the same two files to --out.\n"
      "Examples:\n"
      "  eqat ptq float_model --qconfig configs/embedding_4bit.json --out ptq_model\n"
      "  eqat eval ptq_model --data test.json");
  return [arguments](const CommonOptions&) { return RunPtq(*arguments); };
}

}  // namespace eqat::cli
