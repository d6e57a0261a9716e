#include "configs/qconfig_json.h"

#include <limits>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "core/error.h"
#include "core/status_macros.h"
#include "io/file.h"

namespace eqat::configs {
namespace {

using io::DoubleRange;
using io::IntRange;
using io::Json;
using io::ObjectReader;
using quant::ObserverConfig;
using quant::ObserverKind;
using quant::QConfig;
using quant::QConfigMapping;
using quant::QScheme;
using quant::WeightConfig;
using MaybeQConfig = std::optional<QConfig>;

constexpr int64_t kVersion = 1;
constexpr char kFakeQuantize[] = "FakeQuantize";
const std::vector<std::string>& ObjectTypes() {
  static const auto& types = *new std::vector<std::string>{"nn.Embedding", "nn.EmbeddingBag"};
  return types;
}
constexpr IntRange kInt32{std::numeric_limits<int32_t>::min(), std::numeric_limits<int32_t>::max()};
constexpr DoubleRange kEpsRange{std::numeric_limits<float>::min(), std::numeric_limits<float>::max()};
constexpr DoubleRange kAveragingConstantRange{.minimum = 0.0, .maximum = 1.0, .exclude_minimum = true};

// Names of a table of traits, in its order: what ObjectReader::Choice takes.
template <typename Traits, size_t n>
std::vector<std::string> NamesOf(const Traits (&table)[n]) {
  std::vector<std::string> names;
  for (const Traits& traits : table) names.push_back(traits.name);
  return names;
}

// Observers that compute quantization parameters suit weights; the others stand for an activation left alone.
std::vector<ObserverKind> KindsThatCompute(bool computes_qparams) {
  std::vector<ObserverKind> kinds;
  for (const quant::ObserverKindTraits& traits : quant::kObserverKinds) {
    if (traits.computes_qparams == computes_qparams) kinds.push_back(traits.kind);
  }
  return kinds;
}

std::vector<std::string> NamesOf(const std::vector<ObserverKind>& kinds) {
  std::vector<std::string> names;
  for (const ObserverKind kind : kinds) names.push_back(TraitsOf(kind).name);
  return names;
}

std::vector<std::string> DeployNames() {
  std::vector<std::string> names;
  for (const quant::DeployTraits& traits : quant::kDeploys) {
    if (names.empty() || names.back() != traits.name) names.emplace_back(traits.name);
  }
  return names;
}

std::vector<std::string> PresetNames() {
  std::vector<std::string> names;
  for (const QConfig& preset : quant::QConfigPresets()) names.push_back(preset.name);
  return names;
}

absl::Status CheckSuits(const ObjectReader& object, absl::string_view key, bool suits, absl::string_view expected) {
  if (suits || !object.Has(key)) return absl::OkStatus();
  return object.Error(key, "does not suit the observer", expected);
}

absl::StatusOr<std::optional<int32_t>> CodeFrom(ObjectReader& object, absl::string_view key) {
  EQAT_ASSIGN_OR_RETURN(const std::optional<int64_t> code, object.OptionalInt(key, kInt32));
  if (!code.has_value()) return std::optional<int32_t>();
  return static_cast<int32_t>(*code);
}

absl::StatusOr<ObserverConfig> ObserverFrom(ObjectReader& object) {
  ObserverConfig config;
  const std::vector<ObserverKind> kinds = KindsThatCompute(true);
  EQAT_ASSIGN_OR_RETURN(const int kind, object.Choice("observer", NamesOf(kinds)));
  EQAT_ASSIGN_OR_RETURN(const std::optional<int> dtype, object.OptionalChoice("dtype", NamesOf(quant::kDtypes)));
  EQAT_ASSIGN_OR_RETURN(const std::optional<int> qscheme, object.OptionalChoice("qscheme", NamesOf(quant::kQSchemes)));
  config.kind = kinds[kind];
  const quant::ObserverKindTraits& traits = TraitsOf(config.kind);
  if (dtype.has_value()) config.dtype = quant::kDtypes[*dtype].dtype;
  config.qscheme = traits.per_channel ? QScheme::kPerChannelAffine : QScheme::kPerTensorAffine;
  if (qscheme.has_value()) config.qscheme = quant::kQSchemes[*qscheme].qscheme;
  EQAT_RETURN_IF_ERROR(CheckSuits(object, "averaging_constant", traits.moving_average, "a moving average observer"));
  EQAT_RETURN_IF_ERROR(CheckSuits(object, "ch_axis", traits.per_channel, "a per-channel observer"));

  EQAT_ASSIGN_OR_RETURN(config.quant_min, CodeFrom(object, "quant_min"));
  EQAT_ASSIGN_OR_RETURN(config.quant_max, CodeFrom(object, "quant_max"));
  EQAT_ASSIGN_OR_RETURN(const std::optional<bool> reduce_range, object.OptionalBool("reduce_range"));
  EQAT_ASSIGN_OR_RETURN(const std::optional<int64_t> ch_axis, object.OptionalInt("ch_axis", {0, 1}));
  EQAT_ASSIGN_OR_RETURN(const std::optional<double> averaging_constant,
                        object.OptionalDouble("averaging_constant", kAveragingConstantRange));
  EQAT_ASSIGN_OR_RETURN(const std::optional<double> eps, object.OptionalDouble("eps", kEpsRange));
  config.reduce_range = reduce_range.value_or(config.reduce_range);
  config.ch_axis = static_cast<int>(ch_axis.value_or(config.ch_axis));
  config.averaging_constant = averaging_constant.value_or(config.averaging_constant);
  config.eps = eps.value_or(config.eps);
  return config;
}

// "FakeQuantize", or null or nothing for an observer alone.
absl::StatusOr<bool> FakeQuantizeFrom(ObjectReader& object) {
  EQAT_ASSIGN_OR_RETURN(const Json* json, object.OptionalAny("fake_quantize"));
  if (json == nullptr || json->is_null()) return false;
  if (json->is_string() && json->get_ref<const std::string&>() == kFakeQuantize) return true;
  return object.Error("fake_quantize", "is unknown", absl::StrCat("\"", kFakeQuantize, "\" or null"));
}

absl::StatusOr<WeightConfig> WeightFrom(const Json& json, absl::string_view file, const std::string& pointer) {
  EQAT_ASSIGN_OR_RETURN(ObjectReader object, ObjectReader::Of(json, std::string(file), pointer));
  WeightConfig config;
  EQAT_ASSIGN_OR_RETURN(config.fake_quantize, FakeQuantizeFrom(object));
  EQAT_ASSIGN_OR_RETURN(config.observer, ObserverFrom(object));
  EQAT_RETURN_IF_ERROR(object.Finish());
  return config;
}

absl::StatusOr<QConfig> SpelledOutFrom(const Json& json, absl::string_view file, const std::string& pointer) {
  EQAT_ASSIGN_OR_RETURN(ObjectReader object, ObjectReader::Of(json, std::string(file), pointer));
  QConfig qconfig;
  const std::vector<ObserverKind> kinds = KindsThatCompute(false);
  EQAT_ASSIGN_OR_RETURN(const std::optional<int> activation, object.OptionalChoice("activation", NamesOf(kinds)));
  if (activation.has_value()) qconfig.activation = kinds[*activation];
  EQAT_ASSIGN_OR_RETURN(const Json* weight, object.Object("weight"));
  EQAT_ASSIGN_OR_RETURN(const std::optional<int> deploy, object.OptionalChoice("deploy", DeployNames()));
  EQAT_RETURN_IF_ERROR(object.Finish());
  EQAT_ASSIGN_OR_RETURN(qconfig.weight, WeightFrom(*weight, file, object.PointerTo("weight")));
  if (deploy.has_value()) qconfig.weight.deploy = quant::DeployFromName(DeployNames()[*deploy]);
  EQAT_RETURN_IF_ERROR(AtPlace(absl::StrCat(file, ": ", object.PointerTo("weight")), Validate(qconfig.weight)));
  return qconfig;
}

// {KEY: qconfig, ...}, in order.
absl::StatusOr<std::vector<QConfigMapping::Entry>> EntriesFrom(const Json& json, const ObjectReader& parent,
                                                               absl::string_view key) {
  EQAT_ASSIGN_OR_RETURN(const ObjectReader object, ObjectReader::Of(json, parent.file(), parent.PointerTo(key)));
  std::vector<QConfigMapping::Entry> entries;
  for (const auto& [name, value] : json.items()) {
    EQAT_ASSIGN_OR_RETURN(MaybeQConfig qconfig, QConfigFromJson(value, object.file(), object.PointerTo(name)));
    entries.emplace_back(name, std::move(qconfig));
  }
  return entries;
}

absl::Status ReadGlobal(ObjectReader& root, QConfigMapping& mapping) {
  EQAT_ASSIGN_OR_RETURN(const Json* json, root.OptionalAny("global"));
  if (json == nullptr) return absl::OkStatus();
  EQAT_ASSIGN_OR_RETURN(MaybeQConfig qconfig, QConfigFromJson(*json, root.file(), root.PointerTo("global")));
  mapping.SetGlobal(std::move(qconfig));
  return absl::OkStatus();
}

absl::Status ReadObjectTypes(ObjectReader& root, QConfigMapping& mapping) {
  EQAT_ASSIGN_OR_RETURN(const Json* json, root.OptionalObject("object_type"));
  if (json == nullptr) return absl::OkStatus();
  EQAT_ASSIGN_OR_RETURN(ObjectReader object, ObjectReader::Of(*json, root.file(), root.PointerTo("object_type")));
  for (const std::string& type : ObjectTypes()) EQAT_RETURN_IF_ERROR(object.OptionalAny(type).status());
  EQAT_RETURN_IF_ERROR(object.Finish());
  EQAT_ASSIGN_OR_RETURN(const auto entries, EntriesFrom(*json, root, "object_type"));
  for (const auto& [type, qconfig] : entries) mapping.SetObjectType(type, qconfig);
  return absl::OkStatus();
}

absl::Status ReadRegex(const Json& json, const std::string& file, const std::string& pointer, QConfigMapping& mapping) {
  EQAT_ASSIGN_OR_RETURN(ObjectReader object, ObjectReader::Of(json, file, pointer));
  EQAT_ASSIGN_OR_RETURN(const std::string pattern, object.String("pattern"));
  EQAT_ASSIGN_OR_RETURN(const Json* value, object.Any("qconfig"));
  EQAT_RETURN_IF_ERROR(object.Finish());
  if (pattern.empty()) return object.Error("pattern", "is empty", "a regular expression");
  for (const auto& [earlier, qconfig] : mapping.module_name_regex()) {
    if (earlier == pattern) return object.Error("pattern", "is given twice", "each pattern once");
  }
  EQAT_ASSIGN_OR_RETURN(MaybeQConfig qconfig, QConfigFromJson(*value, file, object.PointerTo("qconfig")));
  return AtPlace(absl::StrCat(file, ": ", object.PointerTo("pattern")),
                 mapping.SetModuleNameRegex(pattern, std::move(qconfig)));
}

absl::Status ReadRegexes(ObjectReader& root, QConfigMapping& mapping) {
  EQAT_ASSIGN_OR_RETURN(const Json* json, root.OptionalArray("module_name_regex"));
  if (json == nullptr) return absl::OkStatus();
  for (size_t i = 0; i < json->size(); ++i) {
    const std::string pointer = absl::StrCat(root.PointerTo("module_name_regex"), "/", i);
    EQAT_RETURN_IF_ERROR(ReadRegex((*json)[i], root.file(), pointer, mapping));
  }
  return absl::OkStatus();
}

absl::Status ReadModuleNames(ObjectReader& root, QConfigMapping& mapping) {
  EQAT_ASSIGN_OR_RETURN(const Json* json, root.OptionalObject("module_name"));
  if (json == nullptr) return absl::OkStatus();
  if (json->contains("")) {
    return io::JsonError(root.file(), root.PointerTo("module_name"), "holds an empty name", nullptr,
                         "names of modules");
  }
  EQAT_ASSIGN_OR_RETURN(const auto entries, EntriesFrom(*json, root, "module_name"));
  for (const auto& [name, qconfig] : entries) mapping.SetModuleName(name, qconfig);
  return absl::OkStatus();
}

Json ToJson(const WeightConfig& config) {
  const ObserverConfig& observer = config.observer;
  const quant::ObserverKindTraits& kind = TraitsOf(observer.kind);
  Json json;
  json["fake_quantize"] = config.fake_quantize ? Json(kFakeQuantize) : Json(nullptr);
  json["observer"] = kind.name;
  json["dtype"] = TraitsOf(observer.dtype).name;
  json["qscheme"] = TraitsOf(observer.qscheme).name;
  if (observer.quant_min.has_value()) json["quant_min"] = *observer.quant_min;
  if (observer.quant_max.has_value()) json["quant_max"] = *observer.quant_max;
  if (kind.per_channel) json["ch_axis"] = observer.ch_axis;
  if (kind.moving_average) json["averaging_constant"] = observer.averaging_constant;
  json["reduce_range"] = observer.reduce_range;
  json["eps"] = observer.eps;
  return json;
}

Json ToJson(const std::vector<QConfigMapping::Entry>& entries) {
  Json json = Json::object();
  for (const auto& [key, qconfig] : entries) json[key] = configs::ToJson(qconfig);
  return json;
}

}  // namespace

absl::StatusOr<MaybeQConfig> QConfigFromJson(const Json& json, absl::string_view file, const std::string& pointer) {
  if (json.is_null()) return MaybeQConfig();
  if (json.is_object()) return SpelledOutFrom(json, file, pointer);
  if (!json.is_string()) {
    return io::JsonError(file, pointer, "has the wrong type", &json, "a preset's name, null or an object");
  }
  const MaybeQConfig preset = quant::QConfigPreset(json.get_ref<const std::string&>());
  if (preset.has_value()) return preset;
  return io::JsonError(file, pointer, "unknown qconfig preset", &json,
                       absl::StrCat("one of ", absl::StrJoin(PresetNames(), ", ")));
}

absl::StatusOr<QConfigMapping> ParseQConfigMapping(absl::string_view text, absl::string_view file) {
  EQAT_ASSIGN_OR_RETURN(const Json json, io::ParseJson(text, file));
  EQAT_ASSIGN_OR_RETURN(ObjectReader root, ObjectReader::Of(json, std::string(file), ""));
  EQAT_RETURN_IF_ERROR(root.Int("version", {kVersion, kVersion}).status());
  EQAT_RETURN_IF_ERROR(root.OptionalString("description").status());
  QConfigMapping mapping;
  EQAT_RETURN_IF_ERROR(ReadGlobal(root, mapping));
  EQAT_RETURN_IF_ERROR(ReadObjectTypes(root, mapping));
  EQAT_RETURN_IF_ERROR(ReadRegexes(root, mapping));
  EQAT_RETURN_IF_ERROR(ReadModuleNames(root, mapping));
  EQAT_RETURN_IF_ERROR(root.Finish());
  return mapping;
}

absl::StatusOr<QConfigMapping> ReadQConfigMapping(const std::string& path) {
  constexpr int64_t kMaxBytes = int64_t{16} << 20;
  EQAT_ASSIGN_OR_RETURN(const std::string text, io::ReadFile(path, kMaxBytes));
  return ParseQConfigMapping(text, path);
}

Json ToJson(const MaybeQConfig& qconfig) {
  if (!qconfig.has_value()) return nullptr;
  for (const QConfig& preset : quant::QConfigPresets()) {
    if (preset == *qconfig) return preset.name;
  }
  Json json;
  json["activation"] = TraitsOf(qconfig->activation).name;
  json["weight"] = ToJson(qconfig->weight);
  if (qconfig->weight.deploy.has_value()) json["deploy"] = quant::DeployName(*qconfig->weight.deploy);
  return json;
}

Json ToJson(const QConfigMapping& mapping) {
  Json json;
  json["version"] = kVersion;
  if (mapping.global().has_value()) json["global"] = ToJson(*mapping.global());
  if (!mapping.object_type().empty()) json["object_type"] = ToJson(mapping.object_type());
  for (const auto& [pattern, qconfig] : mapping.module_name_regex()) {
    Json entry;
    entry["pattern"] = pattern;
    entry["qconfig"] = ToJson(qconfig);
    json["module_name_regex"].push_back(std::move(entry));
  }
  if (!mapping.module_name().empty()) json["module_name"] = ToJson(mapping.module_name());
  return json;
}

}  // namespace eqat::configs
