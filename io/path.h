// What the writers in file.cc and directory.cc share: targets of writes, names of temporaries, errors of the system.
#ifndef EQAT_IO_PATH_H_
#define EQAT_IO_PATH_H_

#include <functional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace eqat::io {

// `path: what: strerror(error_number)`, with the code that suits. A temporary of this process (CreateTemporary) goes by
// the name that it is to take, which its user knows.
absl::Status SystemError(absl::string_view path, absl::string_view what, int error_number);

// InvalidArgument for paths that the system would cut or that name nothing: empty, or with a NUL byte.
absl::Status CheckPath(const std::string& path);

// Where a write to `path` goes: absolute, symbolic links resolved, without trailing slash.
struct Target {
  std::string folder;
  std::string name;

  std::string path() const { return Beside(name); }
  std::string Beside(absl::string_view other_name) const;
};
// NotFound when the folder is missing, FailedPrecondition for a dangling link, InvalidArgument for "/".
absl::StatusOr<Target> ResolveTarget(const std::string& path);

// Creates ".eqat-tmp-NAME-PID" in the target's folder (".eqat-tmp-NAME-PID.2" and so on when there are several) by
// calling `create`, which returns -1 and sets errno to EEXIST when the name is taken. Returns its path.
absl::StatusOr<std::string> CreateTemporary(const Target& target, const std::function<int(const char*)>& create);

// Whether `file_name` is a temporary of target name `name`; and then, whether the process that made it still runs.
bool IsTemporaryOf(absl::string_view name, absl::string_view file_name);
bool OwnerRuns(absl::string_view temporary_name);

// Makes renames and removals in a folder durable.
absl::Status SyncFolder(const std::string& path);

}  // namespace eqat::io

#endif  // EQAT_IO_PATH_H_
