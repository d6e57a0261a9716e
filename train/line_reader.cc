#include "train/line_reader.h"

#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/error.h"
#include "core/status_macros.h"

namespace eqat::train {
namespace {

constexpr size_t kBufferBytes = size_t{1} << 20;
constexpr std::string_view kByteOrderMark = "\xef\xbb\xbf";

}  // namespace

absl::StatusOr<std::unique_ptr<LineReader>> LineReader::Open(const std::string& path) {
  EQAT_ASSIGN_OR_RETURN(std::unique_ptr<io::StoredFile> file, io::StoredFile::Open(path));
  return std::unique_ptr<LineReader>(new LineReader(path, std::move(file)));
}

LineReader::LineReader(std::string path, std::unique_ptr<io::StoredFile> file)
    : path_(std::move(path)), file_(std::move(file)), buffer_(kBufferBytes) {}

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
  const absl::StatusOr<size_t> count = file_->Read(buffer_.data() + end_, buffer_.size() - end_);
  if (!count.ok()) {
    status_ = count.status();
    return false;
  }
  end_ += *count;
  end_of_file_ = *count == 0;
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
  if (line_number_ == 0 && line->substr(0, kByteOrderMark.size()) == kByteOrderMark) {
    line->remove_prefix(kByteOrderMark.size());
  }
  if (line->empty()) {
    *line = std::string_view();  // AtEnd may move the buffer
    if (AtEnd()) return false;
  }
  ++line_number_;
  return true;
}

}  // namespace eqat::train
