#include <algorithm>
#include <cmath>

#include "core/status_macros.h"
#include "model/freeze/linear_folding.h"
#include "model/freeze/passes.h"

namespace eqat::model {
namespace {

// The batch norm that reads all calls of a Linear, on matrices, or empty. On values of another rank a Linear works on
// the last dimension and a batch norm does not.
std::string BatchNormBehind(const Workspace& workspace, const std::vector<LinearReader>& readers,
                            const Shapes& shapes) {
  std::string batch_norm;
  for (const LinearReader& reader : readers) {
    const Node& node = workspace.graph.nodes[reader.reader];
    const std::optional<std::vector<int64_t>>& input = shapes.at(workspace.graph.nodes[reader.linear].args[0]);
    if (node.op != Op::kCallModule || !workspace.IsFree(node.target)) return "";
    if (!std::holds_alternative<nn::BatchNorm1d>(*workspace.Find(node.target))) return "";
    if (!input || input->size() != 2) return "";
    if (!batch_norm.empty() && batch_norm != node.target) return "";
    batch_norm = node.target;
  }
  return batch_norm;
}

// k = weight / sqrt(running_var + eps): y -> k (y - running_mean) + bias.
ColumnTransform TransformOf(const nn::BatchNorm1d& batch_norm) {
  const nn::BatchNorm1dState& state = batch_norm.state();
  ColumnTransform transform = IdentityTransform(batch_norm.options().num_features);
  transform.moves_bias = true;
  for (size_t j = 0; j < transform.scale.size(); ++j) {
    transform.scale[j] = 1 / std::sqrt(state.running_var[j] + batch_norm.options().eps);
    transform.pre[j] = state.running_mean[j];
    if (!batch_norm.options().affine) continue;
    transform.scale[j] *= state.weight[j];
    transform.post[j] = state.bias[j];
  }
  return transform;
}

}  // namespace

absl::StatusOr<int64_t> FoldBatchNorm(Workspace& workspace) {
  EQAT_ASSIGN_OR_RETURN(const Shapes shapes, workspace.ForwardShapes());
  std::map<std::string, std::string> replaced_by;
  for (const auto& [linear, readers] : LinearsWithOneReader(workspace)) {
    const std::string name = BatchNormBehind(workspace, readers, shapes);
    if (name.empty()) continue;
    const auto& batch_norm = std::get<nn::BatchNorm1d>(*workspace.Find(name));
    const auto& options = std::get<nn::Linear>(*workspace.Find(linear)).options();
    if (!batch_norm.options().track_running_stats || batch_norm.options().num_features != options.out_features)
      continue;
    const std::string& node = workspace.graph.nodes[readers.front().linear].name;
    if (!FoldIntoLinear(workspace, linear, TransformOf(batch_norm), "fold-batch-norm", node)) continue;
    for (const LinearReader& reader : readers) {
      replaced_by.emplace(workspace.graph.nodes[reader.reader].name, workspace.graph.nodes[reader.linear].name);
    }
  }
  ReplaceReaders(workspace, replaced_by);
  return static_cast<int64_t>(replaced_by.size());
}

}  // namespace eqat::model
