// Arithmetic between two Tensors, element by element, with the broadcasting of torch: shapes are aligned at their last
// dimension, and a size of 1, or a dimension that one operand lacks, is repeated. Parallel; results do not depend on
// the number of threads. Follows torch.add, torch.sub, torch.mul and torch.true_divide.
//
//   Add([n, m], [m]) -> [n, m]     Mul([n, m], [n, 1]) -> [n, m]     Sub([n, m], []) -> [n, m]
#ifndef EQAT_FLOAT_MODULES_ELEMENTWISE_H_
#define EQAT_FLOAT_MODULES_ELEMENTWISE_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "core/tensor.h"

namespace eqat::nn {

// InvalidArgument for shapes that do not broadcast, ResourceExhausted for a result that overflows.
absl::StatusOr<Tensor> Add(const Tensor& a, const Tensor& b);
absl::StatusOr<Tensor> Sub(const Tensor& a, const Tensor& b);
absl::StatusOr<Tensor> Mul(const Tensor& a, const Tensor& b);
absl::StatusOr<Tensor> Div(const Tensor& a, const Tensor& b);

// Sums `grad` down to `shape`, from which it was broadcast, in double. The gradient of an operand.
Tensor ReduceTo(const Tensor& grad, absl::Span<const int64_t> shape);

}  // namespace eqat::nn

#endif  // EQAT_FLOAT_MODULES_ELEMENTWISE_H_
