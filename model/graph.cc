#include "model/graph.h"

#include <set>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "core/error.h"
#include "core/status_macros.h"
#include "model/names.h"

namespace eqat::model {
namespace {

std::string Place(const Node& node) { return absl::StrCat("graph node ", node.name); }

// What the nodes seen so far have been used as.
struct Seen {
  std::map<std::string, Op> ops;          // by node name
  std::set<std::string> used_as_indices;  // placeholders
  std::set<std::string> used_as_values;   // placeholders
};

absl::Status CheckName(const Node& node, const Seen& seen) {
  if (!IsValidName(node.name)) {
    return InvalidArgument("graph", "a node's name is not allowed", node.name, kNameRule);
  }
  if (seen.ops.contains(node.name)) return InvalidArgument(Place(node), "name is taken by an earlier node");
  return absl::OkStatus();
}

absl::Status CheckArgumentCount(const Node& node, int64_t minimum, int64_t maximum) {
  const int64_t count = static_cast<int64_t>(node.args.size());
  if (count >= minimum && count <= maximum) return absl::OkStatus();
  return InvalidArgument(Place(node), "wrong number of arguments", absl::StrCat(count),
                         minimum == maximum ? absl::StrCat(minimum) : absl::StrCat("at least ", minimum));
}

// What a node does with its arguments.
enum class Use : uint8_t { kAsIndices, kAsValues, kByNestedModel };

absl::Status CheckArguments(const Node& node, Use use, Seen& seen) {
  for (const std::string& arg : node.args) {
    const auto it = seen.ops.find(arg);
    if (it == seen.ops.end()) {
      return InvalidArgument(Place(node), "an argument is not an earlier node", arg, "the name of an earlier node");
    }
    if (use == Use::kByNestedModel) continue;
    if (it->second != Op::kPlaceholder) {
      if (use == Use::kAsIndices) {
        return InvalidArgument(Place(node), "a table is called on something other than an input", arg,
                               "the name of a placeholder");
      }
      continue;
    }
    (use == Use::kAsIndices ? seen.used_as_indices : seen.used_as_values).insert(arg);
    if (seen.used_as_indices.contains(arg) && seen.used_as_values.contains(arg)) {
      return InvalidArgument(Place(node), "an input is used both as indices and as values", arg);
    }
  }
  return absl::OkStatus();
}

bool IsTableType(const std::string& type) {
  return absl::EndsWith(type, ".Embedding") || absl::EndsWith(type, ".EmbeddingBag");
}

bool IsTensorType(const std::string& type) { return type == "nn.Parameter" || type == "nn.Buffer"; }
bool IsNestedType(const std::string& type) { return absl::StartsWith(type, "model."); }

absl::StatusOr<std::string> TypeOfTarget(const Node& node, const std::map<std::string, std::string>& module_types) {
  const auto it = module_types.find(node.target);
  if (it != module_types.end()) return it->second;
  return InvalidArgument(Place(node), "no module of this name", node.target,
                         absl::StrJoin(module_types, ", ",
                                       [](std::string* out, const auto& entry) { absl::StrAppend(out, entry.first); }));
}

absl::Status CheckCallModule(const Node& node, const std::map<std::string, std::string>& module_types, Seen& seen) {
  EQAT_ASSIGN_OR_RETURN(const std::string type, TypeOfTarget(node, module_types));
  if (IsTensorType(type)) {
    return InvalidArgument(Place(node), "a tensor cannot be called", node.target, "op get_attr to read it");
  }
  if (IsNestedType(type)) return CheckArguments(node, Use::kByNestedModel, seen);
  EQAT_RETURN_IF_ERROR(CheckArgumentCount(node, 1, 1));
  return CheckArguments(node, IsTableType(type) ? Use::kAsIndices : Use::kAsValues, seen);
}

absl::Status CheckGetAttr(const Node& node, const std::map<std::string, std::string>& module_types) {
  EQAT_ASSIGN_OR_RETURN(const std::string type, TypeOfTarget(node, module_types));
  if (!IsTensorType(type)) {
    return InvalidArgument(Place(node), "not a tensor", absl::StrCat(node.target, " (", type, ")"),
                           "the name of an nn.Parameter or nn.Buffer");
  }
  return CheckArgumentCount(node, 0, 0);
}

absl::Status CheckNode(const Node& node, bool is_last, const std::map<std::string, std::string>& module_types,
                       Seen& seen) {
  if ((node.op == Op::kOutput) != is_last) {
    return InvalidArgument(Place(node), is_last ? "the last node is not the output" : "an output before the last node");
  }
  switch (node.op) {
    case Op::kPlaceholder:
      return CheckArgumentCount(node, 0, 0);
    case Op::kCallModule:
      return CheckCallModule(node, module_types, seen);
    case Op::kCallFunction: {
      const int arity = TraitsOf(node.function).arity;
      EQAT_RETURN_IF_ERROR(arity < 0 ? CheckArgumentCount(node, 1, INT64_MAX) : CheckArgumentCount(node, arity, arity));
      return CheckArguments(node, Use::kAsValues, seen);
    }
    case Op::kOutput:
      EQAT_RETURN_IF_ERROR(CheckArgumentCount(node, 1, 1));
      return CheckArguments(node, Use::kAsValues, seen);
    case Op::kGetAttr:
      return CheckGetAttr(node, module_types);
  }
  return absl::OkStatus();
}

// The offsets and weights of a jagged input travel under names of their own (X.offsets): they must stay free.
absl::Status CheckCompanionNames(const Seen& seen) {
  for (const std::string& input : seen.used_as_indices) {
    for (const char* suffix : {kOffsetsSuffix, kPerSampleWeightsSuffix}) {
      const auto it = seen.ops.find(input + suffix);
      if (it != seen.ops.end() && it->second == Op::kPlaceholder) {
        return InvalidArgument(absl::StrCat("graph node ", it->first), "name belongs to the jagged input", input);
      }
    }
  }
  return absl::OkStatus();
}

}  // namespace

std::vector<std::string> Graph::Placeholders() const {
  std::vector<std::string> names;
  for (const Node& node : nodes) {
    if (node.op == Op::kPlaceholder) names.push_back(node.name);
  }
  return names;
}

std::string ShapePatternText(const std::vector<int64_t>& shape) {
  return absl::StrCat("[",
                      absl::StrJoin(shape, ", ",
                                    [](std::string* out, int64_t size) {
                                      absl::StrAppend(out, size == kAnySize ? "?" : absl::StrCat(size));
                                    }),
                      "]");
}

absl::Status Validate(const Graph& graph, const std::map<std::string, std::string>& module_types) {
  if (graph.nodes.empty()) return InvalidArgument("graph", "it has no nodes", "", "at least an output");
  Seen seen;
  for (const Node& node : graph.nodes) {
    EQAT_RETURN_IF_ERROR(CheckName(node, seen));
    EQAT_RETURN_IF_ERROR(CheckNode(node, &node == &graph.nodes.back(), module_types, seen));
    seen.ops.emplace(node.name, node.op);
  }
  return CheckCompanionNames(seen);
}

}  // namespace eqat::model
