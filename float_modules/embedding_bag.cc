#include "float_modules/embedding_bag.h"

#include <utility>

#include "core/error.h"
#include "core/lookup.h"
#include "core/status_macros.h"
#include "float_modules/embedding_construction.h"

namespace eqat::nn {
namespace {

std::string EmbeddingBagPlace(const std::string& name) { return name.empty() ? "nn.EmbeddingBag" : name; }

// Copies of the rows `distinct` of `table`.
std::vector<float> Gather(TableView table, const DistinctRows& distinct) {
  std::vector<float> rows(distinct.size() * table.cols);
  CopyRows(table, distinct.rows(), MutableTableView(rows.data(), distinct.size(), table.cols));
  return rows;
}

}  // namespace

EmbeddingBag::EmbeddingBag(Table&& weight, EmbeddingBagOptions options, std::string name)
    : weight_(std::move(weight)), options_(std::move(options)), name_(std::move(name)) {}

absl::StatusOr<EmbeddingBag> EmbeddingBag::Create(EmbeddingBagOptions options, uint64_t seed, std::string name) {
  EQAT_RETURN_IF_ERROR(Canonicalize(options, EmbeddingBagPlace(name)));
  absl::StatusOr<Table> weight = InitialWeight(options, seed, name);
  if (!weight.ok()) return AtPlace(EmbeddingBagPlace(name), weight.status());
  return EmbeddingBag(*std::move(weight), std::move(options), std::move(name));
}

absl::StatusOr<EmbeddingBag> EmbeddingBag::FromWeight(Table&& weight, EmbeddingBagOptions options, std::string name) {
  EQAT_RETURN_IF_ERROR(Canonicalize(options, EmbeddingBagPlace(name)));
  EQAT_RETURN_IF_ERROR(CheckWeightShape(weight, options, EmbeddingBagPlace(name)));
  return EmbeddingBag(std::move(weight), std::move(options), std::move(name));
}

absl::StatusOr<EmbeddingBag> EmbeddingBag::FromPretrained(Table&& weight, absl::Span<const int64_t> shape,
                                                          Freeze freeze, EmbeddingBagOptions options,
                                                          std::string name) {
  EQAT_RETURN_IF_ERROR(TakeSizes(weight, shape, options, EmbeddingBagPlace(name)));
  options.requires_grad = freeze == Freeze::kNo;
  return FromWeight(std::move(weight), std::move(options), std::move(name));
}

absl::StatusOr<int64_t> EmbeddingBag::NumOutputs(const LookupInput& input) const {
  return NumBags(input, options_.include_last_offset, options_.mode, EmbeddingBagPlace(name_));
}

absl::StatusOr<Bags> EmbeddingBag::CheckedBags(const LookupInput& input, TableView out) const {
  const std::string where = EmbeddingBagPlace(name_);
  EQAT_ASSIGN_OR_RETURN(Bags bags,
                        MakeBags(input, options_.num_embeddings, options_.include_last_offset, options_.mode, where));
  EQAT_RETURN_IF_ERROR(CheckShape(out, bags.num_bags(), options_.embedding_dim, where, "output"));
  return bags;
}

absl::Status EmbeddingBag::Lookup(const LookupInput& input, MutableTableView out) const {
  EQAT_ASSIGN_OR_RETURN(const Bags bags, CheckedBags(input, out));
  if (!options_.max_norm.has_value()) {
    PoolTable(bags, weight_.view(), options_, out);
    return absl::OkStatus();
  }
  const DistinctRows distinct(bags.indices());
  std::vector<float> copies = Gather(weight_.view(), distinct);
  const MutableTableView rows(copies.data(), distinct.size(), weight_.cols());
  RenormAllRows(*options_.max_norm, options_.norm_type, rows);
  PoolDistinct(bags, distinct, rows, options_, out);
  return absl::OkStatus();
}

absl::Status EmbeddingBag::Forward(const LookupInput& input, MutableTableView out, LookupContext* context) {
  EQAT_ASSIGN_OR_RETURN(Bags bags, CheckedBags(input, out));
  LookupContext within;
  LookupContext& filled = context != nullptr ? *context : within;
  context != nullptr ? filled.Begin(std::move(bags)) : filled.BeginWithin(std::move(bags));
  if (options_.max_norm.has_value()) {
    RenormRows(filled.distinct().rows(), *options_.max_norm, options_.norm_type, weight_.mutable_view());
  }
  PoolTable(filled.bags, weight_.view(), options_, out, context != nullptr ? &filled.max_positions : nullptr);
  filled.mask.clear();
  filled.rows.clear();
  if (context != nullptr && filled.bags.has_per_sample_weights()) {
    filled.rows = Gather(weight_.view(), filled.distinct());
  }
  return absl::OkStatus();
}

absl::StatusOr<EmbeddingGradients> EmbeddingBag::Backward(const LookupContext& context, TableView grad_output,
                                                          WeightsGradient weights_gradient) const {
  EQAT_RETURN_IF_ERROR(CheckShape(grad_output, context.bags.num_bags(), options_.embedding_dim,
                                  EmbeddingBagPlace(name_), "grad_output"));
  EmbeddingGradients gradients;
  gradients.weight.cols = options_.embedding_dim;
  if (options_.requires_grad) {
    gradients.weight =
        TableGradient(context, grad_output, options_.mode, options_.padding_idx, options_.scale_grad_by_freq);
  }
  if (weights_gradient == WeightsGradient::kCompute) {
    if (!context.bags.has_per_sample_weights()) {
      return FailedPrecondition(EmbeddingBagPlace(name_), "the gradient of per_sample_weights is asked for",
                                "a forward without per_sample_weights", "a forward with them");
    }
    gradients.per_sample_weights = PerSampleWeightsGradient(context, grad_output, options_.padding_idx);
  }
  return gradients;
}

}  // namespace eqat::nn
