#include "core/tensor.h"

#include <cassert>
#include <functional>
#include <numeric>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace eqat {
namespace {

int64_t Product(absl::Span<const int64_t> sizes) {
  return std::accumulate(sizes.begin(), sizes.end(), int64_t{1}, std::multiplies<int64_t>());
}

// Product of all sizes but the last.
int64_t MatrixRows(const std::vector<int64_t>& shape) {
  assert(!shape.empty());
  return Product(absl::MakeConstSpan(shape).first(shape.size() - 1));
}

}  // namespace

Tensor::Tensor(std::vector<int64_t> shape_in) : shape(std::move(shape_in)), values(Product(shape)) {}

TableView Tensor::matrix() const { return TableView(values.data(), MatrixRows(shape), shape.back()); }

MutableTableView Tensor::mutable_matrix() { return MutableTableView(values.data(), MatrixRows(shape), shape.back()); }

std::string ShapeText(absl::Span<const int64_t> shape) { return absl::StrCat("[", absl::StrJoin(shape, ", "), "]"); }

}  // namespace eqat
