#include <utility>

#include "model/freeze/passes.h"

namespace eqat::model {
namespace {

int64_t DropNodes(Graph& graph) {
  std::set<std::string> read;
  std::vector<bool> is_read(graph.nodes.size());
  for (size_t i = graph.nodes.size(); i-- > 0;) {
    const Node& node = graph.nodes[i];
    is_read[i] = node.op == Op::kOutput || node.op == Op::kPlaceholder || read.count(node.name) > 0;
    if (is_read[i]) read.insert(node.args.begin(), node.args.end());
  }
  std::vector<Node> kept;
  for (size_t i = 0; i < graph.nodes.size(); ++i) {
    if (is_read[i]) kept.push_back(std::move(graph.nodes[i]));
  }
  const auto dropped = static_cast<int64_t>(graph.nodes.size() - kept.size());
  graph.nodes = std::move(kept);
  return dropped;
}

int64_t DropModules(Workspace& workspace) {
  const std::map<std::string, std::vector<size_t>> calls = CallsOf(workspace.graph);
  return std::erase_if(workspace.modules, [&](const auto& entry) {
    return workspace.IsFree(entry.first) && calls.count(entry.first) == 0;
  });
}

}  // namespace

absl::StatusOr<int64_t> EliminateDeadCode(Workspace& workspace) {
  const int64_t nodes = DropNodes(workspace.graph);
  return nodes + DropModules(workspace);
}

}  // namespace eqat::model
