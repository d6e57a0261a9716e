#include <algorithm>
#include <utility>

#include "core/status_macros.h"
#include "model/freeze/linear_folding.h"
#include "model/freeze/passes.h"

namespace eqat::model {
namespace {

// Calls of Linear modules that nothing else calls, by the node that they read; as positions.
std::map<std::string, std::vector<size_t>> LinearsByInput(const Workspace& workspace) {
  const std::map<std::string, std::vector<size_t>> calls = CallsOf(workspace.graph);
  std::map<std::string, std::vector<size_t>> groups;
  for (size_t i = 0; i < workspace.graph.nodes.size(); ++i) {
    const Node& node = workspace.graph.nodes[i];
    if (node.op != Op::kCallModule || !workspace.IsFree(node.target)) continue;
    if (!std::holds_alternative<nn::Linear>(*workspace.Find(node.target))) continue;
    if (calls.at(node.target).size() == 1) groups[node.args[0]].push_back(i);
  }
  std::erase_if(groups, [](const auto& group) { return group.second.size() < 2; });
  return groups;
}

const nn::Linear& LinearOf(const Workspace& workspace, size_t node) {
  return std::get<nn::Linear>(*workspace.Find(workspace.graph.nodes[node].target));
}

// Weights and biases one below the other.
absl::StatusOr<nn::Linear> Concatenated(const Workspace& workspace, const std::vector<size_t>& group) {
  nn::LinearOptions options = {.in_features = LinearOf(workspace, group[0]).options().in_features, .bias = false};
  for (const size_t node : group) {
    options.out_features += LinearOf(workspace, node).options().out_features;
    options.bias |= LinearOf(workspace, node).options().bias;
  }
  EQAT_ASSIGN_OR_RETURN(Table weight, Table::Zeros(options.out_features, options.in_features));
  std::vector<float> bias(options.bias ? options.out_features : 0);
  int64_t begin = 0;
  for (const size_t node : group) {
    const nn::Linear& linear = LinearOf(workspace, node);
    std::copy_n(linear.weight().data(), linear.weight().rows() * linear.weight().cols(), weight.Row(begin));
    std::copy(linear.bias().begin(), linear.bias().end(), bias.begin() + (linear.options().bias ? begin : 0));
    begin += linear.options().out_features;
  }
  return nn::Linear::FromWeight(std::move(weight), std::move(bias), options);
}

// Nodes to put before others, and what those others become: slices of the merged ones.
struct Plan {
  std::map<std::string, Node> before;  // by the node that it precedes
  std::map<std::string, Node> slices;  // by name; the argument is the first node of the group
};

absl::Status PlanMerge(Workspace& workspace, const std::vector<size_t>& group, Plan& plan) {
  EQAT_ASSIGN_OR_RETURN(nn::Linear merged, Concatenated(workspace, group));
  const Node& first = workspace.graph.nodes[group[0]];
  FoldBound bound = BoundOfFold(merged, IdentityTransform(merged.options().out_features));
  bound.pass = "merge-linears";
  int64_t begin = 0;
  for (const size_t position : group) {
    const Node& node = workspace.graph.nodes[position];
    bound.node = node.name;
    workspace.bounds.push_back(bound);
    const int64_t end = begin + LinearOf(workspace, position).options().out_features;
    plan.slices.emplace(node.name, Node{.name = node.name,
                                        .op = Op::kCallFunction,
                                        .function = Function::kSlice,
                                        .args = {first.name},
                                        .int_arg = -1,
                                        .start = begin,
                                        .end = end});
    begin = end;
  }
  Node call = {.name = first.name + "_merged", .op = Op::kCallModule, .args = first.args};
  call.target = workspace.AddModule(first.target + "_merged", std::move(merged));
  plan.before.emplace(first.name, std::move(call));
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<int64_t> MergeLinears(Workspace& workspace) {
  Plan plan;
  for (const auto& [input, group] : LinearsByInput(workspace)) {
    EQAT_RETURN_IF_ERROR(PlanMerge(workspace, group, plan));
  }
  if (plan.slices.empty()) return 0;
  std::map<std::string, std::string> merged_names;  // by the first node of the group
  Rewriter rewriter(workspace.graph);
  rewriter.Run([&](Node& node) -> std::optional<std::string> {
    const auto slice = plan.slices.find(node.name);
    if (slice == plan.slices.end()) return std::nullopt;
    const auto before = plan.before.find(node.name);
    if (before != plan.before.end()) {
      Node call = std::move(before->second);
      call.args = node.args;
      merged_names.emplace(node.name, rewriter.Insert(std::move(call)));
    }
    node = slice->second;
    node.args[0] = merged_names.at(node.args[0]);
    return std::nullopt;
  });
  return static_cast<int64_t>(plan.slices.size());
}

}  // namespace eqat::model
