// Graph: the order in which a model calls its modules, after torch.fx: placeholder, get_attr, call_module,
// call_function, output.
//
// Functions: cat(list, dim), interact_dot(list), add(a, b), sub(a, b), mul(a, b), div(a, b), relu(x), sigmoid(x),
// flatten(x, start_dim), slice(x, dim, start, end).
#ifndef EQAT_MODEL_GRAPH_H_
#define EQAT_MODEL_GRAPH_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"

namespace eqat::model {

enum class Op : uint8_t { kPlaceholder, kCallModule, kCallFunction, kOutput, kGetAttr };
enum class Function : uint8_t { kCat, kInteractDot, kAdd, kMul, kReLU, kSigmoid, kFlatten, kSub, kDiv, kSlice };

struct FunctionTraits {
  Function function;
  const char* name;
  bool takes_list;        // args = [[a, b, ...]]; else args = [a] or [a, b]
  int arity;              // of names in args; -1: a list of at least one
  const char* int_kwarg;  // "dim", "start_dim" or null
  int64_t int_default;
  bool takes_range = false;  // kwargs "start" and "end" too
};
inline constexpr FunctionTraits kFunctions[] = {
    {Function::kCat, "cat", true, -1, "dim", 0},
    {Function::kInteractDot, "interact_dot", true, -1, nullptr, 0},
    {Function::kAdd, "add", false, 2, nullptr, 0},
    {Function::kMul, "mul", false, 2, nullptr, 0},
    {Function::kReLU, "relu", false, 1, nullptr, 0},
    {Function::kSigmoid, "sigmoid", false, 1, nullptr, 0},
    {Function::kFlatten, "flatten", false, 1, "start_dim", 0},
    {Function::kSub, "sub", false, 2, nullptr, 0},
    {Function::kDiv, "div", false, 2, nullptr, 0},
    {Function::kSlice, "slice", false, 1, "dim", 0, true},
};
inline constexpr int64_t kToTheEnd = INT64_MAX;  // `end` of a slice
inline constexpr int64_t kAnySize = -1;          // in `shape` of a placeholder
constexpr const FunctionTraits& TraitsOf(Function function) { return kFunctions[static_cast<int>(function)]; }

struct Node {
  std::string name;
  Op op = Op::kPlaceholder;
  std::string target = {};             // call_module, get_attr: module name
  Function function = Function::kCat;  // call_function
  std::vector<std::string> args = {};  // names of earlier nodes, a list argument flattened
  int64_t int_arg = 0;                 // value of int_kwarg
  int64_t start = 0;                   // slice: as Python's x[start:end], negative counts from the end
  int64_t end = kToTheEnd;
  // placeholder: the only shape that the model takes (of indices: of the index tensor), if it says so.
  std::optional<std::vector<int64_t>> shape = std::nullopt;

  bool operator==(const Node&) const = default;
};

struct Graph {
  std::vector<Node> nodes;  // in order of execution; the last one is the only output

  std::vector<std::string> Placeholders() const;
  bool operator==(const Graph&) const = default;
};

// "[?, 16]" of a placeholder's shape.
std::string ShapePatternText(const std::vector<int64_t>& shape);

// Unique names, args that name earlier nodes, known modules (`module_types`: name to type), one output at the end,
// right numbers of arguments; embeddings are called on placeholders. What a nested model does with its arguments is
// left to the graph with its calls inlined (model/inline_calls.h). InvalidArgument names the node.
absl::Status Validate(const Graph& graph, const std::map<std::string, std::string>& module_types);

}  // namespace eqat::model

#endif  // EQAT_MODEL_GRAPH_H_
