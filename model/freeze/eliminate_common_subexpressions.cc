#include <tuple>

#include "absl/strings/string_view.h"
#include "model/freeze/passes.h"

namespace eqat::model {
namespace {

// What a node computes, but for the values of its arguments' nodes.
using Expression = std::tuple<Op, std::string, Function, std::vector<std::string>, int64_t, int64_t, int64_t>;

Expression ExpressionOf(const Node& node) {
  return {node.op, node.target, node.function, node.args, node.int_arg, node.start, node.end};
}

// Inputs are told apart by their names; a look-up that renormalizes what it reads must happen as often as it is said.
bool IsPure(const Workspace& workspace, const Node& node) {
  if (node.op == Op::kPlaceholder || node.op == Op::kOutput) return false;
  if (node.op != Op::kCallModule) return true;
  return std::visit(
      [](const auto& module) {
        using T = std::decay_t<decltype(module)>;
        if constexpr (kIsFloatTable<T> || kIsQat<T>) {
          return !module.options().max_norm.has_value();
        } else {
          return !std::is_same_v<T, Dropout>;
        }
      },
      *workspace.Find(node.target));
}

// Constants by content, bit for bit.
class ConstantPool {
 public:
  // The first module that holds the value of `module`.
  const std::string& Representative(const std::string& module, const Tensor& value) {
    const absl::string_view bytes(reinterpret_cast<const char*>(value.values.data()),
                                  value.values.size() * sizeof(float));
    return pool_.emplace(std::make_pair(value.shape, bytes), module).first->second;
  }

 private:
  std::map<std::pair<std::vector<int64_t>, absl::string_view>, std::string> pool_;
};

}  // namespace

absl::StatusOr<int64_t> EliminateCommonSubexpressions(Workspace& workspace) {
  ConstantPool pool;
  std::map<Expression, std::string> first;
  return Rewriter(workspace.graph).Run([&](Node& node) -> std::optional<std::string> {
    if (!IsPure(workspace, node)) return std::nullopt;
    if (const Tensor* value = workspace.ConstantOf(node)) node.target = pool.Representative(node.target, *value);
    const auto [it, inserted] = first.emplace(ExpressionOf(node), node.name);
    if (inserted) return std::nullopt;
    return it->second;
  });
}

}  // namespace eqat::model
