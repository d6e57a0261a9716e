#include "io/stored_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <limits>
#include <new>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "core/error.h"
#include "core/status_macros.h"
#include "io/path.h"

namespace eqat::io {
namespace {

constexpr size_t kPackedBytes = size_t{1} << 18;
constexpr char kGzipMagic[] = {'\x1f', '\x8b'};
constexpr int kGzipWindowBits = 15 + 16;  // the largest window, and a gzip header instead of a zlib one

}  // namespace

absl::StatusOr<std::unique_ptr<StoredFile>> StoredFile::Open(const std::string& path) {
  EQAT_RETURN_IF_ERROR(CheckPath(path));
  // O_NONBLOCK: opening a FIFO must not wait for a writer.
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  if (fd < 0) return SystemError(path, "cannot open", errno);
  struct stat info;
  const bool is_regular = fstat(fd, &info) == 0 && S_ISREG(info.st_mode);
  std::unique_ptr<StoredFile> file(new StoredFile(path, fd, is_regular ? info.st_size : 0));
  if (!is_regular) return InvalidArgument(path, "is not a regular file");
  EQAT_RETURN_IF_ERROR(file->Start());
  return file;
}

StoredFile::StoredFile(std::string path, int fd, int64_t file_bytes)
    : path_(std::move(path)), fd_(fd), file_bytes_(file_bytes) {}

StoredFile::~StoredFile() {
  if (is_gzip_) inflateEnd(&stream_);
  close(fd_);
}

absl::Status StoredFile::Start() {
  packed_.resize(std::clamp<size_t>(file_bytes_, sizeof(kGzipMagic), kPackedBytes));
  EQAT_RETURN_IF_ERROR(FillPacked());
  const bool has_magic =
      stream_.avail_in >= sizeof(kGzipMagic) && std::memcmp(packed_.data(), kGzipMagic, sizeof(kGzipMagic)) == 0;
  if (!has_magic) return absl::EndsWith(path_, ".gz") ? DataLoss(path_, "is not gzip data") : absl::OkStatus();
  if (inflateInit2(&stream_, kGzipWindowBits) != Z_OK) throw std::bad_alloc();
  is_gzip_ = true;
  return absl::OkStatus();
}

absl::StatusOr<size_t> StoredFile::ReadStored(char* data, size_t size) {
  ssize_t count;
  do {
    count = read(fd_, data, size);
  } while (count < 0 && errno == EINTR);
  if (count < 0) return SystemError(path_, "cannot read", errno);
  bytes_read_ += count;
  return static_cast<size_t>(count);
}

absl::Status StoredFile::FillPacked() {
  EQAT_ASSIGN_OR_RETURN(const size_t count, ReadStored(packed_.data(), packed_.size()));
  stream_.next_in = reinterpret_cast<Bytef*>(packed_.data());
  stream_.avail_in = static_cast<uInt>(count);
  return absl::OkStatus();
}

absl::StatusOr<size_t> StoredFile::Read(char* data, size_t size) {
  if (is_gzip_) return Unpack(data, size);
  if (stream_.avail_in == 0) return ReadStored(data, size);
  const size_t count = std::min<size_t>(size, stream_.avail_in);
  std::memcpy(data, stream_.next_in, count);
  stream_.next_in += count;
  stream_.avail_in -= static_cast<uInt>(count);
  return count;
}

absl::StatusOr<size_t> StoredFile::Unpack(char* data, size_t size) {
  const uInt room = static_cast<uInt>(std::min<size_t>(size, std::numeric_limits<uInt>::max()));
  stream_.next_out = reinterpret_cast<Bytef*>(data);
  stream_.avail_out = room;
  while (stream_.avail_out == room) {
    if (stream_.avail_in == 0) EQAT_RETURN_IF_ERROR(FillPacked());
    if (stream_.avail_in == 0) {
      if (between_members_) return 0;
      return DataLoss(path_, "gzip data is truncated or corrupt: unexpected end of file");
    }
    between_members_ = false;
    const int result = inflate(&stream_, Z_NO_FLUSH);
    if (result == Z_STREAM_END) {
      inflateReset(&stream_);
      between_members_ = true;
    } else if (result == Z_MEM_ERROR) {
      throw std::bad_alloc();
    } else if (result != Z_OK && result != Z_BUF_ERROR) {
      const char* const message = stream_.msg != nullptr ? stream_.msg : "it needs a dictionary";
      return DataLoss(path_, absl::StrCat("gzip data is truncated or corrupt: ", message));
    }
  }
  return room - stream_.avail_out;
}

}  // namespace eqat::io
