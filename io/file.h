// Files: read whole, mapped, replaced atomically.
//
// Every write goes to a temporary file in the target's folder, is synced and renamed, so that a reader, a crash, a full
// disk or a signal sees the old content or the new one, never a mix. Temporary files are removed on error and on
// destruction; names start with ".eqat-tmp-" so that leftovers of a killed process are recognisable.
#ifndef EQAT_IO_FILE_H_
#define EQAT_IO_FILE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace eqat::io {

// The whole file. NotFound / PermissionDenied / InvalidArgument (a directory) / ResourceExhausted (over `max_bytes`)
// with the path in the message.
absl::StatusOr<std::string> ReadFile(const std::string& path, int64_t max_bytes = int64_t{1} << 30);

// A private (copy-on-write) mapping of a whole file: reading costs no copy, writing changes memory and never the file.
// If another process truncates the file while it is mapped the kernel ends this one (SIGBUS): replace files by rename.
class MappedFile {
 public:
  static absl::StatusOr<std::shared_ptr<MappedFile>> Open(const std::string& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  char* data() const { return data_; }
  int64_t size() const { return size_; }
  // Gives the memory of the pages that begin at or end in [begin, begin + size) back to the system: reading them again
  // reads the file again. REQUIRES: nothing was written to them (it would be lost).
  void Release(int64_t begin, int64_t size) const;

 private:
  MappedFile(char* data, int64_t size) : data_(data), size_(size) {}
  char* data_;
  int64_t size_;
};

// A file that appears under its name only at Commit.
class AtomicFileWriter {
 public:
  static absl::StatusOr<std::unique_ptr<AtomicFileWriter>> Create(const std::string& path);
  ~AtomicFileWriter();  // without Commit: removes the temporary file
  AtomicFileWriter(const AtomicFileWriter&) = delete;
  AtomicFileWriter& operator=(const AtomicFileWriter&) = delete;
  absl::Status Write(absl::Span<const char> bytes);
  // Makes the file `size` bytes long, with space on the disk where the file system can reserve it, so that a full disk
  // is found before the work is done. Afterwards only WriteAt writes.
  absl::Status Reserve(int64_t size);
  absl::Status WriteAt(int64_t position, absl::Span<const char> bytes);
  // Syncs the file, renames it over `path`, syncs the folder.
  absl::Status Commit();

 private:
  AtomicFileWriter(std::string path, std::string temporary, int fd);
  absl::Status Fail(int error_number);
  void Abandon();
  std::string path_;
  std::string temporary_;
  int fd_;  // -1 after Commit or an error
};

absl::Status WriteFileAtomically(const std::string& path, absl::string_view content);

// A directory of files that changes as one. Files are written to a hidden sibling directory; Commit syncs them and
// exchanges the two directories in one rename (RENAME_EXCHANGE; where the file system has none: two renames, and
// OpenDirectory finds the old content in between). `allowed_names` are the files such a directory may hold: Create
// refuses to replace a directory that holds anything else, so nothing foreign is ever lost.
class AtomicDirectoryWriter {
 public:
  // FailedPrecondition when `path` exists and is not a directory or holds a foreign file; PermissionDenied, NotFound
  // (parent folder missing), ... from the system. Also removes leftovers of killed writers of the same directory
  // (".eqat-tmp-<name>-<pid>" whose process no longer runs).
  static absl::StatusOr<std::unique_ptr<AtomicDirectoryWriter>> Create(const std::string& path,
                                                                       std::vector<std::string> allowed_names);
  ~AtomicDirectoryWriter();
  AtomicDirectoryWriter(const AtomicDirectoryWriter&) = delete;
  AtomicDirectoryWriter& operator=(const AtomicDirectoryWriter&) = delete;
  // Where to write file `name` before Commit (plain writing is enough: the directory is what is atomic).
  std::string PathOf(absl::string_view name) const;
  absl::Status WriteFile(absl::string_view name, absl::string_view content);
  absl::Status Commit();

 private:
  AtomicDirectoryWriter(std::string path, std::string temporary, std::vector<std::string> allowed_names);
  std::string path_;
  std::string temporary_;
  std::vector<std::string> allowed_names_;
  bool committed_ = false;
};

// The directory to read for `path`: `path` itself, or what an interrupted replacement left beside it. NotFound names
// it.
absl::StatusOr<std::string> OpenDirectory(const std::string& path);

// Reads several files of a directory as one: calls `read` with what OpenDirectory gives, and calls it again if the
// directory was replaced meanwhile, so that the files of the last call belong together. Returns that call's status.
absl::Status ReadDirectory(const std::string& path, absl::FunctionRef<absl::Status(const std::string& directory)> read);

}  // namespace eqat::io

#endif  // EQAT_IO_FILE_H_
