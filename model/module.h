// Module: one of the closed set of modules a model is made of, and the small questions that all of them answer.
#ifndef EQAT_MODEL_MODULE_H_
#define EQAT_MODEL_MODULE_H_

#include <cstdint>
#include <string>
#include <variant>

#include "absl/strings/string_view.h"
#include "core/embedding_lookup.h"
#include "float_modules/batch_norm.h"
#include "float_modules/embedding.h"
#include "float_modules/embedding_bag.h"
#include "float_modules/linear.h"
#include "qat/embedding.h"
#include "qat/embedding_bag.h"
#include "quantized/embedding_bag.h"

namespace eqat::model {

struct ReLU {};
struct Sigmoid {};
struct Dropout {
  double p = 0.5;
};

using Module = std::variant<nn::Embedding, nn::EmbeddingBag, qat::Embedding, qat::EmbeddingBag, quantized::Embedding,
                            quantized::EmbeddingBag, nn::Linear, ReLU, Sigmoid, Dropout, nn::BatchNorm1d>;

absl::string_view TypeName(const Module& module);  // "nn.EmbeddingBag", "qat.Embedding", ...
// The table as read-only lookup, or null for a module that is none.
const EmbeddingLookup* AsLookup(const Module& module);
bool IsQat(const Module& module);
bool IsFloatTable(const Module& module);
// Bytes of parameters: float tables 4 per value, quantized tables codes and parameters.
int64_t ParameterBytes(const Module& module);
// torch's printed form.
std::string ToString(const Module& module);

}  // namespace eqat::model

#endif  // EQAT_MODEL_MODULE_H_
