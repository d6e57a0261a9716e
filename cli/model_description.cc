#include "cli/model_description.h"

#include <type_traits>
#include <utility>
#include <variant>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "cli/text_table.h"
#include "configs/qconfig_json.h"
#include "core/tensor.h"

namespace eqat::cli {
namespace {

template <typename T>
inline constexpr bool kIsFloat = std::is_same_v<T, nn::Embedding> || std::is_same_v<T, nn::EmbeddingBag>;
template <typename T>
inline constexpr bool kIsQat = std::is_same_v<T, qat::Embedding> || std::is_same_v<T, qat::EmbeddingBag>;

std::optional<std::string> NameOf(const quant::DeployTraits* deploy) {
  return deploy == nullptr ? std::nullopt : std::optional<std::string>(deploy->name);
}

ModuleDescription Describe(const std::string& name, const model::Module& module) {
  ModuleDescription description;
  description.name = name;
  description.type = std::string(model::TypeName(module));
  description.bytes = model::ParameterBytes(module);
  description.rows = StatisticsOf(module);
  std::visit(
      [&description](const auto& typed) {
        using T = std::decay_t<decltype(typed)>;
        if constexpr (std::is_base_of_v<EmbeddingLookup, T>) {
          description.shape = {typed.num_embeddings(), typed.embedding_dim()};
          description.padding_idx = typed.options().padding_idx;
          if constexpr (kIsFloat<T>) {
            description.qconfig = configs::ToJson(typed.qconfig());
          } else if constexpr (kIsQat<T>) {
            description.qconfig = configs::ToJson(std::optional<quant::QConfig>(typed.qconfig()));
            description.bits = quant::TraitsOf(typed.qconfig().weight.observer.dtype).bits;
            description.deploy = NameOf(quant::DeployOf(typed.qconfig().weight));
          } else {
            description.bits = typed.weight().bits();
            description.deploy = NameOf(typed.weight().deploy());
          }
        } else if constexpr (std::is_same_v<T, nn::Linear>) {
          description.shape = {typed.options().out_features, typed.options().in_features};
        } else if constexpr (std::is_same_v<T, nn::BatchNorm1d>) {
          description.shape = {typed.options().num_features};
        } else if constexpr (std::is_same_v<T, model::ParameterTensor> || std::is_same_v<T, model::BufferTensor>) {
          description.shape = typed.value.shape;
        }
      },
      module);
  return description;
}

std::string QConfigText(const ModuleDescription& module) {
  const io::Json& qconfig = module.qconfig;
  if (module.deploy.has_value()) return absl::StrCat("for ", *module.deploy);
  if (qconfig.is_null()) return "-";
  return qconfig.is_string() ? qconfig.get<std::string>() : "custom";
}

template <typename T>
std::string NumberText(const std::optional<T>& number) {
  return number.has_value() ? absl::StrFormat("%.6g", *number) : "-";
}

template <typename T>
io::Json OptionalJson(const std::optional<T>& value) {
  return value.has_value() ? io::Json(*value) : io::Json(nullptr);
}

}  // namespace

ModelDescription Describe(const model::Model& model) {
  ModelDescription description;
  for (const std::string& name : model.module_names()) {
    description.modules.push_back(Describe(name, *model.Find(name)));
  }
  if (model.graph().has_value()) description.graph_nodes = model.graph()->nodes.size();
  return description;
}

std::string ToText(const ModelDescription& description) {
  constexpr auto kRight = TextTable::Align::kRight;
  TextTable table({{"module"},
                   {"type"},
                   {"shape"},
                   {"bits", kRight},
                   {"size", kRight},
                   {"padding", kRight},
                   {"min", kRight},
                   {"max", kRight},
                   {"mean norm", kRight},
                   {"constant rows", kRight},
                   {"non-finite rows", kRight},
                   {"qconfig"}});
  int64_t bytes = 0;
  for (const ModuleDescription& module : description.modules) {
    const bool has_rows = module.rows.has_value();
    const TableStatistics rows = module.rows.value_or(TableStatistics{});
    table.AddRow({module.name, module.type, module.shape.empty() ? "-" : ShapeText(module.shape),
                  module.shape.empty() ? "-" : absl::StrCat(module.bits), SizeText(module.bytes),
                  module.padding_idx.has_value() ? absl::StrCat(*module.padding_idx) : "-", NumberText(rows.min),
                  NumberText(rows.max), NumberText(rows.mean_norm), has_rows ? absl::StrCat(rows.constant_rows) : "-",
                  has_rows ? absl::StrCat(rows.non_finite_rows) : "-", QConfigText(module)});
    bytes += module.bytes;
  }
  return absl::StrCat(table.ToString(), "\n", description.modules.size(), " modules, ", SizeText(bytes),
                      description.graph_nodes.has_value()
                          ? absl::StrCat(", graph of ", *description.graph_nodes, " nodes\n")
                          : ", no graph\n");
}

std::string ToJsonText(const ModelDescription& description) {
  io::Json json;
  json["kind"] = "model";
  json["modules"] = io::Json::array();
  int64_t bytes = 0;
  for (const ModuleDescription& module : description.modules) {
    io::Json entry;
    entry["module"] = module.name;
    entry["type"] = module.type;
    entry["shape"] = module.shape;
    entry["bits"] = module.bits;
    entry["bytes"] = module.bytes;
    entry["padding_idx"] = OptionalJson(module.padding_idx);
    entry["qconfig"] = module.qconfig;
    entry["deploy"] = OptionalJson(module.deploy);
    if (module.rows.has_value()) {
      entry["rows"] = {{"min", OptionalJson(module.rows->min)},
                       {"max", OptionalJson(module.rows->max)},
                       {"mean_norm", OptionalJson(module.rows->mean_norm)},
                       {"constant", module.rows->constant_rows},
                       {"non_finite", module.rows->non_finite_rows}};
    }
    json["modules"].push_back(std::move(entry));
    bytes += module.bytes;
  }
  json["bytes"] = bytes;
  json["graph_nodes"] = OptionalJson(description.graph_nodes);
  return io::JsonText(json);
}

}  // namespace eqat::cli
