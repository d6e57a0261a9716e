// LineReader: the lines of a plain or gzip file, in constant memory.
//
//   EQAT_ASSIGN_OR_RETURN(std::unique_ptr<LineReader> reader, LineReader::Open(path));
//   for (std::string_view line; reader->Next(&line);) { ... }
//   EQAT_RETURN_IF_ERROR(reader->status());
#ifndef EQAT_TRAIN_LINE_READER_H_
#define EQAT_TRAIN_LINE_READER_H_

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "io/stored_file.h"

namespace eqat::train {

class LineReader {
 public:
  static constexpr int64_t kMaxLineBytes = int64_t{64} << 20;

  // Fails as io::StoredFile::Open does.
  static absl::StatusOr<std::unique_ptr<LineReader>> Open(const std::string& path);
  LineReader(const LineReader&) = delete;
  LineReader& operator=(const LineReader&) = delete;

  // The next line without its "\n" or "\r\n" and, if it is the first, without a byte order mark of UTF-8; valid until
  // the next call. An empty last line is no line. False at the end of the file and on an error: look at status().
  bool Next(std::string_view* line);
  // What io::StoredFile::Read said, or InvalidArgument for a line over kMaxLineBytes.
  const absl::Status& status() const { return status_; }

  const std::string& path() const { return path_; }
  int64_t line_number() const { return line_number_; }  // of the line last returned, from 1
  int64_t file_bytes() const { return file_->file_bytes(); }
  int64_t bytes_read() const { return file_->bytes_read(); }

 private:
  LineReader(std::string path, std::unique_ptr<io::StoredFile> file);
  bool Fill();
  bool AtEnd();

  std::string path_;
  std::unique_ptr<io::StoredFile> file_;
  absl::Status status_;
  std::vector<char> buffer_;
  size_t begin_ = 0;  // of the bytes not yet returned
  size_t end_ = 0;
  bool end_of_file_ = false;
  int64_t line_number_ = 0;
};

}  // namespace eqat::train

#endif  // EQAT_TRAIN_LINE_READER_H_
