#include "qat/embedding.h"

#include <utility>

#include "core/error.h"
#include "core/lookup.h"
#include "core/status_macros.h"
#include "qat/embedding_bag.h"
#include "qat/fake_quantized_rows.h"

namespace eqat::qat {
namespace {

// Begins `kept` or, if that is null, `within` with the checked batch, and returns it.
absl::StatusOr<nn::LookupContext*> BeginLookup(const nn::EmbeddingOptions& options, const std::string& where,
                                               const LookupInput& input, MutableTableView out, nn::LookupContext* kept,
                                               nn::LookupContext& within) {
  EQAT_ASSIGN_OR_RETURN(Bags bags, BagsOfOne(input, options.num_embeddings, where));
  EQAT_RETURN_IF_ERROR(nn::CheckShape(out, bags.num_bags(), options.embedding_dim, where, "output"));
  if (kept == nullptr) {
    within.BeginWithin(std::move(bags));
    return &within;
  }
  kept->Begin(std::move(bags));
  return kept;
}

}  // namespace

Embedding::Embedding(nn::Embedding&& module, quant::FakeQuantize&& fake_quantize)
    : module_(std::move(module)), fake_quantize_(std::move(fake_quantize)) {}

absl::StatusOr<Embedding> Embedding::Create(nn::EmbeddingOptions options, const quant::QConfig& qconfig, uint64_t seed,
                                            std::string name) {
  EQAT_ASSIGN_OR_RETURN(nn::Embedding module, nn::Embedding::Create(std::move(options), seed, std::move(name)));
  module.set_qconfig(qconfig);
  return FromFloat(std::move(module));
}

absl::StatusOr<Embedding> Embedding::FromFloat(nn::Embedding&& module) {
  if (!module.qconfig().has_value()) {
    return FailedPrecondition(module.name().empty() ? "qat.Embedding" : module.name(),
                              "the float module has no qconfig to be prepared with");
  }
  if (const absl::Status status = ValidateEmbeddingQConfig(*module.qconfig(), "qat.Embedding", module.embedding_dim());
      !status.ok()) {
    return module.name().empty() ? status : AtPlace(module.name(), status);
  }
  EQAT_ASSIGN_OR_RETURN(quant::FakeQuantize fake_quantize, quant::FakeQuantize::Create(module.qconfig()->weight));
  return Embedding(std::move(module), std::move(fake_quantize));
}

nn::Embedding Embedding::ToFloat() && { return std::move(module_); }

absl::StatusOr<quantized::Embedding> Embedding::Convert() const {
  absl::StatusOr<quant::QuantizedTable> table = QuantizeTable(options(), weight(), fake_quantize_);
  if (!table.ok()) return AtPlace(Where(), table.status());
  nn::EmbeddingOptions converted = options();
  converted.max_norm.reset();  // the codes are those of the renormalized rows
  return quantized::Embedding::Create(*std::move(table), std::move(converted), name());
}

absl::Status Embedding::DisableObserver() {
  const TableView table = weight().view();
  return AtPlace(Where(), fake_quantize_.DisableObserver(&table));
}

absl::StatusOr<quant::FakeQuantizeState> Embedding::FakeQuantState() const {
  const TableView table = weight().view();
  absl::StatusOr<quant::FakeQuantizeState> state = fake_quantize_.State(&table);
  if (!state.ok()) return AtPlace(Where(), state.status());
  return state;
}

absl::Status Embedding::SetFakeQuantState(quant::FakeQuantizeState state) {
  return AtPlace(Where(), fake_quantize_.SetState(std::move(state), num_embeddings()));
}

absl::Status Embedding::Lookup(const LookupInput& input, MutableTableView out) const {
  nn::LookupContext context;
  EQAT_RETURN_IF_ERROR(BeginLookup(options(), Where(), input, out, /*kept=*/nullptr, context).status());
  EQAT_RETURN_IF_ERROR(AtPlace(Where(), EvaluateRows(options(), weight(), fake_quantize_, context)));
  nn::CopyRows(RowsOf(context, embedding_dim()), context.distinct().slots(), out);
  return absl::OkStatus();
}

absl::Status Embedding::ForwardEvaluation(const LookupInput& input, MutableTableView out, nn::LookupContext* context) {
  // Without a backward and without rows to store it is a look-up.
  if (context == nullptr && !options().max_norm.has_value()) return Lookup(input, out);
  nn::LookupContext within;
  EQAT_ASSIGN_OR_RETURN(nn::LookupContext* const begun, BeginLookup(options(), Where(), input, out, context, within));
  nn::LookupContext& filled = *begun;
  EQAT_RETURN_IF_ERROR(
      ClearOnError(EvaluateAndRenormRows(options(), mutable_weight(), fake_quantize_, filled), Where(), filled));
  nn::CopyRows(RowsOf(filled, embedding_dim()), filled.distinct().slots(), out);
  return absl::OkStatus();
}

absl::Status Embedding::Forward(const LookupInput& input, MutableTableView out, nn::LookupContext* context) {
  nn::LookupContext within;
  EQAT_ASSIGN_OR_RETURN(nn::LookupContext* const begun, BeginLookup(options(), Where(), input, out, context, within));
  nn::LookupContext& filled = *begun;
  EQAT_RETURN_IF_ERROR(ClearOnError(TrainRows(options(), mutable_weight(), fake_quantize_, filled), Where(), filled));
  nn::CopyRows(RowsOf(filled, embedding_dim()), filled.distinct().slots(), out);
  return absl::OkStatus();
}

absl::StatusOr<nn::EmbeddingGradients> Embedding::Backward(const nn::LookupContext& context,
                                                           TableView grad_output) const {
  return module_.Backward(context, grad_output);
}

std::string Embedding::ToString() const { return WithFakeQuantLine(module_.ToString(), fake_quantize_, weight()); }

}  // namespace eqat::qat
