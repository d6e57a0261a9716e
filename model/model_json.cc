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
  static const auto& names =
      *new std::vector<std::string>{"placeholder", "call_module", "call_function", "output", "get_attr"};
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

// Sizes of a tensor; with `pattern` null stands for any size.
absl::StatusOr<std::vector<int64_t>> ReadShape(ObjectReader& reader, bool pattern) {
  EQAT_ASSIGN_OR_RETURN(const Json* json, reader.Array("shape"));
  std::vector<int64_t> shape;
  for (const Json& size : *json) {
    const bool any = pattern && size.is_null();
    if (!any && (!size.is_number_integer() || size.get<double>() < 0 || size.get<double>() > 9e18)) {
      return reader.Error("shape", "not a shape", pattern ? "a list of sizes, null for any" : "a list of sizes");
    }
    shape.push_back(any ? kAnySize : size.get<int64_t>());
  }
  return shape;
}

absl::StatusOr<ModuleSpec> ReadParameter(ObjectReader& reader) {
  ParameterTensor parameter;
  EQAT_ASSIGN_OR_RETURN(parameter.value.shape, ReadShape(reader, /*pattern=*/false));
  EQAT_RETURN_IF_ERROR(ReadBool(reader, "requires_grad", parameter.requires_grad));
  return ModuleSpec(std::move(parameter));
}

absl::StatusOr<ModuleSpec> ReadBuffer(ObjectReader& reader) {
  BufferTensor buffer;
  EQAT_ASSIGN_OR_RETURN(buffer.value.shape, ReadShape(reader, /*pattern=*/false));
  return ModuleSpec(std::move(buffer));
}

absl::StatusOr<ModuleSpec> ReadInterface(ObjectReader& reader) {
  InterfaceModule interface;
  EQAT_ASSIGN_OR_RETURN(interface.implementation, reader.String("implementation"));
  if (!IsValidName(interface.implementation)) {
    return reader.Error("implementation", "not a module's name", kNameRule);
  }
  return ModuleSpec(std::move(interface));
}

absl::StatusOr<ModuleSpec> ReadModuleOfType(ObjectReader& reader, const std::string& type, const std::string& where) {
  if (type == "nn.Linear") return ReadLinear(reader);
  if (type == "nn.ReLU") return ModuleSpec(ReLU{});
  if (type == "nn.Sigmoid") return ModuleSpec(Sigmoid{});
  if (type == "nn.Dropout") return ReadDropout(reader);
  if (type == "nn.BatchNorm1d") return ReadBatchNorm(reader);
  if (type == "nn.Parameter") return ReadParameter(reader);
  if (type == "nn.Buffer") return ReadBuffer(reader);
  if (type == "model.Interface") return ReadInterface(reader);
  const TableKind kind = absl::StartsWith(type, "qat.")         ? TableKind::kQat
                         : absl::StartsWith(type, "quantized.") ? TableKind::kQuantized
                                                                : TableKind::kFloat;
  return ReadTable(reader, kind, absl::EndsWith(type, "Bag"), where);
}

bool TakesArgs(Op op) { return op != Op::kPlaceholder && op != Op::kGetAttr; }

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

absl::Status ReadKwargs(ObjectReader& reader, const FunctionTraits& traits, Node& node) {
  if (traits.int_kwarg == nullptr) return absl::OkStatus();
  node.int_arg = traits.int_default;
  EQAT_ASSIGN_OR_RETURN(const Json* kwargs, reader.OptionalObject("kwargs"));
  if (kwargs == nullptr) return absl::OkStatus();
  EQAT_ASSIGN_OR_RETURN(ObjectReader kwargs_reader,
                        ObjectReader::Of(*kwargs, reader.file(), reader.PointerTo("kwargs")));
  EQAT_ASSIGN_OR_RETURN(const std::optional<int64_t> value, kwargs_reader.OptionalInt(traits.int_kwarg));
  node.int_arg = value.value_or(node.int_arg);
  if (traits.takes_range) {
    EQAT_ASSIGN_OR_RETURN(const std::optional<int64_t> start, kwargs_reader.OptionalInt("start"));
    EQAT_ASSIGN_OR_RETURN(const std::optional<int64_t> end, kwargs_reader.OptionalInt("end"));
    node.start = start.value_or(node.start);
    node.end = end.value_or(node.end);
  }
  return kwargs_reader.Finish();
}

