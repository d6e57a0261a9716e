#include "model/freeze/freeze.h"

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "core/error.h"
#include "core/status_macros.h"
#include "model/freeze/passes.h"
#include "model/inline_calls.h"
#include "model/module_state.h"
#include "model/shape_inference.h"

namespace eqat::model {
namespace {

constexpr char kInlineCalls[] = "inline-calls";
constexpr char kFreezeParameters[] = "freeze-parameters";

enum class Kind : uint8_t { kExact, kNumeric, kMerge };

struct Pass {
  const char* name;
  Kind kind;
  absl::StatusOr<int64_t> (*run)(Workspace& workspace);
};

// In the order of their runs. Merging comes when nothing else is left to do: it would hide a Linear from the folds.
constexpr Pass kPasses[] = {
    {"remove-dropout", Kind::kExact, RemoveDropout},
    {"propagate-constants", Kind::kExact, PropagateConstants},
    {"peephole", Kind::kExact, ApplyPeephole},
    {"common-subexpressions", Kind::kExact, EliminateCommonSubexpressions},
    {"fold-arithmetic", Kind::kNumeric, FoldArithmetic},
    {"fold-batch-norm", Kind::kNumeric, FoldBatchNorm},
    {"dead-code", Kind::kExact, EliminateDeadCode},
    {"merge-linears", Kind::kMerge, MergeLinears},
};

absl::Status CheckFreezable(const Model& model) {
  if (!model.graph()) {
    return FailedPrecondition("model", "it has no graph to freeze", "tables alone",
                              "a graph that ends in an output (`eqat convert` packs tables)");
  }
  if (!model.training()) return absl::OkStatus();
  return FailedPrecondition("model", "only a model in evaluation mode can be frozen", "training mode",
                            "evaluation mode: call Eval(), or take \"training\" out of model.json");
}

std::vector<std::string> TensorNames(const std::string& name, const Module& module) {
  TensorSink sink;
  std::vector<std::string> names;
  if (!AppendState(name, module, io::TensorDtype::kF32, sink).ok()) return names;
  for (const io::TensorToWrite& tensor : sink.tensors) names.push_back(tensor.name);
  return names;
}

bool IsLeaf(const Module& module) {
  return !std::holds_alternative<GraphModule>(module) && !std::holds_alternative<InterfaceModule>(module);
}

// The modules that `name`, from the user, stands for.
absl::StatusOr<std::vector<std::string>> ModulesNamed(const Model& model, const std::string& name) {
  const auto find = [&](const std::string& module) { return model.Find(module); };
  if (model.Find(name) != nullptr) {
    EQAT_ASSIGN_OR_RETURN(const std::string resolved, ResolveCall(name, find));
    if (IsLeaf(*model.Find(resolved))) return std::vector<std::string>{resolved};
    std::vector<std::string> inside;
    for (const std::string& module : model.module_names()) {
      if (absl::StartsWith(module, resolved + ".") && IsLeaf(*model.Find(module))) inside.push_back(module);
    }
    return inside;
  }
  for (size_t dot = name.find('.'); dot != std::string::npos; dot = name.find('.', dot + 1)) {
    const std::string module = name.substr(0, dot);
    if (model.Find(module) == nullptr) continue;
    const std::vector<std::string> tensors = TensorNames(module, *model.Find(module));
    if (std::find(tensors.begin(), tensors.end(), name) != tensors.end()) return std::vector<std::string>{module};
  }
  return InvalidArgument("preserve", "no module or tensor of this name", name,
                         absl::StrCat("one of ", absl::StrJoin(model.module_names(), ", ")));
}

absl::StatusOr<std::set<std::string>> PreservedModules(const Model& model, const FreezeOptions& options) {
  std::set<std::string> preserved(model.preserved().begin(), model.preserved().end());
  for (const std::string& name : options.preserve) {
    EQAT_ASSIGN_OR_RETURN(const std::vector<std::string> modules, ModulesNamed(model, name));
    preserved.insert(modules.begin(), modules.end());
  }
  return preserved;
}

// The inputs of the frozen graph take what the original takes and nothing else: a check that the original makes on the
// way may disappear with the node that makes it. A model that is frozen already declares what it takes.
absl::Status DeclareInputShapes(bool is_frozen, Workspace& workspace) {
  EQAT_ASSIGN_OR_RETURN(
      const Shapes shapes,
      InferShapes(
          workspace.graph, [&](const std::string& name) { return workspace.Find(name); }, Inference::kBothWays));
  for (Node& node : workspace.graph.nodes) {
    if (node.op == Op::kPlaceholder && !is_frozen) node.shape = shapes.at(node.name);
  }
  return absl::OkStatus();
}

class Freezer {
 public:
  Freezer(Model&& model, const FreezeOptions& options) : model_(std::move(model)), options_(options) {}

