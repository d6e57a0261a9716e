#include <numeric>
#include <utility>

#include "core/status_macros.h"
#include "float_modules/embedding_functional.h"
#include "model/freeze/passes.h"

namespace eqat::model {
namespace {

// `options` without what matters to training alone, and without max_norm, which has been applied.
template <typename Options>
Options FrozenOptions(Options options) {
  options.max_norm.reset();
  options.norm_type = Options().norm_type;
  options.scale_grad_by_freq = false;
  options.sparse = false;
  options.requires_grad = true;  // the model says that its parameters are constants
  return options;
}

template <typename FloatTable>
absl::StatusOr<Module> FreezeFloat(FloatTable&& table) {
  const auto options = table.options();
  const std::string name = table.name();
  Table weight = std::move(table).ReleaseWeight();
  if (options.max_norm) nn::RenormAllRows(*options.max_norm, options.norm_type, weight.mutable_view());
  EQAT_ASSIGN_OR_RETURN(FloatTable frozen, FloatTable::FromWeight(std::move(weight), FrozenOptions(options), name));
  return Module(std::move(frozen));
}

template <typename QuantizedTable>
absl::StatusOr<Module> FreezePacked(const QuantizedTable& table) {
  EQAT_ASSIGN_OR_RETURN(QuantizedTable frozen,
                        QuantizedTable::Create(table.weight().Share(), FrozenOptions(table.options()), table.name()));
  return Module(std::move(frozen));
}

// The values of all rows.
absl::StatusOr<Table> Dequantized(const quant::QuantizedTable& packed) {
  EQAT_ASSIGN_OR_RETURN(Table values, Table::Zeros(packed.rows(), packed.cols()));
  std::vector<int64_t> rows(packed.rows());
  std::iota(rows.begin(), rows.end(), 0);
  packed.DequantizeRows(rows, values.mutable_view());
  return values;
}

template <typename FloatTable, typename QatTable>
absl::StatusOr<Module> FreezeQat(QatTable&& table, FrozenTables tables) {
  // Without fake quantization evaluation uses the float rows.
  if (tables == FrozenTables::kFloat && !table.weight_fake_quant().fake_quant_enabled()) {
    return FreezeFloat(std::move(table).ToFloat());
  }
  EQAT_ASSIGN_OR_RETURN(const auto packed, table.Convert());
  if (tables == FrozenTables::kPacked) return FreezePacked(packed);
  EQAT_ASSIGN_OR_RETURN(Table values, Dequantized(packed.weight()));
  EQAT_ASSIGN_OR_RETURN(FloatTable frozen,
                        FloatTable::FromWeight(std::move(values), FrozenOptions(table.options()), table.name()));
  return Module(std::move(frozen));
}

// What `module` becomes, or nullopt if it stays.
absl::StatusOr<std::optional<Module>> Frozen(Module&& module, FrozenTables tables) {
  absl::StatusOr<Module> frozen = absl::UnknownError("");
  if (auto* embedding = std::get_if<qat::Embedding>(&module)) {
    frozen = FreezeQat<nn::Embedding>(std::move(*embedding), tables);
  } else if (auto* bag = std::get_if<qat::EmbeddingBag>(&module)) {
    frozen = FreezeQat<nn::EmbeddingBag>(std::move(*bag), tables);
  } else if (auto* parameter = std::get_if<ParameterTensor>(&module)) {
    frozen = Module(BufferTensor{std::move(parameter->value)});
  } else {
    const bool stays = std::visit(
        [](const auto& alternative) {
          using T = std::decay_t<decltype(alternative)>;
          if constexpr (kIsFloatTable<T> || kIsQuantized<T>) {
            return alternative.options() == FrozenOptions(alternative.options());
          } else {
            return true;
          }
        },
        module);
    if (stays) return std::optional<Module>();
    if (auto* table = std::get_if<nn::Embedding>(&module)) frozen = FreezeFloat(std::move(*table));
    if (auto* table = std::get_if<nn::EmbeddingBag>(&module)) frozen = FreezeFloat(std::move(*table));
    if (auto* table = std::get_if<quantized::Embedding>(&module)) frozen = FreezePacked(*table);
    if (auto* table = std::get_if<quantized::EmbeddingBag>(&module)) frozen = FreezePacked(*table);
  }
  EQAT_RETURN_IF_ERROR(frozen.status());
  return std::optional<Module>(*std::move(frozen));
}

// The function that a module without parameters is.
std::optional<Function> FunctionOf(const Module& module) {
  if (std::holds_alternative<ReLU>(module)) return Function::kReLU;
  if (std::holds_alternative<Sigmoid>(module)) return Function::kSigmoid;
  return std::nullopt;
}

}  // namespace

absl::StatusOr<int64_t> FreezeParameters(Workspace& workspace, FrozenTables tables) {
  int64_t changes = 0;
  for (auto& [name, module] : workspace.modules) {
    if (!workspace.IsFree(name)) continue;
    EQAT_ASSIGN_OR_RETURN(std::optional<Module> frozen, Frozen(std::move(module), tables));
    if (!frozen) continue;
    module = *std::move(frozen);
    ++changes;
  }
  for (Node& node : workspace.graph.nodes) {
    if (node.op != Op::kCallModule || !workspace.IsFree(node.target)) continue;
    const std::optional<Function> function = FunctionOf(*workspace.Find(node.target));
    if (!function) continue;
    node = {.name = node.name, .op = Op::kCallFunction, .function = *function, .args = std::move(node.args)};
    ++changes;
  }
  return changes;
}

}  // namespace eqat::model
