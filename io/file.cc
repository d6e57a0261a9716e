#include "io/file.h"

#include <fcntl.h>
#include <sanitizer/asan_interface.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "core/error.h"
#include "core/status_macros.h"
#include "io/path.h"

namespace eqat::io {
namespace {

struct OpenFile {
  int fd = -1;
  int64_t size = 0;
};

// Opens a regular file for reading. O_NONBLOCK: opening a FIFO must not wait for a writer.
absl::StatusOr<OpenFile> OpenRegularFile(const std::string& path) {
  EQAT_RETURN_IF_ERROR(CheckPath(path));
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  if (fd < 0) return SystemError(path, "cannot open", errno);
  struct stat status;
  if (fstat(fd, &status) != 0) {
    const int error_number = errno;
    close(fd);
    return SystemError(path, "cannot stat", error_number);
  }
  if (!S_ISREG(status.st_mode)) {
    close(fd);
    return InvalidArgument(path, "is not a regular file", S_ISDIR(status.st_mode) ? "a directory" : "a special file");
  }
  return OpenFile{fd, status.st_size};
}

// Removes temporaries that killed writers of `target` left.
void RemoveLeftovers(const Target& target) {
  std::error_code error;
  for (std::filesystem::directory_iterator entry(target.folder, error), end; !error && entry != end;
       entry.increment(error)) {
    const std::string name = entry->path().filename().string();
    if (IsTemporaryOf(target.name, name) && !OwnerRuns(name)) unlink(entry->path().c_str());
  }
}

}  // namespace

absl::StatusOr<std::string> ReadFile(const std::string& path, int64_t max_bytes) {
  EQAT_ASSIGN_OR_RETURN(const OpenFile file, OpenRegularFile(path));
  const absl::Cleanup closer = [&file] { close(file.fd); };
  const auto too_long = [&] {
    return ResourceExhausted(path, "file is too long", absl::StrCat("over ", max_bytes, " bytes"),
                             absl::StrCat("at most ", max_bytes));
  };
  if (file.size > max_bytes) return too_long();
  // One byte more than the size, so that the end of the file is seen without another buffer.
  std::string content(file.size + 1, '\0');
  int64_t length = 0;
  while (true) {
    const ssize_t count = read(file.fd, content.data() + length, content.size() - length);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return SystemError(path, "cannot read", errno);
    if (count == 0) break;
    length += count;
    if (length > max_bytes) return too_long();  // it grew meanwhile
    if (length == static_cast<int64_t>(content.size())) content.resize(2 * content.size());
  }
  content.resize(length);
  return content;
}

absl::StatusOr<std::shared_ptr<MappedFile>> MappedFile::Open(const std::string& path) {
  EQAT_ASSIGN_OR_RETURN(const OpenFile file, OpenRegularFile(path));
  const absl::Cleanup closer = [&file] { close(file.fd); };
  if (file.size == 0) return std::shared_ptr<MappedFile>(new MappedFile(nullptr, 0));  // mmap refuses length 0
  // MAP_NORESERVE: a table larger than memory may be read; only pages that are written take memory.
  void* data = mmap(nullptr, file.size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE, file.fd, 0);
  if (data == MAP_FAILED) return SystemError(path, "cannot map", errno);
  // The rest of the last page can be read without a fault: let the address sanitizer know that nobody should.
  ASAN_POISON_MEMORY_REGION(static_cast<char*>(data) + file.size, -file.size & (sysconf(_SC_PAGESIZE) - 1));
  return std::shared_ptr<MappedFile>(new MappedFile(static_cast<char*>(data), file.size));
}

MappedFile::~MappedFile() {
  if (data_ == nullptr) return;
  ASAN_UNPOISON_MEMORY_REGION(data_ + size_, -size_ & (sysconf(_SC_PAGESIZE) - 1));
  munmap(data_, size_);
}

void MappedFile::Release(int64_t begin, int64_t size) const {
  static const int64_t page = sysconf(_SC_PAGESIZE);
  const int64_t first = begin / page * page;
  const int64_t last = begin + size == size_ ? size_ : (begin + size) / page * page;
  // Only a hint: where it fails the memory goes when the system needs it.
  if (first < last) madvise(data_ + first, last - first, MADV_DONTNEED);
}

AtomicFileWriter::AtomicFileWriter(std::string path, std::string temporary, int fd)
    : path_(std::move(path)), temporary_(std::move(temporary)), fd_(fd) {}

AtomicFileWriter::~AtomicFileWriter() { Abandon(); }

void AtomicFileWriter::Abandon() {
  if (fd_ < 0) return;
  close(fd_);
  unlink(temporary_.c_str());
  fd_ = -1;
}

absl::StatusOr<std::unique_ptr<AtomicFileWriter>> AtomicFileWriter::Create(const std::string& path) {
  EQAT_ASSIGN_OR_RETURN(const Target target, ResolveTarget(path));
  struct stat status;
  const bool exists = stat(target.path().c_str(), &status) == 0;
  if (exists && !S_ISREG(status.st_mode)) {
    return FailedPrecondition(path, "cannot be replaced", S_ISDIR(status.st_mode) ? "a directory" : "a special file",
                              "a regular file");
  }
  RemoveLeftovers(target);
  int fd = -1;
  EQAT_ASSIGN_OR_RETURN(std::string temporary, CreateTemporary(target, [&fd](const char* name) {
                          return fd = open(name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
                        }));
  // The new file is as private as the old one. Where the system forbids it, the file still belongs to the writer.
  if (exists) (void)!fchmod(fd, status.st_mode & 07777);
  return std::unique_ptr<AtomicFileWriter>(new AtomicFileWriter(target.path(), std::move(temporary), fd));
}

absl::Status AtomicFileWriter::Fail(int error_number) {
  Abandon();  // so that a later Commit cannot publish half a file
  return SystemError(path_, "cannot write", error_number);
}

absl::Status AtomicFileWriter::Write(absl::Span<const char> bytes) {
  if (fd_ < 0) return FailedPrecondition(path_, "is not open for writing");
  while (!bytes.empty()) {
    const ssize_t count = write(fd_, bytes.data(), bytes.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return Fail(errno);
    bytes.remove_prefix(count);
  }
  return absl::OkStatus();
}

absl::Status AtomicFileWriter::Reserve(int64_t size) {
  if (fd_ < 0) return FailedPrecondition(path_, "is not open for writing");
  if (size == 0 || fallocate(fd_, 0, 0, size) == 0) return absl::OkStatus();
  if (errno != EOPNOTSUPP && errno != ENOSYS && errno != EINVAL) return Fail(errno);
  return ftruncate(fd_, size) == 0 ? absl::OkStatus() : Fail(errno);
}

absl::Status AtomicFileWriter::WriteAt(int64_t position, absl::Span<const char> bytes) {
  if (fd_ < 0) return FailedPrecondition(path_, "is not open for writing");
  while (!bytes.empty()) {
    const ssize_t count = pwrite(fd_, bytes.data(), bytes.size(), position);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return Fail(errno);
    bytes.remove_prefix(count);
    position += count;
  }
  return absl::OkStatus();
}

absl::Status AtomicFileWriter::Commit() {
  if (fd_ < 0) return FailedPrecondition(path_, "is not open for writing");
  if (fsync(fd_) != 0 || rename(temporary_.c_str(), path_.c_str()) != 0) return Fail(errno);
  close(fd_);
  fd_ = -1;
  return SyncFolder(std::filesystem::path(path_).parent_path().string());
}

absl::Status WriteFileAtomically(const std::string& path, absl::string_view content) {
  EQAT_ASSIGN_OR_RETURN(const std::unique_ptr<AtomicFileWriter> writer, AtomicFileWriter::Create(path));
  EQAT_RETURN_IF_ERROR(writer->Write(absl::MakeConstSpan(content.data(), content.size())));
  return writer->Commit();
}

}  // namespace eqat::io
