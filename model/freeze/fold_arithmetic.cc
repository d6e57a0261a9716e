#include <algorithm>

#include "core/status_macros.h"
#include "model/freeze/linear_folding.h"
#include "model/freeze/passes.h"

namespace eqat::model {
namespace {

// `function` between a Linear's value and the constant in module `constant`.
struct Operation {
  Function function = Function::kAdd;
  std::string constant;
  bool linear_is_first = true;

  bool operator==(const Operation&) const = default;
};

bool IsArithmetic(Function function) {
  return function == Function::kAdd || function == Function::kSub || function == Function::kMul ||
         function == Function::kDiv;
}

std::optional<Operation> OperationOf(const Node& node, const std::string& linear,
                                     const std::map<std::string, const Node*>& constants) {
  if (node.op != Op::kCallFunction || !IsArithmetic(node.function)) return std::nullopt;
  const bool linear_is_first = node.args[0] == linear;
  const auto constant = constants.find(node.args[linear_is_first ? 1 : 0]);
  if (constant == constants.end()) return std::nullopt;
  if (node.function == Function::kDiv && !linear_is_first) return std::nullopt;  // c / y is no scale and shift of y
  return Operation{node.function, constant->second->target, linear_is_first};
}

// Whether a constant of shape `from`, beside values whose last size is `columns`, is one value for all of them or one
// for each column, and leaves their shape as it is. `rank` is theirs, if known; it is 1 at least.
bool IsPerColumn(const std::vector<int64_t>& from, int64_t columns, std::optional<size_t> rank) {
  if (from.size() > std::max<size_t>(rank.value_or(1), 1)) return false;
  for (size_t i = 0; i + 1 < from.size(); ++i) {
    if (from[i] != 1) return false;
  }
  return from.empty() || from.back() == 1 || from.back() == columns;
}

ColumnTransform TransformOf(const Operation& operation, const Tensor& constant, int64_t columns) {
  ColumnTransform transform = IdentityTransform(columns);
  transform.moves_bias = operation.function == Function::kAdd || operation.function == Function::kSub;
  for (int64_t j = 0; j < columns; ++j) {
    const double value = constant.values[constant.size() == 1 ? 0 : j];
    switch (operation.function) {
      case Function::kAdd:
        transform.post[j] = value;
        break;
      case Function::kSub:
        transform.scale[j] = operation.linear_is_first ? 1 : -1;
        transform.post[j] = operation.linear_is_first ? -value : value;
        break;
      case Function::kMul:
        transform.scale[j] = value;
        break;
      default:
        transform.scale[j] = 1 / value;
    }
  }
  return transform;
}

std::map<std::string, const Node*> ConstantNodes(const Workspace& workspace) {
  std::map<std::string, const Node*> constants;
  for (const Node& node : workspace.graph.nodes) {
    if (workspace.ConstantOf(node) != nullptr) constants.emplace(node.name, &node);
  }
  return constants;
}

// The operation that reads all calls of a Linear, if it is one and the same and its constant fits.
std::optional<Operation> OperationBehind(const Workspace& workspace, const std::vector<LinearReader>& readers,
                                         int64_t columns, const Shapes& shapes,
                                         const std::map<std::string, const Node*>& constants) {
  std::optional<Operation> common;
  for (const LinearReader& reader : readers) {
    const Node& linear = workspace.graph.nodes[reader.linear];
    const std::optional<Operation> operation =
        OperationOf(workspace.graph.nodes[reader.reader], linear.name, constants);
    if (!operation || (common && !(*common == *operation))) return std::nullopt;
    const std::optional<std::vector<int64_t>>& shape = shapes.at(linear.name);
    const std::optional<size_t> rank = shape ? std::make_optional(shape->size()) : std::nullopt;
    if (!IsPerColumn(AsTensor(*workspace.Find(operation->constant))->shape, columns, rank)) return std::nullopt;
    common = operation;
  }
  return common;
}

}  // namespace

absl::StatusOr<int64_t> FoldArithmetic(Workspace& workspace) {
  EQAT_ASSIGN_OR_RETURN(const Shapes shapes, workspace.ForwardShapes());
  const std::map<std::string, const Node*> constants = ConstantNodes(workspace);
  std::map<std::string, std::string> replaced_by;
  for (const auto& [linear, readers] : LinearsWithOneReader(workspace)) {
    const int64_t columns = std::get<nn::Linear>(*workspace.Find(linear)).options().out_features;
    const std::optional<Operation> operation = OperationBehind(workspace, readers, columns, shapes, constants);
    if (!operation) continue;
    const Tensor& constant = *AsTensor(*workspace.Find(operation->constant));
    const std::string& node = workspace.graph.nodes[readers.front().linear].name;
    if (!FoldIntoLinear(workspace, linear, TransformOf(*operation, constant, columns), "fold-arithmetic", node)) {
      continue;
    }
    for (const LinearReader& reader : readers) {
      replaced_by.emplace(workspace.graph.nodes[reader.reader].name, workspace.graph.nodes[reader.linear].name);
    }
  }
  ReplaceReaders(workspace, replaced_by);
  return static_cast<int64_t>(replaced_by.size());
}

}  // namespace eqat::model
