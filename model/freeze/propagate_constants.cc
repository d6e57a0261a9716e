#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/error.h"
#include "core/status_macros.h"
#include "model/call_function.h"
#include "model/freeze/passes.h"

namespace eqat::model {
namespace {

bool IsComputable(const Workspace& workspace, const Node& node) {
  if (node.op == Op::kCallFunction) return true;
  if (node.op != Op::kCallModule || !workspace.IsFree(node.target)) return false;
  const Module& module = *workspace.Find(node.target);
  return std::holds_alternative<nn::Linear>(module) || std::holds_alternative<nn::BatchNorm1d>(module);
}

absl::StatusOr<Tensor> Compute(const Workspace& workspace, const Node& node, const std::vector<const Tensor*>& args) {
  if (node.op == Op::kCallFunction) return CallFunction(node, args);
  const Module& module = *workspace.Find(node.target);
  if (const auto* linear = std::get_if<nn::Linear>(&module)) return linear->Forward(*args[0]);
  return std::get<nn::BatchNorm1d>(module).ForwardEvaluation(*args[0], nullptr);
}

}  // namespace

absl::StatusOr<int64_t> PropagateConstants(Workspace& workspace) {
  int64_t computed = 0;
  std::map<std::string, const Tensor*> constants;  // by node
  for (Node& node : workspace.graph.nodes) {
    if (const Tensor* constant = workspace.ConstantOf(node)) constants.emplace(node.name, constant);
    const bool all_constant =
        !node.args.empty() &&
        std::all_of(node.args.begin(), node.args.end(), [&](const auto& arg) { return constants.count(arg) > 0; });
    if (!all_constant || !IsComputable(workspace, node)) continue;
    std::vector<const Tensor*> args;
    for (const std::string& arg : node.args) args.push_back(constants.at(arg));
    absl::StatusOr<Tensor> value = Compute(workspace, node, args);
    if (!value.ok()) return AtPlace(absl::StrCat("node ", node.name), value.status());
    node = {.name = node.name, .op = Op::kGetAttr, .target = workspace.AddConstant(node.name, *std::move(value))};
    constants.emplace(node.name, workspace.ConstantOf(node));
    ++computed;
  }
  return computed;
}

}  // namespace eqat::model
