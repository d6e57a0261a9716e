#include "float_modules/embedding.h"

#include <vector>

#include "core/error.h"
#include "core/lookup.h"
#include "core/status_macros.h"
#include "float_modules/embedding_construction.h"

namespace eqat::nn {
namespace {

std::string EmbeddingPlace(const std::string& name) { return name.empty() ? "nn.Embedding" : name; }

}  // namespace

Embedding::Embedding(Table&& weight, EmbeddingOptions options, std::string name)
    : weight_(std::move(weight)), options_(std::move(options)), name_(std::move(name)) {}

absl::StatusOr<Embedding> Embedding::Create(EmbeddingOptions options, uint64_t seed, std::string name) {
  EQAT_RETURN_IF_ERROR(Canonicalize(options, EmbeddingPlace(name)));
  absl::StatusOr<Table> weight = InitialWeight(options, seed, name);
  if (!weight.ok()) return AtPlace(EmbeddingPlace(name), weight.status());
  return Embedding(*std::move(weight), std::move(options), std::move(name));
}

absl::StatusOr<Embedding> Embedding::FromWeight(Table&& weight, EmbeddingOptions options, std::string name) {
  EQAT_RETURN_IF_ERROR(Canonicalize(options, EmbeddingPlace(name)));
  EQAT_RETURN_IF_ERROR(CheckWeightShape(weight, options, EmbeddingPlace(name)));
  return Embedding(std::move(weight), std::move(options), std::move(name));
}

absl::StatusOr<Embedding> Embedding::FromPretrained(Table&& weight, absl::Span<const int64_t> shape, Freeze freeze,
                                                    EmbeddingOptions options, std::string name) {
  EQAT_RETURN_IF_ERROR(TakeSizes(weight, shape, options, EmbeddingPlace(name)));
  options.requires_grad = freeze == Freeze::kNo;
  return FromWeight(std::move(weight), std::move(options), std::move(name));
}

absl::StatusOr<int64_t> Embedding::NumOutputs(const LookupInput& input) const {
  return NumBagsOfOne(input, EmbeddingPlace(name_));
}

absl::StatusOr<Bags> Embedding::CheckedBags(const LookupInput& input, TableView out) const {
  EQAT_ASSIGN_OR_RETURN(Bags bags, BagsOfOne(input, options_.num_embeddings, EmbeddingPlace(name_)));
  EQAT_RETURN_IF_ERROR(CheckShape(out, bags.num_bags(), options_.embedding_dim, EmbeddingPlace(name_), "output"));
  return bags;
}

absl::Status Embedding::Lookup(const LookupInput& input, MutableTableView out) const {
  EQAT_ASSIGN_OR_RETURN(const Bags bags, CheckedBags(input, out));
  CopyRows(weight_.view(), bags.indices(), out);
  // Every output row is a copy of its own, so there is no block of distinct rows to renormalize first.
  if (options_.max_norm.has_value()) RenormAllRows(*options_.max_norm, options_.norm_type, out);
  return absl::OkStatus();
}

absl::Status Embedding::Forward(const LookupInput& input, MutableTableView out, LookupContext* context) {
  EQAT_ASSIGN_OR_RETURN(Bags bags, CheckedBags(input, out));
  LookupContext within;
  LookupContext& filled = context != nullptr ? *context : within;
  context != nullptr ? filled.Begin(std::move(bags)) : filled.BeginWithin(std::move(bags));
  if (options_.max_norm.has_value()) {
    RenormRows(filled.distinct().rows(), *options_.max_norm, options_.norm_type, weight_.mutable_view());
  }
  CopyRows(weight_.view(), filled.bags.indices(), out);
  filled.max_positions.clear();
  filled.mask.clear();
  filled.rows.clear();
  return absl::OkStatus();
}

absl::StatusOr<EmbeddingGradients> Embedding::Backward(const LookupContext& context, TableView grad_output) const {
  EQAT_RETURN_IF_ERROR(
      CheckShape(grad_output, context.bags.num_bags(), options_.embedding_dim, EmbeddingPlace(name_), "grad_output"));
  EmbeddingGradients gradients;
  gradients.weight.cols = options_.embedding_dim;
  if (options_.requires_grad) {
    gradients.weight =
        TableGradient(context, grad_output, PoolMode::kSum, options_.padding_idx, options_.scale_grad_by_freq);
  }
  return gradients;
}

}  // namespace eqat::nn
