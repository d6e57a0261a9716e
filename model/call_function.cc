#include "model/call_function.h"

#include <utility>

#include "core/error.h"
#include "float_modules/activation.h"
#include "float_modules/elementwise.h"

namespace eqat::model {
namespace {

Tensor Negated(Tensor x) {
  for (float& value : x.values) value = -value;
  return x;
}

template <typename... Gradients>
std::vector<Tensor> ListOf(Gradients&&... gradients) {
  std::vector<Tensor> list;
  (list.push_back(std::forward<Gradients>(gradients)), ...);
  return list;
}

// The shapes of a backward fit: the forward has combined them.
std::vector<Tensor> MulBackward(const Tensor& a, const Tensor& b, const Tensor& grad) {
  return ListOf(nn::ReduceTo(*nn::Mul(grad, b), a.shape), nn::ReduceTo(*nn::Mul(grad, a), b.shape));
}

// torch's order of the operations: -grad * ((a / b) / b).
std::vector<Tensor> DivBackward(const Tensor& a, const Tensor& b, const Tensor& value, const Tensor& grad) {
  return ListOf(nn::ReduceTo(*nn::Div(grad, b), a.shape),
                nn::ReduceTo(*nn::Mul(Negated(grad), *nn::Div(value, b)), b.shape));
}

}  // namespace

absl::StatusOr<Tensor> CallFunction(const Node& node, absl::Span<const Tensor* const> args) {
  switch (node.function) {
    case Function::kCat:
      return nn::Cat(args, node.int_arg);
    case Function::kInteractDot:
      return nn::InteractDot(args);
    case Function::kAdd:
      return nn::Add(*args[0], *args[1]);
    case Function::kSub:
      return nn::Sub(*args[0], *args[1]);
    case Function::kMul:
      return nn::Mul(*args[0], *args[1]);
    case Function::kDiv:
      return nn::Div(*args[0], *args[1]);
    case Function::kReLU:
      return nn::ReLU(*args[0]);
    case Function::kSigmoid:
      return nn::Sigmoid(*args[0]);
    case Function::kFlatten:
      return nn::Flatten(*args[0], node.int_arg);
    case Function::kSlice:
      return nn::Slice(*args[0], node.int_arg, node.start, node.end);
  }
  return Unimplemented(node.name, "unknown function");
}

std::vector<Tensor> CallFunctionBackward(const Node& node, absl::Span<const Tensor* const> args, const Tensor& value,
                                         Tensor grad) {
  switch (node.function) {
    case Function::kCat:
      return nn::CatBackward(args, node.int_arg, grad);
    case Function::kInteractDot:
      return nn::InteractDotBackward(args, grad);
    case Function::kAdd:
      return ListOf(nn::ReduceTo(grad, args[0]->shape), nn::ReduceTo(grad, args[1]->shape));
    case Function::kSub:
      return ListOf(nn::ReduceTo(grad, args[0]->shape), Negated(nn::ReduceTo(grad, args[1]->shape)));
    case Function::kMul:
      return MulBackward(*args[0], *args[1], grad);
    case Function::kDiv:
      return DivBackward(*args[0], *args[1], value, grad);
    case Function::kReLU:
      return ListOf(nn::ReLUBackward(value, grad));
    case Function::kSigmoid:
      return ListOf(nn::SigmoidBackward(value, grad));
    case Function::kFlatten:
      grad.shape = args[0]->shape;
      return ListOf(std::move(grad));
    case Function::kSlice:
      return ListOf(nn::SliceBackward(args[0]->shape, node.int_arg, node.start, node.end, grad));
  }
  return {};
}

}  // namespace eqat::model
