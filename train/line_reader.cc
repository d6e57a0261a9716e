#include "train/line_reader.h"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "core/error.h"

namespace eqat::train {
namespace {

constexpr size_t kBufferBytes = size_t{1} << 20;
constexpr unsigned kGzipBufferBytes = 1u << 18;

}  // namespace

absl::StatusOr<std::unique_ptr<LineReader>> LineReader::Open(const std::string& path) {
  struct stat info;
  if (stat(path.c_str(), &info) != 0) {
    const int error = errno;
    if (error == ENOENT || error == ENOTDIR) return NotFound(path, "no such file");
    return absl::ErrnoToStatus(error, absl::StrCat(path, ": cannot be opened: ", std::strerror(error)));
  }
  if (!S_ISREG(info.st_mode)) return InvalidArgument(path, "is not a regular file");
  gzFile file = gzopen(path.c_str(), "rb");
  if (file == nullptr) {
    const int error = errno;
    return absl::ErrnoToStatus(error, absl::StrCat(path, ": cannot be opened: ", std::strerror(error)));
  }
  gzbuffer(file, kGzipBufferBytes);
  std::unique_ptr<LineReader> reader(new LineReader(path, info.st_size, file));
  if (absl::EndsWith(path, ".gz") && gzdirect(file) != 0) return DataLoss(path, "is not gzip data");
  return reader;
}

LineReader::LineReader(std::string path, int64_t file_bytes, gzFile file)
    : path_(std::move(path)), file_bytes_(file_bytes), file_(file), buffer_(kBufferBytes) {}

LineReader::~LineReader() { gzclose_r(file_); }

int64_t LineReader::bytes_read() const { return std::clamp<int64_t>(gzoffset(file_), 0, file_bytes_); }

bool LineReader::Fill() {
  std::memmove(buffer_.data(), buffer_.data() + begin_, end_ - begin_);
  end_ -= begin_;
  begin_ = 0;
  if (end_ == buffer_.size()) {
    if (static_cast<int64_t>(end_) >= kMaxLineBytes) {
      status_ = InvalidArgument(absl::StrCat(path_, ":", line_number_ + 1), "line is too long", "",
                                absl::StrCat("at most ", kMaxLineBytes, " bytes"));
      return false;
    }
    buffer_.resize(2 * buffer_.size());
  }
  const int count = gzread(file_, buffer_.data() + end_, static_cast<unsigned>(buffer_.size() - end_));
  int error = Z_OK;
  const char* message = gzerror(file_, &error);
  // zlib reports the end of a truncated file as "buffer error" and not as a failed read.
  if (count < 0 || (count == 0 && error != Z_OK && error != Z_STREAM_END)) {
    status_ = DataLoss(path_, absl::StrCat("gzip data is truncated or corrupt: ", message));
    return false;
  }
  end_ += static_cast<size_t>(count);
  end_of_file_ = count == 0;
  return true;
}

bool LineReader::AtEnd() {
  while (begin_ == end_ && !end_of_file_) {
    if (!Fill()) return true;
  }
  return begin_ == end_;
}

bool LineReader::Next(std::string_view* line) {
  if (!status_.ok()) return false;
  size_t scanned = 0;  // bytes after begin_ that hold no line end
  for (;;) {
    const char* start = buffer_.data() + begin_;
    const void* newline = std::memchr(start + scanned, '\n', end_ - begin_ - scanned);
    size_t length = end_ - begin_;
    if (newline != nullptr) {
      length = static_cast<size_t>(static_cast<const char*>(newline) - start);
    } else if (!end_of_file_) {
      scanned = length;
      if (!Fill()) return false;
      continue;
    } else if (length == 0) {
      return false;
    }
    begin_ += length + (newline != nullptr ? 1 : 0);
    if (length > 0 && start[length - 1] == '\r') --length;
    *line = std::string_view(start, length);
    break;
  }
  if (line->empty()) {
    *line = std::string_view();  // AtEnd may move the buffer
    if (AtEnd()) return false;
  }
  ++line_number_;
  return true;
}

}  // namespace eqat::train
