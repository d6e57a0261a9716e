#include "float_modules/activation.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <functional>
#include <iterator>
#include <numeric>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/checked_math.h"
#include "core/error.h"
#include "core/parallel_for.h"
#include "core/status_macros.h"
#include "float_modules/interaction_kernels.h"

namespace eqat::nn {
namespace {

constexpr int64_t kActivationElements = 16384;
constexpr int64_t kActivationRows = 16;

// A tensor of `shape` whose element i is element(i).
template <typename Element>
Tensor Generate(const std::vector<int64_t>& shape, Element element) {
  Tensor y(shape);
  ParallelFor(y.size(), kActivationElements, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) y.values[i] = element(i);
  });
  return y;
}

float KeepScale(double p) { return p < 1 ? static_cast<float>(1 / (1 - p)) : 0.0f; }

int64_t Product(absl::Span<const int64_t> extents) {
  return std::accumulate(extents.begin(), extents.end(), int64_t{1}, std::multiplies<int64_t>());
}

// `dim` counted from the front.
absl::StatusOr<int64_t> WrapDim(int64_t dim, int64_t rank, absl::string_view where) {
  const int64_t dims = std::max<int64_t>(rank, 1);  // a scalar counts as one-dimensional, as in torch
  if (dim >= -dims && dim < dims) return dim < 0 ? dim + dims : dim;
  return OutOfRange(where, "dimension out of range", absl::StrCat(dim), absl::StrCat(-dims, " to ", dims - 1));
}

// One input of a cat is [outer, extent * inner], and takes columns [begin, begin + extent * inner) of the result.
struct CatLayout {
  int64_t outer = 1;
  int64_t inner = 1;
  std::vector<int64_t> shape;   // of the result
  std::vector<int64_t> begins;  // [inputs + 1]
};

CatLayout LayoutOf(absl::Span<const Tensor* const> inputs, int64_t dim) {
  CatLayout layout;
  layout.shape = inputs[0]->shape;
  layout.outer = Product(absl::MakeConstSpan(layout.shape).first(dim));
  layout.inner = Product(absl::MakeConstSpan(layout.shape).subspan(dim + 1));
  layout.begins.push_back(0);
  layout.shape[dim] = 0;
  for (const Tensor* const input : inputs) {
    layout.shape[dim] += input->shape[dim];
    layout.begins.push_back(layout.begins.back() + input->shape[dim] * layout.inner);
  }
  return layout;
}

absl::Status CheckCat(absl::Span<const Tensor* const> inputs, int64_t dim) {
  const std::vector<int64_t>& first = inputs[0]->shape;
  int64_t size = 0;
  for (size_t i = 0; i < inputs.size(); ++i) {
    std::vector<int64_t> shape = inputs[i]->shape;
    if (shape.size() == first.size()) shape[dim] = first[dim];
    if (shape != first) {
      return InvalidArgument("cat", absl::StrCat("input ", i, " does not fit input 0 outside dimension ", dim),
                             ShapeText(inputs[i]->shape), ShapeText(first));
    }
    const std::optional<int64_t> sum = CheckedAdd(size, inputs[i]->size());
    if (!sum.has_value()) return ResourceExhausted("cat", "the result is too large");
    size = *sum;
  }
  return absl::OkStatus();
}

absl::Status CheckFeatures(absl::Span<const Tensor* const> features) {
  if (features.size() < 2) {
    return InvalidArgument("interact_dot", "there is nothing to interact", absl::StrCat(features.size(), " features"),
                           "at least 2");
  }
  for (size_t i = 0; i < features.size(); ++i) {
    if (features[i]->rank() != 2) {
      return InvalidArgument("interact_dot", absl::StrCat("feature ", i, " is not a matrix"),
                             ShapeText(features[i]->shape), "[n, dim]");
    }
    if (features[i]->shape != features[0]->shape) {
      return InvalidArgument("interact_dot", absl::StrCat("feature ", i, " differs in shape from feature 0"),
                             ShapeText(features[i]->shape), ShapeText(features[0]->shape));
    }
  }
  return absl::OkStatus();
}

