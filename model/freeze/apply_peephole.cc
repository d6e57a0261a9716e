#include <algorithm>
#include <bit>
#include <cmath>
#include <utility>

#include "core/checked_math.h"
#include "core/status_macros.h"
#include "float_modules/activation.h"
#include "model/freeze/passes.h"

namespace eqat::model {
namespace {

// What all values of a node share, as far as bits tell them apart.
struct ValueFacts {
  bool is_quiet = false;              // no signaling NaN: arithmetic would change its bits, copies do not
  bool has_no_negative_zero = false;  // x + 0 would make it positive
};

ValueFacts FactsOfTensor(const Tensor& tensor) {
  const auto is_signaling = [](float value) {
    return std::isnan(value) && (std::bit_cast<uint32_t>(value) & 0x00400000u) == 0;
  };
  const auto is_negative_zero = [](float value) { return value == 0 && std::signbit(value); };
  return {std::none_of(tensor.values.begin(), tensor.values.end(), is_signaling),
          std::none_of(tensor.values.begin(), tensor.values.end(), is_negative_zero)};
}

ValueFacts FactsOfModule(const Module& module, const ValueFacts& input) {
  if (std::holds_alternative<Dropout>(module)) return input;
  if (std::holds_alternative<ReLU>(module)) return {input.is_quiet, true};
  if (const auto* bag = std::get_if<nn::EmbeddingBag>(&module)) {
    return {bag->options().mode != PoolMode::kMax, false};  // a maximum is a copy
  }
  const bool is_copy = IsFloatTable(module) || IsQat(module);
  return {!is_copy, std::holds_alternative<Sigmoid>(module)};
}

ValueFacts FactsOfFunction(Function function, const std::vector<ValueFacts>& args) {
  const auto all = [&](bool ValueFacts::*fact) {
    return std::all_of(args.begin(), args.end(), [&](const ValueFacts& arg) { return arg.*fact; });
  };
  switch (function) {
    case Function::kCat:
    case Function::kFlatten:
    case Function::kSlice:
      return {all(&ValueFacts::is_quiet), all(&ValueFacts::has_no_negative_zero)};
    case Function::kReLU:  // makes 0 of every zero and copies the rest
      return {all(&ValueFacts::is_quiet), true};
    case Function::kSigmoid:
      return {true, true};
    case Function::kAdd:  // -0 only from two of them
      return {true, args[0].has_no_negative_zero || args[1].has_no_negative_zero};
    case Function::kInteractDot:
    case Function::kSub:
    case Function::kMul:
    case Function::kDiv:
      return {true, false};
  }
  return {};
}

class Peephole {
 public:
  Peephole(Workspace& workspace, const Shapes& shapes)
      : workspace_(workspace), shapes_(shapes), rewriter_(workspace.graph) {}

  int64_t Run() {
    const int64_t replaced = rewriter_.Run([this](Node& node) {
      std::optional<std::string> same = node.op == Op::kCallFunction ? Visit(node) : std::nullopt;
      if (!same) facts_[node.name] = FactsOf(node);
      return same;
    });
    return replaced + changed_;
  }

 private:
  using Same = std::optional<std::string>;
  using Sizes = std::vector<int64_t>;

  ValueFacts FactsOf(const Node& node) const {
    if (node.op == Op::kPlaceholder) return {};
    if (node.op == Op::kGetAttr) {
      const Tensor* constant = workspace_.ConstantOf(node);
      return constant != nullptr ? FactsOfTensor(*constant) : ValueFacts{};
    }
    if (node.op == Op::kCallModule) return FactsOfModule(*workspace_.Find(node.target), facts_.at(node.args[0]));
    std::vector<ValueFacts> args;
    for (const std::string& arg : node.args) args.push_back(facts_.at(arg));
    return node.op == Op::kOutput ? args[0] : FactsOfFunction(node.function, args);
  }

  const std::optional<Sizes>& ShapeOf(const std::string& node) const {
    static const auto& unknown = *new std::optional<Sizes>();
    const auto it = shapes_.find(node);
    return it == shapes_.end() ? unknown : it->second;
  }

  // The node that made argument `arg`, if it is a call of `function`.
  const Node* EarlierCall(const std::string& arg, Function function) const {
    const Node& earlier = rewriter_.Earlier(arg);
    return earlier.op == Op::kCallFunction && earlier.function == function ? &earlier : nullptr;
  }

  Same Visit(Node& node) {
    switch (node.function) {
      case Function::kReLU:
        if (EarlierCall(node.args[0], Function::kReLU) || EarlierCall(node.args[0], Function::kSigmoid)) {
          return node.args[0];
        }
        return std::nullopt;
      case Function::kCat:
        return VisitCat(node);
      case Function::kFlatten:
        return VisitFlatten(node);
      case Function::kSlice:
        return VisitSlice(node);
      case Function::kAdd:
        return DropNeutral(node, 0, 1) ? Same(node.args[0]) : DropNeutral(node, 1, 0) ? Same(node.args[1]) : Same();
      case Function::kMul:
        return DropNeutral(node, 0, 1) ? Same(node.args[0]) : DropNeutral(node, 1, 0) ? Same(node.args[1]) : Same();
      case Function::kSub:
      case Function::kDiv:
        return DropNeutral(node, 0, 1) ? Same(node.args[0]) : Same();
      case Function::kSigmoid:
      case Function::kInteractDot:
        return std::nullopt;
    }
    return std::nullopt;
  }

