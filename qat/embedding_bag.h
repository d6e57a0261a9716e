// qat::EmbeddingBag: nn::EmbeddingBag whose weight passes through fake quantization. Follows
// torch.ao.nn.qat.EmbeddingBag; outputs, gradients and saved state equal torch's, but a step touches only the rows of
// its batch (quant/fake_quantize.h says how).
//
//   T = fake_quantize(weight);  out = embedding_bag(T);  d weight = d T * mask      (straight-through)
//
// Differences from torch (docs/numerics.md): max_norm renormalizes the stored rows; a frozen table stays frozen;
// evaluation never observes; NaN and infinity are errors that name the row.
// Contains an nn::EmbeddingBag, does not derive from it: a call through the float interface would skip quantization.
// Thread safety: const methods may run concurrently, others not with any other.
#ifndef EQAT_QAT_EMBEDDING_BAG_H_
#define EQAT_QAT_EMBEDDING_BAG_H_

#include <cstdint>
#include <optional>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "core/embedding_lookup.h"
#include "float_modules/embedding_bag.h"
#include "quant/fake_quantize.h"
#include "quant/types/qconfig.h"
#include "quantized/embedding_bag.h"

namespace eqat::qat {

// What every QAT table asks of a qconfig: FakeQuantize (not a bare observer) with qscheme
// per_channel_affine_float_qparams on ch_axis 0, and if it names a format to be deployed in, one that can hold rows of
// `embedding_dim`. `module` is "qat.Embedding" or "qat.EmbeddingBag".
absl::Status ValidateEmbeddingQConfig(const quant::QConfig& qconfig, absl::string_view module, int64_t embedding_dim);

class EmbeddingBag final : public EmbeddingLookup {
 public:
  static absl::StatusOr<EmbeddingBag> Create(nn::EmbeddingBagOptions options, const quant::QConfig& qconfig,
                                             uint64_t seed, std::string name = "");
  // Moves the table of `module` in; its qconfig() is the recipe. FailedPrecondition without one, InvalidArgument if it
  // does not suit a table; on error `module` is unchanged.
  static absl::StatusOr<EmbeddingBag> FromFloat(nn::EmbeddingBag&& module);
  // The float module with the unquantized weight, options and qconfig.
  nn::EmbeddingBag ToFloat() &&;
  // Packed codes of the whole table. FailedPrecondition while fake quantization is disabled (evaluation then uses the
  // float rows, which no conversion equals) or when never observed with the observer off; InvalidArgument naming a row
  // with NaN or infinity. Applies max_norm to every row first, on a copy: *this is unchanged.
  absl::StatusOr<quantized::EmbeddingBag> Convert() const;

  EmbeddingBag(EmbeddingBag&&) = default;
  EmbeddingBag& operator=(EmbeddingBag&&) = default;

  const nn::EmbeddingBagOptions& options() const { return module_.options(); }
  const std::string& name() const { return module_.name(); }
  const quant::QConfig& qconfig() const { return *module_.qconfig(); }
  const Table& weight() const { return module_.weight(); }
  // Write rows only after announcing them.
  Table& mutable_weight() { return module_.mutable_weight(); }
  void WillModifyRows(absl::Span<const int64_t> rows) { fake_quantize_.WillModifyRows(module_.weight().view(), rows); }
  // The same for the rows of a gradient of the last forward, which need not be read again.
  void WillModifyRows(const nn::SparseGrad& gradient) {
    fake_quantize_.WillModifyRows(module_.weight().view(), gradient.rows, &gradient.bounds);
  }
  void WillModifyAllRows() { fake_quantize_.WillModifyAllRows(module_.weight().view()); }
  void set_requires_grad(bool requires_grad) { module_.set_requires_grad(requires_grad); }

  const quant::FakeQuantize& weight_fake_quant() const { return fake_quantize_; }
  quant::FakeQuantize& mutable_weight_fake_quant() { return fake_quantize_; }
  void EnableObserver() { fake_quantize_.EnableObserver(); }
  absl::Status DisableObserver();
  void EnableFakeQuant() { fake_quantize_.EnableFakeQuant(); }
  void DisableFakeQuant() { fake_quantize_.DisableFakeQuant(); }
  absl::StatusOr<quant::FakeQuantizeState> FakeQuantState() const;
  absl::Status SetFakeQuantState(quant::FakeQuantizeState state);

  int64_t num_embeddings() const override { return module_.num_embeddings(); }
  int64_t embedding_dim() const override { return module_.embedding_dim(); }
  absl::StatusOr<int64_t> NumOutputs(const LookupInput& input) const override { return module_.NumOutputs(input); }
  // Evaluation: never observes; equals Convert()'s Lookup bit for bit.
  absl::Status Lookup(const LookupInput& input, MutableTableView out) const override;
  // torch's module call in evaluation: as Lookup, but max_norm renormalizes the stored rows of the batch.
  absl::Status ForwardEvaluation(const LookupInput& input, MutableTableView out, nn::LookupContext* context);
  // torch's module call in training: max_norm, observe, fake-quantize, pool. On error the module and `out` are
  // unchanged; `context` then holds its old forward or none.
  absl::Status Forward(const LookupInput& input, MutableTableView out, nn::LookupContext* context);
  absl::StatusOr<nn::EmbeddingGradients> Backward(
      const nn::LookupContext& context, TableView grad_output,
      nn::WeightsGradient weights_gradient = nn::WeightsGradient::kSkip) const;

  std::string ToString() const;

 private:
  EmbeddingBag(nn::EmbeddingBag&& module, quant::FakeQuantize&& fake_quantize);
  // What messages call this module: its name, or its type when it has none.
  std::string Where() const { return module_.name().empty() ? "qat.EmbeddingBag" : module_.name(); }
  nn::EmbeddingBag module_;  // always with a qconfig
  quant::FakeQuantize fake_quantize_;
};

}  // namespace eqat::qat

#endif  // EQAT_QAT_EMBEDDING_BAG_H_
