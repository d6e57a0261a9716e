// One export on its way: what the writers of formats share. Internal to this folder.
#ifndef EQAT_FORMATS_EXPORT_JOB_H_
#define EQAT_FORMATS_EXPORT_JOB_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "formats/export.h"
#include "formats/source_table.h"
#include "model/model.h"
#include "quant/types/deploy.h"

namespace eqat::formats {

struct ExportJob {
  const model::Model& model;
  std::string format;
  std::string path;
  ExportOptions options;
  std::vector<SourceTable> tables;  // those to be exported, in order of the model
  ExportReport report;              // the writers add `tables`

  bool Includes(const std::string& module) const;
  void Report(const SourceTable& table, std::string to, int64_t bytes, const ValueErrors& errors);
};

// InvalidArgument when `errors` are some and the job does not accept them. `remedy` says what would avoid them.
absl::Status CheckErrors(const ExportJob& job, const SourceTable& table, const ValueErrors& errors,
                         const std::string& remedy);

// `table` in the arithmetic `deploy`, as far as the job accepts what that changes.
absl::StatusOr<Requantized> DeployedFor(const ExportJob& job, const SourceTable& table,
                                        const quant::DeployTraits& deploy);

// Each writes the job's file and reports its tables.
absl::Status ExportNpz(ExportJob& job);
absl::Status ExportSafetensors(ExportJob& job);
absl::Status ExportTorchRows(ExportJob& job);
absl::Status ExportTorchStateDict(ExportJob& job);
absl::Status ExportFbgemmRows(ExportJob& job);
absl::Status ExportGguf(ExportJob& job);
absl::Status ExportOnnx(ExportJob& job);
absl::Status ExportVec(ExportJob& job);

}  // namespace eqat::formats

#endif  // EQAT_FORMATS_EXPORT_JOB_H_