  absl::StatusOr<FrozenModel> Run() {
    EQAT_RETURN_IF_ERROR(CheckFreezable(model_));
    EQAT_ASSIGN_OR_RETURN(workspace_.preserved, PreservedModules(model_, options_));
    workspace_.graph = *model_.graph();
    TakeModules();
    EQAT_RETURN_IF_ERROR(Record(kInlineCalls, [&] { return InlineNestedModels(); }));
    EQAT_RETURN_IF_ERROR(DeclareInputShapes(model_.frozen(), workspace_));
    EQAT_RETURN_IF_ERROR(Record(kFreezeParameters, [&] { return FreezeParameters(workspace_, options_.tables); }));
    EQAT_RETURN_IF_ERROR(RunToFixedPoint());
    return Finish();
  }

 private:
  void TakeModules() {
    workspace_.order = model_.module_names();
    for (const std::string& name : workspace_.order) {
      workspace_.modules.emplace(name, std::move(*model_.FindMutable(name)));
    }
  }

  absl::StatusOr<int64_t> InlineNestedModels() {
    workspace_.graph = model_.inlined_graph();
    return std::erase_if(workspace_.modules, [](const auto& entry) { return !IsLeaf(entry.second); });
  }

  template <typename Run>
  absl::Status Record(const std::string& name, Run run) {
    PassRun record{.pass = name,
                   .nodes_before = static_cast<int64_t>(workspace_.graph.nodes.size()),
                   .bytes_before = workspace_.Bytes()};
    EQAT_ASSIGN_OR_RETURN(record.changes, run());
    record.nodes_after = static_cast<int64_t>(workspace_.graph.nodes.size());
    record.bytes_after = workspace_.Bytes();
    runs_.push_back(std::move(record));
    if (options_.after_pass) options_.after_pass(name, workspace_.graph);
    return absl::OkStatus();
  }

  // Whether any pass of `kinds` has changed something.
  absl::StatusOr<bool> RunOnce(bool merge) {
    bool changed = false;
    for (const Pass& pass : kPasses) {
      if ((pass.kind == Kind::kMerge) != merge) continue;
      if (pass.kind != Kind::kExact && !options_.optimize_numerics) continue;
      EQAT_RETURN_IF_ERROR(Record(pass.name, [&] { return pass.run(workspace_); }));
      changed |= runs_.back().changes > 0;
    }
    return changed;
  }

  // Every change removes something or cannot be made twice, so this ends.
  absl::Status RunToFixedPoint() {
    for (bool changed = true; changed;) {
      for (bool again = true; again;) {
        EQAT_ASSIGN_OR_RETURN(again, RunOnce(/*merge=*/false));
      }
      EQAT_ASSIGN_OR_RETURN(changed, RunOnce(/*merge=*/true));
    }
    return absl::OkStatus();
  }

  absl::StatusOr<FrozenModel> Finish() {
    FrozenModel frozen;
    for (const std::string& name : workspace_.order) {
      const auto it = workspace_.modules.find(name);
      if (it != workspace_.modules.end()) EQAT_RETURN_IF_ERROR(frozen.model.AddModule(name, std::move(it->second)));
    }
    EQAT_RETURN_IF_ERROR(frozen.model.SetGraph(std::move(workspace_.graph)));
    frozen.model.MarkFrozen({workspace_.preserved.begin(), workspace_.preserved.end()});
    frozen.report = {std::move(runs_), std::move(workspace_.bounds)};
    return frozen;
  }

  Model model_;
  const FreezeOptions& options_;
  Workspace workspace_;
  std::vector<PassRun> runs_;
};

}  // namespace

const std::vector<std::string>& FreezePasses() {
  static const auto& names = *new std::vector<std::string>([] {
    std::vector<std::string> result = {kInlineCalls, kFreezeParameters};
    for (const Pass& pass : kPasses) result.emplace_back(pass.name);
    return result;
  }());
  return names;
}

absl::StatusOr<FrozenModel> Freeze(const Model& model, const FreezeOptions& options) {
  EQAT_RETURN_IF_ERROR(CheckFreezable(model));
  EQAT_ASSIGN_OR_RETURN(Model clone, model.Clone());
  return Freeze(std::move(clone), options);
}

absl::StatusOr<FrozenModel> Freeze(Model&& model, const FreezeOptions& options) {
  return Freezer(std::move(model), options).Run();
}

}  // namespace eqat::model
