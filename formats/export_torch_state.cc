// torch_state_dict: the state of a float or QAT model as PyTorch's torch.save writes it.
#include <map>
#include <string>
#include <type_traits>

#include "core/error.h"
#include "core/status_macros.h"
#include "formats/export_job.h"
#include "io/torch_file_writer.h"
#include "model/module_state.h"

namespace eqat::formats {
namespace {

// Versions of modules whose state_dict is not of version 1.
constexpr int64_t kObserverVersion = 3;
constexpr int64_t kBatchNormVersion = 2;

// Why torch's module of this type cannot take the state; empty when it can.
std::string Obstacle(const model::Module& module) {
  if (model::IsQuantized(module)) return "is quantized, and torch packs quantized tables in objects of its own";
  return std::visit(
      [](const auto& alternative) -> std::string {
        if constexpr (model::kIsQat<std::decay_t<decltype(alternative)>>) {
          if (alternative.qconfig().weight.deploy)
            return "is trained for a deployed format, which torch's fake quantization lacks";
        }
        return "";
      },
      module);
}

// `module` and the modules around it, by name.
void AddVersions(const std::string& name, const model::Module& module, std::map<std::string, int64_t>& versions) {
  for (size_t dot = name.find('.'); dot != std::string::npos; dot = name.find('.', dot + 1)) {
    versions.emplace(name.substr(0, dot), 1);
  }
  versions[name] = std::holds_alternative<nn::BatchNorm1d>(module) ? kBatchNormVersion : 1;
  if (!model::IsQat(module)) return;
  versions[name + ".weight_fake_quant"] = 1;
  versions[name + ".weight_fake_quant.activation_post_process"] = kObserverVersion;
}

void ReportTrainable(const std::string& name, const model::Module& module, ExportJob& job) {
  const EmbeddingLookup* const table = model::AsLookup(module);
  if (table == nullptr) return;
  const int64_t values = table->num_embeddings() * table->embedding_dim();
  job.report.tables.push_back({name,
                               table->num_embeddings(),
                               table->embedding_dim(),
                               std::string(model::TypeName(module)),
                               "state_dict",
                               4 * values,
                               {.values = values}});
}

}  // namespace

absl::Status ExportTorchStateDict(ExportJob& job) {
  model::TensorSink sink;
  std::map<std::string, int64_t> versions = {{"", 1}};
  for (const std::string& name : job.model.module_names()) {
    const model::Module& module = *job.model.Find(name);
    if (!job.Includes(name)) continue;
    if (const std::string obstacle = Obstacle(module); !obstacle.empty()) {
      return FailedPrecondition(name, obstacle, std::string(model::TypeName(module)),
                                "a float or QAT table, or another format");
    }
    EQAT_RETURN_IF_ERROR(model::AppendState(name, module, io::TensorDtype::kF32, sink));
    AddVersions(name, module, versions);
    ReportTrainable(name, module, job);
  }
  job.report.left_out.clear();  // every module's state is in
  return io::WriteTorchStateDict(job.path, sink.tensors, versions);
}

}  // namespace eqat::formats
