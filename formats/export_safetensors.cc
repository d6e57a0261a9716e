// safetensors: the tensors of the model directory, with what a reader needs to know of them in the file's metadata.
#include <string>
#include <utility>

#include "core/status_macros.h"
#include "formats/export_job.h"
#include "io/json_reader.h"
#include "io/safetensors.h"
#include "model/module_state.h"

namespace eqat::formats {
namespace {

// How values come out of the tensors.
const char* ValueFormula(const quant::QuantizedTable& table) {
  if (table.deploy() != nullptr && table.deploy()->has_bias()) return "float32(code * scale + bias)";
  return "float32((code - zero_point) * scale)";
}

io::Json Description(const SourceTable& table) {
  io::Json json = io::Json::object();
  json["type"] = table.is_bag() ? "EmbeddingBag" : "Embedding";
  json["num_embeddings"] = table.rows();
  json["embedding_dim"] = table.cols();
  if (table.is_bag()) json["mode"] = std::string(PoolModeName(table.options().mode));
  if (table.options().padding_idx) json["padding_idx"] = *table.options().padding_idx;
  if (table.options().max_norm) json["max_norm"] = *table.options().max_norm;
  if (table.quantized() == nullptr) return json;
  const quant::QuantizedTable& quantized = *table.quantized();
  json["bits"] = quantized.bits();
  json["signed"] = quant::TraitsOf(quantized.dtype()).quant_min < 0;
  json["order"] = "low bits first, rows padded to whole bytes";
  json["value"] = ValueFormula(quantized);
  if (quantized.deploy() != nullptr) {
    json["deploy"] = quantized.deploy()->name;
    if (quantized.deploy()->group != 0) json["columns_per_scale"] = quantized.deploy()->group;
  }
  return json;
}

}  // namespace

absl::Status ExportSafetensors(ExportJob& job) {
  model::TensorSink sink;
  for (const std::string& name : job.model.module_names()) {
    const model::Module& module = *job.model.Find(name);
    if (job.Includes(name)) {
      EQAT_RETURN_IF_ERROR(model::AppendState(name, module, io::TensorDtype::kF32, sink));
    }
  }
  job.report.left_out.clear();  // every module's tensors are in
  io::Json tables = io::Json::object();
  for (const SourceTable& table : job.tables) {
    tables[table.name()] = Description(table);
    const int64_t values = table.rows() * table.cols();
    job.Report(table, "codes, scale and offset", table.quantized() != nullptr ? table.quantized()->bytes() : 4 * values,
               {.values = values});
  }
  return io::WriteSafetensors(job.path, std::move(sink.tensors),
                              {{"format", "eqat.tables"}, {"version", "1"}, {"tables", tables.dump()}});
}

}  // namespace eqat::formats
