#include "model/inline_calls.h"

#include <algorithm>
#include <map>
#include <set>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/error.h"
#include "core/status_macros.h"

namespace eqat::model {
namespace {

// Nested calls multiply: a small file could ask for any number of nodes.
constexpr size_t kMaxNodes = 1'000'000;
// Of calls within calls, each of which is one on the stack here, and of interfaces that stand for interfaces.
constexpr size_t kMaxDepth = 256;

std::string Join(const std::string& scope, const std::string& name) {
  return scope.empty() ? name : absl::StrCat(scope, ".", name);
}

// `implementation` beside the interface `name`, or else in the models around it, the innermost first.
absl::StatusOr<std::string> Implementation(const std::string& name, const std::string& implementation,
                                           FindModule find) {
  std::string scope = name;
  while (!scope.empty()) {
    scope = EnclosingModel(scope, find);
    std::string candidate = Join(scope, implementation);
    if (candidate != name && find(candidate) != nullptr) return candidate;
  }
  return InvalidArgument(absl::StrCat("interface ", name), "no module implements it", implementation,
                         "the name of a module beside it or in a model around it");
}

class Inliner {
 public:
  explicit Inliner(FindModule find) : find_(find) {}

  absl::StatusOr<Graph> Run(const Graph& graph) {
    if (NodesOf(graph, "") > kMaxNodes) {
      return ResourceExhausted("graph", "too many nodes and calls once the calls of nested models are inlined", "",
                               absl::StrCat("at most ", kMaxNodes));
    }
    // Names of the model's own nodes stay.
    for (const Node& node : graph.nodes) names_.insert(node.name);
    EQAT_RETURN_IF_ERROR(AppendBody(graph, "", "", {}).status());
    return std::move(flat_);
  }

 private:
  // How many nodes `graph` becomes and calls are inlined for it, but no more than kMaxNodes + 1. Each model is looked
  // at once, however often it is called. What cannot be inlined counts as one node: AppendBody says what is wrong with
  // it.
  size_t NodesOf(const Graph& graph, const std::string& scope) {
    size_t nodes = 0;
    for (const Node& node : graph.nodes) {
      if (!scope.empty() && (node.op == Op::kPlaceholder || node.op == Op::kOutput)) continue;
      nodes = std::min(nodes + NodesOf(node, scope), kMaxNodes + 1);
    }
    return nodes;
  }

  size_t NodesOf(const Node& node, const std::string& scope) {
    if (node.op != Op::kCallModule) return 1;
    const absl::StatusOr<std::string> target = ResolveCall(Join(scope, node.target), find_);
    if (!target.ok()) return 1;
    const auto* nested = std::get_if<GraphModule>(find_(*target));
    if (nested == nullptr) return 1;
    const auto [known, is_new] = nodes_of_.emplace(*target, 1);
    if (!is_new || depth_ == kMaxDepth) return known->second;
    ++depth_;
    known->second = 1 + NodesOf(nested->graph, *target);
    --depth_;
    return known->second;
  }

  // Appends the nodes of `graph`, whose placeholders are `args` unless it is the whole model's; returns the node that
  // is its output.
  absl::StatusOr<std::string> AppendBody(const Graph& graph, const std::string& scope, const std::string& call,
                                         const std::vector<std::string>& args) {
    std::map<std::string, std::string> flat_names;
    size_t next_arg = 0;
    for (const Node& node : graph.nodes) {
      Node flat = node;
      for (std::string& arg : flat.args) arg = flat_names.at(arg);
      const bool is_nested = !call.empty();
      if (is_nested && node.op == Op::kPlaceholder) {
        flat_names.emplace(node.name, args[next_arg++]);
        continue;
      }
      if (is_nested && node.op == Op::kOutput) return flat.args.front();
      flat.name = is_nested ? FreeName(absl::StrCat(call, ".", node.name)) : node.name;
      absl::StatusOr<std::string> value = AppendNode(std::move(flat), scope);
      if (!value.ok()) return value.status();
      flat_names.emplace(node.name, *std::move(value));
    }
    return flat_.nodes.back().name;
  }

  // Returns the node that holds the value of `node`, whose names are those of the result already.
  absl::StatusOr<std::string> AppendNode(Node node, const std::string& scope) {
    const std::string place = absl::StrCat("graph node ", node.name);
    if (node.op == Op::kCallModule || node.op == Op::kGetAttr) {
      absl::StatusOr<std::string> target = ResolveCall(Join(scope, node.target), find_);
      if (!target.ok()) return AtPlace(place, target.status());
      node.target = *std::move(target);
      if (const auto* nested = std::get_if<GraphModule>(find_(node.target))) return AppendCall(node, *nested);
    }
    flat_.nodes.push_back(std::move(node));
    return flat_.nodes.back().name;
  }

  absl::StatusOr<std::string> AppendCall(const Node& node, const GraphModule& nested) {
    const std::string place = absl::StrCat("graph node ", node.name);
    const size_t inputs = nested.graph.Placeholders().size();
    if (node.args.size() != inputs) {
      return InvalidArgument(place, absl::StrCat("wrong number of arguments for model ", node.target),
                             absl::StrCat(node.args.size()), absl::StrCat(inputs));
    }
    if (active_.size() == kMaxDepth) {
      return ResourceExhausted(absl::StrCat("model ", node.target), "models call one another too deeply", "",
                               absl::StrCat("at most ", kMaxDepth));
    }
    if (!active_.insert(node.target).second) {
      return InvalidArgument(place, "a model calls itself", node.target, "models nested without a cycle");
    }
    absl::StatusOr<std::string> value = AppendBody(nested.graph, node.target, node.name, node.args);
    active_.erase(node.target);
    return value;
  }

  std::string FreeName(const std::string& wanted) {
    std::string name = wanted;
    for (int64_t i = 1; !names_.insert(name).second; ++i) name = absl::StrCat(wanted, "_", i);
    return name;
  }

  const FindModule find_;
  Graph flat_;
  std::map<std::string, size_t> nodes_of_;  // NodesOf of nested models
  size_t depth_ = 0;                        // of NodesOf
  std::set<std::string> names_;
  std::set<std::string> active_;  // nested models whose bodies are being appended
};

}  // namespace

std::string EnclosingModel(absl::string_view name, FindModule find) {
  for (size_t dot = name.rfind('.'); dot != absl::string_view::npos && dot > 0; dot = name.rfind('.', dot - 1)) {
    std::string prefix(name.substr(0, dot));
    const Module* const module = find(prefix);
    if (module != nullptr && std::holds_alternative<GraphModule>(*module)) return prefix;
  }
  return "";
}

absl::StatusOr<std::string> ResolveCall(std::string name, FindModule find) {
  std::set<std::string> seen;
  for (;;) {
    const Module* const module = find(name);
    if (module == nullptr) return InvalidArgument("call", "no module of this name", name);
    const auto* interface = std::get_if<InterfaceModule>(module);
    if (interface == nullptr) return name;
    if (seen.size() == kMaxDepth) {
      return ResourceExhausted("call", "interfaces implement one another too deeply", name,
                               absl::StrCat("at most ", kMaxDepth));
    }
    if (!seen.insert(name).second) {
      return InvalidArgument("call", "interfaces implement one another in a cycle", name, "a concrete module");
    }
    EQAT_ASSIGN_OR_RETURN(name, Implementation(name, interface->implementation, find));
  }
}

absl::StatusOr<Graph> InlineCalls(const Graph& graph, FindModule find) { return Inliner(find).Run(graph); }

}  // namespace eqat::model
