#include "model/freeze/workspace.h"

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"

namespace eqat::model {
namespace {

template <typename IsTaken>
std::string FreeName(const std::string& wanted, IsTaken is_taken) {
  std::string name = wanted;
  for (int64_t i = 1; is_taken(name); ++i) name = absl::StrCat(wanted, "_", i);
  return name;
}

}  // namespace

const Module* Workspace::Find(const std::string& name) const {
  const auto it = modules.find(name);
  return it == modules.end() ? nullptr : &it->second;
}

int64_t Workspace::Bytes() const {
  int64_t bytes = 0;
  for (const auto& [name, module] : modules) bytes += ParameterBytes(module);
  return bytes;
}

const Tensor* Workspace::ConstantOf(const Node& node) const {
  return node.op == Op::kGetAttr && IsFree(node.target) ? AsTensor(*Find(node.target)) : nullptr;
}

std::string Workspace::AddConstant(const std::string& wanted, Tensor value) {
  // Without dots it lies in no other module.
  return AddModule(absl::StrReplaceAll(wanted, {{".", "_"}}), BufferTensor{std::move(value)});
}

std::string Workspace::AddModule(const std::string& wanted, Module module) {
  const std::string name = FreeName(wanted, [this](const std::string& candidate) {
    const auto it = modules.lower_bound(candidate);
    // Nor may a module's name be the beginning of others'.
    return it != modules.end() && (it->first == candidate || absl::StartsWith(it->first, candidate + "."));
  });
  order.push_back(name);
  modules.emplace(name, std::move(module));
  return name;
}

absl::StatusOr<Shapes> Workspace::ForwardShapes() const {
  return InferShapes(
      graph, [this](const std::string& name) { return Find(name); }, Inference::kForward);
}

std::map<std::string, std::vector<size_t>> UsersOf(const Graph& graph) {
  std::map<std::string, std::vector<size_t>> users;
  for (size_t i = 0; i < graph.nodes.size(); ++i) {
    for (const std::string& arg : graph.nodes[i].args) users[arg].push_back(i);
  }
  return users;
}

std::map<std::string, std::vector<size_t>> CallsOf(const Graph& graph) {
  std::map<std::string, std::vector<size_t>> calls;
  for (size_t i = 0; i < graph.nodes.size(); ++i) {
    if (!graph.nodes[i].target.empty()) calls[graph.nodes[i].target].push_back(i);
  }
  return calls;
}

Rewriter::Rewriter(Graph& graph) : graph_(graph) {
  for (const Node& node : graph.nodes) names_.insert(node.name);
}

int64_t Rewriter::Run(absl::FunctionRef<std::optional<std::string>(Node& node)> visit) {
  std::map<std::string, std::string> replaced;
  for (Node& node : graph_.nodes) {
    for (std::string& arg : node.args) {
      const auto it = replaced.find(arg);
      if (it != replaced.end()) arg = it->second;
    }
    if (std::optional<std::string> same = visit(node)) {
      replaced.emplace(node.name, *std::move(same));
    } else {
      Keep(std::move(node));
    }
  }
  graph_.nodes = std::move(nodes_);
  return static_cast<int64_t>(replaced.size());
}

std::string Rewriter::Insert(Node node) {
  node.name = FreeName(node.name, [this](const std::string& name) { return names_.count(name) > 0; });
  names_.insert(node.name);
  Keep(std::move(node));
  return nodes_.back().name;
}

void Rewriter::Keep(Node&& node) {
  positions_.emplace(node.name, nodes_.size());
  nodes_.push_back(std::move(node));
}

std::optional<int64_t> DimFromFront(int64_t dim, const std::optional<std::vector<int64_t>>& sizes) {
  if (!sizes) return std::nullopt;
  const auto rank = static_cast<int64_t>(sizes->size());
  if (dim < -rank || dim >= rank) return std::nullopt;
  return dim < 0 ? dim + rank : dim;
}

}  // namespace eqat::model
