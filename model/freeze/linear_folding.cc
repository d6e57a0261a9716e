#include "model/freeze/linear_folding.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace eqat::model {

std::map<std::string, std::vector<LinearReader>> LinearsWithOneReader(const Workspace& workspace) {
  const std::map<std::string, std::vector<size_t>> users = UsersOf(workspace.graph);
  std::map<std::string, std::vector<LinearReader>> linears;
  for (const auto& [module, calls] : CallsOf(workspace.graph)) {
    if (!workspace.IsFree(module) || !std::holds_alternative<nn::Linear>(*workspace.Find(module))) continue;
    std::vector<LinearReader> readers;
    for (const size_t call : calls) {
      const auto it = users.find(workspace.graph.nodes[call].name);
      if (it != users.end() && it->second.size() == 1) readers.push_back({call, it->second.front()});
    }
    if (readers.size() == calls.size()) linears.emplace(module, std::move(readers));
  }
  return linears;
}

ColumnTransform IdentityTransform(int64_t columns) {
  ColumnTransform transform;
  transform.scale.assign(columns, 1.0);
  transform.pre.assign(columns, 0.0);
  transform.post.assign(columns, 0.0);
  transform.moves_bias = false;
  return transform;
}

FoldBound BoundOfFold(const nn::Linear& linear, const ColumnTransform& transform) {
  const auto terms = static_cast<double>(linear.options().in_features);
  const double roundings = (terms + terms / 128 + 16) * std::ldexp(1.0, -24);
  const double factor = 2 * roundings / (1 - roundings);
  const double underflow = std::ldexp(1.0, -149);
  FoldBound bound;
  double largest_scale = 0;
  for (int64_t j = 0; j < linear.options().out_features; ++j) {
    double weights = 0;
    for (int64_t i = 0; i < linear.options().in_features; ++i) weights += std::abs(double{linear.weight().Row(j)[i]});
    const double bias = linear.options().bias ? std::abs(double{linear.bias()[j]}) : 0;
    const double scale = std::abs(transform.scale[j]);
    bound.slope = std::max(bound.slope, factor * scale * weights);
    bound.offset =
        std::max(bound.offset, factor * (scale * (bias + std::abs(transform.pre[j])) + std::abs(transform.post[j])));
    largest_scale = std::max(largest_scale, scale);
  }
  bound.slope += terms * underflow;
  bound.offset += (terms + 16) * (1 + largest_scale) * underflow;
  return bound;
}

bool FoldIntoLinear(Workspace& workspace, const std::string& module, const ColumnTransform& transform,
                    const std::string& pass, const std::string& node) {
  auto& linear = std::get<nn::Linear>(workspace.modules.at(module));
  nn::LinearOptions options = linear.options();
  options.bias = options.bias || transform.moves_bias;
  std::vector<float> bias(options.bias ? options.out_features : 0);
  absl::StatusOr<Table> weight = Table::Zeros(options.out_features, options.in_features);
  if (!weight.ok()) return false;
  bool finite = true;
  for (int64_t j = 0; j < options.out_features; ++j) {
    const double scale = transform.scale[j];
    for (int64_t i = 0; i < options.in_features; ++i) {
      weight->Row(j)[i] = static_cast<float>(linear.weight().Row(j)[i] * scale);
      finite &= std::isfinite(weight->Row(j)[i]);
    }
    if (!options.bias) continue;
    const double old_bias = linear.options().bias ? linear.bias()[j] : 0.0;
    bias[j] = static_cast<float>((old_bias - transform.pre[j]) * scale + transform.post[j]);
    finite &= std::isfinite(bias[j]);
  }
  FoldBound bound = BoundOfFold(linear, transform);
  if (!finite || !std::isfinite(bound.slope) || !std::isfinite(bound.offset)) return false;
  bound.pass = pass;
  bound.node = node;
  // What earlier folds have moved is scaled with the rest.
  double largest_scale = 0;
  for (const double scale : transform.scale) largest_scale = std::max(largest_scale, std::abs(scale));
  for (FoldBound& earlier : workspace.bounds) {
    if (earlier.node != node) continue;
    earlier.slope *= largest_scale;
    earlier.offset *= largest_scale;
  }
  workspace.bounds.push_back(std::move(bound));
  // Cannot fail: the sizes are those of the module.
  linear = *nn::Linear::FromWeight(*std::move(weight), std::move(bias), options, linear.name());
  return true;
}

void ReplaceReaders(Workspace& workspace, const std::map<std::string, std::string>& replaced_by) {
  if (replaced_by.empty()) return;
  Rewriter(workspace.graph).Run([&](Node& node) -> std::optional<std::string> {
    const auto it = replaced_by.find(node.name);
    if (it == replaced_by.end()) return std::nullopt;
    return it->second;
  });
}

}  // namespace eqat::model
