#include "model/model_json.h"

#include <cmath>
#include <limits>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "configs/qconfig_json.h"
#include "core/error.h"
#include "core/status_macros.h"
#include "model/names.h"

namespace eqat::model {
namespace {

using io::Json;
using io::ObjectReader;

constexpr char kFormat[] = "eqat.model";
constexpr int64_t kVersion = 1;
constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr PoolMode kPoolModes[] = {PoolMode::kSum, PoolMode::kMean, PoolMode::kMax};

const std::vector<std::string>& OpNames() {  // in the order of Op
  static const auto& names = *new std::vector<std::string>{"placeholder", "call_module", "call_function", "output"};
  return names;
}

const std::vector<std::string>& PoolModeNames() {
  static const auto& names = *new std::vector<std::string>([] {
    std::vector<std::string> result;
    for (const PoolMode mode : kPoolModes) result.emplace_back(PoolModeName(mode));
    return result;
  }());
  return names;
}

const std::vector<std::string>& FunctionNames() {
  static const auto& names = *new std::vector<std::string>([] {
    std::vector<std::string> result;
    for (const FunctionTraits& traits : kFunctions) result.emplace_back(traits.name);
    return result;
  }());
  return names;
}

// An option that keeps its default when absent.
absl::Status ReadBool(ObjectReader& reader, absl::string_view key, bool& value) {
  EQAT_ASSIGN_OR_RETURN(const std::optional<bool> read, reader.OptionalBool(key));
  value = read.value_or(value);
  return absl::OkStatus();
}

// As torch's None: absent or null.
bool IsAbsentOrNull(ObjectReader& reader, absl::string_view key) {
  const absl::StatusOr<const Json*> value = reader.OptionalAny(key);
  return value.ok() && (*value == nullptr || (*value)->is_null());
}

// p of a norm: a number, or "inf" and "-inf", which JSON has no numbers for.
absl::Status ReadNormType(ObjectReader& reader, double& norm_type) {
  EQAT_ASSIGN_OR_RETURN(const Json* value, reader.OptionalAny("norm_type"));
  if (value == nullptr) return absl::OkStatus();
  if (value->is_string()) {
    const auto& text = value->get_ref<const std::string&>();
    if (text != "inf" && text != "-inf") {
      return reader.Error("norm_type", "not a norm", "a number, \"inf\" or \"-inf\"");
    }
    norm_type = text == "inf" ? kInfinity : -kInfinity;
    return absl::OkStatus();
  }
  EQAT_ASSIGN_OR_RETURN(norm_type, reader.Double("norm_type"));
  return absl::OkStatus();
}

absl::Status ReadTableOptions(ObjectReader& reader, bool is_bag, nn::EmbeddingBagOptions& options) {
  EQAT_ASSIGN_OR_RETURN(options.num_embeddings, reader.Int("num_embeddings", {.minimum = 0}));
  EQAT_ASSIGN_OR_RETURN(options.embedding_dim, reader.Int("embedding_dim", {.minimum = 0}));
  if (!IsAbsentOrNull(reader, "padding_idx")) {
    EQAT_ASSIGN_OR_RETURN(options.padding_idx, reader.Int("padding_idx"));
  }
  if (!IsAbsentOrNull(reader, "max_norm")) {
    EQAT_ASSIGN_OR_RETURN(options.max_norm, reader.Double("max_norm"));
  }
  EQAT_RETURN_IF_ERROR(ReadNormType(reader, options.norm_type));
  EQAT_RETURN_IF_ERROR(ReadBool(reader, "scale_grad_by_freq", options.scale_grad_by_freq));
  EQAT_RETURN_IF_ERROR(ReadBool(reader, "sparse", options.sparse));
  EQAT_RETURN_IF_ERROR(ReadBool(reader, "requires_grad", options.requires_grad));
  if (!is_bag) return absl::OkStatus();
  EQAT_ASSIGN_OR_RETURN(const std::optional<int> mode, reader.OptionalChoice("mode", PoolModeNames()));
  if (mode) options.mode = kPoolModes[*mode];
  return ReadBool(reader, "include_last_offset", options.include_last_offset);
}

absl::StatusOr<std::optional<quant::QConfig>> ReadQConfig(ObjectReader& reader) {
  EQAT_ASSIGN_OR_RETURN(const Json* json, reader.Any("qconfig"));
  EQAT_ASSIGN_OR_RETURN(std::optional<quant::QConfig> qconfig,
                        configs::QConfigFromJson(*json, reader.file(), reader.PointerTo("qconfig")));
  if (!qconfig) return reader.Error("qconfig", "a qat module has no qconfig", "a preset name or an object");
  return qconfig;
}

// torch's names for 8, 4 and 2 bits, plain ones for the widths torch lacks.
quant::Dtype DefaultDtype(int64_t bits) {
  switch (bits) {
    case 8:
      return quant::Dtype::kQUInt8;
    case 4:
      return quant::Dtype::kQUInt4x2;
    case 2:
      return quant::Dtype::kQUInt2x4;
    default:
      return *quant::DtypeFromName(absl::StrCat("uint", bits));
  }
}

absl::StatusOr<quant::Dtype> ReadDtype(ObjectReader& reader) {
  EQAT_ASSIGN_OR_RETURN(const int64_t bits, reader.Int("bits", {.minimum = 1, .maximum = 8}));
  std::vector<std::string> names;
  std::vector<quant::Dtype> dtypes;
  for (const quant::DtypeTraits& traits : quant::kDtypes) {
    if (traits.bits != bits) continue;
    names.emplace_back(traits.name);
    dtypes.push_back(traits.dtype);
  }
  EQAT_ASSIGN_OR_RETURN(const std::optional<int> choice, reader.OptionalChoice("dtype", names));
  return choice ? dtypes[*choice] : DefaultDtype(bits);
}

// Null for a table in our own arithmetic.
absl::StatusOr<const quant::DeployTraits*> ReadDeploy(ObjectReader& reader, quant::Dtype dtype) {
  std::vector<std::string> names;
  std::vector<const quant::DeployTraits*> deploys;
  for (const quant::DeployTraits& traits : quant::kDeploys) {
    if (quant::FindDeploy(traits.deploy, dtype) != &traits) continue;
    names.emplace_back(traits.name);
    deploys.push_back(&traits);
  }
  EQAT_ASSIGN_OR_RETURN(const std::optional<int> choice, reader.OptionalChoice("deploy", names));
  return choice ? deploys[*choice] : nullptr;
}

absl::StatusOr<ModuleSpec> ReadTable(ObjectReader& reader, TableKind kind, bool is_bag, const std::string& where) {
  TableSpec spec{.kind = kind, .is_bag = is_bag};
  nn::EmbeddingBagOptions& options = spec.options;
  EQAT_RETURN_IF_ERROR(ReadTableOptions(reader, is_bag, options));
  EQAT_RETURN_IF_ERROR(is_bag ? nn::Canonicalize(options, where)
                              : nn::Canonicalize(static_cast<nn::EmbeddingOptions&>(options), where));
  if (kind == TableKind::kQat) {
    EQAT_ASSIGN_OR_RETURN(spec.qconfig, ReadQConfig(reader));
    EQAT_RETURN_IF_ERROR(
        AtPlace(where, qat::ValidateEmbeddingQConfig(*spec.qconfig, is_bag ? "qat.EmbeddingBag" : "qat.Embedding",
                                                     options.embedding_dim)));
  } else if (kind == TableKind::kQuantized) {
    if (options.max_norm) return reader.Error("max_norm", "conversion has applied it", "null");
    EQAT_ASSIGN_OR_RETURN(spec.dtype, ReadDtype(reader));
    EQAT_ASSIGN_OR_RETURN(spec.deploy, ReadDeploy(reader, spec.dtype));
  }
  return ModuleSpec(std::move(spec));
}

absl::StatusOr<ModuleSpec> ReadLinear(ObjectReader& reader) {
  nn::LinearOptions options;
  EQAT_ASSIGN_OR_RETURN(options.in_features, reader.Int("in_features", {.minimum = 0}));
  EQAT_ASSIGN_OR_RETURN(options.out_features, reader.Int("out_features", {.minimum = 0}));
  EQAT_RETURN_IF_ERROR(ReadBool(reader, "bias", options.bias));
  return ModuleSpec(options);
}

absl::StatusOr<ModuleSpec> ReadDropout(ObjectReader& reader) {
  Dropout dropout;
  EQAT_ASSIGN_OR_RETURN(const std::optional<double> p, reader.OptionalDouble("p", {.minimum = 0.0, .maximum = 1.0}));
  dropout.p = p.value_or(dropout.p);
  return ModuleSpec(dropout);
}

absl::StatusOr<ModuleSpec> ReadBatchNorm(ObjectReader& reader) {
  nn::BatchNorm1dOptions options;
  EQAT_ASSIGN_OR_RETURN(options.num_features, reader.Int("num_features", {.minimum = 0}));
  EQAT_ASSIGN_OR_RETURN(const std::optional<double> eps, reader.OptionalDouble("eps", {.minimum = 0.0}));
  options.eps = eps.value_or(options.eps);
  if (reader.Has("momentum")) {
    options.momentum.reset();
    if (!IsAbsentOrNull(reader, "momentum")) {
      EQAT_ASSIGN_OR_RETURN(options.momentum, reader.Double("momentum"));
    }
  }
  EQAT_RETURN_IF_ERROR(ReadBool(reader, "affine", options.affine));
  EQAT_RETURN_IF_ERROR(ReadBool(reader, "track_running_stats", options.track_running_stats));
  return ModuleSpec(options);
}

absl::StatusOr<ModuleSpec> ReadModuleOfType(ObjectReader& reader, const std::string& type, const std::string& where) {
  if (type == "nn.Linear") return ReadLinear(reader);
  if (type == "nn.ReLU") return ModuleSpec(ReLU{});
  if (type == "nn.Sigmoid") return ModuleSpec(Sigmoid{});
  if (type == "nn.Dropout") return ReadDropout(reader);
  if (type == "nn.BatchNorm1d") return ReadBatchNorm(reader);
  const TableKind kind = absl::StartsWith(type, "qat.")         ? TableKind::kQat
                         : absl::StartsWith(type, "quantized.") ? TableKind::kQuantized
                                                                : TableKind::kFloat;
  return ReadTable(reader, kind, absl::EndsWith(type, "Bag"), where);
}

absl::StatusOr<ModuleSpec> ReadModule(const Json& json, const std::string& file, const std::string& pointer) {
  EQAT_ASSIGN_OR_RETURN(ObjectReader reader, ObjectReader::Of(json, file, pointer));
  EQAT_ASSIGN_OR_RETURN(const int type, reader.Choice("type", TypeNames()));
  EQAT_ASSIGN_OR_RETURN(ModuleSpec spec,
                        ReadModuleOfType(reader, TypeNames()[type], absl::StrCat(file, ": ", pointer)));
  EQAT_RETURN_IF_ERROR(reader.Finish());
  return spec;
}

// [name, ...], or [[name, ...]] for functions of a list.
absl::StatusOr<std::vector<std::string>> ReadArgs(ObjectReader& reader, bool takes_list) {
  EQAT_ASSIGN_OR_RETURN(const Json* args, reader.Array("args"));
  const Json* names = args;
  if (takes_list) {
    if (args->size() != 1 || !args->front().is_array()) {
      return reader.Error("args", "not the arguments of this function", "one list of node names, [[\"a\", \"b\"]]");
    }
    names = &args->front();
  }
  std::vector<std::string> result;
  for (const Json& name : *names) {
    if (!name.is_string()) return reader.Error("args", "an argument is not a name", "names of nodes");
    result.push_back(name.get<std::string>());
  }
  return result;
}

absl::StatusOr<int64_t> ReadKwargs(ObjectReader& reader, const FunctionTraits& traits) {
  if (traits.int_kwarg == nullptr) return 0;
  EQAT_ASSIGN_OR_RETURN(const Json* kwargs, reader.OptionalObject("kwargs"));
  if (kwargs == nullptr) return traits.int_default;
  EQAT_ASSIGN_OR_RETURN(ObjectReader kwargs_reader,
                        ObjectReader::Of(*kwargs, reader.file(), reader.PointerTo("kwargs")));
  EQAT_ASSIGN_OR_RETURN(const std::optional<int64_t> value, kwargs_reader.OptionalInt(traits.int_kwarg));
  EQAT_RETURN_IF_ERROR(kwargs_reader.Finish());
  return value.value_or(traits.int_default);
}

absl::StatusOr<Node> ReadNode(const Json& json, const std::string& file, const std::string& pointer) {
  EQAT_ASSIGN_OR_RETURN(ObjectReader reader, ObjectReader::Of(json, file, pointer));
  Node node;
  EQAT_ASSIGN_OR_RETURN(node.name, reader.String("name"));
  EQAT_ASSIGN_OR_RETURN(const int op, reader.Choice("op", OpNames()));
  node.op = static_cast<Op>(op);
  bool takes_list = false;
  if (node.op == Op::kCallModule) {
    EQAT_ASSIGN_OR_RETURN(node.target, reader.String("target"));
  } else if (node.op == Op::kCallFunction) {
    EQAT_ASSIGN_OR_RETURN(const int function, reader.Choice("target", FunctionNames()));
    const FunctionTraits& traits = kFunctions[function];
    node.function = traits.function;
    takes_list = traits.takes_list;
    EQAT_ASSIGN_OR_RETURN(node.int_arg, ReadKwargs(reader, traits));
  }
  if (node.op != Op::kPlaceholder) {
    EQAT_ASSIGN_OR_RETURN(node.args, ReadArgs(reader, takes_list));
  }
  EQAT_RETURN_IF_ERROR(reader.Finish());
  return node;
}

absl::StatusOr<Graph> ReadGraph(const Json& json, const std::string& file, const std::string& pointer) {
  Graph graph;
  for (size_t i = 0; i < json.size(); ++i) {
    EQAT_ASSIGN_OR_RETURN(Node node, ReadNode(json[i], file, absl::StrCat(pointer, "/", i)));
    graph.nodes.push_back(std::move(node));
  }
  return graph;
}

void WriteTableOptions(const nn::EmbeddingOptions& options, Json& json) {
  const nn::EmbeddingOptions defaults;
  json["num_embeddings"] = options.num_embeddings;
  json["embedding_dim"] = options.embedding_dim;
  if (options.padding_idx) json["padding_idx"] = *options.padding_idx;
  if (options.max_norm) json["max_norm"] = *options.max_norm;
  if (std::isinf(options.norm_type)) {
    json["norm_type"] = options.norm_type > 0 ? "inf" : "-inf";
  } else if (options.norm_type != defaults.norm_type) {
    json["norm_type"] = options.norm_type;
  }
  if (options.scale_grad_by_freq) json["scale_grad_by_freq"] = true;
  if (options.sparse) json["sparse"] = true;
  if (!options.requires_grad) json["requires_grad"] = false;
}

void WriteBagOptions(const nn::EmbeddingBagOptions& options, Json& json) {
  json["mode"] = std::string(PoolModeName(options.mode));
  if (options.include_last_offset) json["include_last_offset"] = true;
}

template <typename T>
void WriteTable(const T& table, Json& json) {
  WriteTableOptions(table.options(), json);
  if constexpr (kIsBag<T>) WriteBagOptions(table.options(), json);
  if constexpr (kIsQat<T>) json["qconfig"] = configs::ToJson(std::optional<quant::QConfig>(table.qconfig()));
  if constexpr (kIsQuantized<T>) {
    json["bits"] = table.weight().bits();
    json["dtype"] = quant::TraitsOf(table.weight().dtype()).name;
    if (table.weight().deploy() != nullptr) json["deploy"] = table.weight().deploy()->name;
  }
}

void WriteLinear(const nn::LinearOptions& options, Json& json) {
  json["in_features"] = options.in_features;
  json["out_features"] = options.out_features;
  if (!options.bias) json["bias"] = false;
}

void WriteBatchNorm(const nn::BatchNorm1dOptions& options, Json& json) {
  const nn::BatchNorm1dOptions defaults;
  json["num_features"] = options.num_features;
  if (options.eps != defaults.eps) json["eps"] = options.eps;
  if (options.momentum != defaults.momentum) {
    json["momentum"] = options.momentum ? Json(*options.momentum) : Json(nullptr);
  }
  if (!options.affine) json["affine"] = false;
  if (!options.track_running_stats) json["track_running_stats"] = false;
}

Json ModuleToJson(const Module& module) {
  Json json = Json::object();
  json["type"] = std::string(TypeName(module));
  std::visit(
      [&](const auto& alternative) {
        using T = std::decay_t<decltype(alternative)>;
        if constexpr (std::is_base_of_v<EmbeddingLookup, T>) {
          WriteTable(alternative, json);
        } else if constexpr (std::is_same_v<T, nn::Linear>) {
          WriteLinear(alternative.options(), json);
        } else if constexpr (std::is_same_v<T, nn::BatchNorm1d>) {
          WriteBatchNorm(alternative.options(), json);
        } else if constexpr (std::is_same_v<T, Dropout>) {
          if (alternative.p != Dropout().p) json["p"] = alternative.p;
        }
      },
      module);
  return json;
}

Json NodeToJson(const Node& node) {
  Json json = Json::object();
  json["name"] = node.name;
  json["op"] = OpNames()[static_cast<int>(node.op)];
  if (node.op == Op::kPlaceholder) return json;
  Json args = node.args;
  if (node.op == Op::kCallModule) {
    json["target"] = node.target;
  } else if (node.op == Op::kCallFunction) {
    json["target"] = TraitsOf(node.function).name;
    if (TraitsOf(node.function).takes_list) args = Json::array({args});
  }
  json["args"] = std::move(args);
  if (node.op == Op::kCallFunction && TraitsOf(node.function).int_kwarg != nullptr &&
      node.int_arg != TraitsOf(node.function).int_default) {
    json["kwargs"] = {{TraitsOf(node.function).int_kwarg, node.int_arg}};
  }
  return json;
}

}  // namespace

absl::StatusOr<ModelSpec> ParseModel(const Json& json, const std::string& file) {
  EQAT_ASSIGN_OR_RETURN(ObjectReader reader, ObjectReader::Of(json, file, ""));
  EQAT_RETURN_IF_ERROR(reader.Choice("format", {kFormat}).status());
  EQAT_RETURN_IF_ERROR(reader.Int("version", {.minimum = kVersion, .maximum = kVersion}).status());
  EQAT_ASSIGN_OR_RETURN(const Json* modules, reader.Object("modules"));
  EQAT_ASSIGN_OR_RETURN(const Json* graph, reader.OptionalArray("graph"));
  EQAT_RETURN_IF_ERROR(reader.Finish());
  ModelSpec spec;
  EQAT_ASSIGN_OR_RETURN(ObjectReader modules_reader, ObjectReader::Of(*modules, file, "/modules"));
  for (const auto& [name, module_json] : modules->items()) {
    if (!IsValidName(name)) return modules_reader.Error(name, "a module's name is not allowed", kNameRule);
    EQAT_ASSIGN_OR_RETURN(ModuleSpec module, ReadModule(module_json, file, modules_reader.PointerTo(name)));
    spec.modules.emplace_back(name, std::move(module));
  }
  if (graph != nullptr) {
    EQAT_ASSIGN_OR_RETURN(spec.graph, ReadGraph(*graph, file, "/graph"));
  }
  return spec;
}

Json ToJson(const Model& model) {
  Json json = Json::object();
  json["format"] = kFormat;
  json["version"] = kVersion;
  json["modules"] = Json::object();
  for (const std::string& name : model.module_names()) json["modules"][name] = ModuleToJson(*model.Find(name));
  if (!model.graph()) return json;
  json["graph"] = Json::array();
  for (const Node& node : model.graph()->nodes) json["graph"].push_back(NodeToJson(node));
  return json;
}

}  // namespace eqat::model
