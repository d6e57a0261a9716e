#include "cli/data_reading.h"

#include "cli/progress_bar.h"
#include "core/status_macros.h"
#include "train/data_spec.h"

namespace eqat::cli {

absl::StatusOr<train::Dataset> ReadDataset(const std::string& spec_path, const CommonOptions& common) {
  EQAT_ASSIGN_OR_RETURN(const train::DataSpec spec, train::ReadDataSpec(spec_path));
  ProgressBar bar("reading data", "bytes", ProgressBar::StyleFor(common.progress));
  return train::Dataset::Read(spec, [&bar](int64_t done, int64_t total) { bar.Update(done, total); });
}

}  // namespace eqat::cli
