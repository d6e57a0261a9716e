#include "model/module.h"

#include "absl/strings/str_cat.h"
#include "core/checked_math.h"
#include "core/status_macros.h"
#include "io/json_reader.h"
#include "quant/kernels/pack_kernels.h"

namespace eqat::model {
namespace {

// As Python prints a float: shortest form that reads back, with ".0" for whole numbers.
std::string FloatText(double value) { return io::Json(value).dump(); }

absl::string_view BoolText(bool value) { return value ? "True" : "False"; }

std::string TextOf(const nn::Linear& linear) {
  const nn::LinearOptions& options = linear.options();
  return absl::StrCat("Linear(in_features=", options.in_features, ", out_features=", options.out_features,
                      ", bias=", BoolText(options.bias), ")");
}

std::string TextOf(const nn::BatchNorm1d& batch_norm) {
  const nn::BatchNorm1dOptions& options = batch_norm.options();
  return absl::StrCat("BatchNorm1d(", options.num_features, ", eps=", FloatText(options.eps),
                      ", momentum=", options.momentum ? FloatText(*options.momentum) : "None",
                      ", affine=", BoolText(options.affine),
                      ", track_running_stats=", BoolText(options.track_running_stats), ")");
}

std::string TextOf(const ReLU&) { return "ReLU()"; }
std::string TextOf(const Sigmoid&) { return "Sigmoid()"; }
std::string TextOf(const ParameterTensor& parameter) {
  return absl::StrCat("Parameter(shape=", ShapeText(parameter.value.shape), ")");
}
std::string TextOf(const BufferTensor& buffer) {
  return absl::StrCat("Buffer(shape=", ShapeText(buffer.value.shape), ")");
}
std::string TextOf(const GraphModule& nested) { return absl::StrCat("Graph(nodes=", nested.graph.nodes.size(), ")"); }
std::string TextOf(const InterfaceModule& interface) {
  return absl::StrCat("Interface(implementation=", interface.implementation, ")");
}
std::string TextOf(const Dropout& dropout) {
  return absl::StrCat("Dropout(p=", FloatText(dropout.p), ", inplace=False)");
}

template <typename Table>
std::string TextOf(const Table& table) {
  return table.ToString();
}

// The format that a QAT table is trained for; null for none.
const quant::DeployTraits* DeployOfQat(const Module& module) {
  return std::visit(
      [](const auto& alternative) -> const quant::DeployTraits* {
        if constexpr (kIsQat<std::decay_t<decltype(alternative)>>) {
          return quant::DeployOf(alternative.qconfig().weight);
        } else {
          return nullptr;
        }
      },
      module);
}

}  // namespace

const std::vector<std::string>& TypeNames() {
  static const auto& names = *new std::vector<std::string>{
      "nn.Embedding",           "nn.EmbeddingBag", "qat.Embedding", "qat.EmbeddingBag", "quantized.Embedding",
      "quantized.EmbeddingBag", "nn.Linear",       "nn.ReLU",       "nn.Sigmoid",       "nn.Dropout",
      "nn.BatchNorm1d",         "nn.Parameter",    "nn.Buffer",     "model.Graph",      "model.Interface"};
  return names;
}

absl::string_view TypeName(const Module& module) { return TypeNames()[module.index()]; }

const EmbeddingLookup* AsLookup(const Module& module) {
  return std::visit(
      [](const auto& alternative) -> const EmbeddingLookup* {
        if constexpr (std::is_base_of_v<EmbeddingLookup, std::decay_t<decltype(alternative)>>) {
          return &alternative;
        } else {
          return nullptr;
        }
      },
      module);
}

bool IsQat(const Module& module) {
  return std::visit([](const auto& alternative) { return kIsQat<std::decay_t<decltype(alternative)>>; }, module);
}

bool IsFloatTable(const Module& module) {
  return std::visit([](const auto& alternative) { return kIsFloatTable<std::decay_t<decltype(alternative)>>; }, module);
}

bool IsQuantized(const Module& module) {
  return std::visit([](const auto& alternative) { return kIsQuantized<std::decay_t<decltype(alternative)>>; }, module);
}

bool IsBag(const Module& module) {
  return std::visit([](const auto& alternative) { return kIsBag<std::decay_t<decltype(alternative)>>; }, module);
}

const Tensor* AsTensor(const Module& module) {
  if (const auto* parameter = std::get_if<ParameterTensor>(&module)) return &parameter->value;
  if (const auto* buffer = std::get_if<BufferTensor>(&module)) return &buffer->value;
  return nullptr;
}

int WeightBits(const Module& module) {
  return std::visit(
      [](const auto& alternative) {
        using T = std::decay_t<decltype(alternative)>;
        if constexpr (kIsQat<T>) {
          return quant::TraitsOf(alternative.qconfig().weight.observer.dtype).bits;
        } else if constexpr (kIsQuantized<T>) {
          return alternative.weight().bits();
        } else {
          return 32;
        }
      },
      module);
}

int64_t ParameterBytes(const Module& module) {
  constexpr int64_t kFloatBytes = sizeof(float);
  return std::visit(
      [](const auto& alternative) -> int64_t {
        using T = std::decay_t<decltype(alternative)>;
        if constexpr (kIsQuantized<T>) {
          return alternative.weight().bytes();
        } else if constexpr (std::is_base_of_v<EmbeddingLookup, T>) {
          return alternative.num_embeddings() * alternative.embedding_dim() * kFloatBytes;
        } else if constexpr (std::is_same_v<T, nn::Linear>) {
          return kFloatBytes * (alternative.weight().rows() * alternative.weight().cols() +
                                static_cast<int64_t>(alternative.bias().size()));
        } else if constexpr (std::is_same_v<T, nn::BatchNorm1d>) {
          return kFloatBytes *
                 static_cast<int64_t>(alternative.state().weight.size() + alternative.state().bias.size());
        } else if constexpr (std::is_same_v<T, ParameterTensor> || std::is_same_v<T, BufferTensor>) {
          return kFloatBytes * alternative.value.size();
        } else {
          return 0;
        }
      },
      module);
}

int64_t ParameterBytesConverted(const Module& module) {
  if (!IsQat(module)) return ParameterBytes(module);
  const EmbeddingLookup& table = *AsLookup(module);
  if (table.num_embeddings() == 0) return 0;
  const quant::DeployTraits* const deploy = DeployOfQat(module);
  constexpr int64_t kQParamsBytes = 2 * sizeof(float);  // scale and zero point of a row
  const int64_t row_bytes = quant::kernels::PackedRowBytes(table.embedding_dim(), WeightBits(module)) +
                            (deploy == nullptr ? kQParamsBytes : deploy->ParamBytesOf(table.embedding_dim()));
  // Only a table without columns can have so many rows.
  return CheckedMul(table.num_embeddings(), row_bytes).value_or(INT64_MAX);
}

std::string ToString(const Module& module) {
  return std::visit([](const auto& alternative) { return TextOf(alternative); }, module);
}

namespace {

template <typename FloatTable>
absl::StatusOr<FloatTable> CloneFloat(const FloatTable& table) {
  EQAT_ASSIGN_OR_RETURN(Table weight, table.weight().Clone());
  EQAT_ASSIGN_OR_RETURN(FloatTable clone, FloatTable::FromWeight(std::move(weight), table.options(), table.name()));
  clone.set_qconfig(table.qconfig());
  return clone;
}

template <typename FloatTable, typename QatTable>
absl::StatusOr<QatTable> CloneQat(const QatTable& table) {
  EQAT_ASSIGN_OR_RETURN(Table weight, table.weight().Clone());
  EQAT_ASSIGN_OR_RETURN(FloatTable float_table,
                        FloatTable::FromWeight(std::move(weight), table.options(), table.name()));
  float_table.set_qconfig(table.qconfig());
  EQAT_ASSIGN_OR_RETURN(QatTable clone, QatTable::FromFloat(std::move(float_table)));
  EQAT_ASSIGN_OR_RETURN(quant::FakeQuantizeState state, table.FakeQuantState());
  EQAT_RETURN_IF_ERROR(clone.SetFakeQuantState(std::move(state)));
  return clone;
}

template <typename T>
absl::StatusOr<T> CloneOf(const T& module) {
  if constexpr (kIsFloatTable<T>) {
    return CloneFloat(module);
  } else if constexpr (std::is_same_v<T, qat::Embedding>) {
    return CloneQat<nn::Embedding>(module);
  } else if constexpr (std::is_same_v<T, qat::EmbeddingBag>) {
    return CloneQat<nn::EmbeddingBag>(module);
  } else if constexpr (kIsQuantized<T>) {
    return T::Create(module.weight().Share(), module.options(), module.name());
  } else if constexpr (std::is_same_v<T, nn::Linear>) {
    EQAT_ASSIGN_OR_RETURN(Table weight, module.weight().Clone());
    return nn::Linear::FromWeight(std::move(weight), module.bias(), module.options(), module.name());
  } else {
    return module;
  }
}

}  // namespace

absl::StatusOr<Module> Clone(const Module& module) {
  return std::visit(
      [](const auto& alternative) -> absl::StatusOr<Module> {
        EQAT_ASSIGN_OR_RETURN(auto clone, CloneOf(alternative));
        return Module(std::move(clone));
      },
      module);
}

}  // namespace eqat::model
