// Import: the tables of another program's file become a model directory, float or quantized. docs/formats.md says what
// is read.
//
// Rows pass through a buffer of a fixed size, so that a table may be larger than memory; the directory appears as a
// whole or not at all.
#ifndef EQAT_FORMATS_IMPORT_H_
#define EQAT_FORMATS_IMPORT_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/lookup.h"
#include "quant/types/qconfig_mapping.h"

namespace eqat::formats {

struct ImportOptions {
  std::string format;               // one of ReadableFormats(); "": recognised by the file's content
  std::vector<std::string> tables;  // names or patterns with '*' and '?'; none: the only table, or the main one
  // Name of the module, for one table. "": the table's name without ".weight".
  std::string module;
  std::optional<PoolMode> bag_mode;  // nn.EmbeddingBag of this mode; none: nn.Embedding
  std::optional<int64_t> padding_idx;
  // Tables with a qconfig are quantized on their way (nothing is trained), as `eqat ptq` would.
  std::optional<quant::QConfigMapping> qconfig;
  int64_t buffer_bytes = int64_t{64} << 20;  // of rows held at a time; one row at least is
};

struct ImportedTable {
  std::string table;  // in the file
  std::string dtype;  // there
  std::string module;
  int64_t rows = 0;
  int64_t cols = 0;
  int bits = 32;                          // of a value in the model
  int64_t bytes = 0;                      // there, parameters included
  std::optional<quant::QConfig> qconfig;  // of a table that was quantized
};

struct ImportReport {
  std::string format;
  std::vector<ImportedTable> tables;
  std::vector<std::string> left;  // other tensors of the file
  int64_t words = 0;              // lines of vocabulary.txt; 0: there is none
  std::vector<std::string> notes;
};

// Called now and then; an error ends the import and is returned.
using ImportProgress =
    absl::FunctionRef<absl::Status(const std::string& table, int64_t rows_done, int64_t rows_of_all_tables)>;

// Name of the format that the content of `path` shows; InvalidArgument that lists them when none is recognised.
absl::StatusOr<std::string> RecogniseFormat(const std::string& path);

// Reads `path`, writes model directory `out`. InvalidArgument naming file and table: a table that is not there or no
// table, a choice that is needed, a name that no module can have, a number that is not finite; and what the readers in
// io/ refuse.
absl::StatusOr<ImportReport> Import(const std::string& path, const std::string& out, const ImportOptions& options,
                                    ImportProgress progress);

}  // namespace eqat::formats

#endif  // EQAT_FORMATS_IMPORT_H_
