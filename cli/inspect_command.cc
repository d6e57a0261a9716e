#include "cli/inspect_command.h"

#include <filesystem>
#include <memory>
#include <string>

#include "cli/graph_picture.h"
#include "cli/model_description.h"
#include "cli/tensor_file_description.h"
#include "core/error.h"
#include "core/status_macros.h"
#include "io/safetensors.h"
#include "model/model_directory.h"

namespace eqat::cli {
namespace {

struct InspectArguments {
  std::string path;
  bool json = false;
  std::string graph;  // "text", "dot", "svg", or empty: not the graph
};

absl::StatusOr<std::string> GraphOf(const model::Model& model, const InspectArguments& arguments) {
  if (!model.graph()) return FailedPrecondition(arguments.path, "the model has no graph", "tables alone");
  if (arguments.graph == "text") return GraphText(model);
  const GraphPicture picture = PictureOf(model);
  return arguments.graph == "dot" ? GraphDot(picture) : GraphSvg(picture);
}

absl::StatusOr<std::string> RunInspect(const InspectArguments& arguments) {
  std::error_code error;
  const std::filesystem::file_status status = std::filesystem::status(arguments.path, error);
  // Whatever is no plain file is for the model loader, which also knows what an interrupted save leaves behind.
  if (std::filesystem::is_regular_file(status)) {
    if (!arguments.graph.empty()) {
      return InvalidArgument("--graph", "a tensor file has no graph", arguments.path, "a model directory");
    }
    EQAT_ASSIGN_OR_RETURN(const io::SafetensorsReader reader, io::SafetensorsReader::Open(arguments.path));
    const TensorFileDescription description = Describe(reader);
    return arguments.json ? ToJsonText(description) : ToText(description);
  }
  EQAT_ASSIGN_OR_RETURN(const model::Model model, model::LoadModel(arguments.path));
  if (!arguments.graph.empty()) return GraphOf(model, arguments);
  const ModelDescription description = Describe(model);
  return arguments.json ? ToJsonText(description) : ToText(description);
}

}  // namespace

Action DeclareInspect(CLI::App& verb) {
  auto arguments = std::make_shared<InspectArguments>();
  verb.add_option("PATH", arguments->path, "A model directory or a .safetensors file")->required()->type_name("");
  CLI::Option* json = verb.add_flag("--json", arguments->json, "Print one JSON object instead of a table");
  verb.add_flag("--graph{text}", arguments->graph, "Print the graph: as text, --graph=dot for Graphviz, --graph=svg")
      ->check(CLI::IsMember({"text", "dot", "svg"}))
      ->excludes(json);
  verb.footer(
      "Of a model: every module with type, shape, bits, bytes, padding row and qconfig, and for tables the least and "
      "the\n"
      "largest value, the mean Euclidean norm of the rows, and how many rows are constant (one value throughout; they\n"
      "carry no information and quantize exactly) or hold NaN or infinity (they cannot be quantized). Of a tensor "
      "file:\n"
      "every tensor with dtype, shape, bytes, least and largest value.\n"
      "\n"
      "Reads PATH; writes nothing.\n"
      "Examples:\n"
      "  eqat inspect small_model\n"
      "  eqat inspect batch.safetensors --json\n"
      "  eqat inspect small_model --graph\n"
      "  eqat inspect small_model --graph=svg > small_model.svg");
  return [arguments](const CommonOptions&) { return RunInspect(*arguments); };
}

}  // namespace eqat::cli
