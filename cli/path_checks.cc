#include "cli/path_checks.h"

#include <filesystem>
#include <system_error>

#include "core/error.h"

namespace eqat::cli {

bool IsSameFile(const std::string& a, const std::string& b) {
  std::error_code error;
  return std::filesystem::equivalent(a, b, error) && !error;
}

absl::Status CheckNotInput(absl::string_view flag, const std::string& out, const std::string& in) {
  if (!IsSameFile(out, in)) return absl::OkStatus();
  return InvalidArgument(flag, "is also an input", out, "another path");
}

}  // namespace eqat::cli
