#include "formats/export.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "core/error.h"
#include "core/status_macros.h"
#include "formats/export_job.h"
#include "model/prepare_qat.h"

namespace eqat::formats {
namespace {

enum class Kinds : uint8_t { kConverted, kTrainable };  // QAT tables converted first; float and QAT tables alone

struct Exporter {
  const char* format;
  Kinds kinds;
  absl::Status (*write)(ExportJob& job);
};

constexpr Exporter kExporters[] = {
    {"safetensors", Kinds::kConverted, ExportSafetensors},
    {"npz", Kinds::kConverted, ExportNpz},
    {"vec", Kinds::kConverted, ExportVec},
    {"torch", Kinds::kConverted, ExportTorchRows},
    {"torch_state_dict", Kinds::kTrainable, ExportTorchStateDict},
    {"fbgemm_half", Kinds::kConverted, ExportFbgemmRows},
    {"gguf", Kinds::kConverted, ExportGguf},
    {"gguf_f32", Kinds::kConverted, ExportGguf},
    {"gguf_f16", Kinds::kConverted, ExportGguf},
    {"gguf_q8_0", Kinds::kConverted, ExportGguf},
    {"gguf_q4_0", Kinds::kConverted, ExportGguf},
    {"gguf_q4_1", Kinds::kConverted, ExportGguf},
    {"onnx", Kinds::kConverted, ExportOnnx},
    {"onnx_qdq", Kinds::kConverted, ExportOnnx},
    {"onnx_block", Kinds::kConverted, ExportOnnx},
};

absl::StatusOr<const Exporter*> FindExporter(const std::string& format) {
  const auto* const found = std::find_if(std::begin(kExporters), std::end(kExporters),
                                         [&](const Exporter& exporter) { return format == exporter.format; });
  if (found != std::end(kExporters)) return found;
  return InvalidArgument("format", "cannot be exported", format,
                         absl::StrCat("one of ", absl::StrJoin(kExporters, ", ", [](std::string* out, const auto& e) {
                                        absl::StrAppend(out, e.format);
                                      })));
}

// Options that the format would not use are errors: they were meant to do something.
absl::Status CheckOptions(const std::string& format, const ExportOptions& options) {
  const auto refuse = [&](const char* option, const char* owner) {
    return InvalidArgument(option, absl::StrCat("has no meaning for ", format), "", absl::StrCat("format ", owner));
  };
  if (format != "fbgemm_half") {
    if (options.params_last) return refuse("--scale-bias-last", "fbgemm_half");
    if (options.row_alignment != 1) return refuse("--row-alignment", "fbgemm_half");
  }
  if (format != "vec" && !options.words.empty()) return refuse("--words", "vec");
  return absl::OkStatus();
}

absl::Status CheckModules(const model::Model& model, const ExportOptions& options) {
  for (const std::string& name : options.modules) {
    const model::Module* const module = model.Find(name);
    if (module != nullptr && model::AsLookup(*module) != nullptr) continue;
    std::vector<std::string> tables;
    for (const std::string& other : model.module_names()) {
      if (model::AsLookup(*model.Find(other)) != nullptr) tables.push_back(other);
    }
    return InvalidArgument("--module", module == nullptr ? "there is no such module" : "the module is no table", name,
                           absl::StrCat("one of ", absl::StrJoin(tables, ", ")));
  }
  return absl::OkStatus();
}

bool HasQat(const model::Model& model) {
  const std::vector<std::string>& names = model.module_names();
  return std::any_of(names.begin(), names.end(),
                     [&](const std::string& name) { return model::IsQat(*model.Find(name)); });
}

// Lists the tables, and what is left out of a file of tables although nobody said so.
absl::Status ListTables(ExportJob& job) {
  for (const std::string& name : job.model.module_names()) {
    const model::Module& module = *job.model.Find(name);
    if (!job.Includes(name)) continue;
    if (model::AsLookup(module) == nullptr) {
      job.report.left_out.emplace_back(name, "not a table");
    } else if (!model::IsQat(module)) {
      job.tables.emplace_back(name, module);
    }
  }
  if (!job.tables.empty() || job.format == "torch_state_dict") return absl::OkStatus();
  return FailedPrecondition("model", "holds no table to export",
                            absl::StrCat(job.model.module_names().size(), " modules"));
}

}  // namespace

bool ExportJob::Includes(const std::string& module) const {
  return options.modules.empty() ||
         std::find(options.modules.begin(), options.modules.end(), module) != options.modules.end();
}

void ExportJob::Report(const SourceTable& table, std::string to, int64_t bytes, const ValueErrors& errors) {
  report.tables.push_back({table.name(), table.rows(), table.cols(), table.ValueText(), std::move(to), bytes, errors});
}

absl::Status CheckErrors(const ExportJob& job, const SourceTable& table, const ValueErrors& errors,
                         const std::string& remedy) {
  if (errors.differing == 0 || job.options.requantize) return absl::OkStatus();
  return InvalidArgument(table.name(),
                         absl::StrCat(job.format, " would change values of the table, which is ", table.ValueText()),
                         absl::StrCat(errors.differing, " of ", errors.values, " values differ, by up to ",
                                      errors.largest, ", root mean square ", errors.root_mean_square()),
                         absl::StrCat("--requantize to accept that, or ", remedy));
}

absl::StatusOr<Requantized> DeployedFor(const ExportJob& job, const SourceTable& table,
                                        const quant::DeployTraits& deploy) {
  EQAT_ASSIGN_OR_RETURN(Requantized deployed, Requantize(table, deploy));
  EQAT_RETURN_IF_ERROR(CheckErrors(job, table, deployed.errors,
                                   absl::StrCat("a qconfig with \"deploy\": \"", deploy.name, "\" before training")));
  return deployed;
}

absl::StatusOr<ExportReport> Export(model::Model&& model, const std::string& format, const std::string& path,
                                    const ExportOptions& options) {
  EQAT_ASSIGN_OR_RETURN(const Exporter* const exporter, FindExporter(format));
  EQAT_RETURN_IF_ERROR(CheckOptions(format, options));
  EQAT_RETURN_IF_ERROR(CheckModules(model, options));
  if (exporter->kinds == Kinds::kConverted && HasQat(model)) EQAT_RETURN_IF_ERROR(model::Convert(model).status());
  ExportJob job = {model, format, path, options};
  EQAT_RETURN_IF_ERROR(ListTables(job));
  EQAT_RETURN_IF_ERROR(exporter->write(job));
  return std::move(job.report);
}

}  // namespace eqat::formats
