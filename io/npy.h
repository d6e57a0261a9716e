// NumPy's .npy (one array) and .npz (a zip file of them): reader and writer.
//
// Layout of .npy: the 6 bytes "\x93NUMPY", version (1.0, 2.0 or 3.0), length of the header in 2 bytes (4 from
// version 2.0 on), the header, which is a Python dictionary with the keys descr, fortran_order and shape, padded with
// spaces and a newline, then the elements. Read are little-endian booleans, integers and floats; refused by name:
// Python objects (a pickle, which could run anything), records, strings, big-endian numbers. Bytes after the last
// element are refused. Format: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
#ifndef EQAT_IO_NPY_H_
#define EQAT_IO_NPY_H_

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
#include "io/safetensors.h"
#include "io/zip_archive.h"

namespace eqat::io {

// What the beginning of an array says of it.
struct NpyHeader {
  TensorDtype dtype = TensorDtype::kF32;
  std::vector<int64_t> shape;
  bool fortran_order = false;  // the first index runs fastest
  int64_t data_begin = 0;      // bytes before the first element
};

// Every array begins with so many bytes at least, and its header ends within kMaxNpyHeaderBytes.
inline constexpr int64_t kMinNpyBytes = 10;
inline constexpr int64_t kMaxNpyHeaderBytes = int64_t{1} << 16;

// Header of an array of `total_bytes`, of which `beginning` is the first part: all, or at least kMaxNpyHeaderBytes.
// InvalidArgument naming `where`, the byte and the field; the elements are exactly the bytes from data_begin on.
absl::StatusOr<NpyHeader> ParseNpyHeader(std::string_view beginning, int64_t total_bytes, std::string_view where);

// An .npy file.
class NpyReader {
 public:
  static absl::StatusOr<NpyReader> Open(const std::string& path);
  const NpyHeader& header() const { return header_; }
  // InvalidArgument unless it is a table: 2-D of F32, F16 or F64.
  absl::StatusOr<std::unique_ptr<RowSource>> Rows() const;
  absl::Span<const char> Bytes() const;

 private:
  std::string path_;
  std::shared_ptr<const MappedFile> file_;
  NpyHeader header_;
};

// An .npz file: entries NAME.npy, stored or deflated. Any other entry is refused.
class NpzReader {
 public:
  struct Array {
    std::string name;  // without ".npy"
    NpyHeader header;
  };
  static absl::StatusOr<NpzReader> Open(const std::string& path);
  const std::vector<Array>& arrays() const { return arrays_; }  // in the order of the file
  // As NpyReader::Rows; a deflated array must be in C order. The whole content is checked against its CRC-32 by the
  // time Finish() returns.
  absl::StatusOr<std::unique_ptr<RowSource>> Rows(size_t index) const;

 private:
  std::shared_ptr<const ZipArchive> archive_;
  std::vector<Array> arrays_;
};

// The beginning of an array in C order, byte for byte as NumPy 1.24 writes it (version 1.0, data at a multiple of 64).
// InvalidArgument for a dtype that NumPy lacks (BF16, F8).
absl::StatusOr<std::string> NpyHeaderText(TensorDtype dtype, absl::Span<const int64_t> shape);

// Atomic; the name of `array` is not used.
absl::Status WriteNpy(const std::string& path, const TensorToWrite& array);
// Entries NAME.npy in the given order, not compressed, with fixed times: equal input gives equal bytes. InvalidArgument
// on names that are empty, twice there, over 255 bytes or hold '/', '\' or NUL.
absl::Status WriteNpz(const std::string& path, absl::Span<const TensorToWrite> arrays);

}  // namespace eqat::io

#endif  // EQAT_IO_NPY_H_
