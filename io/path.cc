#include "io/path.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <system_error>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "core/error.h"
#include "core/status_macros.h"

namespace eqat::io {
namespace {

namespace fs = std::filesystem;

constexpr char kTemporaryPrefix[] = ".eqat-tmp-";

bool IsNumber(absl::string_view text) {
  return !text.empty() && text.find_first_not_of("0123456789") == absl::string_view::npos;
}

// "PID" or "PID.COUNT".
bool IsTemporarySuffix(absl::string_view suffix) {
  const size_t dot = suffix.find('.');
  if (dot == absl::string_view::npos) return IsNumber(suffix);
  return IsNumber(suffix.substr(0, dot)) && IsNumber(suffix.substr(dot + 1));
}

// The process that made a temporary.
absl::string_view OwnerOf(absl::string_view temporary_name) {
  const absl::string_view suffix = temporary_name.substr(temporary_name.rfind('-') + 1);
  return suffix.substr(0, suffix.find('.'));
}

// The name that a temporary of this process is to take; `file_name` for anything else.
absl::string_view NameOfOwnTemporary(absl::string_view file_name) {
  absl::string_view name = file_name.substr(0, file_name.rfind('-'));
  if (!absl::ConsumePrefix(&name, kTemporaryPrefix) || !IsTemporaryOf(name, file_name)) return file_name;
  return OwnerOf(file_name) == absl::StrCat(getpid()) ? name : file_name;
}

}  // namespace

absl::Status SystemError(absl::string_view path, absl::string_view what, int error_number) {
  std::vector<absl::string_view> names = absl::StrSplit(path, '/');
  for (absl::string_view& name : names) name = NameOfOwnTemporary(name);
  return absl::Status(absl::ErrnoToStatusCode(error_number),
                      ErrorText(absl::StrJoin(names, "/"), absl::StrCat(what, ": ", std::strerror(error_number))));
}

absl::Status CheckPath(const std::string& path) {
  if (path.empty()) return InvalidArgument("path", "is empty");
  if (path.find('\0') != std::string::npos) return InvalidArgument(path.c_str(), "path holds a NUL byte");
  return absl::OkStatus();
}

std::string Target::Beside(absl::string_view other_name) const {
  return absl::StrCat(folder, absl::EndsWith(folder, "/") ? "" : "/", other_name);
}

absl::StatusOr<Target> ResolveTarget(const std::string& path) {
  EQAT_RETURN_IF_ERROR(CheckPath(path));
  std::error_code error;
  fs::path resolved = fs::weakly_canonical(path, error);
  if (error) return SystemError(path, "cannot resolve path", error.value());
  if (!resolved.is_absolute()) {
    const fs::path current = fs::current_path(error);
    if (error) return SystemError(path, "cannot find the working directory", error.value());
    resolved = (current / resolved).lexically_normal();
  }
  if (!resolved.has_filename()) resolved = resolved.parent_path();  // a trailing slash
  Target target{resolved.parent_path().string(), resolved.filename().string()};
  if (target.name.empty()) return InvalidArgument(path, "cannot be replaced", "the root folder");
  if (!fs::is_directory(target.folder, error)) {
    return NotFound(path, "parent folder does not exist", target.folder, "an existing folder");
  }
  if (fs::is_symlink(fs::symlink_status(target.path(), error))) {
    return FailedPrecondition(path, "is a symbolic link to nothing");
  }
  return target;
}

absl::StatusOr<std::string> CreateTemporary(const Target& target, const std::function<int(const char*)>& create) {
  const std::string first = target.Beside(absl::StrCat(kTemporaryPrefix, target.name, "-", getpid()));
  std::string path = first;
  for (int count = 2; create(path.c_str()) < 0; ++count) {
    if (errno != EEXIST) return SystemError(target.path(), "cannot write in this folder", errno);
    path = absl::StrCat(first, ".", count);
  }
  return path;
}

bool IsTemporaryOf(absl::string_view name, absl::string_view file_name) {
  return absl::ConsumePrefix(&file_name, kTemporaryPrefix) && absl::ConsumePrefix(&file_name, name) &&
         absl::ConsumePrefix(&file_name, "-") && IsTemporarySuffix(file_name);
}

bool OwnerRuns(absl::string_view temporary_name) {
  int pid = 0;
  if (!absl::SimpleAtoi(OwnerOf(temporary_name), &pid) || pid <= 0) return false;
  return kill(pid, 0) == 0 || errno == EPERM;
}

absl::Status SyncFolder(const std::string& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return SystemError(path, "cannot open folder", errno);
  const int result = fsync(fd);
  const int error_number = errno;
  close(fd);
  // EINVAL: a file system that cannot sync folders; there is nothing to wait for.
  if (result != 0 && error_number != EINVAL) return SystemError(path, "cannot sync folder", error_number);
  return absl::OkStatus();
}

}  // namespace eqat::io
