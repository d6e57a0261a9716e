#include "qat/embedding_bag.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "core/error.h"
#include "core/lookup.h"
#include "core/status_macros.h"
#include "qat/fake_quantized_rows.h"

namespace eqat::qat {
namespace {

// Begins `kept` or, if that is null, `within` with the checked batch, and returns it.
absl::StatusOr<nn::LookupContext*> BeginLookup(const nn::EmbeddingBagOptions& options, const std::string& where,
                                               const LookupInput& input, MutableTableView out, nn::LookupContext* kept,
                                               nn::LookupContext& within) {
  EQAT_ASSIGN_OR_RETURN(Bags bags,
                        MakeBags(input, options.num_embeddings, options.include_last_offset, options.mode, where));
  EQAT_RETURN_IF_ERROR(nn::CheckShape(out, bags.num_bags(), options.embedding_dim, where, "output"));
  if (kept == nullptr) {
    within.BeginWithin(std::move(bags));
    return &within;
  }
  kept->Begin(std::move(bags));
  return kept;
}

}  // namespace

absl::Status ValidateEmbeddingQConfig(const quant::QConfig& qconfig, absl::string_view module, int64_t embedding_dim) {
  const quant::WeightConfig& weight = qconfig.weight;
  if (!weight.fake_quantize) {
    return InvalidArgument(module, "the qconfig's weight is an observer alone, which does not fake-quantize",
                           quant::TraitsOf(weight.observer.kind).name, "FakeQuantize");
  }
  constexpr quant::QScheme kRequired = quant::QScheme::kPerChannelAffineFloatQParams;
  if (weight.observer.qscheme != kRequired) {
    return InvalidArgument(module, "the qconfig's weight has a qscheme that does not suit a table",
                           quant::TraitsOf(weight.observer.qscheme).name, quant::TraitsOf(kRequired).name);
  }
  if (weight.observer.ch_axis != 0) {
    return InvalidArgument(module, "the qconfig's weight has a ch_axis other than the rows of a table",
                           absl::StrCat(weight.observer.ch_axis), "0");
  }
  EQAT_RETURN_IF_ERROR(AtPlace(module, quant::Validate(weight)));
  const quant::DeployTraits* const deploy = quant::DeployOf(weight);
  return deploy == nullptr ? absl::OkStatus() : AtPlace(module, quant::CheckDeployedWidth(*deploy, embedding_dim));
}

EmbeddingBag::EmbeddingBag(nn::EmbeddingBag&& module, quant::FakeQuantize&& fake_quantize)
    : module_(std::move(module)), fake_quantize_(std::move(fake_quantize)) {}

absl::StatusOr<EmbeddingBag> EmbeddingBag::Create(nn::EmbeddingBagOptions options, const quant::QConfig& qconfig,
                                                  uint64_t seed, std::string name) {
  EQAT_ASSIGN_OR_RETURN(nn::EmbeddingBag module, nn::EmbeddingBag::Create(std::move(options), seed, std::move(name)));
  module.set_qconfig(qconfig);
  return FromFloat(std::move(module));
}

absl::StatusOr<EmbeddingBag> EmbeddingBag::FromFloat(nn::EmbeddingBag&& module) {
  if (!module.qconfig().has_value()) {
    return FailedPrecondition(module.name().empty() ? "qat.EmbeddingBag" : module.name(),
                              "the float module has no qconfig to be prepared with");
  }
  if (const absl::Status status =
          ValidateEmbeddingQConfig(*module.qconfig(), "qat.EmbeddingBag", module.embedding_dim());
      !status.ok()) {
    return module.name().empty() ? status : AtPlace(module.name(), status);
  }
  EQAT_ASSIGN_OR_RETURN(quant::FakeQuantize fake_quantize, quant::FakeQuantize::Create(module.qconfig()->weight));
  return EmbeddingBag(std::move(module), std::move(fake_quantize));
}

nn::EmbeddingBag EmbeddingBag::ToFloat() && { return std::move(module_); }

absl::StatusOr<quantized::EmbeddingBag> EmbeddingBag::Convert() const {
  absl::StatusOr<quant::QuantizedTable> table = QuantizeTable(options(), weight(), fake_quantize_);
  if (!table.ok()) return AtPlace(Where(), table.status());
  nn::EmbeddingBagOptions converted = options();
  converted.max_norm.reset();  // the codes are those of the renormalized rows
  return quantized::EmbeddingBag::Create(*std::move(table), std::move(converted), name());
}

absl::Status EmbeddingBag::DisableObserver() {
  const TableView table = weight().view();
  return AtPlace(Where(), fake_quantize_.DisableObserver(&table));
}

absl::StatusOr<quant::FakeQuantizeState> EmbeddingBag::FakeQuantState() const {
  const TableView table = weight().view();
  absl::StatusOr<quant::FakeQuantizeState> state = fake_quantize_.State(&table);
  if (!state.ok()) return AtPlace(Where(), state.status());
  return state;
}

absl::Status EmbeddingBag::SetFakeQuantState(quant::FakeQuantizeState state) {
  return AtPlace(Where(), fake_quantize_.SetState(std::move(state), num_embeddings()));
}

absl::Status EmbeddingBag::Lookup(const LookupInput& input, MutableTableView out) const {
  nn::LookupContext context;
  EQAT_RETURN_IF_ERROR(BeginLookup(options(), Where(), input, out, /*kept=*/nullptr, context).status());
  if (TryEvaluatePooled(options(), weight(), fake_quantize_, context, out)) return absl::OkStatus();
  EQAT_RETURN_IF_ERROR(AtPlace(Where(), EvaluateRows(options(), weight(), fake_quantize_, context)));
  nn::PoolDistinct(context.bags, context.distinct(), RowsOf(context, embedding_dim()), options(), out);
  return absl::OkStatus();
}

absl::Status EmbeddingBag::ForwardEvaluation(const LookupInput& input, MutableTableView out,
                                             nn::LookupContext* context) {
  // Without a backward and without rows to store it is a look-up.
  if (context == nullptr && !options().max_norm.has_value()) return Lookup(input, out);
  nn::LookupContext within;
  EQAT_ASSIGN_OR_RETURN(nn::LookupContext* const begun, BeginLookup(options(), Where(), input, out, context, within));
  nn::LookupContext& filled = *begun;
  EQAT_RETURN_IF_ERROR(
      ClearOnError(EvaluateAndRenormRows(options(), mutable_weight(), fake_quantize_, filled), Where(), filled));
  nn::PoolDistinct(filled.bags, filled.distinct(), RowsOf(filled, embedding_dim()), options(), out,
                   &filled.max_positions);
  return absl::OkStatus();
}

absl::Status EmbeddingBag::Forward(const LookupInput& input, MutableTableView out, nn::LookupContext* context) {
  nn::LookupContext within;
  EQAT_ASSIGN_OR_RETURN(nn::LookupContext* const begun, BeginLookup(options(), Where(), input, out, context, within));
  nn::LookupContext& filled = *begun;
  if (TryTrainPooled(options(), weight(), fake_quantize_, filled, context != nullptr, out)) {
    filled.rows.clear();
    filled.mask.clear();
    filled.max_positions.clear();
    return absl::OkStatus();
  }
  EQAT_RETURN_IF_ERROR(ClearOnError(TrainRows(options(), mutable_weight(), fake_quantize_, filled), Where(), filled));
  nn::PoolDistinct(filled.bags, filled.distinct(), RowsOf(filled, embedding_dim()), options(), out,
                   &filled.max_positions);
  return absl::OkStatus();
}

absl::StatusOr<nn::EmbeddingGradients> EmbeddingBag::Backward(const nn::LookupContext& context, TableView grad_output,
                                                              nn::WeightsGradient weights_gradient) const {
  return module_.Backward(context, grad_output, weights_gradient);
}

std::string EmbeddingBag::ToString() const { return WithFakeQuantLine(module_.ToString(), fake_quantize_, weight()); }

}  // namespace eqat::qat
