// nn::Embedding: a float table and plain look-ups in it, one output row per index. Follows torch.nn.Embedding. Shares
// options, checks and gradient with EmbeddingBag, as bags of one. The forward does not treat the padding row specially
// (its content is returned), the backward leaves it out.
#ifndef EQAT_FLOAT_MODULES_EMBEDDING_H_
#define EQAT_FLOAT_MODULES_EMBEDDING_H_

#include <cstdint>
#include <optional>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "float_modules/embedding_bag.h"

namespace eqat::nn {

class Embedding final : public EmbeddingLookup {
 public:
  // As the functions of EmbeddingBag of the same name.
  static absl::StatusOr<Embedding> Create(EmbeddingOptions options, uint64_t seed, std::string name = "");
  static absl::StatusOr<Embedding> FromWeight(Table&& weight, EmbeddingOptions options, std::string name = "");
  static absl::StatusOr<Embedding> FromPretrained(Table&& weight, absl::Span<const int64_t> shape,
                                                  Freeze freeze = Freeze::kYes, EmbeddingOptions options = {},
                                                  std::string name = "");

  Embedding(Embedding&&) = default;
  Embedding& operator=(Embedding&&) = default;

  const EmbeddingOptions& options() const { return options_; }
  const std::string& name() const { return name_; }
  void set_name(std::string name) { name_ = std::move(name); }
  const Table& weight() const { return weight_; }
  Table& mutable_weight() { return weight_; }
  Table ReleaseWeight() && { return std::move(weight_); }
  void set_requires_grad(bool requires_grad) { options_.requires_grad = requires_grad; }
  const std::optional<quant::QConfig>& qconfig() const { return qconfig_; }
  void set_qconfig(std::optional<quant::QConfig> qconfig) { qconfig_ = std::move(qconfig); }

  int64_t num_embeddings() const override { return options_.num_embeddings; }
  int64_t embedding_dim() const override { return options_.embedding_dim; }
  absl::StatusOr<int64_t> NumOutputs(const LookupInput& input) const override;
  absl::Status Lookup(const LookupInput& input, MutableTableView out) const override;
  absl::Status Forward(const LookupInput& input, MutableTableView out, LookupContext* context);
  absl::StatusOr<EmbeddingGradients> Backward(const LookupContext& context, TableView grad_output) const;
  std::string ToString() const { return nn::ToString(options_); }

 private:
  Embedding(Table&& weight, EmbeddingOptions options, std::string name);
  // The checked batch, whose output fits `out`.
  absl::StatusOr<Bags> CheckedBags(const LookupInput& input, TableView out) const;
  Table weight_;
  EmbeddingOptions options_;
  std::string name_;
  std::optional<quant::QConfig> qconfig_;
};

}  // namespace eqat::nn

#endif  // EQAT_FLOAT_MODULES_EMBEDDING_H_
