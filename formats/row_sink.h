// RowSink: the rows of one imported table on their way into model.safetensors, as they are or as packed codes. Internal
// to this folder.
#ifndef EQAT_FORMATS_ROW_SINK_H_
#define EQAT_FORMATS_ROW_SINK_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/table_view.h"
#include "io/safetensors.h"
#include "quant/types/qconfig.h"

namespace eqat::formats {

class RowSink {
 public:
  virtual ~RowSink() = default;
  // The tensors that the rows become.
  virtual std::vector<io::SafetensorsStream::Tensor> tensors() const = 0;
  // Memory that a row takes on its way, its float32 values included.
  virtual int64_t buffered_row_bytes() const = 0;
  // Rows [begin, begin + rows.rows) of the table.
  virtual absl::Status Write(int64_t begin, TableView rows, io::SafetensorsStream& out) = 0;
};

// Module `module` of [rows, cols]: float32, or with a qconfig the codes that `eqat ptq` would make of them.
// InvalidArgument for a qconfig that packs no rows.
absl::StatusOr<std::unique_ptr<RowSink>> MakeRowSink(const std::string& module, int64_t rows, int64_t cols,
                                                     const std::optional<quant::QConfig>& qconfig);

}  // namespace eqat::formats

#endif  // EQAT_FORMATS_ROW_SINK_H_
