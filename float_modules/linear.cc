// One thread per product: ParallelFor does the threading, over blocks that do not depend on the number of threads.
#define EIGEN_DONT_PARALLELIZE
#include "float_modules/linear.h"

#include <Eigen/Core>
#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/error.h"
#include "core/parallel_for.h"
#include "core/rng.h"
#include "core/status_macros.h"
#include "float_modules/product_kernels.h"

namespace eqat::nn {
namespace {

using Matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using MatrixView = Eigen::Map<const Matrix, Eigen::Unaligned, Eigen::OuterStride<>>;
using MutableMatrixView = Eigen::Map<Matrix, Eigen::Unaligned, Eigen::OuterStride<>>;

// MultiplyInOrder makes the columns in whole groups of this many, Eigen the rest.
constexpr int64_t kColumnGroup = 8;
// Eigen sums in an order that depends on the shape of the product, and on a row's place only when the number of rows is
// not a multiple of four. Products of this many rows, padded with zeros, give every row the same order. It cuts sums
// longer than kDepthBlock by the size of the machine's caches; cut to that length, they stay whole from 16 KiB on.
constexpr int64_t kProductRows = 32;
constexpr int64_t kUnitBlock = 32;
constexpr int64_t kUniformElements = 16384;

MatrixView ViewOf(TableView view) {
  return MatrixView(view.data, view.rows, view.cols, Eigen::OuterStride<>(view.stride));
}

MutableMatrixView ViewOf(MutableTableView view) {
  return MutableMatrixView(view.data, view.rows, view.cols, Eigen::OuterStride<>(view.stride));
}

TableView RowsOf(TableView view, int64_t begin, int64_t end) {
  return TableView(view.Row(begin), end - begin, view.cols, view.stride);
}

MutableTableView RowsOf(MutableTableView view, int64_t begin, int64_t end) {
  return MutableTableView(view.Row(begin), end - begin, view.cols, view.stride);
}

// product = left * right
template <typename Left, typename Right>
void Multiply(const Left& left, const Right& right, MutableMatrixView product) {
  product.setZero();
  for (int64_t begin = 0; begin < left.cols(); begin += kDepthBlock) {
    const int64_t depth = std::min<int64_t>(kDepthBlock, left.cols() - begin);
    product.noalias() += left.middleCols(begin, depth) * right.middleRows(begin, depth);
  }
}

TableView ColsOf(TableView view, int64_t begin) {
  return TableView(view.data + begin, view.rows, view.cols - begin, view.stride);
}

MutableTableView ColsOf(MutableTableView view, int64_t begin) {
  return MutableTableView(view.data + begin, view.rows, view.cols - begin, view.stride);
}

int64_t GroupedCols(int64_t cols) { return cols - cols % kColumnGroup; }

// Where Eigen has to start for the columns that are in no group: one group earlier, since the order of its sums is
// another for products of few columns.
int64_t FirstColForEigen(int64_t cols) { return std::max<int64_t>(0, GroupedCols(cols) - kColumnGroup); }

// y = x * right for at most kProductRows rows.
void MultiplyPadded(TableView x, TableView right, MutableTableView y) {
  if (x.rows == kProductRows) return Multiply(ViewOf(x), ViewOf(right), ViewOf(y));
  Matrix padded = Matrix::Zero(kProductRows, x.cols);
  padded.topRows(x.rows) = ViewOf(x);
  Matrix product(kProductRows, y.cols);
  Multiply(padded, ViewOf(right), ViewOf(MutableTableView(product.data(), kProductRows, y.cols)));
  ViewOf(y) = product.topRows(x.rows);
}

// y = x * right, in blocks of kProductRows rows.
void MultiplyRows(TableView x, TableView right, MutableTableView y) {
  const int64_t grouped = GroupedCols(y.cols);
  const int64_t rest = FirstColForEigen(y.cols);
  ParallelFor(x.rows, kProductRows, [&](int64_t begin, int64_t end) {
    const TableView block = RowsOf(x, begin, end);
    const MutableTableView product = RowsOf(y, begin, end);
    if (grouped < y.cols) MultiplyPadded(block, ColsOf(right, rest), ColsOf(product, rest));
    if (grouped > 0) MultiplyInOrder({block.data, block.stride, 1}, right, grouped, product);
  });
}

// Eigen has other orders for vectors and for products of the smallest sizes: those stay with it as a whole.
bool IsTiny(int64_t units, int64_t depth) {
  constexpr int64_t kSmallest = 12;
  const int64_t last_stretch = depth - (depth - 1) / kDepthBlock * kDepthBlock;
  return units == 1 || units + last_stretch < kSmallest;
}

// [grad_output.cols, x.cols] = grad_output^T x, in blocks of output units.
void MultiplyUnits(TableView grad_output, TableView x, MutableTableView grad_weight) {
  ParallelFor(grad_output.cols, kUnitBlock, [&](int64_t begin, int64_t end) {
    const int64_t grouped = IsTiny(end - begin, x.rows) ? 0 : GroupedCols(x.cols);
    const int64_t rest = grouped == 0 ? 0 : FirstColForEigen(x.cols);
    const MutableTableView product = RowsOf(grad_weight, begin, end);
    if (grouped < x.cols) {
      Multiply(ViewOf(grad_output).middleCols(begin, end - begin).transpose(), ViewOf(ColsOf(x, rest)),
               ViewOf(ColsOf(product, rest)));
    }
    if (grouped > 0) MultiplyInOrder({grad_output.data + begin, 1, grad_output.stride}, x, grouped, product);
  });
}

// [cols, rows]
Matrix Transposed(TableView view) { return ViewOf(view).transpose(); }

// Column sums in double, rows in order.
std::vector<float> SumRows(TableView grad_output) {
  std::vector<float> sums(grad_output.cols);
  ParallelFor(grad_output.cols, kUnitBlock, [&](int64_t begin, int64_t end) {
    double column_sums[kUnitBlock] = {};
    for (int64_t row = 0; row < grad_output.rows; ++row) {
      for (int64_t c = begin; c < end; ++c) column_sums[c - begin] += grad_output.Row(row)[c];
    }
    for (int64_t c = begin; c < end; ++c) sums[c] = static_cast<float>(column_sums[c - begin]);
  });
  return sums;
}

void AddToRows(absl::Span<const float> bias, MutableTableView y) {
  ParallelFor(y.rows, kProductRows, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      for (int64_t c = 0; c < y.cols; ++c) y.Row(row)[c] += bias[c];
    }
  });
}

