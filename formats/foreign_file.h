// ForeignFile: a file of another program as a list of named tables, whatever its format. Internal to this folder.
#ifndef EQAT_FORMATS_FOREIGN_FILE_H_
#define EQAT_FORMATS_FOREIGN_FILE_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "io/row_source.h"

namespace eqat::formats {

struct ForeignTable {
  std::string name;
  std::string dtype;  // "F32"
  std::vector<int64_t> shape;
  // Its rows; empty for a tensor that is no table (not 2-D, or not of floats).
  std::function<absl::StatusOr<std::unique_ptr<io::RowSource>>()> rows;
  bool is_default = false;  // what is meant when nobody says which: the only one, or the format's main table
};

struct ForeignFile {
  std::vector<ForeignTable> tables;  // in the order of the file
  std::vector<std::string> notes;    // what a user should know of this file
};

// REQUIRES: `format` is one of ReadableFormats().
absl::StatusOr<ForeignFile> OpenForeignFile(const std::string& format, const std::string& path);

}  // namespace eqat::formats

#endif  // EQAT_FORMATS_FOREIGN_FILE_H_
