// GGUF: one tensor "MODULE.weight" for each table, in F32, F16 or the block type that it was trained for.
#include <algorithm>
#include <cmath>
#include <list>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "core/error.h"
#include "core/float16.h"
#include "core/status_macros.h"
#include "formats/export_job.h"
#include "formats/gguf_blocks.h"
#include "io/gguf_writer.h"

namespace eqat::formats {
namespace {

// Calls body(row, values) for every row of `table` in [begin, end).
template <typename Body>
void ForEachRow(const SourceTable& table, int64_t begin, int64_t end, Body body) {
  const int64_t block = RowsPerBlock(table.cols());
  std::vector<float> values;
  for (int64_t first = begin; first < end; first += block) {
    const int64_t last = std::min(first + block, end);
    values.resize((last - first) * table.cols());
    table.Read(first, last, MutableTableView(values.data(), last - first, table.cols()));
    for (int64_t row = first; row < last; ++row) {
      body(row, absl::MakeConstSpan(values).subspan((row - first) * table.cols(), table.cols()));
    }
  }
}

absl::StatusOr<ValueErrors> Float16Errors(const SourceTable& table) {
  ValueErrors errors;
  absl::Status status;
  ForEachRow(table, 0, table.rows(), [&](int64_t row, absl::Span<const float> values) {
    for (const float value : values) {
      const float rounded = RoundToFloat16(value);
      errors.Add(value, rounded);
      if (std::isfinite(rounded) || !status.ok()) continue;
      status = InvalidArgument(table.name(), absl::StrCat("row ", row, " does not fit into float16"),
                               absl::StrCat(value), "finite values up to 65504");
    }
  });
  if (!status.ok()) return status;
  return errors;
}

io::GgufTensor FloatTensor(const SourceTable& table, io::GgufType type) {
  const auto fill = [&table, type](int64_t begin, int64_t end, std::string& bytes) {
    ForEachRow(table, begin, end, [&](int64_t, absl::Span<const float> values) {
      for (const float value : values) {
        if (type == io::GgufType::kF32) {
          bytes.append(reinterpret_cast<const char*>(&value), sizeof(value));
        } else {
          const uint16_t half = ToFloat16Bits(value);
          bytes.append(reinterpret_cast<const char*>(&half), sizeof(half));
        }
      }
    });
  };
  return {absl::StrCat(table.name(), ".weight"), type, table.rows(), table.cols(), fill};
}

io::GgufTensor BlockTensor(const SourceTable& table, const quant::QuantizedTable& deployed) {
  const auto fill = [&deployed](int64_t begin, int64_t end, std::string& bytes) {
    for (int64_t row = begin; row < end; ++row) AppendGgufBlocks(deployed, row, bytes);
  };
  return {absl::StrCat(table.name(), ".weight"), GgufTypeOf(*deployed.deploy()), table.rows(), table.cols(), fill};
}

// The block arithmetic in which `table` is to be written; null for plain floats.
const quant::DeployTraits* BlocksFor(const ExportJob& job, const SourceTable& table) {
  if (job.format == "gguf") {
    const quant::DeployTraits* const own = table.quantized() == nullptr ? nullptr : table.quantized()->deploy();
    return own != nullptr && absl::StartsWith(own->name, "gguf_") ? own : nullptr;
  }
  for (const quant::DeployTraits& traits : quant::kDeploys) {
    if (job.format == traits.name) return &traits;
  }
  return nullptr;
}

void AppendTableMetadata(const SourceTable& table, io::GgufMetadata& metadata) {
  const std::string prefix = absl::StrCat("eqat.", table.name(), ".");
  if (table.is_bag()) metadata.emplace_back(prefix + "mode", std::string(PoolModeName(table.options().mode)));
  if (table.options().padding_idx) metadata.emplace_back(prefix + "padding_idx", *table.options().padding_idx);
}

}  // namespace

absl::Status ExportGguf(ExportJob& job) {
  io::GgufMetadata metadata = {{"general.architecture", std::string("eqat")},
                               {"general.quantization_version", uint32_t{2}}};
  std::vector<io::GgufTensor> tensors;
  std::list<Requantized> kept;  // what `tensors` view
  for (const SourceTable& table : job.tables) {
    AppendTableMetadata(table, metadata);
    ValueErrors errors = {.values = table.rows() * table.cols()};
    if (const quant::DeployTraits* const blocks = BlocksFor(job, table)) {
      EQAT_ASSIGN_OR_RETURN(Requantized deployed, DeployedFor(job, table, *blocks));
      errors = deployed.errors;
      tensors.push_back(BlockTensor(table, *kept.emplace_back(std::move(deployed))));
    } else if (job.format == "gguf_f16") {
      EQAT_ASSIGN_OR_RETURN(errors, Float16Errors(table));
      EQAT_RETURN_IF_ERROR(CheckErrors(job, table, errors, "format gguf_f32"));
      tensors.push_back(FloatTensor(table, io::GgufType::kF16));
    } else {
      tensors.push_back(FloatTensor(table, io::GgufType::kF32));
    }
    const io::GgufTypeTraits type = TraitsOf(tensors.back().type);
    job.Report(table, type.name, table.rows() * (table.cols() / type.block_values * type.block_bytes), errors);
  }
  return io::WriteGguf(job.path, metadata, tensors);
}

}  // namespace eqat::formats