  // Whether combining argument `kept` with `constant` leaves every bit of it, and its shape, as it is.
  bool DropNeutral(const Node& node, size_t kept, size_t constant) const {
    const Tensor* value = workspace_.ConstantOf(rewriter_.Earlier(node.args[constant]));
    const std::optional<Sizes>& shape = ShapeOf(node.args[kept]);
    const ValueFacts& facts = facts_.at(node.args[kept]);
    return value != nullptr && shape && facts.is_quiet && Repeats(value->shape, *shape) &&
           std::all_of(value->values.begin(), value->values.end(),
                       [&](float v) { return IsNeutral(node.function, v, facts.has_no_negative_zero); });
  }

  // x - 0 and x + -0 are x for every x; x + 0 and x - -0 make -0 positive.
  static bool IsNeutral(Function function, float value, bool has_no_negative_zero) {
    switch (function) {
      case Function::kAdd:
        return value == 0 && (std::signbit(value) || has_no_negative_zero);
      case Function::kSub:
        return value == 0 && (!std::signbit(value) || has_no_negative_zero);
      default:
        return value == 1;
    }
  }

  // Whether a constant of shape `from` is repeated to `to` without changing it.
  static bool Repeats(const Sizes& from, const Sizes& to) {
    if (from.size() > to.size()) return false;
    for (size_t i = 1; i <= from.size(); ++i) {
      const int64_t size = from[from.size() - i];
      if (size != 1 && size != to[to.size() - i]) return false;
    }
    return true;
  }

  Same VisitCat(Node& node) {
    MergeAdjacentSlices(node);
    if (node.args.size() != 1 || !DimFromFront(node.int_arg, ShapeOf(node.args[0]))) return std::nullopt;
    return node.args[0];
  }

  // x[a:b], x[b:c] -> x[a:c], among the arguments of a cat along the sliced dimension.
  void MergeAdjacentSlices(Node& cat) {
    std::vector<std::string> merged;
    for (const std::string& arg : cat.args) {
      if (!merged.empty()) {
        if (std::optional<Node> slice = Merged(cat, merged.back(), arg)) {
          merged.back() = rewriter_.Insert(*std::move(slice));
          facts_[merged.back()] = facts_.at(arg);
          ++changed_;
          continue;
        }
      }
      merged.push_back(arg);
    }
    cat.args = std::move(merged);
  }

  std::optional<Node> Merged(const Node& cat, const std::string& left, const std::string& right) const {
    const Node* first = EarlierCall(left, Function::kSlice);
    const Node* second = EarlierCall(right, Function::kSlice);
    if (first == nullptr || second == nullptr || first->args != second->args || first->start < 0) return std::nullopt;
    if (first->end != second->start || first->end < first->start || second->end < second->start) return std::nullopt;
    const std::optional<Sizes>& shape = ShapeOf(first->args[0]);
    const std::optional<int64_t> dim = DimFromFront(cat.int_arg, shape);
    if (!dim || dim != DimFromFront(first->int_arg, shape) || dim != DimFromFront(second->int_arg, shape)) {
      return std::nullopt;
    }
    Node slice = *first;
    slice.name = cat.name + "_slice";
    slice.end = second->end;
    return slice;
  }

  Same VisitFlatten(Node& node) {
    const std::optional<Sizes>& shape = ShapeOf(node.args[0]);
    const std::optional<int64_t> dim = DimFromFront(node.int_arg, shape);
    if (dim && *dim + 1 == static_cast<int64_t>(shape->size())) return node.args[0];
    // Flattening from an earlier dimension undoes nothing of the first.
    const Node* inner = EarlierCall(node.args[0], Function::kFlatten);
    if (inner != nullptr && node.int_arg >= 0 && inner->int_arg >= node.int_arg) {
      node.args = inner->args;
      ++changed_;
    }
    return std::nullopt;
  }

  Same VisitSlice(Node& node) {
    const std::optional<Sizes>& shape = ShapeOf(node.args[0]);
    const std::optional<int64_t> dim = DimFromFront(node.int_arg, shape);
    if (!dim) return std::nullopt;
    const int64_t size = (*shape)[*dim];
    if (size != kAnySize) {
      const nn::SliceRange range = nn::RangeOfSlice(size, node.start, node.end);
      if (range.begin == 0 && range.end == size) return node.args[0];
      changed_ += node.start != range.begin || node.end != range.end ? 1 : 0;
      node.start = range.begin;
      node.end = range.end;
    }
    if (node.start == 0 && node.end == kToTheEnd) return node.args[0];
    SliceOfSlice(node, *dim);
    return std::nullopt;
  }

  // x[a:b][c:d] -> x[a + c : min(b, a + d)]
  void SliceOfSlice(Node& node, int64_t dim) {
    const Node* inner = EarlierCall(node.args[0], Function::kSlice);
    if (inner == nullptr || inner->start < 0 || inner->end < 0 || node.start < 0 || node.end < 0) return;
    if (DimFromFront(inner->int_arg, ShapeOf(inner->args[0])) != dim) return;
    const std::optional<int64_t> start = CheckedAdd(inner->start, node.start);
    if (!start) return;
    node.start = *start;
    node.end = std::min(inner->end, CheckedAdd(inner->start, node.end).value_or(kToTheEnd));
    node.args = inner->args;
    ++changed_;
  }

  Workspace& workspace_;
  const Shapes& shapes_;
  Rewriter rewriter_;
  std::map<std::string, ValueFacts> facts_;
  int64_t changed_ = 0;
};

}  // namespace

absl::StatusOr<int64_t> ApplyPeephole(Workspace& workspace) {
  EQAT_ASSIGN_OR_RETURN(const Shapes shapes, workspace.ForwardShapes());
  return Peephole(workspace, shapes).Run();
}

}  // namespace eqat::model
