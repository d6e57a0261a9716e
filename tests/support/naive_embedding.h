// The slow obvious embedding: whole-table fake quantization and look-ups written straight from torch's formulas, one
// row and one element after the other. Shares no arithmetic with the library, except the row renormalization of
// max_norm (tested on its own), whose rounding depends on the order of a sum.
#ifndef EQAT_TESTS_SUPPORT_NAIVE_EMBEDDING_H_
#define EQAT_TESTS_SUPPORT_NAIVE_EMBEDDING_H_

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/lookup.h"
#include "core/rng.h"
#include "core/table.h"
#include "float_modules/embedding_functional.h"
#include "float_modules/embedding_options.h"
#include "quant/fake_quantize.h"
#include "quant/types/qconfig.h"

namespace eqat::testing {

struct Matrix {
  int64_t rows = 0;
  int64_t cols = 0;
  std::vector<float> values;

  Matrix() = default;
  Matrix(int64_t rows_in, int64_t cols_in) : rows(rows_in), cols(cols_in), values(rows_in * cols_in) {}
  float* Row(int64_t row) { return values.data() + row * cols; }
  const float* Row(int64_t row) const { return values.data() + row * cols; }
  TableView view() const { return TableView(values.data(), rows, cols); }
  MutableTableView mutable_view() { return MutableTableView(values.data(), rows, cols); }
};

inline Matrix MatrixOf(TableView view) {
  Matrix result(view.rows, view.cols);
  for (int64_t r = 0; r < view.rows; ++r) std::copy_n(view.Row(r), view.cols, result.Row(r));
  return result;
}

inline Matrix RandomMatrix(int64_t rows, int64_t cols, uint64_t seed, float offset = 0.0f) {
  Matrix result(rows, cols);
  const Rng rng(seed, 1);
  for (size_t i = 0; i < result.values.size(); ++i) result.values[i] = rng.Normal(i) + offset;
  return result;
}

inline Table TableOf(const Matrix& matrix) { return *Table::CopyOf(matrix.view()); }

inline uint32_t BitsOf(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof(bits));
  return bits;
}

inline std::vector<uint32_t> BitsOf(const std::vector<float>& values) {
  std::vector<uint32_t> bits(values.size());
  std::transform(values.begin(), values.end(), bits.begin(), [](float value) { return BitsOf(value); });
  return bits;
}

// torch's FakeQuantize with a per-channel observer and float zero points, on the whole table.
class NaiveFakeQuantize {
 public:
  explicit NaiveFakeQuantize(const quant::ObserverConfig& config)
      : config_(config), range_(*quant::CodeRangeOf(config)) {}

  bool observer_enabled = true;
  bool fake_quant_enabled = true;
  const std::vector<float>& scale() const { return scale_; }
  const std::vector<float>& zero_point() const { return zero_point_; }
  const std::vector<float>& min_val() const { return min_val_; }
  const std::vector<float>& max_val() const { return max_val_; }

  void Observe(const Matrix& table) {
    const bool first = min_val_.empty();
    if (table.values.empty()) return;
    min_val_.resize(table.rows);
    max_val_.resize(table.rows);
    scale_.assign(table.rows, 1.0f);
    zero_point_.assign(table.rows, 0.0f);
    for (int64_t r = 0; r < table.rows; ++r) {
      const auto [low, high] = std::minmax_element(table.Row(r), table.Row(r) + table.cols);
      min_val_[r] = first ? *low : Updated(min_val_[r], *low, /*smaller=*/true);
      max_val_[r] = first ? *high : Updated(max_val_[r], *high, /*smaller=*/false);
      const float scale = (max_val_[r] - min_val_[r]) / static_cast<float>(range_.quant_max - range_.quant_min);
      scale_[r] = scale > static_cast<float>(config_.eps) ? scale : 1.0f;
      zero_point_[r] = (-1.0f * min_val_[r]) / scale_[r];
    }
  }

  // `mask`, if given, receives 1 where the code was in range before clamping.
  Matrix Quantize(const Matrix& table, std::vector<uint8_t>* mask = nullptr) const {
    Matrix result = table;
    if (mask != nullptr) mask->assign(table.values.size(), 1);
    if (!fake_quant_enabled || table.values.empty()) return result;
    for (int64_t r = 0; r < table.rows; ++r) {
      const float inverse = 1.0f / scale_[r];
      for (int64_t c = 0; c < table.cols; ++c) {
        const float code = std::nearbyintf(std::fmaf(table.Row(r)[c], inverse, zero_point_[r]));
        const float clamped = std::clamp<float>(code, range_.quant_min, range_.quant_max);
        if (mask != nullptr) (*mask)[r * table.cols + c] = code == clamped;
        result.Row(r)[c] = static_cast<float>((static_cast<double>(clamped) - static_cast<double>(zero_point_[r])) *
                                              static_cast<double>(scale_[r]));
      }
    }
    return result;
  }

  // One forward of torch's module.
  Matrix Forward(const Matrix& table, std::vector<uint8_t>* mask = nullptr) {
    if (observer_enabled) Observe(table);
    return Quantize(table, mask);
  }

 private:
  float Updated(float old_value, float current, bool smaller) const {
    if (config_.kind == quant::ObserverKind::kPerChannelMinMax) {
      return smaller ? std::min(old_value, current) : std::max(old_value, current);
    }
    const float c = static_cast<float>(config_.averaging_constant);
    return c == 1.0f ? current : old_value + c * (current - old_value);
  }

  quant::ObserverConfig config_;
  quant::CodeRange range_;
  std::vector<float> min_val_, max_val_, scale_, zero_point_;
};

