// Export: the tables of a model (or its whole state) as a file of another program.
//
// A format either keeps every value that the model's evaluation looks up, or the export is refused unless
// `requantize` accepts the change, whose size is reported for each table. A table whose qconfig named the format
// ("deploy") before training keeps every value by construction. docs/formats.md describes each format.
#ifndef EQAT_FORMATS_EXPORT_H_
#define EQAT_FORMATS_EXPORT_H_

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "formats/source_table.h"
#include "model/model.h"

namespace eqat::formats {

struct ExportOptions {
  std::vector<std::string> modules;  // names of the tables to export; empty: all
  bool requantize = false;           // accept formats that change values
  bool params_last = false;          // fbgemm: scale and bias behind the codes
  int64_t row_alignment = 1;         // fbgemm: rows padded to a multiple of this many bytes
  std::string words;                 // vec: file with the words of the first rows; empty: all rows, by their numbers
};

struct ExportedTable {
  std::string name;
  int64_t rows = 0;
  int64_t cols = 0;
  std::string from;  // "quint4x2", "float32"
  std::string to;    // "Q4_1", "4-bit rows of 12 bytes"
  int64_t bytes = 0;
  ValueErrors errors;
};

struct ExportReport {
  std::vector<ExportedTable> tables;
  std::vector<std::pair<std::string, std::string>> left_out;  // what and why, but for modules not asked for
};

// `model` is consumed: QAT tables are converted first (but for torch_state_dict). InvalidArgument: a format that is not
// exported, a module that is not there or no table, options the format does not take, a table it cannot hold, values
// that it would change without `requantize`. The file is replaced atomically; on error it is as it was.
absl::StatusOr<ExportReport> Export(model::Model&& model, const std::string& format, const std::string& path,
                                    const ExportOptions& options);

}  // namespace eqat::formats

#endif  // EQAT_FORMATS_EXPORT_H_
