#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "core/error.h"
#include "core/status_macros.h"
#include "io/file.h"
#include "io/path.h"
#include "io/replace_directory.h"

namespace eqat::io {
namespace {

namespace fs = std::filesystem;
using Names = std::vector<std::string>;

// A file that a directory with `allowed_names` may hold, or what a killed AtomicFileWriter left of one.
bool IsAllowed(const Names& allowed_names, const fs::directory_entry& entry) {
  std::error_code error;
  const fs::file_type type = entry.symlink_status(error).type();
  if (error || (type != fs::file_type::regular && type != fs::file_type::symlink)) return false;
  const std::string name = entry.path().filename().string();
  return absl::c_any_of(
      allowed_names, [&name](const std::string& allowed) { return name == allowed || IsTemporaryOf(allowed, name); });
}

// Names of all entries; an error when the directory cannot be read.
absl::StatusOr<std::vector<fs::directory_entry>> Entries(const std::string& path) {
  std::error_code error;
  std::vector<fs::directory_entry> entries;
  for (fs::directory_iterator entry(path, error), end; !error && entry != end; entry.increment(error)) {
    entries.push_back(*entry);
  }
  if (error) return SystemError(path, "cannot list directory", error.value());
  return entries;
}

absl::Status CheckHoldsOnly(const Names& allowed_names, const std::string& path) {
  EQAT_ASSIGN_OR_RETURN(const auto entries, Entries(path));
  for (const fs::directory_entry& entry : entries) {
    if (!IsAllowed(allowed_names, entry)) {
      return FailedPrecondition(path, "holds something that this program did not write, and will not be replaced",
                                entry.path().filename().string(),
                                absl::StrCat("nothing but ", absl::StrJoin(allowed_names, ", ")));
    }
  }
  return absl::OkStatus();
}

// Removes the files of `allowed_names` and then the directory; keeps it when it holds anything else. Best effort.
void RemoveDirectory(const Names& allowed_names, const std::string& path) {
  const auto entries = Entries(path);
  if (!entries.ok()) return;
  (void)!chmod(path.c_str(), S_IRWXU);  // it may have been write-protected
  for (const fs::directory_entry& entry : *entries) {
    if (IsAllowed(allowed_names, entry)) unlink(entry.path().c_str());
  }
  rmdir(path.c_str());
}

void RemoveLeftovers(const Target& target, const Names& allowed_names) {
  const auto entries = Entries(target.folder);
  if (!entries.ok()) return;
  for (const fs::directory_entry& entry : *entries) {
    const std::string name = entry.path().filename().string();
    if (IsTemporaryOf(target.name, name) && !OwnerRuns(name)) RemoveDirectory(allowed_names, entry.path().string());
  }
}

// Ends what a replacement by two renames left undone.
absl::Status Recover(const Target& target, const Names& allowed_names) {
  const std::string old_path = OldPathOf(target.path());
  struct stat status;
  if (lstat(old_path.c_str(), &status) != 0) return absl::OkStatus();
  if (lstat(target.path().c_str(), &status) == 0) {
    RemoveDirectory(allowed_names, old_path);
    return absl::OkStatus();
  }
  if (rename(old_path.c_str(), target.path().c_str()) != 0) {
    return SystemError(target.path(), absl::StrCat("cannot restore from ", old_path), errno);
  }
  return absl::OkStatus();
}

absl::Status SyncFile(const std::string& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return SystemError(path, "cannot open", errno);
  const int result = fsync(fd);
  const int error_number = errno;
  close(fd);
  return result == 0 ? absl::OkStatus() : SystemError(path, "cannot write", error_number);
}

bool IsWorkingDirectory(const struct stat& directory) {
  struct stat current;
  return stat(".", &current) == 0 && current.st_dev == directory.st_dev && current.st_ino == directory.st_ino;
}

// What changes when another directory takes the name. The time is of the rename, should the inode be used again.
struct Identity {
  dev_t device = 0;
  ino_t inode = 0;
  int64_t seconds = 0;
  int64_t nanoseconds = 0;
  bool operator==(const Identity&) const = default;
};

Identity IdentityOf(const std::string& path) {
  struct stat status;
  if (stat(path.c_str(), &status) != 0) return {};
  return {status.st_dev, status.st_ino, status.st_ctim.tv_sec, status.st_ctim.tv_nsec};
}

}  // namespace

AtomicDirectoryWriter::AtomicDirectoryWriter(std::string path, std::string temporary, Names allowed_names)
    : path_(std::move(path)), temporary_(std::move(temporary)), allowed_names_(std::move(allowed_names)) {}

AtomicDirectoryWriter::~AtomicDirectoryWriter() {
  if (!committed_) RemoveDirectory(allowed_names_, temporary_);
}

absl::StatusOr<std::unique_ptr<AtomicDirectoryWriter>> AtomicDirectoryWriter::Create(const std::string& path,
                                                                                     Names allowed_names) {
  EQAT_ASSIGN_OR_RETURN(const Target target, ResolveTarget(path));
  EQAT_RETURN_IF_ERROR(Recover(target, allowed_names));
  struct stat status;
  const bool exists = stat(target.path().c_str(), &status) == 0;
  if (exists && !S_ISDIR(status.st_mode)) {
    return FailedPrecondition(path, "is not a directory", "a file", "a directory or nothing");
  }
  if (exists) {
    EQAT_RETURN_IF_ERROR(CheckHoldsOnly(allowed_names, target.path()));
    // Its files could not be removed after the exchange. One's own write-protected directory can be opened for that.
    if (status.st_uid != geteuid() && faccessat(AT_FDCWD, target.path().c_str(), W_OK | X_OK, AT_EACCESS) != 0) {
      return SystemError(path, "cannot be replaced, it belongs to another user", errno);
    }
  }
  RemoveLeftovers(target, allowed_names);
  EQAT_ASSIGN_OR_RETURN(std::string temporary,
                        CreateTemporary(target, [](const char* name) { return mkdir(name, 0777); }));
  // As private as the old one; where the system forbids it the directory still belongs to the writer.
  if (exists) (void)!chmod(temporary.c_str(), (status.st_mode & 07777) | S_IRWXU);
  return std::unique_ptr<AtomicDirectoryWriter>(
      new AtomicDirectoryWriter(target.path(), std::move(temporary), std::move(allowed_names)));
}

std::string AtomicDirectoryWriter::PathOf(absl::string_view name) const { return absl::StrCat(temporary_, "/", name); }

absl::Status AtomicDirectoryWriter::WriteFile(absl::string_view name, absl::string_view content) {
  return WriteFileAtomically(PathOf(name), content);
}

absl::Status AtomicDirectoryWriter::Commit() {
  if (committed_) return FailedPrecondition(path_, "is written already");
  EQAT_RETURN_IF_ERROR(CheckHoldsOnly(allowed_names_, temporary_));
  EQAT_ASSIGN_OR_RETURN(const auto entries, Entries(temporary_));
  for (const fs::directory_entry& entry : entries) EQAT_RETURN_IF_ERROR(SyncFile(entry.path().string()));
  EQAT_RETURN_IF_ERROR(SyncFolder(temporary_));

  struct stat old;
  const bool exists = stat(path_.c_str(), &old) == 0;
  if (exists) EQAT_RETURN_IF_ERROR(CheckHoldsOnly(allowed_names_, path_));  // somebody may have added to it meanwhile
  const bool is_working_directory = exists && IsWorkingDirectory(old);
  EQAT_ASSIGN_OR_RETURN(const std::string old_path, ReplaceDirectory(temporary_, path_, exists));
  committed_ = true;
  // The working directory is a directory, not a name: without this the process would stay in the old one.
  if (is_working_directory && chdir(path_.c_str()) != 0) return SystemError(path_, "cannot enter", errno);
  EQAT_RETURN_IF_ERROR(SyncFolder(fs::path(path_).parent_path().string()));
  if (exists) RemoveDirectory(allowed_names_, old_path);
  return absl::OkStatus();
}

absl::StatusOr<std::string> OpenDirectory(const std::string& path) {
  EQAT_RETURN_IF_ERROR(CheckPath(path));
  struct stat status;
  if (stat(path.c_str(), &status) == 0) {
    if (S_ISDIR(status.st_mode)) return path;
    return InvalidArgument(path, "is not a directory", "a file", "a directory");
  }
  const int error_number = errno;
  const absl::StatusOr<Target> target = ResolveTarget(path);
  if (error_number == ENOENT && target.ok()) {
    const std::string old_path = OldPathOf(target->path());
    if (stat(old_path.c_str(), &status) == 0 && S_ISDIR(status.st_mode)) return old_path;
  }
  return SystemError(path, "cannot open directory", error_number);
}

absl::Status ReadDirectory(const std::string& path,
                           absl::FunctionRef<absl::Status(const std::string& directory)> read) {
  constexpr int kAttempts = 100;
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    EQAT_ASSIGN_OR_RETURN(const std::string directory, OpenDirectory(path));
    const Identity before = IdentityOf(directory);
    const absl::Status status = read(directory);
    if (IdentityOf(directory) == before) return status;
  }
  return FailedPrecondition(path, "is replaced again and again while it is read");
}

}  // namespace eqat::io
