#include "io/replace_directory.h"

#include <fcntl.h>

#include <cerrno>
#include <cstdio>
#include <filesystem>

#include "absl/strings/str_cat.h"
#include "io/path.h"

namespace eqat::io {

std::string OldPathOf(const std::string& path) {
  const std::filesystem::path target(path);
  return (target.parent_path() / absl::StrCat(".eqat-old-", target.filename().string())).string();
}

absl::StatusOr<std::string> ReplaceDirectory(const std::string& from, const std::string& to, bool exists) {
  const unsigned flags = exists ? RENAME_EXCHANGE : RENAME_NOREPLACE;
  if (renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), flags) == 0) return from;
  if (errno != EINVAL && errno != ENOSYS) return SystemError(to, "cannot be put in place", errno);
  if (exists) return ReplaceByTwoRenames(from, to);
  if (rename(from.c_str(), to.c_str()) != 0) return SystemError(to, "cannot be put in place", errno);
  return from;
}

absl::StatusOr<std::string> ReplaceByTwoRenames(const std::string& from, const std::string& to) {
  const std::string old_path = OldPathOf(to);
  if (rename(to.c_str(), old_path.c_str()) != 0) return SystemError(to, "cannot be moved aside", errno);
  if (rename(from.c_str(), to.c_str()) != 0) {
    const int error_number = errno;
    rename(old_path.c_str(), to.c_str());
    return SystemError(to, "cannot be put in place", error_number);
  }
  return old_path;
}

}  // namespace eqat::io