absl::StatusOr<Node> ReadNode(const Json& json, const std::string& file, const std::string& pointer) {
  EQAT_ASSIGN_OR_RETURN(ObjectReader reader, ObjectReader::Of(json, file, pointer));
  Node node;
  EQAT_ASSIGN_OR_RETURN(node.name, reader.String("name"));
  EQAT_ASSIGN_OR_RETURN(const int op, reader.Choice("op", OpNames()));
  node.op = static_cast<Op>(op);
  bool takes_list = false;
  if (node.op == Op::kCallModule || node.op == Op::kGetAttr) {
    EQAT_ASSIGN_OR_RETURN(node.target, reader.String("target"));
  } else if (node.op == Op::kCallFunction) {
    EQAT_ASSIGN_OR_RETURN(const int function, reader.Choice("target", FunctionNames()));
    const FunctionTraits& traits = kFunctions[function];
    node.function = traits.function;
    takes_list = traits.takes_list;
    EQAT_RETURN_IF_ERROR(ReadKwargs(reader, traits, node));
  } else if (node.op == Op::kPlaceholder && reader.Has("shape")) {
    EQAT_ASSIGN_OR_RETURN(node.shape, ReadShape(reader, /*pattern=*/true));
  }
  if (TakesArgs(node.op)) {
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

// Appends the modules of `json` to `modules`; those of a nested model follow it, named after it.
absl::Status ReadModules(const Json& json, const std::string& file, const std::string& pointer,
                         const std::string& scope, std::vector<std::pair<std::string, ModuleSpec>>& modules);

// A nested model, whose modules are read behind it.
absl::Status ReadNestedModel(ObjectReader& reader, const std::string& name,
                             std::vector<std::pair<std::string, ModuleSpec>>& modules) {
  EQAT_ASSIGN_OR_RETURN(const Json* nested, reader.Object("modules"));
  EQAT_ASSIGN_OR_RETURN(const Json* graph_json, reader.Array("graph"));
  EQAT_RETURN_IF_ERROR(reader.Finish());
  EQAT_ASSIGN_OR_RETURN(Graph graph, ReadGraph(*graph_json, reader.file(), reader.PointerTo("graph")));
  modules.emplace_back(name, GraphModule{std::move(graph)});
  return ReadModules(*nested, reader.file(), reader.PointerTo("modules"), name + ".", modules);
}

absl::Status ReadModule(const Json& json, const std::string& file, const std::string& pointer, const std::string& name,
                        std::vector<std::pair<std::string, ModuleSpec>>& modules) {
  EQAT_ASSIGN_OR_RETURN(ObjectReader reader, ObjectReader::Of(json, file, pointer));
  EQAT_ASSIGN_OR_RETURN(const int type, reader.Choice("type", TypeNames()));
  if (TypeNames()[type] == "model.Graph") return ReadNestedModel(reader, name, modules);
  EQAT_ASSIGN_OR_RETURN(ModuleSpec spec,
                        ReadModuleOfType(reader, TypeNames()[type], absl::StrCat(file, ": ", pointer)));
  modules.emplace_back(name, std::move(spec));
  return reader.Finish();
}

absl::Status ReadModules(const Json& json, const std::string& file, const std::string& pointer,
                         const std::string& scope, std::vector<std::pair<std::string, ModuleSpec>>& modules) {
  EQAT_ASSIGN_OR_RETURN(ObjectReader reader, ObjectReader::Of(json, file, pointer));
  for (const auto& [name, module_json] : json.items()) {
    if (!IsValidName(name)) return reader.Error(name, "a module's name is not allowed", kNameRule);
    // "tower.fc" beside a nested model "tower" would be taken for a part of it.
    for (size_t dot = name.find('.'); dot != std::string::npos; dot = name.find('.', dot + 1)) {
      const auto around = json.find(name.substr(0, dot));
      if (around != json.end() && around->is_object() && around->value("type", Json()) == "model.Graph") {
        return reader.Error(name, "the name lies in a nested model beside it", "another name, or a place inside it");
      }
    }
    EQAT_RETURN_IF_ERROR(ReadModule(module_json, file, reader.PointerTo(name), scope + name, modules));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<std::string>> ReadPreserved(ObjectReader& reader) {
  EQAT_ASSIGN_OR_RETURN(const Json* json, reader.OptionalArray("preserved"));
  std::vector<std::string> preserved;
  if (json == nullptr) return preserved;
  for (const Json& name : *json) {
    if (!name.is_string()) return reader.Error("preserved", "not a list of names", "names of modules");
    preserved.push_back(name.get<std::string>());
  }
  return preserved;
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

Json ShapeToJson(const std::vector<int64_t>& shape) {
  Json json = Json::array();
  for (const int64_t size : shape) json.push_back(size == kAnySize ? Json(nullptr) : Json(size));
  return json;
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
        } else if constexpr (std::is_same_v<T, ParameterTensor>) {
          json["shape"] = ShapeToJson(alternative.value.shape);
          if (!alternative.requires_grad) json["requires_grad"] = false;
        } else if constexpr (std::is_same_v<T, BufferTensor>) {
          json["shape"] = ShapeToJson(alternative.value.shape);
        } else if constexpr (std::is_same_v<T, InterfaceModule>) {
          json["implementation"] = alternative.implementation;
        }
      },
      module);
  return json;
}

Json KwargsToJson(const Node& node) {
  const FunctionTraits& traits = TraitsOf(node.function);
  Json json = Json::object();
  if (traits.int_kwarg != nullptr && node.int_arg != traits.int_default) json[traits.int_kwarg] = node.int_arg;
  if (node.start != 0) json["start"] = node.start;
  if (node.end != kToTheEnd) json["end"] = node.end;
  return json;
}

Json NodeToJson(const Node& node) {
  Json json = Json::object();
  json["name"] = node.name;
  json["op"] = OpNames()[static_cast<int>(node.op)];
  if (node.shape) json["shape"] = ShapeToJson(*node.shape);
  if (node.op == Op::kGetAttr) json["target"] = node.target;
  if (!TakesArgs(node.op)) return json;
  Json args = node.args;
  if (node.op == Op::kCallModule) {
    json["target"] = node.target;
  } else if (node.op == Op::kCallFunction) {
    json["target"] = TraitsOf(node.function).name;
    if (TraitsOf(node.function).takes_list) args = Json::array({args});
  }
  json["args"] = std::move(args);
  if (node.op == Op::kCallFunction) {
    Json kwargs = KwargsToJson(node);
    if (!kwargs.empty()) json["kwargs"] = std::move(kwargs);
  }
  return json;
}

Json GraphToJson(const Graph& graph) {
  Json json = Json::array();
  for (const Node& node : graph.nodes) json.push_back(NodeToJson(node));
  return json;
}

// The modules whose names begin with `prefix` ("tower.", or "" for all), up to the end or the first other one.
Json ModulesToJson(const Model& model, const std::string& prefix, size_t& next) {
  Json json = Json::object();
  const std::vector<std::string>& names = model.module_names();
  while (next < names.size() && absl::StartsWith(names[next], prefix)) {
    const std::string& name = names[next++];
    const Module& module = *model.Find(name);
    Json entry = ModuleToJson(module);
    if (const auto* nested = std::get_if<GraphModule>(&module)) {
      entry["modules"] = ModulesToJson(model, name + ".", next);
      entry["graph"] = GraphToJson(nested->graph);
    }
    json[name.substr(prefix.size())] = std::move(entry);
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
  ModelSpec spec;
  EQAT_RETURN_IF_ERROR(ReadBool(reader, "training", spec.training));
  bool frozen = false;
  EQAT_RETURN_IF_ERROR(ReadBool(reader, "frozen", frozen));
  if (frozen) {
    EQAT_ASSIGN_OR_RETURN(spec.preserved, ReadPreserved(reader));
  }
  EQAT_RETURN_IF_ERROR(reader.Finish());
  EQAT_RETURN_IF_ERROR(ReadModules(*modules, file, "/modules", "", spec.modules));
  if (graph != nullptr) {
    EQAT_ASSIGN_OR_RETURN(spec.graph, ReadGraph(*graph, file, "/graph"));
  }
  return spec;
}

Json ToJson(const Model& model) {
  Json json = Json::object();
  json["format"] = kFormat;
  json["version"] = kVersion;
  if (model.training()) json["training"] = true;
  if (model.frozen()) json["frozen"] = true;
  if (!model.preserved().empty()) json["preserved"] = model.preserved();
  size_t next = 0;
  json["modules"] = ModulesToJson(model, "", next);
  if (model.graph()) json["graph"] = GraphToJson(*model.graph());
  return json;
}

}  // namespace eqat::model
