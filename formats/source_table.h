// SourceTable: a table of a model as an export sees it: the values that its evaluation looks up, and if it is quantized
// the codes they come from. A view; the module must outlive it.
//
// Requantize: the same table in the arithmetic of another format, and how far its values are from what they were.
#ifndef EQAT_FORMATS_SOURCE_TABLE_H_
#define EQAT_FORMATS_SOURCE_TABLE_H_

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "core/table_view.h"
#include "float_modules/embedding_options.h"
#include "model/module.h"
#include "quant/quantized_table.h"

namespace eqat::formats {

// How many values an export changes, and by how much.
struct ValueErrors {
  int64_t values = 0;
  int64_t differing = 0;  // in any bit but the sign of zero
  double largest = 0.0;   // |exported - evaluated|
  double sum_of_squares = 0.0;

  double root_mean_square() const;
  void Add(float evaluated, float exported);
  void Add(const ValueErrors& other);
};

class SourceTable {
 public:
  // `module` is a float or quantized table. REQUIRES: AsLookup(module), not IsQat(module).
  SourceTable(std::string name, const model::Module& module);

  const std::string& name() const { return name_; }
  int64_t rows() const { return options_.num_embeddings; }
  int64_t cols() const { return options_.embedding_dim; }
  bool is_bag() const { return is_bag_; }
  const nn::EmbeddingBagOptions& options() const { return options_; }    // mode and include_last_offset of bags only
  const quant::QuantizedTable* quantized() const { return quantized_; }  // null for a float table
  // "float32", "quint4x2", "quint4x2 for torch".
  std::string ValueText() const;

  // The values of rows [begin, end), after max_norm. y: [end - begin, cols].
  void Read(int64_t begin, int64_t end, MutableTableView y) const;

 private:
  std::string name_;
  nn::EmbeddingBagOptions options_;
  bool is_bag_ = false;
  const quant::QuantizedTable* quantized_ = nullptr;
  const Table* weight_ = nullptr;
};

// A table in the arithmetic of a format.
struct Requantized {
  const quant::QuantizedTable* table = nullptr;  // the source's own where it already has this arithmetic,
  std::optional<quant::QuantizedTable> own;      // else this
  ValueErrors errors;

  const quant::QuantizedTable& operator*() const { return own.has_value() ? *own : *table; }
  const quant::QuantizedTable* operator->() const { return &**this; }
};

// InvalidArgument if the width does not suit or naming a row whose values do not fit into the format. Memory: that of
// the packed table.
absl::StatusOr<Requantized> Requantize(const SourceTable& source, const quant::DeployTraits& deploy);

// Rows per block of work over rows of `cols` values.
int64_t RowsPerBlock(int64_t cols);

}  // namespace eqat::formats

#endif  // EQAT_FORMATS_SOURCE_TABLE_H_
