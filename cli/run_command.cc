#include "cli/run_command.h"

#include <memory>
#include <string>

#include "cli/batch_run.h"
#include "core/status_macros.h"

namespace eqat::cli {

Action DeclareRun(CLI::App& verb) {
  auto request = std::make_shared<BatchRunRequest>();
  verb.add_option("MODEL", request->model, "Directory of a model of any kind")->required()->type_name("");
  verb.add_option("--inputs", request->inputs, "Tensors of the batch, a .safetensors file")
      ->required()
      ->type_name("FILE");
  verb.add_option("--outputs", request->outputs, "File to write the result to, .safetensors")
      ->required()
      ->type_name("FILE");
  verb.add_option("--module", request->module, "Call this module alone instead of the graph")->type_name("NAME");
  verb.add_flag("--train", request->train, "Call in training: observers observe, dropout drops");
  verb.add_option("--optimizer", request->optimizer, "JSON file of an optimizer: apply one update")->type_name("FILE");
  verb.add_option("--save", request->save, "Directory to write the model to after the call")->type_name("DIR");
  verb.footer(
      "Inputs are named after the graph's placeholders: indices (I32 or I64) or dense values (F32). A jagged input X "
      "has\n"
      "X.offsets and may have X.per_sample_weights; with --module they are input, offsets and per_sample_weights.\n"
      "The result is `output`. If the inputs hold grad_output, the backward runs too and gives grad.PARAMETER, or for "
      "a\n"
      "table with sparse=true grad.PARAMETER.indices and grad.PARAMETER.values, and grad.X.per_sample_weights (with\n"
      "--module grad.per_sample_weights).\n"
      "\n"
      "Reads the model's two files, the inputs and the optimizer file, and goes on from the model's own\n"
      "optimizer.safetensors if it was written by the same optimizer. Writes --outputs and the directory --save.\n"
      "Examples:\n"
      "  eqat run small_model --inputs batch.safetensors --outputs result.safetensors\n"
      "  echo '{\"type\": \"SGD\", \"lr\": 0.1}' > sgd.json\n"
      "  eqat run qat_model --module item --inputs in.safetensors --outputs out.safetensors --train \\\n"
      "      --optimizer sgd.json --save next_model");
  return [request](const CommonOptions& common) -> absl::StatusOr<std::string> {
    request->seed = common.seed.value_or(0);
    EQAT_RETURN_IF_ERROR(RunBatch(*request));
    return std::string();
  };
}

}  // namespace eqat::cli