void FillUniform(const Rng& rng, double bound, absl::Span<float> values) {
  ParallelFor(static_cast<int64_t>(values.size()), kUniformElements, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) values[i] = static_cast<float>((2 * rng.Uniform(i) - 1) * bound);
  });
}

std::string LinearPlace(const std::string& name) { return name.empty() ? "nn.Linear" : name; }

absl::Status CheckOptions(const LinearOptions& options, const std::string& name) {
  if (options.in_features < 1) {
    return InvalidArgument(LinearPlace(name), "in_features is not positive", absl::StrCat(options.in_features),
                           "at least 1");
  }
  if (options.out_features < 1) {
    return InvalidArgument(LinearPlace(name), "out_features is not positive", absl::StrCat(options.out_features),
                           "at least 1");
  }
  return absl::OkStatus();
}

// `x` with its last dimension replaced.
std::vector<int64_t> WithLast(std::vector<int64_t> shape, int64_t last) {
  shape.back() = last;
  return shape;
}

absl::Status CheckInput(const LinearOptions& options, const std::string& name, const Tensor& x) {
  if (x.rank() >= 1 && x.shape.back() == options.in_features) return absl::OkStatus();
  return InvalidArgument(LinearPlace(name), "the input has the wrong last dimension", ShapeText(x.shape),
                         absl::StrCat("[..., ", options.in_features, "]"));
}

}  // namespace

Linear::Linear(Table&& weight, std::vector<float> bias, LinearOptions options, std::string name)
    : weight_(std::move(weight)), bias_(std::move(bias)), options_(options), name_(std::move(name)) {}

absl::StatusOr<Linear> Linear::Create(const LinearOptions& options, uint64_t seed, std::string name) {
  EQAT_RETURN_IF_ERROR(CheckOptions(options, name));
  absl::StatusOr<Table> weight = Table::Zeros(options.out_features, options.in_features);
  if (!weight.ok()) return AtPlace(LinearPlace(name), weight.status());
  std::vector<float> bias(options.bias ? options.out_features : 0);
  const double bound = 1 / std::sqrt(static_cast<double>(options.in_features));
  FillUniform(Rng(seed, StreamOf(absl::StrCat(name, ".weight"))), bound,
              absl::MakeSpan(weight->data(), options.out_features * options.in_features));
  FillUniform(Rng(seed, StreamOf(absl::StrCat(name, ".bias"))), bound, absl::MakeSpan(bias));
  return Linear(*std::move(weight), std::move(bias), options, std::move(name));
}

absl::StatusOr<Linear> Linear::FromWeight(Table&& weight, std::vector<float> bias, const LinearOptions& options,
                                          std::string name) {
  EQAT_RETURN_IF_ERROR(CheckOptions(options, name));
  if (weight.rows() != options.out_features || weight.cols() != options.in_features) {
    return InvalidArgument(LinearPlace(name), "weight has the wrong shape", ShapeText({weight.rows(), weight.cols()}),
                           ShapeText({options.out_features, options.in_features}));
  }
  const int64_t bias_size = options.bias ? options.out_features : 0;
  if (static_cast<int64_t>(bias.size()) != bias_size) {
    return InvalidArgument(LinearPlace(name), "bias has the wrong size", absl::StrCat(bias.size()),
                           absl::StrCat(bias_size));
  }
  return Linear(std::move(weight), std::move(bias), options, std::move(name));
}

absl::StatusOr<Tensor> Linear::Forward(const Tensor& x) const {
  EQAT_RETURN_IF_ERROR(CheckInput(options_, name_, x));
  Tensor y(WithLast(x.shape, options_.out_features));
  const Matrix right = Transposed(weight_.view());
  MultiplyRows(x.matrix(), TableView(right.data(), right.rows(), right.cols()), y.mutable_matrix());
  if (options_.bias) AddToRows(bias_, y.mutable_matrix());
  return y;
}

absl::StatusOr<LinearGradients> Linear::Backward(const Tensor& x, const Tensor& grad_output) const {
  EQAT_RETURN_IF_ERROR(CheckInput(options_, name_, x));
  const std::vector<int64_t> output_shape = WithLast(x.shape, options_.out_features);
  if (grad_output.shape != output_shape) {
    return InvalidArgument(LinearPlace(name_), "grad_output has the wrong shape", ShapeText(grad_output.shape),
                           ShapeText(output_shape));
  }
  LinearGradients gradients;
  gradients.input = Tensor(x.shape);
  MultiplyRows(grad_output.matrix(), weight_.view(), gradients.input.mutable_matrix());
  gradients.weight.resize(options_.out_features * options_.in_features);
  MultiplyUnits(grad_output.matrix(), x.matrix(),
                MutableTableView(gradients.weight.data(), options_.out_features, options_.in_features));
  if (options_.bias) gradients.bias = SumRows(grad_output.matrix());
  return gradients;
}

}  // namespace eqat::nn
