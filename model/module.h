// Module: one of the closed set of modules a model is made of, and the small questions that all of them answer.
#ifndef EQAT_MODEL_MODULE_H_
#define EQAT_MODEL_MODULE_H_

#include <cstdint>
#include <string>
#include <type_traits>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "core/embedding_lookup.h"
#include "core/tensor.h"
#include "float_modules/batch_norm.h"
#include "float_modules/embedding.h"
#include "float_modules/embedding_bag.h"
#include "float_modules/linear.h"
#include "model/graph.h"
#include "qat/embedding.h"
#include "qat/embedding_bag.h"
#include "quantized/embedding_bag.h"

namespace eqat::model {

struct ReLU {};
struct Sigmoid {};
struct Dropout {
  double p = 0.5;
};

// torch.nn.Parameter and torch.nn.Buffer: tensors that belong to the model itself and that get_attr reads.
struct ParameterTensor {
  Tensor value;
  bool requires_grad = true;
};
struct BufferTensor {
  Tensor value;
};
// A model within the model, called with as many arguments as its graph has placeholders. Its modules are those of the
// whole model whose names begin with its own and a dot; its graph calls them without that.
struct GraphModule {
  Graph graph;
};
// A call of this module is one of the module `implementation`, looked for beside this one and then outwards, in the
// model around it. Several names for one module: what they share is stored, trained and kept once.
struct InterfaceModule {
  std::string implementation;
};

using Module = std::variant<nn::Embedding, nn::EmbeddingBag, qat::Embedding, qat::EmbeddingBag, quantized::Embedding,
                            quantized::EmbeddingBag, nn::Linear, ReLU, Sigmoid, Dropout, nn::BatchNorm1d,
                            ParameterTensor, BufferTensor, GraphModule, InterfaceModule>;

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
// The value of a ParameterTensor or BufferTensor, or null.
const Tensor* AsTensor(const Module& module);
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
// A module of the same content. Float memory is copied; packed rows, which never change, are shared.
absl::StatusOr<Module> Clone(const Module& module);

}  // namespace eqat::model

#endif  // EQAT_MODEL_MODULE_H_
