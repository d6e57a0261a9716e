#include "model/prepare_qat.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "core/error.h"
#include "core/status_macros.h"
#include "model/module.h"

namespace eqat::model {
namespace {

using quant::QConfig;
using quant::QConfigMapping;

using NamesAndTypes = std::vector<std::pair<std::string, std::string>>;

NamesAndTypes NamesAndTypesOf(const Model& model) {
  NamesAndTypes result;
  for (const std::string& name : model.module_names()) {
    result.emplace_back(name, std::string(TypeName(*model.Find(name))));
  }
  return result;
}

// What a module was before its change.
ModuleChange Before(const Model& model, const std::string& name) {
  const Module& module = *model.Find(name);
  return {.module = name, .type_before = std::string(TypeName(module)), .bytes_before = ParameterBytes(module)};
}

// `report` completed by what the modules are now.
ChangeReport WithAfter(ChangeReport report, const Model& model) {
  for (ModuleChange& change : report) {
    const Module& module = *model.Find(change.module);
    change.type_after = std::string(TypeName(module));
    change.bits = WeightBits(module);
    change.bytes_after = ParameterBytesConverted(module);
  }
  return report;
}

// Where each rule of the mapping stands in its file, by the text by which reports call the rule.
std::vector<std::pair<std::string, std::string>> RulesWithPointers(const QConfigMapping& mapping) {
  std::vector<std::pair<std::string, std::string>> rules;
  const auto add = [&](const std::string& level, const std::vector<QConfigMapping::Entry>& entries, bool is_list) {
    for (size_t i = 0; i < entries.size(); ++i) {
      const std::string& key = entries[i].first;
      rules.emplace_back(absl::StrCat(level, " ", key),
                         is_list ? absl::StrCat("/", level, "/", i, "/pattern")
                                 : absl::StrCat("/", level, "/", absl::StrReplaceAll(key, {{"~", "~0"}, {"/", "~1"}})));
    }
  };
  add("module_name", mapping.module_name(), false);
  add("module_name_regex", mapping.module_name_regex(), true);
  add("object_type", mapping.object_type(), false);
  return rules;
}

absl::Status CheckRulesMatch(const QConfigMapping& mapping, const NamesAndTypes& modules) {
  const std::vector<std::string> unmatched = mapping.UnmatchedRules(modules);
  if (unmatched.empty()) return absl::OkStatus();
  std::string place = "qconfig mapping";
  for (const auto& [rule, pointer] : RulesWithPointers(mapping)) {
    if (rule == unmatched.front()) place = pointer;
  }
  return InvalidArgument(place, "the rule matches no module of the model", absl::StrJoin(unmatched, ", "),
                         absl::StrJoin(modules, ", ", [](std::string* out, const auto& module) {
                           absl::StrAppend(out, module.first, " (", module.second, ")");
                         }));
}

// Why a module with this outcome of the mapping stays as it is; empty when it changes.
std::string ReasonToLeave(const Module& module, const QConfigMapping::Resolution& resolution) {
  if (AsLookup(module) == nullptr) return "not a table";
  if (IsQat(module)) return "already qat";
  if (IsQuantized(module)) return "already quantized";
  if (resolution.qconfig) return "";
  return resolution.rule == "no rule" ? "no rule" : "qconfig is null";
}

struct Plan {
  ChangeReport report;                                     // every module, as it is before
  std::vector<std::pair<std::string, QConfig>> to_change;  // in order of the model
};

// Resolves the mapping for every module and checks every qconfig that will be used.
absl::StatusOr<Plan> MakePlan(const Model& model, const QConfigMapping& mapping, bool accept_observer_alone) {
  const NamesAndTypes modules = NamesAndTypesOf(model);
  EQAT_RETURN_IF_ERROR(CheckRulesMatch(mapping, modules));
  Plan plan;
  for (const auto& [name, type] : modules) {
    QConfigMapping::Resolution resolution = mapping.Resolve(name, type);
    ModuleChange change = Before(model, name);
    change.rule = resolution.rule;
    change.reason = ReasonToLeave(*model.Find(name), resolution);
    if (change.reason.empty()) {
      if (accept_observer_alone) resolution.qconfig->weight.fake_quantize = true;
      EQAT_RETURN_IF_ERROR(AtPlace(name, qat::ValidateEmbeddingQConfig(*resolution.qconfig, type,
                                                                       AsLookup(*model.Find(name))->embedding_dim())));
      plan.to_change.emplace_back(name, *std::move(resolution.qconfig));
    }
    plan.report.push_back(std::move(change));
  }
  if (!plan.to_change.empty()) return plan;
  return InvalidArgument("qconfig mapping", "nothing to prepare: no float table gets a qconfig",
                         absl::StrJoin(plan.report, ", ", [](std::string* out, const ModuleChange& change) {
                           absl::StrAppend(out, change.module, ": ", change.reason);
                         }));
}

template <typename QatTable, typename FloatTable>
absl::StatusOr<Module> PrepareTable(FloatTable& table, const QConfig& qconfig) {
  std::optional<QConfig> previous = table.qconfig();
  table.set_qconfig(qconfig);
  absl::StatusOr<QatTable> prepared = QatTable::FromFloat(std::move(table));
  if (prepared.ok()) return Module(*std::move(prepared));
  table.set_qconfig(std::move(previous));
  return prepared.status();
}

// The quantized table that preparing and converting `table` gives; `table` ends as it was.
template <typename QatTable, typename FloatTable>
absl::StatusOr<Module> QuantizeTable(FloatTable& table, const QConfig& qconfig) {
  std::optional<QConfig> previous = table.qconfig();
  table.set_qconfig(qconfig);
  absl::StatusOr<QatTable> prepared = QatTable::FromFloat(std::move(table));
  if (!prepared.ok()) {
    table.set_qconfig(std::move(previous));
    return prepared.status();
  }
  auto converted = prepared->Convert();
  table = (*std::move(prepared)).ToFloat();
  table.set_qconfig(std::move(previous));
  if (!converted.ok()) return converted.status();
  return Module(*std::move(converted));
}

absl::StatusOr<Module> Prepare(Module& module, const QConfig& qconfig) {
  if (auto* table = std::get_if<nn::Embedding>(&module)) return PrepareTable<qat::Embedding>(*table, qconfig);
  return PrepareTable<qat::EmbeddingBag>(std::get<nn::EmbeddingBag>(module), qconfig);
}

absl::StatusOr<Module> Quantize(Module& module, const QConfig& qconfig) {
  if (auto* table = std::get_if<nn::Embedding>(&module)) return QuantizeTable<qat::Embedding>(*table, qconfig);
  return QuantizeTable<qat::EmbeddingBag>(std::get<nn::EmbeddingBag>(module), qconfig);
}

template <typename QatTable>
absl::StatusOr<Module> ConvertTable(const QatTable& table) {
  EQAT_ASSIGN_OR_RETURN(auto converted, table.Convert());
  return Module(std::move(converted));
}

absl::StatusOr<Module> ConvertModule(const Module& module) {
  if (const auto* table = std::get_if<qat::Embedding>(&module)) return ConvertTable(*table);
  return ConvertTable(std::get<qat::EmbeddingBag>(module));
}

Module ReleaseFloat(Module& module) {
  if (auto* table = std::get_if<qat::Embedding>(&module)) return Module(std::move(*table).ToFloat());
  return Module(std::move(std::get<qat::EmbeddingBag>(module)).ToFloat());
}

using Replacements = std::vector<std::pair<std::string, Module>>;

void ReplaceAll(Model& model, Replacements&& replacements) {
  for (auto& [name, module] : replacements) model.Replace(name, std::move(module));
}

// The report before a change of all QAT tables. FailedPrecondition when there is none.
absl::StatusOr<ChangeReport> BeforeChangeOfQat(const Model& model, absl::string_view verb) {
  ChangeReport report;
  bool any = false;
  for (const std::string& name : model.module_names()) {
    report.push_back(Before(model, name));
    const bool is_qat = IsQat(*model.Find(name));
    any |= is_qat;
    if (!is_qat) report.back().reason = AsLookup(*model.Find(name)) != nullptr ? "not qat" : "not a table";
  }
  if (any) return report;
  return FailedPrecondition("model", absl::StrCat("nothing to ", verb, ": it has no qat table"),
                            absl::StrJoin(report, ", ", [](std::string* out, const ModuleChange& change) {
                              absl::StrAppend(out, change.module, " (", change.type_before, ")");
                            }));
}

}  // namespace

absl::StatusOr<ChangeReport> PrepareQat(Model& model, const QConfigMapping& mapping) {
  EQAT_ASSIGN_OR_RETURN(Plan plan, MakePlan(model, mapping, /*accept_observer_alone=*/false));
  for (const auto& [name, qconfig] : plan.to_change) {
    // Cannot fail: the plan has checked the qconfig.
    EQAT_ASSIGN_OR_RETURN(Module prepared, Prepare(*model.FindMutable(name), qconfig));
    model.Replace(name, std::move(prepared));
  }
  return WithAfter(std::move(plan.report), model);
}

absl::StatusOr<ChangeReport> Convert(Model& model) {
  EQAT_ASSIGN_OR_RETURN(ChangeReport report, BeforeChangeOfQat(model, "convert"));
  Replacements converted;
  for (const std::string& name : model.module_names()) {
    const Module& module = *model.Find(name);
    if (!IsQat(module)) continue;
    EQAT_ASSIGN_OR_RETURN(Module quantized, ConvertModule(module));
    converted.emplace_back(name, std::move(quantized));
  }
  ReplaceAll(model, std::move(converted));
  return WithAfter(std::move(report), model);
}

absl::StatusOr<ChangeReport> ToFloat(Model& model) {
  EQAT_ASSIGN_OR_RETURN(ChangeReport report, BeforeChangeOfQat(model, "turn to float"));
  for (const std::string& name : model.module_names()) {
    Module& module = *model.FindMutable(name);
    if (IsQat(module)) model.Replace(name, ReleaseFloat(module));
  }
  return WithAfter(std::move(report), model);
}

absl::StatusOr<ChangeReport> Ptq(Model& model, const QConfigMapping& mapping) {
  EQAT_ASSIGN_OR_RETURN(Plan plan, MakePlan(model, mapping, /*accept_observer_alone=*/true));
  Replacements quantized;
  for (const auto& [name, qconfig] : plan.to_change) {
    EQAT_ASSIGN_OR_RETURN(Module module, Quantize(*model.FindMutable(name), qconfig));
    quantized.emplace_back(name, std::move(module));
  }
  ReplaceAll(model, std::move(quantized));
  return WithAfter(std::move(plan.report), model);
}

}  // namespace eqat::model
