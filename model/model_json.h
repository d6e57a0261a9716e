// model.json: what it says of modules and graph, read strictly and written canonically (options at their default are
// left out, `mode` of a bag is always there). Internal to this folder.
#ifndef EQAT_MODEL_MODEL_JSON_H_
#define EQAT_MODEL_MODEL_JSON_H_

#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"
#include "io/json_reader.h"
#include "model/model.h"
#include "quant/types/deploy.h"
#include "quant/types/dtype.h"
#include "quant/types/qconfig.h"

namespace eqat::model {

enum class TableKind : uint8_t { kFloat, kQat, kQuantized };

// A table but for its tensors.
struct TableSpec {
  TableKind kind = TableKind::kFloat;
  bool is_bag = false;
  nn::EmbeddingBagOptions options;              // mode and include_last_offset of bags only
  std::optional<quant::QConfig> qconfig;        // kQat
  quant::Dtype dtype = quant::Dtype::kQUInt8;   // kQuantized
  const quant::DeployTraits* deploy = nullptr;  // kQuantized; null: our own arithmetic
};

// A tensor's spec holds its shape and no values.
using ModuleSpec = std::variant<TableSpec, nn::LinearOptions, ReLU, Sigmoid, Dropout, nn::BatchNorm1dOptions,
                                ParameterTensor, BufferTensor, GraphModule, InterfaceModule>;

struct ModelSpec {
  std::vector<std::pair<std::string, ModuleSpec>> modules;  // those of nested models behind them, with full names
  std::optional<Graph> graph;
  bool training = false;
  std::optional<std::vector<std::string>> preserved;  // of a frozen model
};

// `file` is what messages call it. Names and uses in the graph are not checked against each other.
absl::StatusOr<ModelSpec> ParseModel(const io::Json& json, const std::string& file);
io::Json ToJson(const Model& model);

}  // namespace eqat::model

#endif  // EQAT_MODEL_MODEL_JSON_H_
