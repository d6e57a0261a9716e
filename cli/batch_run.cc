#include "cli/batch_run.h"

#include <algorithm>
#include <filesystem>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "cli/batch_inputs.h"
#include "cli/path_checks.h"
#include "core/error.h"
#include "core/status_macros.h"
#include "io/file.h"
#include "io/json_reader.h"
#include "io/path.h"
#include "io/safetensors.h"
#include "model/model_directory.h"
#include "train/optimizer.h"

namespace eqat::cli {
namespace {

namespace fs = std::filesystem;

constexpr char kOptimizerFile[] = "optimizer.safetensors";

// A result, owned until it is written.
struct OutputTensor {
  std::string name;
  std::vector<int64_t> shape;
  std::variant<std::vector<float>, std::vector<int64_t>, Table> values;
};

// --outputs and --save, however the two are spelled and whether they exist or not, must not be or hold each other.
absl::Status CheckOutputsNotSaved(const BatchRunRequest& request) {
  if (request.save.empty()) return absl::OkStatus();
  EQAT_ASSIGN_OR_RETURN(const io::Target outputs, io::ResolveTarget(request.outputs));
  EQAT_ASSIGN_OR_RETURN(const io::Target save, io::ResolveTarget(request.save));
  if (outputs.path() == save.path()) {
    return InvalidArgument("--outputs", "is also the directory of --save", request.outputs, "another path");
  }
  if (outputs.folder == save.path()) {
    return InvalidArgument("--outputs", "lies in the directory that --save replaces", request.outputs, "another path");
  }
  return absl::OkStatus();
}

absl::Status CheckPaths(const BatchRunRequest& request) {
  for (const std::string& input : {request.inputs, request.optimizer}) {
    EQAT_RETURN_IF_ERROR(CheckNotInput("--outputs", request.outputs, input));
  }
  EQAT_RETURN_IF_ERROR(CheckOutputsNotSaved(request));
  if (!request.save.empty()) EQAT_RETURN_IF_ERROR(CheckModelOut(request.save));
  return CheckFileOut("--outputs", request.outputs, request.model);
}

bool IsNested(const model::Module& module) {
  return std::holds_alternative<model::GraphModule>(module) || std::holds_alternative<model::InterfaceModule>(module);
}

// A graph that does nothing but call module `name`: a nested model on inputs called as its own, another on
// kModuleInput.
model::Graph GraphOfCall(const model::Module& module, const std::string& name) {
  const auto* nested = std::get_if<model::GraphModule>(&module);
  const std::vector<std::string> inputs =
      nested != nullptr ? nested->graph.Placeholders() : std::vector<std::string>{kModuleInput};
  model::Graph graph;
  for (const std::string& input : inputs) graph.nodes.push_back({.name = input, .op = model::Op::kPlaceholder});
  const auto free_name = [&inputs](std::string wanted) {
    while (std::find(inputs.begin(), inputs.end(), wanted) != inputs.end()) wanted += "_";
    return wanted;
  };
  const std::string call = free_name("call"), output = free_name("output");
  graph.nodes.push_back({.name = call, .op = model::Op::kCallModule, .target = name, .args = inputs});
  graph.nodes.push_back({.name = output, .op = model::Op::kOutput, .args = {call}});
  return graph;
}

absl::Status MoveModule(const std::string& name, model::Model& from, model::Model& to) {
  return to.AddModule(name, std::move(*from.FindMutable(name)));
}

// What a model that consists of one call of `name` needs: all of `model` for a nested one, which may use modules around
// it, else the module alone.
absl::StatusOr<model::Model> TakeModule(model::Model& model, const std::string& name) {
  const model::Module* module = model.Find(name);
  if (module == nullptr) {
    return NotFound("--module", "no such module", name,
                    absl::StrCat("one of ", absl::StrJoin(model.module_names(), ", ")));
  }
  if (model::AsTensor(*module) != nullptr) {
    return InvalidArgument("--module", "a tensor cannot be called", name, "a module that computes something");
  }
  model::Graph graph = GraphOfCall(*module, name);
  model::Model alone;
  if (IsNested(*module)) {
    for (const std::string& each : model.module_names()) EQAT_RETURN_IF_ERROR(MoveModule(each, model, alone));
  } else {
    EQAT_RETURN_IF_ERROR(MoveModule(name, model, alone));
  }
  EQAT_RETURN_IF_ERROR(alone.SetGraph(std::move(graph)));
  return alone;
}

// Undoes TakeModule.
void PutBack(model::Model& alone, model::Model& model) {
  for (const std::string& name : alone.module_names()) *model.FindMutable(name) = std::move(*alone.FindMutable(name));
}

absl::Status CheckHasGraph(const model::Model& model, const std::string& path) {
  if (model.graph().has_value()) return absl::OkStatus();
  return FailedPrecondition(path, "the model has no graph to call", "",
                            absl::StrCat("--module with one of ", absl::StrJoin(model.module_names(), ", ")));
}

// Quantized tables serve only.
absl::Status CheckTrainable(const model::Model& model, const char* why) {
  for (const model::Node& node : model.inlined_graph().nodes) {
    if (node.op != model::Op::kCallModule) continue;
    const model::Module& module = *model.Find(node.target);
    if (model::AsLookup(module) != nullptr && !model::IsQat(module) && !model::IsFloatTable(module)) {
      return FailedPrecondition(node.target, "a quantized module cannot be trained",
                                absl::StrCat(std::string(model::TypeName(module)), " with ", why),
                                "a float or quantization-aware module");
    }
  }
  return absl::OkStatus();
}

// One forward, and the backward if grad_output asks for it.
struct CallResult {
  Tensor output;
  model::Gradients gradients;
};

// torch's shape of an Embedding's output for an index without dimensions, which the graph looks up as a batch of one.
bool IsSingleIndex(const BatchInputs& inputs, const std::string& module_name, const model::Model& model) {
  if (module_name.empty() || inputs.feed().lookups.empty()) return false;
  if (model::AsLookup(*model.Find(module_name)) == nullptr) return false;
  return inputs.feed().lookups.begin()->second.shape.empty() && !model::IsBag(*model.Find(module_name));
}

absl::StatusOr<CallResult> Call(const BatchRunRequest& request, const BatchInputs& inputs, model::Model& model) {
  CallResult result;
  std::shared_ptr<model::Tape> tape;
  std::shared_ptr<model::Tape>* const tape_wanted = inputs.grad_output().has_value() ? &tape : nullptr;
  EQAT_ASSIGN_OR_RETURN(result.output, request.train
                                           ? model.ForwardTraining(inputs.feed(), request.seed, 0, tape_wanted)
                                           : model.ForwardEvaluation(inputs.feed(), tape_wanted));
  const std::vector<int64_t> computed_shape = result.output.shape;
  if (IsSingleIndex(inputs, request.module, model)) result.output.shape.erase(result.output.shape.begin());
  if (!inputs.grad_output().has_value()) return result;
  Tensor grad_output = *inputs.grad_output();
  if (grad_output.shape != result.output.shape) {
    return InvalidArgument(absl::StrCat(request.inputs, ": grad_output"), "wrong shape", ShapeText(grad_output.shape),
                           absl::StrCat(ShapeText(result.output.shape), ", the shape of the output"));
  }
  grad_output.shape = computed_shape;
  EQAT_ASSIGN_OR_RETURN(result.gradients, model.Backward(*tape, grad_output));
  return result;
}

absl::Status AppendTableGradient(const std::string& name, const model::Parameter& parameter, const nn::SparseGrad& rows,
                                 std::vector<OutputTensor>& outputs) {
  if (!parameter.sparse) {
    EQAT_ASSIGN_OR_RETURN(Table dense, nn::ToDense(rows, parameter.shape[0]));
    outputs.push_back({name, parameter.shape, std::move(dense)});
    return absl::OkStatus();
  }
  const int64_t count = static_cast<int64_t>(rows.rows.size());
  outputs.push_back({name + ".indices", {count}, rows.rows});
  outputs.push_back({name + ".values", {count, rows.cols}, rows.values});
  return absl::OkStatus();
}

// `prefix` is what parameter names begin with and outputs leave out: "item." for module item alone.
absl::Status AppendGradients(const model::Gradients& gradients, const std::string& prefix, const model::Feed& feed,
                             model::Model& model, std::vector<OutputTensor>& outputs) {
  for (const model::Parameter& parameter : model.Parameters()) {
    const auto found = gradients.find(parameter.name);
    if (found == gradients.end()) continue;
    const bool is_inside = absl::StartsWith(parameter.name, prefix);
    const std::string name = absl::StrCat("grad.", parameter.name.substr(is_inside ? prefix.size() : 0));
    if (found->second.rows.has_value()) {
      EQAT_RETURN_IF_ERROR(AppendTableGradient(name, parameter, *found->second.rows, outputs));
    } else {
      outputs.push_back({name, parameter.shape, found->second.dense});
    }
  }
  for (const auto& [placeholder, lookup] : feed.lookups) {
    const auto found = gradients.find(absl::StrCat(placeholder, ".per_sample_weights"));
    if (found == gradients.end()) continue;
    outputs.push_back({prefix.empty() ? absl::StrCat("grad.", found->first) : "grad.per_sample_weights", lookup.shape,
                       found->second.dense});
  }
  return absl::OkStatus();
}

// The parameter that tensor `name` of an optimizer's state belongs to: "item.weight" of "item.weight.sum".
std::string OwnerOf(const std::string& name) { return name.substr(0, name.rfind('.')); }

bool HoldsStateOf(const train::Optimizer& optimizer, const io::SafetensorsReader& reader) {
  const std::vector<train::Optimizer::StateTensor> state = optimizer.State();
  if (state.size() != reader.tensors().size()) return false;
  return std::all_of(state.begin(), state.end(), [&reader](const train::Optimizer::StateTensor& tensor) {
    const io::TensorInfo* found = reader.Find(tensor.name);
    return found != nullptr && found->shape == tensor.shape;
  });
}

// The optimizer of one run with what the model directory knew of earlier steps.
struct Update {
  train::Optimizer optimizer;
  std::optional<io::SafetensorsReader> others;  // state of parameters that this run does not call
};

// One step on the parameters of `model`. It goes on from the state in `directory` if that was left by an optimizer of
// the same kind, and begins afresh otherwise.
absl::StatusOr<Update> ApplyUpdate(const train::OptimizerConfig& config, const std::string& directory,
                                   const model::Gradients& gradients, model::Model& model) {
  std::set<std::string> names;
  for (const model::Parameter& parameter : model.Parameters()) names.insert(parameter.name);
  EQAT_ASSIGN_OR_RETURN(train::Optimizer optimizer, train::Optimizer::Create(config, model.Parameters()));
  Update update{std::move(optimizer), std::nullopt};
  EQAT_ASSIGN_OR_RETURN(const std::string opened, io::OpenDirectory(directory));
  const std::string path = absl::StrCat(opened, "/", kOptimizerFile);
  if (fs::exists(path)) {
    EQAT_ASSIGN_OR_RETURN(const io::SafetensorsReader reader, io::SafetensorsReader::Open(path));
    const io::SafetensorsReader own =
        reader.Select([&names](const io::TensorInfo& tensor) { return names.count(OwnerOf(tensor.name)) > 0; });
    if (HoldsStateOf(update.optimizer, own)) EQAT_RETURN_IF_ERROR(update.optimizer.SetState(own));
    update.others =
        reader.Select([&names](const io::TensorInfo& tensor) { return names.count(OwnerOf(tensor.name)) == 0; });
  }
  EQAT_RETURN_IF_ERROR(update.optimizer.Step(gradients, config.lr));
  return update;
}

absl::Status WriteOptimizer(const std::string& path, const Update& update) {
  std::vector<io::TensorToWrite> tensors;
  const std::vector<train::Optimizer::StateTensor> state = update.optimizer.State();
  for (const train::Optimizer::StateTensor& tensor : state) {
    tensors.push_back({tensor.name, io::TensorDtype::kF32, tensor.shape, io::AsBytes(tensor.values)});
  }
  if (update.others.has_value()) {
    for (const io::TensorInfo& tensor : update.others->tensors()) {
      tensors.push_back({tensor.name, tensor.dtype, tensor.shape, update.others->Bytes(tensor)});
    }
  }
  return io::WriteSafetensors(path, std::move(tensors), {});
}

absl::Status WriteOutputs(const std::string& path, const std::vector<OutputTensor>& outputs) {
  std::vector<io::TensorToWrite> tensors;
  for (const OutputTensor& output : outputs) {
    io::TensorToWrite tensor;
    tensor.name = output.name;
    tensor.shape = output.shape;
    if (const auto* integers = std::get_if<std::vector<int64_t>>(&output.values)) {
      tensor.dtype = io::TensorDtype::kI64;
      tensor.bytes = io::AsBytes(absl::MakeConstSpan(*integers));
    } else if (const auto* floats = std::get_if<std::vector<float>>(&output.values)) {
      tensor.bytes = io::AsBytes(absl::MakeConstSpan(*floats));
    } else {
      const Table& table = std::get<Table>(output.values);
      tensor.bytes = io::AsBytes(absl::MakeConstSpan(table.data(), table.rows() * table.cols()));
    }
    tensors.push_back(std::move(tensor));
  }
  return io::WriteSafetensors(path, std::move(tensors), {});
}

absl::StatusOr<std::optional<train::OptimizerConfig>> ReadOptimizer(const std::string& path) {
  if (path.empty()) return std::optional<train::OptimizerConfig>();
  EQAT_ASSIGN_OR_RETURN(const io::Json json, io::ReadJsonFile(path));
  EQAT_ASSIGN_OR_RETURN(train::OptimizerConfig config, train::OptimizerFromJson(json, path, ""));
  return std::make_optional(std::move(config));
}

absl::Status CheckInputsFit(const BatchRunRequest& request, const BatchInputs& inputs, const model::Model& model) {
  if (request.train) EQAT_RETURN_IF_ERROR(CheckTrainable(model, "--train"));
  if (inputs.grad_output().has_value()) return CheckTrainable(model, "grad_output");
  if (request.optimizer.empty()) return absl::OkStatus();
  return FailedPrecondition(request.inputs, "--optimizer needs gradients, but tensor grad_output is missing");
}

}  // namespace

absl::Status RunBatch(const BatchRunRequest& request) {
  EQAT_RETURN_IF_ERROR(CheckPaths(request));
  EQAT_ASSIGN_OR_RETURN(const std::optional<train::OptimizerConfig> config, ReadOptimizer(request.optimizer));
  EQAT_ASSIGN_OR_RETURN(model::Model model, model::LoadModel(request.model));
  const bool module_alone = !request.module.empty();
  model::Model alone;
  if (module_alone) {
    EQAT_ASSIGN_OR_RETURN(alone, TakeModule(model, request.module));
  } else {
    EQAT_RETURN_IF_ERROR(CheckHasGraph(model, request.model));
  }
  model::Model& called = module_alone ? alone : model;

  const bool on_module_input =
      module_alone && !std::holds_alternative<model::GraphModule>(*called.Find(request.module));
  EQAT_ASSIGN_OR_RETURN(const BatchInputs inputs, BatchInputs::Read(request.inputs, called, on_module_input));
  EQAT_RETURN_IF_ERROR(CheckInputsFit(request, inputs, called));
  EQAT_ASSIGN_OR_RETURN(CallResult result, Call(request, inputs, called));
  std::vector<OutputTensor> outputs;
  outputs.push_back({"output", std::move(result.output.shape), std::move(result.output.values)});
  EQAT_RETURN_IF_ERROR(
      AppendGradients(result.gradients, module_alone ? request.module + "." : "", inputs.feed(), called, outputs));
  std::optional<Update> update;
  if (config.has_value()) {
    EQAT_ASSIGN_OR_RETURN(update, ApplyUpdate(*config, request.model, result.gradients, called));
  }
  if (request.save.empty()) return WriteOutputs(request.outputs, outputs);

  // Both results are written in full before either takes its place.
  EQAT_ASSIGN_OR_RETURN(const std::unique_ptr<io::AtomicDirectoryWriter> directory,
                        io::AtomicDirectoryWriter::Create(request.save, model::ModelDirectoryFiles()));
  if (update.has_value()) EQAT_RETURN_IF_ERROR(WriteOptimizer(directory->PathOf(kOptimizerFile), *update));
  if (module_alone) PutBack(alone, model);
  EQAT_RETURN_IF_ERROR(model::WriteModel(model, {}, *directory));
  EQAT_RETURN_IF_ERROR(WriteOutputs(request.outputs, outputs));
  return directory->Commit();
}

}  // namespace eqat::cli
