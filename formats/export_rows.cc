// Packed rows of PyTorch and FBGEMM, one U8 tensor [rows, row bytes] for each table, in a safetensors file.
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/error.h"
#include "core/status_macros.h"
#include "formats/export_job.h"
#include "formats/fused_rows.h"
#include "io/safetensors.h"

namespace eqat::formats {
namespace {

absl::StatusOr<const quant::DeployTraits*> RowsOfSameBits(const SourceTable& table, quant::Deploy deploy) {
  if (table.quantized() == nullptr) {
    return FailedPrecondition(table.name(), "is a float table, of which the number of bits is not known",
                              table.ValueText(), "a quantized table: run `eqat ptq` or QAT first");
  }
  for (const quant::DeployTraits& traits : quant::kDeploys) {
    if (traits.deploy == deploy && traits.bits == table.quantized()->bits()) return &traits;
  }
  return InvalidArgument(table.name(), absl::StrCat(quant::DeployName(deploy), " has no rows of this many bits"),
                         absl::StrCat(table.quantized()->bits()), "8, 4 or 2");
}

absl::Status ExportRows(ExportJob& job, quant::Deploy deploy, const FusedLayout& layout) {
  std::vector<io::TensorToWrite> tensors;
  std::vector<std::vector<uint8_t>> rows;
  std::map<std::string, std::string> metadata = {{"format", absl::StrCat("eqat.", job.format)}, {"version", "1"}};
  rows.reserve(job.tables.size());
  for (const SourceTable& table : job.tables) {
    EQAT_ASSIGN_OR_RETURN(const quant::DeployTraits* const traits, RowsOfSameBits(table, deploy));
    EQAT_ASSIGN_OR_RETURN(const Requantized deployed, DeployedFor(job, table, *traits));
    rows.push_back(FusedRows(*deployed, layout));
    const int64_t row_bytes = FusedRowBytes(*deployed, layout);
    const absl::Span<const char> bytes = io::AsBytes(absl::MakeConstSpan(rows.back()));
    tensors.push_back({table.name(), io::TensorDtype::kU8, {table.rows(), row_bytes}, bytes});
    metadata[absl::StrCat(table.name(), ".bits")] = absl::StrCat(traits->bits);
    metadata[absl::StrCat(table.name(), ".columns")] = absl::StrCat(table.cols());
    job.Report(table, absl::StrCat(traits->bits, "-bit rows of ", row_bytes, " bytes"),
               static_cast<int64_t>(bytes.size()), deployed.errors);
  }
  return io::WriteSafetensors(job.path, std::move(tensors), metadata);
}

}  // namespace

absl::Status ExportTorchRows(ExportJob& job) { return ExportRows(job, quant::Deploy::kTorch, {}); }

absl::Status ExportFbgemmRows(ExportJob& job) {
  const FusedLayout layout = {!job.options.params_last, job.options.row_alignment};
  return ExportRows(job, quant::Deploy::kFbgemmHalf, layout);
}

}  // namespace eqat::formats
