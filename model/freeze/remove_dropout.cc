#include "model/freeze/passes.h"

namespace eqat::model {

absl::StatusOr<int64_t> RemoveDropout(Workspace& workspace) {
  return Rewriter(workspace.graph).Run([&](Node& node) -> std::optional<std::string> {
    if (node.op != Op::kCallModule || !workspace.IsFree(node.target)) return std::nullopt;
    if (!std::holds_alternative<Dropout>(*workspace.Find(node.target))) return std::nullopt;
    return node.args[0];
  });
}

}  // namespace eqat::model
