// How Embedding and EmbeddingBag come by their table. Internal to this folder.
#ifndef EQAT_FLOAT_MODULES_EMBEDDING_CONSTRUCTION_H_
#define EQAT_FLOAT_MODULES_EMBEDDING_CONSTRUCTION_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "core/table.h"
#include "float_modules/embedding_options.h"

namespace eqat::nn {

// N(0, 1), padding row zero. Modules of different names get different tables from one seed. REQUIRES: canonical
// options.
absl::StatusOr<Table> InitialWeight(const EmbeddingOptions& options, uint64_t seed, absl::string_view name);

// InvalidArgument unless `weight` is [num_embeddings, embedding_dim].
absl::Status CheckWeightShape(const Table& weight, const EmbeddingOptions& options, absl::string_view where);

// Fills in sizes that are 0 from `weight`; `shape` is what the caller calls its shape.
absl::Status TakeSizes(const Table& weight, absl::Span<const int64_t> shape, EmbeddingOptions& options,
                       absl::string_view where);

}  // namespace eqat::nn

#endif  // EQAT_FLOAT_MODULES_EMBEDDING_CONSTRUCTION_H_
