// Options of Embedding and EmbeddingBag, shared by the float, QAT and quantized modules: torch's constructor arguments,
// names and defaults.
#ifndef EQAT_FLOAT_MODULES_EMBEDDING_OPTIONS_H_
#define EQAT_FLOAT_MODULES_EMBEDDING_OPTIONS_H_

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "core/lookup.h"

namespace eqat::nn {

struct EmbeddingOptions {
  int64_t num_embeddings = 0;  // may be 0
  int64_t embedding_dim = 0;   // may be 0
  // Row that receives no gradient, starts as zero and, in bags, is left out. Negative counts from the end.
  std::optional<int64_t> padding_idx = std::nullopt;
  // Rows longer than this are scaled down, in place, when they are looked up in a forward.
  std::optional<double> max_norm = std::nullopt;
  double norm_type = 2.0;           // p of the norm; infinity, -infinity, 0 and negative p as torch.norm
  bool scale_grad_by_freq = false;  // divides each row's gradient by how often the batch looks it up
  bool sparse = false;              // row-sparse gradient at the border
  bool requires_grad = true;        // false: a frozen table

  bool operator==(const EmbeddingOptions&) const = default;
};

struct EmbeddingBagOptions : EmbeddingOptions {
  PoolMode mode = PoolMode::kMean;
  bool include_last_offset = false;

  bool operator==(const EmbeddingBagOptions&) const = default;
};

// Checks and canonicalises: negative sizes, padding_idx outside the table (wraps a negative one), rows * dim overflow,
// NaN max_norm or norm_type; sparse with scale_grad_by_freq is legal (the row's own count is used). For bags: mode max
// with scale_grad_by_freq or sparse is refused, as in torch, here already at construction.
// `where` is the module's name or type in messages.
absl::Status Canonicalize(EmbeddingOptions& options, absl::string_view where);
absl::Status Canonicalize(EmbeddingBagOptions& options, absl::string_view where);

// torch's printed form: "Embedding(10, 3, padding_idx=0, max_norm=2.5)", "EmbeddingBag(10, 3, mode=mean)".
std::string ToString(const EmbeddingOptions& options);
std::string ToString(const EmbeddingBagOptions& options);

}  // namespace eqat::nn

#endif  // EQAT_FLOAT_MODULES_EMBEDDING_OPTIONS_H_
