// Checks of the paths on one command line, before the work whose result they are to take: against each other, and
// whether they can be written. What they create to find out is gone when they return.
#ifndef EQAT_CLI_PATH_CHECKS_H_
#define EQAT_CLI_PATH_CHECKS_H_

#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace eqat::cli {

// Both exist and are one file or directory, whatever their names.
bool IsSameFile(const std::string& a, const std::string& b);

// InvalidArgument when `out`, given with `flag`, is the same file or directory as `in`.
absl::Status CheckNotInput(absl::string_view flag, const std::string& out, const std::string& in);

// What writing the model directory `out` would say; given `in`, which it is made from by --out, CheckNotInput first.
absl::Status CheckModelOut(const std::string& out);
absl::Status CheckModelOut(const std::string& out, const std::string& in);

// Of a file `out`, given with `flag`, that is made from the model directory `model`: CheckNotInput for every file of
// that directory, then what writing it would say.
absl::Status CheckFileOut(absl::string_view flag, const std::string& out, const std::string& model);

}  // namespace eqat::cli

#endif  // EQAT_CLI_PATH_CHECKS_H_
