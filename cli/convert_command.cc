#include "cli/convert_command.h"

#include <memory>
#include <string>

#include "cli/change_report_text.h"
#include "cli/path_checks.h"
#include "core/status_macros.h"
#include "model/model_directory.h"
#include "model/prepare_qat.h"

namespace eqat::cli {
namespace {

struct ConvertArguments {
  std::string model, out;
};

absl::StatusOr<std::string> RunConvert(const ConvertArguments& arguments) {
  EQAT_RETURN_IF_ERROR(CheckModelOut(arguments.out, arguments.model));
  EQAT_ASSIGN_OR_RETURN(model::Model model, model::LoadModel(arguments.model));
  EQAT_ASSIGN_OR_RETURN(const model::ChangeReport report, model::Convert(model));
  EQAT_RETURN_IF_ERROR(model::SaveModel(model, arguments.out));
  return ChangeReportText(report, "after");
}

}  // namespace

Action DeclareConvert(CLI::App& verb) {
  auto arguments = std::make_shared<ConvertArguments>();
  verb.add_option("QAT_DIR", arguments->model, "Directory of a quantization-aware model")->required()->type_name("");
  verb.add_option("--out", arguments->out, "Directory to write")->required()->type_name("DIR");
  verb.footer(
      "Every qat table becomes packed codes with one scale and zero point a row. The converted model's outputs equal\n"
      "the evaluation of the quantization-aware one, bit for bit.\n"
      "\n"
      "Reads QAT_DIR/model.json and QAT_DIR/model.safetensors; writes the same two files to --out.\n"
      "Examples:\n"
      "  eqat convert trained_model --out small_model\n"
      "  eqat inspect small_model");
  return [arguments](const CommonOptions&) { return RunConvert(*arguments); };
}

}  // namespace eqat::cli
