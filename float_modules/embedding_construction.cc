#include "float_modules/embedding_construction.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "core/error.h"
#include "core/rng.h"
#include "core/status_macros.h"
#include "core/tensor.h"
#include "float_modules/embedding_functional.h"

namespace eqat::nn {

absl::StatusOr<Table> InitialWeight(const EmbeddingOptions& options, uint64_t seed, absl::string_view name) {
  EQAT_ASSIGN_OR_RETURN(Table weight, Table::Zeros(options.num_embeddings, options.embedding_dim));
  FillNormal(Rng(seed, StreamOf(absl::StrCat(name, ".weight"))), weight.mutable_view());
  if (options.padding_idx.has_value()) std::fill_n(weight.Row(*options.padding_idx), weight.cols(), 0.0f);
  return weight;
}

absl::Status CheckWeightShape(const Table& weight, const EmbeddingOptions& options, absl::string_view where) {
  return CheckShape(weight.view(), options.num_embeddings, options.embedding_dim, where, "weight");
}

absl::Status TakeSizes(const Table& weight, absl::Span<const int64_t> shape, EmbeddingOptions& options,
                       absl::string_view where) {
  if (shape.size() != 2) {
    return InvalidArgument(where, "the pretrained weight is not 2-dimensional", ShapeText(shape),
                           "[num_embeddings, embedding_dim]");
  }
  EQAT_RETURN_IF_ERROR(CheckShape(weight.view(), shape[0], shape[1], where, "weight"));
  if (options.num_embeddings == 0) options.num_embeddings = weight.rows();
  if (options.embedding_dim == 0) options.embedding_dim = weight.cols();
  return absl::OkStatus();
}

}  // namespace eqat::nn
