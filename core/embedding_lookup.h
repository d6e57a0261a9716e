// EmbeddingLookup: read-only pooled lookup, the interface that float, QAT and quantized tables all satisfy.
#ifndef EQAT_CORE_EMBEDDING_LOOKUP_H_
#define EQAT_CORE_EMBEDDING_LOOKUP_H_

#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/lookup.h"
#include "core/table_view.h"

namespace eqat {

class EmbeddingLookup {
 public:
  virtual ~EmbeddingLookup() = default;
  virtual int64_t num_embeddings() const = 0;
  virtual int64_t embedding_dim() const = 0;
  // Rows of the result for `input`: its bags, or for an Embedding its indices. Checks shapes and offsets, not indices.
  virtual absl::StatusOr<int64_t> NumOutputs(const LookupInput& input) const = 0;
  // Writes [NumOutputs(input), embedding_dim] to `out`. Changes nothing else: no observer runs, no stored row is
  // renormalized (a max_norm acts on the values read). On error `out` is unchanged. May run concurrently.
  virtual absl::Status Lookup(const LookupInput& input, MutableTableView out) const = 0;

 protected:
  EmbeddingLookup() = default;
  EmbeddingLookup(EmbeddingLookup&&) = default;
  EmbeddingLookup& operator=(EmbeddingLookup&&) = default;
};

}  // namespace eqat

#endif  // EQAT_CORE_EMBEDDING_LOOKUP_H_
