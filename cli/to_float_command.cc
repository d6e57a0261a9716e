#include "cli/to_float_command.h"

#include <map>
#include <memory>
#include <string>

#include "cli/change_report_text.h"
#include "cli/path_checks.h"
#include "core/status_macros.h"
#include "model/model_directory.h"
#include "model/prepare_qat.h"

namespace eqat::cli {
namespace {

struct ToFloatArguments {
  std::string model, out;
  std::string dtype = "f32";
};

const std::map<std::string, io::TensorDtype>& Dtypes() {
  static const auto* const dtypes = new std::map<std::string, io::TensorDtype>{
      {"f32", io::TensorDtype::kF32}, {"f16", io::TensorDtype::kF16}, {"bf16", io::TensorDtype::kBF16}};
  return *dtypes;
}

absl::StatusOr<std::string> RunToFloat(const ToFloatArguments& arguments) {
  EQAT_RETURN_IF_ERROR(CheckModelOut(arguments.out, arguments.model));
  EQAT_ASSIGN_OR_RETURN(model::Model model, model::LoadModel(arguments.model));
  EQAT_ASSIGN_OR_RETURN(const model::ChangeReport report, model::ToFloat(model));
  EQAT_RETURN_IF_ERROR(model::SaveModel(model, arguments.out, {.weight_dtype = Dtypes().at(arguments.dtype)}));
  return ChangeReportText(report, "after");
}

}  // namespace

Action DeclareToFloat(CLI::App& verb) {
  auto arguments = std::make_shared<ToFloatArguments>();
  verb.add_option("QAT_DIR", arguments->model, "Directory of a quantization-aware model")->required()->type_name("");
  verb.add_option("--out", arguments->out, "Directory to write")->required()->type_name("DIR");
  verb.add_option("--dtype", arguments->dtype, "Number format of the tables written (default: f32)")
      ->type_name("DTYPE")
      ->check(CLI::IsMember(Dtypes()));
  verb.footer(
      "Every qat table becomes a float table with the weight as it was trained, not rounded to codes.\n"
      "\n"
      "Reads QAT_DIR/model.json and QAT_DIR/model.safetensors; writes the same two files to --out.\n"
      "Examples:\n"
      "  eqat to-float trained_model --out float_model\n"
      "  eqat to-float trained_model --out half_model --dtype f16");
  return [arguments](const CommonOptions&) { return RunToFloat(*arguments); };
}

}  // namespace eqat::cli