std::vector<const float*> ValuesOf(absl::Span<const Tensor* const> tensors) {
  std::vector<const float*> values;
  for (const Tensor* const tensor : tensors) values.push_back(tensor->values.data());
  return values;
}

}  // namespace

Tensor ReLU(const Tensor& x) {
  // Not std::max: NaN stays NaN.
  return Generate(x.shape, [&](int64_t i) { return x.values[i] <= 0 ? 0.0f : x.values[i]; });
}

Tensor ReLUBackward(const Tensor& y, const Tensor& grad_output) {
  assert(y.shape == grad_output.shape);
  // The gradient is read whether or not it counts: otherwise a branch that nobody can predict decides.
  return Generate(y.shape, [&](int64_t i) {
    const float grad = grad_output.values[i];
    return y.values[i] <= 0 ? 0.0f : grad;
  });
}

Tensor Sigmoid(const Tensor& x) {
  return Generate(x.shape,
                  [&](int64_t i) { return static_cast<float>(1 / (1 + std::exp(-static_cast<double>(x.values[i])))); });
}

Tensor SigmoidBackward(const Tensor& y, const Tensor& grad_output) {
  assert(y.shape == grad_output.shape);
  return Generate(y.shape, [&](int64_t i) { return grad_output.values[i] * y.values[i] * (1 - y.values[i]); });
}

Tensor Dropout(const Tensor& x, double p, const Rng& rng) {
  assert(p >= 0 && p <= 1);
  const float scale = KeepScale(p);
  return Generate(x.shape, [&](int64_t i) { return rng.Uniform(i) < p ? 0.0f : x.values[i] * scale; });
}

Tensor DropoutBackward(const Tensor& grad_output, double p, const Rng& rng) { return Dropout(grad_output, p, rng); }

absl::StatusOr<Tensor> Cat(absl::Span<const Tensor* const> inputs, int64_t dim) {
  if (inputs.empty()) return InvalidArgument("cat", "there is nothing to concatenate", "0 inputs", "at least 1");
  if (inputs[0]->rank() == 0) return InvalidArgument("cat", "scalars cannot be concatenated", "[]");
  EQAT_ASSIGN_OR_RETURN(dim, WrapDim(dim, inputs[0]->rank(), "cat"));
  EQAT_RETURN_IF_ERROR(CheckCat(inputs, dim));
  const CatLayout layout = LayoutOf(inputs, dim);
  const int64_t width = layout.begins.back();
  Tensor y(layout.shape);
  ParallelFor(layout.outer, kActivationRows, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      for (size_t i = 0; i < inputs.size(); ++i) {
        const int64_t length = layout.begins[i + 1] - layout.begins[i];
        std::copy_n(inputs[i]->values.data() + row * length, length, y.values.data() + row * width + layout.begins[i]);
      }
    }
  });
  return y;
}

std::vector<Tensor> CatBackward(absl::Span<const Tensor* const> inputs, int64_t dim, const Tensor& grad_output) {
  const CatLayout layout = LayoutOf(inputs, dim < 0 ? dim + inputs[0]->rank() : dim);
  assert(grad_output.shape == layout.shape);
  const int64_t width = layout.begins.back();
  std::vector<Tensor> gradients;
  for (const Tensor* const input : inputs) gradients.emplace_back(input->shape);
  ParallelFor(layout.outer, kActivationRows, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      for (size_t i = 0; i < inputs.size(); ++i) {
        const int64_t length = layout.begins[i + 1] - layout.begins[i];
        std::copy_n(grad_output.values.data() + row * width + layout.begins[i], length,
                    gradients[i].values.data() + row * length);
      }
    }
  });
  return gradients;
}

namespace {

// x as [outer, size, inner] around dimension `dim`.
struct DimLayout {
  int64_t outer = 1, size = 1, inner = 1;
};

DimLayout LayoutAround(const std::vector<int64_t>& shape, int64_t dim) {
  return {Product(absl::MakeConstSpan(shape).first(dim)), shape[dim],
          Product(absl::MakeConstSpan(shape).subspan(dim + 1))};
}

}  // namespace

