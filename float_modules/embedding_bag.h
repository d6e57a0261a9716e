// nn::EmbeddingBag: a float table and pooled look-ups in it. Follows torch.nn.EmbeddingBag with every option; where
// torch is wrong or unchecked (docs/numerics.md) the documented meaning holds.
//
//   weight [num_embeddings, embedding_dim];  out[b] = sum, mean or max over positions of bag b of weight[index]
//
// Cost: proportional to the batch. Thread safety: const methods may run concurrently, others not with any other.
#ifndef EQAT_FLOAT_MODULES_EMBEDDING_BAG_H_
#define EQAT_FLOAT_MODULES_EMBEDDING_BAG_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/embedding_lookup.h"
#include "core/table.h"
#include "float_modules/embedding_functional.h"
#include "float_modules/embedding_options.h"
#include "quant/types/qconfig.h"

namespace eqat::nn {

enum class Freeze : uint8_t { kNo, kYes };
enum class WeightsGradient : uint8_t { kSkip, kCompute };  // of per_sample_weights

struct EmbeddingGradients {
  SparseGrad weight;                      // empty rows for a frozen table
  std::vector<float> per_sample_weights;  // [n], or empty when not asked for
};

class EmbeddingBag final : public EmbeddingLookup {
 public:
  // N(0, 1) from `seed`, padding row zero. `name` is used in messages ("item").
  static absl::StatusOr<EmbeddingBag> Create(EmbeddingBagOptions options, uint64_t seed, std::string name = "");
  // Takes the table over, no copy; the padding row is left as it is. Its shape must be
  // [num_embeddings, embedding_dim]. Values are not looked at. On error `weight` is unchanged.
  static absl::StatusOr<EmbeddingBag> FromWeight(Table&& weight, EmbeddingBagOptions options, std::string name = "");
  // num_embeddings and embedding_dim come from `weight` (options that are 0 are filled in); requires_grad = !freeze.
  // `shape` is the caller's shape: InvalidArgument unless it has two dimensions that match `weight`.
  static absl::StatusOr<EmbeddingBag> FromPretrained(Table&& weight, absl::Span<const int64_t> shape,
                                                     Freeze freeze = Freeze::kYes, EmbeddingBagOptions options = {},
                                                     std::string name = "");

  EmbeddingBag(EmbeddingBag&&) = default;
  EmbeddingBag& operator=(EmbeddingBag&&) = default;

  const EmbeddingBagOptions& options() const { return options_; }
  const std::string& name() const { return name_; }
  void set_name(std::string name) { name_ = std::move(name); }
  const Table& weight() const { return weight_; }
  Table& mutable_weight() { return weight_; }
  Table ReleaseWeight() && { return std::move(weight_); }
  void set_requires_grad(bool requires_grad) { options_.requires_grad = requires_grad; }
  // The recipe PrepareQat and qat::EmbeddingBag::FromFloat apply; nullopt: stays float.
  const std::optional<quant::QConfig>& qconfig() const { return qconfig_; }
  void set_qconfig(std::optional<quant::QConfig> qconfig) { qconfig_ = std::move(qconfig); }

  int64_t num_embeddings() const override { return options_.num_embeddings; }
  int64_t embedding_dim() const override { return options_.embedding_dim; }
  absl::StatusOr<int64_t> NumOutputs(const LookupInput& input) const override;
  absl::Status Lookup(const LookupInput& input, MutableTableView out) const override;

  // A forward that changes what torch's changes, in training as in evaluation: with max_norm the stored rows of the
  // batch are renormalized (padding included). Fills `context` for Backward when it is not null. NaN and infinity in a
  // row pass through as in torch. On error nothing has changed.
  absl::Status Forward(const LookupInput& input, MutableTableView out, LookupContext* context);
  // grad_output [num_bags, embedding_dim] of the Forward that filled `context`.
  absl::StatusOr<EmbeddingGradients> Backward(const LookupContext& context, TableView grad_output,
                                              WeightsGradient weights_gradient = WeightsGradient::kSkip) const;

  std::string ToString() const { return nn::ToString(options_); }

 private:
  EmbeddingBag(Table&& weight, EmbeddingBagOptions options, std::string name);
  // The checked batch, whose output fits `out`.
  absl::StatusOr<Bags> CheckedBags(const LookupInput& input, TableView out) const;
  Table weight_;
  EmbeddingBagOptions options_;
  std::string name_;
  std::optional<quant::QConfig> qconfig_;
};

}  // namespace eqat::nn

#endif  // EQAT_FLOAT_MODULES_EMBEDDING_BAG_H_
