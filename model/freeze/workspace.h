// Workspace: a model while it is being frozen, and what passes ask about it. Internal to this folder.
#ifndef EQAT_MODEL_FREEZE_WORKSPACE_H_
#define EQAT_MODEL_FREEZE_WORKSPACE_H_

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "model/freeze/freeze.h"
#include "model/graph.h"
#include "model/module.h"
#include "model/shape_inference.h"

namespace eqat::model {

struct Workspace {
  Graph graph;                     // calls inlined; valid at all times
  std::vector<std::string> order;  // of the modules; may name modules that are gone
  std::map<std::string, Module> modules;
  std::set<std::string> preserved;  // modules that no pass may read or change
  std::vector<FoldBound> bounds;    // of the folds so far

  const Module* Find(const std::string& name) const;
  // A module that a pass may read, change and drop.
  bool IsFree(const std::string& module) const { return preserved.count(module) == 0; }
  int64_t Bytes() const;

  // The constant that node `node` reads, or null if it reads none or one that may be replaced later.
  const Tensor* ConstantOf(const Node& node) const;
  // Adds a constant; returns the name that its module got, one like `wanted`.
  std::string AddConstant(const std::string& wanted, Tensor value);
  std::string AddModule(const std::string& wanted, Module module);

  // Known from the nodes before each alone, so that it stays true whatever happens to those behind.
  absl::StatusOr<Shapes> ForwardShapes() const;
};

// Positions of the nodes that read each node; twice where one reads it twice.
std::map<std::string, std::vector<size_t>> UsersOf(const Graph& graph);
// Positions of the nodes that call or read each module.
std::map<std::string, std::vector<size_t>> CallsOf(const Graph& graph);

// One way through the nodes of a graph, in order.
class Rewriter {
 public:
  explicit Rewriter(Graph& graph);

  // `visit` sees each node with its arguments replaced as earlier nodes were. It may change the node, or name an
  // earlier node that has the same value, by which this one is replaced everywhere. Returns how many were replaced.
  int64_t Run(absl::FunctionRef<std::optional<std::string>(Node& node)> visit);

  // For `visit`: an earlier node that was not replaced.
  const Node& Earlier(const std::string& name) const { return nodes_[positions_.at(name)]; }
  // For `visit`: adds a node before the one it sees; returns the name that it got, one like `node.name`.
  std::string Insert(Node node);

 private:
  void Keep(Node&& node);

  Graph& graph_;
  std::set<std::string> names_;
  std::vector<Node> nodes_;
  std::map<std::string, size_t> positions_;
};

// `dim` counted from the front, for a value of known rank that has it.
std::optional<int64_t> DimFromFront(int64_t dim, const std::optional<std::vector<int64_t>>& sizes);

}  // namespace eqat::model

#endif  // EQAT_MODEL_FREEZE_WORKSPACE_H_
