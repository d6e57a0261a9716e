// Element-wise and structural layers without parameters, forward and backward, as pure functions on Tensors: ReLU,
// Sigmoid, Dropout, cat, slice, flatten, interact_dot. Parallel; results do not depend on the number of threads.
#ifndef EQAT_FLOAT_MODULES_ACTIVATION_H_
#define EQAT_FLOAT_MODULES_ACTIVATION_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "core/rng.h"
#include "core/tensor.h"

namespace eqat::nn {

Tensor ReLU(const Tensor& x);
Tensor ReLUBackward(const Tensor& y, const Tensor& grad_output);  // passes where y > 0
Tensor Sigmoid(const Tensor& x);
Tensor SigmoidBackward(const Tensor& y, const Tensor& grad_output);  // g * y * (1 - y)

// Each element is zero with probability p, else x / (1 - p); element i draws position i of `rng`. 0 <= p <= 1.
Tensor Dropout(const Tensor& x, double p, const Rng& rng);
Tensor DropoutBackward(const Tensor& grad_output, double p, const Rng& rng);

// torch.cat along `dim` (negative counts from the end). InvalidArgument for shapes that do not fit.
absl::StatusOr<Tensor> Cat(absl::Span<const Tensor* const> inputs, int64_t dim);
std::vector<Tensor> CatBackward(absl::Span<const Tensor* const> inputs, int64_t dim, const Tensor& grad_output);

// x[start:end] along `dim`, as Python slices: negative positions count from the end, those outside are moved inside.
absl::StatusOr<Tensor> Slice(const Tensor& x, int64_t dim, int64_t start, int64_t end);
// `shape` is that of x.
Tensor SliceBackward(const std::vector<int64_t>& shape, int64_t dim, int64_t start, int64_t end,
                     const Tensor& grad_output);
struct SliceRange {
  int64_t begin = 0;
  int64_t end = 0;  // not before begin
};
// The positions of [0, size) that start:end picks.
SliceRange RangeOfSlice(int64_t size, int64_t start, int64_t end);

// torch.flatten(x, start_dim = 1).
absl::StatusOr<Tensor> Flatten(const Tensor& x, int64_t start_dim);

// DLRM's interaction (Naumov et al. 2019): features f_0 .. f_{F-1}, each [n, D], to the dot products f_i . f_j of all
// pairs i > j, [n, F (F - 1) / 2] in the order (1,0), (2,0), (2,1), (3,0), ... Needs at least two features.
absl::StatusOr<Tensor> InteractDot(absl::Span<const Tensor* const> features);
std::vector<Tensor> InteractDotBackward(absl::Span<const Tensor* const> features, const Tensor& grad_output);

}  // namespace eqat::nn

#endif  // EQAT_FLOAT_MODULES_ACTIVATION_H_
