// Module: one of the closed set of modules a model is made of, and the small questions that all of them answer.
#ifndef EQAT_MODEL_MODULE_H_
#define EQAT_MODEL_MODULE_H_

#include <cstdint>
#include <string>
#include <type_traits>
#include <variant>
#include <vector>

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

// Kinds of alternatives of Module, for std::visit.
template <typename T>
inline constexpr bool kIsBag = std::is_same_v<T, nn::EmbeddingBag> || std::is_same_v<T, qat::EmbeddingBag> ||
                               std::is_same_v<T, quantized::EmbeddingBag>;
template <typename T>
inline constexpr bool kIsFloatTable = std::is_same_v<T, nn::Embedding> || std::is_same_v<T, nn::EmbeddingBag>;
template <typename T>
inline constexpr bool kIsQat = std::is_same_v<T, qat::Embedding> || std::is_same_v<T, qat::EmbeddingBag>;
template <typename T>
inline constexpr bool kIsQuantized =
    std::is_same_v<T, quantized::Embedding> || std::is_same_v<T, quantized::EmbeddingBag>;

absl::string_view TypeName(const Module& module);  // "nn.EmbeddingBag", "qat.Embedding", ...
// The table as read-only lookup, or null for a module that is none.
const EmbeddingLookup* AsLookup(const Module& module);
bool IsQat(const Module& module);
bool IsFloatTable(const Module& module);
bool IsQuantized(const Module& module);
bool IsBag(const Module& module);
// Type names by position in Module.
const std::vector<std::string>& TypeNames();
// Bits of a table's weight: 32 for a float table, for a QAT table those it will be converted to. 32 for other modules.
int WeightBits(const Module& module);
// Bytes of parameters: float tables 4 per value, quantized tables codes and parameters.
int64_t ParameterBytes(const Module& module);
// As ParameterBytes, with QAT tables as large as they will be once converted.
int64_t ParameterBytesConverted(const Module& module);
// torch's printed form.
std::string ToString(const Module& module);

}  // namespace eqat::model

#endif  // EQAT_MODEL_MODULE_H_
