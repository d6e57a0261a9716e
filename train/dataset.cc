#include "train/dataset.h"

#include <algorithm>
#include <cassert>
#include <numeric>
#include <utility>

#include "core/parallel_for.h"
#include "core/rng.h"

namespace eqat::train {

std::vector<std::string> Dataset::inputs() const {
  std::vector<std::string> names;
  for (const DenseColumn& column : dense_) names.push_back(column.input);
  for (const CategoricalColumn& column : categorical_) names.push_back(column.input);
  return names;
}

bool Dataset::IsDense(const std::string& input) const {
  return std::any_of(dense_.begin(), dense_.end(), [&](const DenseColumn& column) { return column.input == input; });
}

bool Dataset::IsMultiValued(const std::string& input) const {
  return std::any_of(categorical_.begin(), categorical_.end(),
                     [&](const CategoricalColumn& column) { return column.input == input && column.multi_valued; });
}

int64_t Dataset::IndexBound(const std::string& input) const {
  for (const CategoricalColumn& column : categorical_) {
    if (column.input == input) return column.bound;
  }
  return 0;
}

std::vector<int64_t> Dataset::Order(uint64_t seed, int64_t epoch, bool shuffle) const {
  std::vector<int64_t> order(rows_);
  std::iota(order.begin(), order.end(), 0);
  if (!shuffle) return order;
  const Rng rng(seed, StreamOf("order of rows") + static_cast<uint64_t>(epoch));
  for (int64_t i = rows_ - 1; i > 0; --i) {
    std::swap(order[i], order[rng.Below(static_cast<uint64_t>(i), static_cast<uint64_t>(i) + 1)]);
  }
  return order;
}

void Dataset::GatherCategorical(const CategoricalColumn& column, absl::Span<const int64_t> rows,
                                Batch::Jagged& out) const {
  const int64_t n = static_cast<int64_t>(rows.size());
  out.multi_valued = column.multi_valued;
  out.has_weights = column.has_weights;
  out.offsets.resize(n + 1);
  if (!column.multi_valued) {
    std::iota(out.offsets.begin(), out.offsets.end(), 0);
    out.indices.resize(n);
    for (int64_t i = 0; i < n; ++i) out.indices[i] = column.indices[rows[i]];
    if (!column.has_weights) return;
    out.weights.resize(n);
    for (int64_t i = 0; i < n; ++i) out.weights[i] = column.weights[rows[i]];
    return;
  }
  out.offsets[0] = 0;
  for (int64_t i = 0; i < n; ++i) {
    out.offsets[i + 1] = out.offsets[i] + column.begins[rows[i] + 1] - column.begins[rows[i]];
  }
  out.indices.resize(out.offsets[n]);
  if (column.has_weights) out.weights.resize(out.offsets[n]);
  for (int64_t i = 0; i < n; ++i) {
    const int64_t begin = column.begins[rows[i]];
    const int64_t count = out.offsets[i + 1] - out.offsets[i];
    std::copy_n(column.indices.begin() + begin, count, out.indices.begin() + out.offsets[i]);
    if (column.has_weights) std::copy_n(column.weights.begin() + begin, count, out.weights.begin() + out.offsets[i]);
  }
}

Batch Dataset::MakeBatch(absl::Span<const int64_t> rows) const {
  assert(std::all_of(rows.begin(), rows.end(), [&](int64_t row) { return row >= 0 && row < rows_; }));
  const int64_t n = static_cast<int64_t>(rows.size());
  Batch batch;
  batch.labels.resize(n);
  for (int64_t i = 0; i < n; ++i) batch.labels[i] = labels_[rows[i]];
  std::vector<Tensor*> dense;
  for (const DenseColumn& column : dense_) dense.push_back(&(batch.dense[column.input] = Tensor({n, column.width})));
  std::vector<Batch::Jagged*> jagged;
  for (const CategoricalColumn& column : categorical_) jagged.push_back(&batch.jagged[column.input]);

  // Shuffled rows are cache misses, one a row and column: worth a thread each.
  const int64_t num_dense = static_cast<int64_t>(dense_.size());
  ParallelFor(num_dense + static_cast<int64_t>(categorical_.size()), 1, [&](int64_t begin, int64_t end) {
    for (int64_t c = begin; c < end; ++c) {
      if (c >= num_dense) {
        GatherCategorical(categorical_[c - num_dense], rows, *jagged[c - num_dense]);
        continue;
      }
      const DenseColumn& column = dense_[c];
      for (int64_t i = 0; i < n; ++i) {
        std::copy_n(column.values.begin() + rows[i] * column.width, column.width,
                    dense[c]->values.begin() + i * column.width);
      }
    }
  });
  return batch;
}

}  // namespace eqat::train
