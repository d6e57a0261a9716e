// ReadDataset: a data spec and all its rows, with progress.
#ifndef EQAT_CLI_DATA_READING_H_
#define EQAT_CLI_DATA_READING_H_

#include <string>

#include "absl/status/statusor.h"
#include "cli/command.h"
#include "train/dataset.h"

namespace eqat::cli {

absl::StatusOr<train::Dataset> ReadDataset(const std::string& spec_path, const CommonOptions& common);

}  // namespace eqat::cli

#endif  // EQAT_CLI_DATA_READING_H_
