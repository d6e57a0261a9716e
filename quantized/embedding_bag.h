// quantized::Embedding and quantized::EmbeddingBag: look-ups in packed codes, for serving. The options are those of the
// module they were converted from, and the output is bit for bit what that module's evaluation gives.
//
// Immutable: const methods may run concurrently. Follows the purpose of torch.ao.nn.quantized.{Embedding, EmbeddingBag}
// without their losses (mode, padding, odd widths; docs/numerics.md).
#ifndef EQAT_QUANTIZED_EMBEDDING_BAG_H_
#define EQAT_QUANTIZED_EMBEDDING_BAG_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/embedding_lookup.h"
#include "float_modules/embedding_options.h"
#include "quant/quantized_table.h"

namespace eqat::quantized {

class EmbeddingBag final : public EmbeddingLookup {
 public:
  // The table's rows and cols must be the options' num_embeddings and embedding_dim. max_norm must be absent:
  // conversion has applied it. On error `table` is unchanged.
  static absl::StatusOr<EmbeddingBag> Create(quant::QuantizedTable&& table, nn::EmbeddingBagOptions options,
                                             std::string name = "");
  EmbeddingBag(EmbeddingBag&&) = default;
  EmbeddingBag& operator=(EmbeddingBag&&) = default;

  const nn::EmbeddingBagOptions& options() const { return options_; }
  const std::string& name() const { return name_; }
  const quant::QuantizedTable& weight() const { return table_; }
  int64_t num_embeddings() const override { return options_.num_embeddings; }
  int64_t embedding_dim() const override { return options_.embedding_dim; }
  absl::StatusOr<int64_t> NumOutputs(const LookupInput& input) const override;
  absl::Status Lookup(const LookupInput& input, MutableTableView out) const override;
  // "QuantizedEmbeddingBag(num_embeddings=10, embedding_dim=12, dtype=quint8, qscheme=..., mode=mean, padding_idx=0)"
  std::string ToString() const;

 private:
  EmbeddingBag(quant::QuantizedTable&& table, nn::EmbeddingBagOptions options, std::string name);
  quant::QuantizedTable table_;
  nn::EmbeddingBagOptions options_;
  std::string name_;
};

class Embedding final : public EmbeddingLookup {
 public:
  static absl::StatusOr<Embedding> Create(quant::QuantizedTable&& table, nn::EmbeddingOptions options,
                                          std::string name = "");
  Embedding(Embedding&&) = default;
  Embedding& operator=(Embedding&&) = default;

  const nn::EmbeddingOptions& options() const { return options_; }
  const std::string& name() const { return name_; }
  const quant::QuantizedTable& weight() const { return table_; }
  int64_t num_embeddings() const override { return options_.num_embeddings; }
  int64_t embedding_dim() const override { return options_.embedding_dim; }
  absl::StatusOr<int64_t> NumOutputs(const LookupInput& input) const override;
  absl::Status Lookup(const LookupInput& input, MutableTableView out) const override;
  std::string ToString() const;

 private:
  Embedding(quant::QuantizedTable&& table, nn::EmbeddingOptions options, std::string name);
  quant::QuantizedTable table_;
  nn::EmbeddingOptions options_;
  std::string name_;
};

}  // namespace eqat::quantized

#endif  // EQAT_QUANTIZED_EMBEDDING_BAG_H_
