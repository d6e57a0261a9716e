// What a verb did to every module of a model, as a table, or why it could not.
#ifndef EQAT_CLI_CHANGE_REPORT_TEXT_H_
#define EQAT_CLI_CHANGE_REPORT_TEXT_H_

#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "model/prepare_qat.h"

namespace eqat::cli {

// `after_title` heads the bytes after the change: "after", or "converted" where they are those of a later conversion.
std::string ChangeReportText(const model::ChangeReport& report, absl::string_view after_title);

// Errors about a rule begin with its JSON pointer; this adds the file before it. Others stay as they are.
absl::Status AtQConfigFile(const std::string& path, const absl::Status& status);

}  // namespace eqat::cli

#endif  // EQAT_CLI_CHANGE_REPORT_TEXT_H_
