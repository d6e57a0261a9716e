// ZipArchive, ZipWriter: zip files as containers of arrays (.npz, PyTorch's .pt).
//
// Reading is strict, so that a file means the same to every program and no byte of it is without meaning. Refused:
// names that stand there twice or are no relative paths (absolute, "..", '\', NUL, over 4096 bytes), over 100,000
// entries, encryption, methods other than stored and deflated, bytes before the first entry, between entries, or after
// the end record, entries in another order than the directory's, local headers that differ from the directory, an entry
// over 1032 times its compressed size (more than deflate can do), sizes beyond the file. CRC-32 is checked when an
// entry is read. Format: https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT, zip64 included.
#ifndef EQAT_IO_ZIP_ARCHIVE_H_
#define EQAT_IO_ZIP_ARCHIVE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "io/file.h"
#include "io/row_source.h"

namespace eqat::io {

class ZipArchive {
 public:
  struct Entry {
    std::string name;
    int64_t size = 0;         // of the content
    int64_t packed_size = 0;  // in the file
    int64_t data_begin = 0;   // byte of the file at which its (packed) content begins
    uint32_t crc = 0;         // of the content
    bool is_stored = false;   // not compressed: the content lies in the file as it is
  };

  // Checks the whole structure before it returns.
  static absl::StatusOr<std::shared_ptr<const ZipArchive>> Open(const std::string& path);

  const std::string& path() const { return path_; }
  const std::vector<Entry>& entries() const { return entries_; }  // in the order of the file
  const Entry* Find(std::string_view name) const;                 // null when absent
  const std::shared_ptr<const MappedFile>& file() const { return file_; }
  // "PATH: entry \"NAME\"", for messages.
  std::string Place(const Entry& entry) const;

  // The content of an entry, in order. DataLoss when it does not unpack to its size or fails its checksum. The archive
  // may go before the stream does.
  absl::StatusOr<std::unique_ptr<ByteStream>> OpenEntry(const Entry& entry) const;
  // The first `size` bytes of the content, all of it (checked) when it is shorter.
  absl::StatusOr<std::string> ReadBeginning(const Entry& entry, int64_t size) const;
  // Reads a stored entry through: DataLoss when it fails its checksum.
  absl::Status CheckStored(const Entry& entry) const;
  // The bytes of a stored entry, not checked.
  absl::Span<const char> StoredBytes(const Entry& entry) const;

 private:
  std::string path_;
  std::shared_ptr<const MappedFile> file_;
  std::vector<Entry> entries_;
};

// A zip file of stored entries, with fixed times, written front to back. Sizes over 4 GiB use zip64.
class ZipWriter {
 public:
  explicit ZipWriter(AtomicFileWriter& file) : file_(file) {}
  // Entry `name` of `beginning` followed by `rest`. InvalidArgument for a name that the reader would refuse.
  absl::Status Add(std::string_view name, absl::Span<const char> beginning, const ByteRows& rest);
  // The directory. The caller commits the file.
  absl::Status Finish();

 private:
  struct Written {
    std::string name;
    uint32_t crc = 0;
    int64_t size = 0;
    int64_t begin = 0;
  };
  absl::Status Write(const std::string& bytes);

  AtomicFileWriter& file_;
  std::vector<Written> entries_;
  int64_t position_ = 0;
};

}  // namespace eqat::io

#endif  // EQAT_IO_ZIP_ARCHIVE_H_
