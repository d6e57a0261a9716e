// StoredFile: the bytes of a plain or gzip file, in order and in constant memory.
#ifndef EQAT_IO_STORED_FILE_H_
#define EQAT_IO_STORED_FILE_H_

#include <zlib.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace eqat::io {

class StoredFile {
 public:
  // A regular file; gzip is recognised by its first bytes. A name that ends in ".gz" must hold gzip: DataLoss
  // otherwise.
  static absl::StatusOr<std::unique_ptr<StoredFile>> Open(const std::string& path);
  ~StoredFile();
  StoredFile(const StoredFile&) = delete;
  StoredFile& operator=(const StoredFile&) = delete;

  // Up to `size` > 0 bytes, unpacked; 0 at the end of the file. DataLoss for gzip data that is cut off, corrupt or
  // followed by anything but more gzip data, which zlib's gzread would take for the end of the file.
  absl::StatusOr<size_t> Read(char* data, size_t size);

  bool is_gzip() const { return is_gzip_; }
  int64_t file_bytes() const { return file_bytes_; }  // as stored
  int64_t bytes_read() const { return bytes_read_; }  // as stored

 private:
  StoredFile(std::string path, int fd, int64_t file_bytes);
  absl::Status Start();
  absl::StatusOr<size_t> ReadStored(char* data, size_t size);
  absl::Status FillPacked();
  absl::StatusOr<size_t> Unpack(char* data, size_t size);

  std::string path_;
  int fd_;
  int64_t file_bytes_;
  int64_t bytes_read_ = 0;
  std::vector<char> packed_;  // what stream_ reads from; of a plain file only its first bytes
  bool is_gzip_ = false;
  bool between_members_ = true;
  z_stream stream_ = {};
};

}  // namespace eqat::io

#endif  // EQAT_IO_STORED_FILE_H_
