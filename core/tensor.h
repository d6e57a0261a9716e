// Tensor: dense float32 values with a shape, row-major, owned; what flows between the layers of a whole model.
#ifndef EQAT_CORE_TENSOR_H_
#define EQAT_CORE_TENSOR_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/types/span.h"
#include "core/table_view.h"

namespace eqat {

struct Tensor {
  std::vector<int64_t> shape;
  std::vector<float> values;

  Tensor() = default;
  // Zeros. REQUIRES: the product of `shape_in` fits into memory.
  explicit Tensor(std::vector<int64_t> shape_in);

  int64_t size() const { return static_cast<int64_t>(values.size()); }
  int64_t rank() const { return static_cast<int64_t>(shape.size()); }
  // As [product of all but the last, last]. REQUIRES: rank >= 1.
  TableView matrix() const;
  MutableTableView mutable_matrix();
};

// "[2, 3]".
std::string ShapeText(absl::Span<const int64_t> shape);

}  // namespace eqat

#endif  // EQAT_CORE_TENSOR_H_
