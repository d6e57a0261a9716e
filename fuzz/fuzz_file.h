// What the fuzz targets share: an input as a file, and reading all of what a reader gives.
#ifndef EQAT_FUZZ_FUZZ_FILE_H_
#define EQAT_FUZZ_FUZZ_FILE_H_

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "io/row_source.h"

namespace eqat::fuzz {

// The path of a file in memory that holds these bytes until the next call.
std::string FileOf(const uint8_t* data, size_t size);

// Reads every row, unless the table is large. Ends the process when a reader breaks what it promises.
void ReadAll(absl::StatusOr<std::unique_ptr<io::RowSource>> rows);

// An error has a message.
void Check(const absl::Status& status);

}  // namespace eqat::fuzz

#endif  // EQAT_FUZZ_FUZZ_FILE_H_
