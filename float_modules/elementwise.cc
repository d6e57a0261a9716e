#include "float_modules/elementwise.h"

#include <algorithm>
#include <cassert>
#include <functional>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/checked_math.h"
#include "core/error.h"
#include "core/parallel_for.h"
#include "core/status_macros.h"

namespace eqat::nn {
namespace {

constexpr int64_t kElementBlock = 16384;

// Size of dimension `from_end` (0: the last) of `shape`; 1 where it has none.
int64_t SizeAt(absl::Span<const int64_t> shape, size_t from_end) {
  return from_end < shape.size() ? shape[shape.size() - 1 - from_end] : 1;
}

absl::StatusOr<std::vector<int64_t>> BroadcastShape(const Tensor& a, const Tensor& b, absl::string_view where) {
  std::vector<int64_t> shape(std::max(a.shape.size(), b.shape.size()));
  std::optional<int64_t> size = 1;
  for (size_t i = 0; i < shape.size(); ++i) {
    const int64_t in_a = SizeAt(a.shape, i), in_b = SizeAt(b.shape, i);
    if (in_a != in_b && in_a != 1 && in_b != 1) {
      return InvalidArgument(where, "operands differ in shape",
                             absl::StrCat(ShapeText(a.shape), " and ", ShapeText(b.shape)),
                             "equal sizes, or 1, in every dimension counted from the last");
    }
    const int64_t extent = in_a == 1 ? in_b : in_a;
    shape[shape.size() - 1 - i] = extent;
    if (size) size = CheckedMul(*size, extent);
  }
  if (!size) return ResourceExhausted(where, "the result is too large", ShapeText(shape));
  return shape;
}

// Where an operand of shape `from` lies under a result of shape `to`: row r (all but the last dimension) begins at
// element BeginOfRow(r), and column c is `column_step` * c behind it.
class BroadcastLayout {
 public:
  BroadcastLayout(absl::Span<const int64_t> from, absl::Span<const int64_t> to) {
    column_step_ = SizeAt(from, 0) == 1 ? 0 : 1;
    int64_t stride = SizeAt(from, 0);
    for (size_t i = 1; i < to.size(); ++i) {
      sizes_.push_back(SizeAt(to, i));
      strides_.push_back(SizeAt(from, i) == 1 ? 0 : stride);
      stride *= SizeAt(from, i);
    }
  }

  int64_t column_step() const { return column_step_; }
  int64_t BeginOfRow(int64_t row) const {
    int64_t begin = 0;
    for (size_t i = 0; i < sizes_.size(); ++i) {
      begin += row % sizes_[i] * strides_[i];
      row /= sizes_[i];
    }
    return begin;
  }

 private:
  int64_t column_step_ = 0;
  std::vector<int64_t> sizes_, strides_;  // from the last but one dimension to the first
};

template <typename Combine>
void CombineRow(const float* a, int64_t a_step, const float* b, int64_t b_step, int64_t cols, Combine combine,
                float* out) {
  for (int64_t c = 0; c < cols; ++c) out[c] = combine(a[c * a_step], b[c * b_step]);
}

template <typename Combine>
absl::StatusOr<Tensor> Elementwise(const Tensor& a, const Tensor& b, absl::string_view where, Combine combine) {
  EQAT_ASSIGN_OR_RETURN(std::vector<int64_t> shape, BroadcastShape(a, b, where));
  Tensor y(std::move(shape));
  if (y.size() == 0) return y;
  if (a.shape == b.shape) {
    ParallelFor(y.size(), kElementBlock, [&](int64_t begin, int64_t end) {
      CombineRow(a.values.data() + begin, 1, b.values.data() + begin, 1, end - begin, combine, y.values.data() + begin);
    });
    return y;
  }
  const BroadcastLayout a_layout(a.shape, y.shape), b_layout(b.shape, y.shape);
  const int64_t cols = SizeAt(y.shape, 0);
  ParallelFor(y.size() / cols, std::max<int64_t>(1, kElementBlock / cols), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      CombineRow(a.values.data() + a_layout.BeginOfRow(row), a_layout.column_step(),
                 b.values.data() + b_layout.BeginOfRow(row), b_layout.column_step(), cols, combine,
                 y.values.data() + row * cols);
    }
  });
  return y;
}

}  // namespace

absl::StatusOr<Tensor> Add(const Tensor& a, const Tensor& b) { return Elementwise(a, b, "add", std::plus<float>()); }
absl::StatusOr<Tensor> Sub(const Tensor& a, const Tensor& b) { return Elementwise(a, b, "sub", std::minus<float>()); }
absl::StatusOr<Tensor> Mul(const Tensor& a, const Tensor& b) {
  return Elementwise(a, b, "mul", std::multiplies<float>());
}
absl::StatusOr<Tensor> Div(const Tensor& a, const Tensor& b) { return Elementwise(a, b, "div", std::divides<float>()); }

Tensor ReduceTo(const Tensor& grad, absl::Span<const int64_t> shape) {
  if (absl::MakeConstSpan(grad.shape) == shape) return grad;
  Tensor reduced({shape.begin(), shape.end()});
  if (grad.size() == 0) return reduced;
  std::vector<double> sums(reduced.values.size());
  const BroadcastLayout layout(shape, grad.shape);
  const int64_t cols = SizeAt(grad.shape, 0);
  for (int64_t row = 0; row < grad.size() / cols; ++row) {
    const int64_t begin = layout.BeginOfRow(row);
    for (int64_t c = 0; c < cols; ++c) sums[begin + c * layout.column_step()] += grad.values[row * cols + c];
  }
  std::transform(sums.begin(), sums.end(), reduced.values.begin(), [](double sum) { return static_cast<float>(sum); });
  return reduced;
}

}  // namespace eqat::nn
