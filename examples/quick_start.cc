// From a float table to 4 bits a weight: prepare, train a little, convert; and the promise that nothing changes on the
// way.
#include <cstdint>
#include <cstring>
#include <iostream>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "core/status_macros.h"
#include "qat/embedding_bag.h"
#include "quant/types/qconfig.h"

namespace {

absl::Status Run() {
  // README: begin
  // A float module, as a trained model would have it: 1000 rows of 16 values, mean pooling.
  EQAT_ASSIGN_OR_RETURN(eqat::nn::EmbeddingBag item,
                        eqat::nn::EmbeddingBag::Create({{.num_embeddings = 1000, .embedding_dim = 16}}, /*seed=*/1));

  // Convert it to QAT at 4 bits. The table is moved, not copied.
  item.set_qconfig(eqat::quant::QConfigPreset("default_embedding_qat_qconfig_4bit"));
  EQAT_ASSIGN_OR_RETURN(auto qat, eqat::qat::EmbeddingBag::FromFloat(std::move(item)));

  // One training step on two bags, {3, 17} and {17, 42, 3}. Only rows 3, 17 and 42 are touched.
  const std::vector<int64_t> indices = {3, 17, 17, 42, 3};
  const std::vector<int64_t> offsets = {0, 2};
  const eqat::LookupInput batch = {.indices = indices, .offsets = offsets};
  std::vector<float> out(2 * 16);
  eqat::nn::LookupContext context;
  EQAT_RETURN_IF_ERROR(qat.Forward(batch, eqat::MutableTableView(out.data(), 2, 16), &context));
  const std::vector<float> grad_output(2 * 16, 0.1f);  // from the layers above
  EQAT_ASSIGN_OR_RETURN(const auto grads, qat.Backward(context, eqat::TableView(grad_output.data(), 2, 16)));
  qat.WillModifyRows(grads.weight.rows);  // announce, then write: plain SGD with learning rate 0.5
  for (size_t i = 0; i < grads.weight.rows.size(); ++i) {
    for (int64_t j = 0; j < 16; ++j) {
      qat.mutable_weight().Row(grads.weight.rows[i])[j] -= 0.5f * grads.weight.view().Row(i)[j];
    }
  }

  // Pack it: what was trained is what is served, bit for bit.
  EQAT_ASSIGN_OR_RETURN(const eqat::quantized::EmbeddingBag packed, qat.Convert());
  std::vector<float> served(2 * 16);
  EQAT_RETURN_IF_ERROR(qat.Lookup(batch, eqat::MutableTableView(out.data(), 2, 16)));
  EQAT_RETURN_IF_ERROR(packed.Lookup(batch, eqat::MutableTableView(served.data(), 2, 16)));
  const bool same = std::memcmp(out.data(), served.data(), out.size() * sizeof(float)) == 0;
  // README: end
  std::cout << "float table " << 1000 * 16 * sizeof(float) << " bytes, packed " << packed.weight().bytes()
            << " bytes, outputs " << (same ? "equal" : "differ") << "\n";
  return same ? absl::OkStatus() : absl::InternalError("outputs differ");
}

}  // namespace

int main() {
  const absl::Status status = Run();
  if (!status.ok()) std::cerr << "quick_start: " << status << "\n";
  return status.ok() ? 0 : 1;
}
