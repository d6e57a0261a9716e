// What the functions of a graph compute, forward and backward. Internal to this folder.
#ifndef EQAT_MODEL_CALL_FUNCTION_H_
#define EQAT_MODEL_CALL_FUNCTION_H_

#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "core/tensor.h"
#include "model/graph.h"

namespace eqat::model {

// The value of a call_function node, from those of its arguments.
absl::StatusOr<Tensor> CallFunction(const Node& node, absl::Span<const Tensor* const> args);

// The gradients of its arguments. `value`: what CallFunction returned; `grad`: the gradient of that.
std::vector<Tensor> CallFunctionBackward(const Node& node, absl::Span<const Tensor* const> args, const Tensor& value,
                                         Tensor grad);

}  // namespace eqat::model

#endif  // EQAT_MODEL_CALL_FUNCTION_H_
