#include "cli/path_checks.h"

#include <filesystem>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "core/error.h"
#include "core/status_macros.h"
#include "io/file.h"
#include "model/model_directory.h"

namespace eqat::cli {

bool IsSameFile(const std::string& a, const std::string& b) {
  std::error_code error;
  return std::filesystem::equivalent(a, b, error) && !error;
}

absl::Status CheckNotInput(absl::string_view flag, const std::string& out, const std::string& in) {
  if (!IsSameFile(out, in)) return absl::OkStatus();
  return InvalidArgument(flag, "is also an input", out, "another path");
}

absl::Status CheckModelOut(const std::string& out) {
  return io::AtomicDirectoryWriter::Create(out, model::ModelDirectoryFiles()).status();
}

absl::Status CheckModelOut(const std::string& out, const std::string& in) {
  EQAT_RETURN_IF_ERROR(CheckNotInput("--out", out, in));
  return CheckModelOut(out);
}

absl::Status CheckFileOut(absl::string_view flag, const std::string& out, const std::string& model) {
  for (const std::string& file : model::ModelDirectoryFiles()) {
    EQAT_RETURN_IF_ERROR(CheckNotInput(flag, out, absl::StrCat(model, "/", file)));
  }
  return io::AtomicFileWriter::Create(out).status();
}

}  // namespace eqat::cli