SliceRange RangeOfSlice(int64_t size, int64_t start, int64_t end) {
  const auto inside = [size](int64_t position) {
    return std::clamp<int64_t>(position < 0 ? position + size : position, 0, size);
  };
  const int64_t begin = inside(start);
  return {begin, std::max(begin, inside(end))};
}

absl::StatusOr<Tensor> Slice(const Tensor& x, int64_t dim, int64_t start, int64_t end) {
  if (x.rank() == 0) return InvalidArgument("slice", "scalars cannot be sliced", "[]");
  EQAT_ASSIGN_OR_RETURN(dim, WrapDim(dim, x.rank(), "slice"));
  const DimLayout layout = LayoutAround(x.shape, dim);
  const SliceRange range = RangeOfSlice(layout.size, start, end);
  std::vector<int64_t> shape = x.shape;
  shape[dim] = range.end - range.begin;
  Tensor y(std::move(shape));
  const int64_t length = (range.end - range.begin) * layout.inner;
  ParallelFor(layout.outer, kActivationRows, [&](int64_t begin, int64_t last) {
    for (int64_t row = begin; row < last; ++row) {
      std::copy_n(x.values.data() + (row * layout.size + range.begin) * layout.inner, length,
                  y.values.data() + row * length);
    }
  });
  return y;
}

Tensor SliceBackward(const std::vector<int64_t>& shape, int64_t dim, int64_t start, int64_t end,
                     const Tensor& grad_output) {
  const DimLayout layout = LayoutAround(shape, dim < 0 ? dim + static_cast<int64_t>(shape.size()) : dim);
  const SliceRange range = RangeOfSlice(layout.size, start, end);
  const int64_t length = (range.end - range.begin) * layout.inner;
  assert(grad_output.size() == layout.outer * length);
  Tensor gradient(shape);
  ParallelFor(layout.outer, kActivationRows, [&](int64_t begin, int64_t last) {
    for (int64_t row = begin; row < last; ++row) {
      std::copy_n(grad_output.values.data() + row * length, length,
                  gradient.values.data() + (row * layout.size + range.begin) * layout.inner);
    }
  });
  return gradient;
}

absl::StatusOr<Tensor> Flatten(const Tensor& x, int64_t start_dim) {
  EQAT_ASSIGN_OR_RETURN(start_dim, WrapDim(start_dim, x.rank(), "flatten"));
  Tensor y;
  y.shape.assign(x.shape.begin(), x.shape.begin() + std::min(start_dim, x.rank()));
  y.shape.push_back(Product(absl::MakeConstSpan(x.shape).subspan(y.shape.size())));
  y.values = x.values;
  return y;
}

absl::StatusOr<Tensor> InteractDot(absl::Span<const Tensor* const> features) {
  EQAT_RETURN_IF_ERROR(CheckFeatures(features));
  const int64_t count = static_cast<int64_t>(features.size());
  const int64_t rows = features[0]->shape[0];
  const int64_t dim = features[0]->shape[1];
  Tensor y({rows, count * (count - 1) / 2});
  const std::vector<const float*> values = ValuesOf(features);
  ParallelFor(rows, kInteractionRows,
              [&](int64_t begin, int64_t end) { InteractRows(values, dim, begin, end, y.values.data()); });
  return y;
}

std::vector<Tensor> InteractDotBackward(absl::Span<const Tensor* const> features, const Tensor& grad_output) {
  const int64_t dim = features[0]->shape[1];
  assert(grad_output.rank() == 2 && grad_output.shape[1] == std::ssize(features) * (std::ssize(features) - 1) / 2);
  std::vector<Tensor> gradients;
  std::vector<float*> gradient_values;
  for (const Tensor* const feature : features) gradients.emplace_back(feature->shape);
  for (Tensor& gradient : gradients) gradient_values.push_back(gradient.values.data());
  const std::vector<const float*> values = ValuesOf(features);
  ParallelFor(features[0]->shape[0], kInteractionRows, [&](int64_t begin, int64_t end) {
    InteractRowsBackward(values, dim, grad_output.values.data(), begin, end, gradient_values);
  });
  return gradients;
}

}  // namespace eqat::nn