// A batch that owns what LookupInput views.
struct Batch {
  std::vector<int64_t> indices;
  std::vector<int64_t> shape;  // empty: 1-D
  std::optional<std::vector<int64_t>> offsets;
  std::optional<std::vector<float>> per_sample_weights;

  LookupInput input() const {
    LookupInput result;
    result.indices = indices;
    result.shape = shape;
    if (offsets.has_value()) result.offsets = IndexSpan(*offsets);
    if (per_sample_weights.has_value()) result.per_sample_weights = absl::MakeConstSpan(*per_sample_weights);
    return result;
  }
};

// [begin, end) of every bag of a valid batch.
inline std::vector<std::pair<int64_t, int64_t>> NaiveBags(const Batch& batch, bool include_last_offset) {
  std::vector<std::pair<int64_t, int64_t>> bags;
  const int64_t n = static_cast<int64_t>(batch.indices.size());
  if (!batch.offsets.has_value()) {
    for (int64_t b = 0; b < batch.shape[0]; ++b) bags.emplace_back(b * batch.shape[1], (b + 1) * batch.shape[1]);
    return bags;
  }
  const std::vector<int64_t>& offsets = *batch.offsets;
  const size_t num_bags = offsets.size() - (include_last_offset ? 1 : 0);
  for (size_t b = 0; b < num_bags; ++b) bags.emplace_back(offsets[b], b + 1 < offsets.size() ? offsets[b + 1] : n);
  return bags;
}

inline Matrix NaiveLookup(const Matrix& table, const nn::EmbeddingOptions&, const Batch& batch) {
  Matrix out(static_cast<int64_t>(batch.indices.size()), table.cols);
  for (int64_t i = 0; i < out.rows; ++i) std::copy_n(table.Row(batch.indices[i]), table.cols, out.Row(i));
  return out;
}

inline Matrix NaiveLookup(const Matrix& table, const nn::EmbeddingBagOptions& options, const Batch& batch) {
  const auto bags = NaiveBags(batch, options.include_last_offset);
  Matrix out(static_cast<int64_t>(bags.size()), table.cols);
  for (int64_t b = 0; b < out.rows; ++b) {
    for (int64_t c = 0; c < table.cols; ++c) {
      float value = 0.0f;
      int64_t counted = 0;
      for (int64_t k = bags[b].first; k < bags[b].second; ++k) {
        if (batch.indices[k] == options.padding_idx) continue;
        const float element = table.Row(batch.indices[k])[c];
        if (options.mode == PoolMode::kMax) {
          if (counted == 0 || element > value) value = element;
        } else if (!batch.per_sample_weights.has_value()) {
          value = value + element;
        } else if (options.padding_idx.has_value()) {
          const float product = (*batch.per_sample_weights)[k] * element;
          value = value + product;
        } else {
          value = std::fmaf((*batch.per_sample_weights)[k], element, value);
        }
        ++counted;
      }
      if (options.mode == PoolMode::kMean && counted > 0) value = value / static_cast<float>(counted);
      out.Row(b)[c] = value;
    }
  }
  return out;
}

// Renormalizes every row of `table`, or those that `batch` looks up.
inline void NaiveRenorm(const nn::EmbeddingOptions& options, const std::vector<int64_t>& rows, Matrix& table) {
  if (!options.max_norm.has_value()) return;
  std::vector<int64_t> distinct = rows;
  std::sort(distinct.begin(), distinct.end());
  distinct.erase(std::unique(distinct.begin(), distinct.end()), distinct.end());
  for (const int64_t row : distinct) {
    nn::RenormRow(absl::MakeSpan(table.Row(row), table.cols), *options.max_norm, options.norm_type);
  }
}

inline std::vector<int64_t> AllRows(const Matrix& table) {
  std::vector<int64_t> rows(table.rows);
  for (int64_t r = 0; r < table.rows; ++r) rows[r] = r;
  return rows;
}

// Seeded random batches: duplicates, empty bags, offsets or a rectangle.
inline Batch RandomBatch(int64_t num_embeddings, const nn::EmbeddingBagOptions& options, bool weighted, Rng rng) {
  Batch batch;
  uint64_t draw = 0;
  const bool rectangle = rng.Below(draw++, 3) == 0;
  const int64_t bags = 1 + static_cast<int64_t>(rng.Below(draw++, 6));
  if (rectangle) {
    batch.shape = {bags, static_cast<int64_t>(rng.Below(draw++, 6))};
    batch.indices.resize(batch.shape[0] * batch.shape[1]);
  } else {
    batch.offsets.emplace();
    int64_t end = 0;
    for (int64_t b = 0; b < bags; ++b) {
      batch.offsets->push_back(end);
      end += static_cast<int64_t>(rng.Below(draw++, 6));
    }
    if (options.include_last_offset) batch.offsets->push_back(end);
    batch.indices.resize(end);
  }
  for (int64_t& index : batch.indices) index = static_cast<int64_t>(rng.Below(draw++, num_embeddings));
  if (weighted) {
    batch.per_sample_weights.emplace();
    for (size_t i = 0; i < batch.indices.size(); ++i) {
      batch.per_sample_weights->push_back(static_cast<float>(rng.Uniform(draw++)) * 2.0f - 1.0f);
    }
  }
  return batch;
}

inline Batch RandomBatch(int64_t num_embeddings, const nn::EmbeddingOptions&, bool, Rng rng) {
  Batch batch;
  batch.indices.resize(rng.Below(0, 20));
  for (size_t i = 0; i < batch.indices.size(); ++i) {
    batch.indices[i] = static_cast<int64_t>(rng.Below(i + 1, num_embeddings));
  }
  return batch;
}

}  // namespace eqat::testing

#endif  // EQAT_TESTS_SUPPORT_NAIVE_EMBEDDING_H_
