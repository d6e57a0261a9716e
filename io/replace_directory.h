// One directory takes the place of another.
#ifndef EQAT_IO_REPLACE_DIRECTORY_H_
#define EQAT_IO_REPLACE_DIRECTORY_H_

#include <string>

#include "absl/status/statusor.h"

namespace eqat::io {

// Where ReplaceByTwoRenames keeps the old content for a moment: ".eqat-old-NAME" beside `path`.
std::string OldPathOf(const std::string& path);

// Moves directory `from` to `to`, which `exists` says is there or not; a directory that appeared meanwhile is not
// replaced. Atomic where the file system can exchange two names, else as ReplaceByTwoRenames. Returns where the old
// content is now (if there was any).
absl::StatusOr<std::string> ReplaceDirectory(const std::string& from, const std::string& to, bool exists);

// For file systems without exchange: `to` becomes OldPathOf(to), then `from` becomes `to`. In between only the old
// content is there, under its other name. On error `to` is as it was.
absl::StatusOr<std::string> ReplaceByTwoRenames(const std::string& from, const std::string& to);

}  // namespace eqat::io

#endif  // EQAT_IO_REPLACE_DIRECTORY_H_
