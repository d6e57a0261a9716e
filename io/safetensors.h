// safetensors: named, typed, shaped byte ranges in one file. Strict reader on a memory mapping, atomic writer.
//
// Layout: 8 bytes little-endian header length N, N bytes of JSON, then the data. Each entry of the header gives dtype,
// shape and [begin, end) relative to the data; "__metadata__" maps strings to strings. The reader refuses: a header
// longer than 100 MB or than the file, text that is not UTF-8 or not an object, duplicate or over-long names, unknown
// keys and dtypes, negative or overflowing shapes, ranges that overlap, leave holes, do not match dtype and shape or do
// not end at the end of the file. Every error names the file and the tensor. Format:
// https://github.com/huggingface/safetensors
#ifndef EQAT_IO_SAFETENSORS_H_
#define EQAT_IO_SAFETENSORS_H_

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "core/table.h"
#include "io/file.h"

namespace eqat::io {

class RowSource;

enum class TensorDtype : uint8_t {
  kBool,
  kU8,
  kI8,
  kF8E5M2,
  kF8E4M3,
  kI16,
  kU16,
  kF16,
  kBF16,
  kI32,
  kU32,
  kF32,
  kF64,
  kI64,
  kU64,
};
absl::string_view TensorDtypeName(TensorDtype dtype);  // "F32", "BF16", ...
int64_t TensorDtypeBytes(TensorDtype dtype);

struct TensorInfo {
  std::string name;
  TensorDtype dtype = TensorDtype::kF32;
  std::vector<int64_t> shape;
  int64_t begin = 0;  // bytes from the start of the data
  int64_t end = 0;
};

class SafetensorsReader {
 public:
  // Checks the whole header before it returns.
  static absl::StatusOr<SafetensorsReader> Open(const std::string& path);

  const std::string& path() const { return path_; }
  const std::vector<TensorInfo>& tensors() const { return tensors_; }  // by name, ascending
  const std::map<std::string, std::string>& metadata() const { return metadata_; }
  const TensorInfo* Find(absl::string_view name) const;  // null when absent
  absl::Span<const char> Bytes(const TensorInfo& tensor) const;
  // The same file as if it held only the tensors that `keep` accepts.
  SafetensorsReader Select(absl::FunctionRef<bool(const TensorInfo& tensor)> keep) const;

  // A 2-D tensor as float32. F32 that lies aligned to 4 bytes is adopted from the private mapping without a copy
  // (writing to it changes memory only, and is seen by other tables read from this reader under the same name); F16 and
  // BF16 are widened. NotFound, or InvalidArgument naming dtype or shape.
  absl::StatusOr<Table> ReadTable(absl::string_view name) const;
  // The rows of a table (RowsOfMapping), for tables larger than memory. REQUIRES: 2-D of F32, F16, BF16 or F64; nothing
  // was written to a table that ReadTable gave.
  std::unique_ptr<RowSource> Rows(const TensorInfo& tensor) const;
  // Any rank, as float32 values (F32, F16, BF16).
  absl::StatusOr<std::vector<float>> ReadFloats(absl::string_view name) const;
  // Any rank, I32, I64 or U8.
  absl::StatusOr<std::vector<int64_t>> ReadIntegers(absl::string_view name) const;

 private:
  absl::StatusOr<const TensorInfo*> Require(absl::string_view name) const;
  absl::StatusOr<const TensorInfo*> RequireFloat(absl::string_view name) const;
  std::string path_;
  std::shared_ptr<MappedFile> file_;
  int64_t data_begin_ = 0;
  std::vector<TensorInfo> tensors_;
  std::map<std::string, std::string> metadata_;
};

// A view of bytes to write: `rows` runs of `row_bytes` bytes that lie `stride` bytes apart.
struct ByteRows {
  const char* data = nullptr;
  int64_t rows = 0;
  int64_t row_bytes = 0;
  int64_t stride = 0;

  ByteRows() = default;
  ByteRows(absl::Span<const char> bytes)  // NOLINT: a view of a view
      : ByteRows(bytes.data(), 1, static_cast<int64_t>(bytes.size()), static_cast<int64_t>(bytes.size())) {}
  ByteRows(const char* data_in, int64_t rows_in, int64_t row_bytes_in, int64_t stride_in)
      : data(data_in), rows(rows_in), row_bytes(row_bytes_in), stride(stride_in) {}

  int64_t size() const { return rows * row_bytes; }
};

// One tensor to write; `bytes`, row-major, must live until Write returns.
struct TensorToWrite {
  std::string name;
  TensorDtype dtype = TensorDtype::kF32;
  std::vector<int64_t> shape;
  ByteRows bytes;
};

template <typename T>
absl::Span<const char> AsBytes(absl::Span<const T> values) {
  return absl::MakeConstSpan(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T));
}

// Writes all tensors, ordered as the format's own writer does (descending alignment, then name), data starting on an
// 8-byte boundary: equal input gives equal bytes. Atomic. InvalidArgument on duplicate names or sizes that do not
// match.
absl::Status WriteSafetensors(const std::string& path, std::vector<TensorToWrite> tensors,
                              const std::map<std::string, std::string>& metadata);

// Appends the runs, one behind the other.
absl::Status WriteRows(const ByteRows& bytes, AtomicFileWriter& writer);

// A file whose tensors are written piece by piece, in any order, for tensors larger than memory. The bytes are those
// that WriteSafetensors would write, and as there nothing appears under `path` before Commit.
class SafetensorsStream {
 public:
  struct Tensor {
    std::string name;
    TensorDtype dtype = TensorDtype::kF32;
    std::vector<int64_t> shape;
  };
  // Fails as WriteSafetensors does, and for lack of space where the file system can tell beforehand.
  static absl::StatusOr<std::unique_ptr<SafetensorsStream>> Create(const std::string& path, std::vector<Tensor> tensors,
                                                                   const std::map<std::string, std::string>& metadata);
  // Bytes [position, position + bytes.size()) of tensor `name`. REQUIRES: there is such a tensor, the range lies in it.
  absl::Status WriteAt(const std::string& name, int64_t position, absl::Span<const char> bytes);
  // REQUIRES: each byte of every tensor was written once.
  absl::Status Commit();

 private:
  struct Part {
    int64_t begin = 0;
    int64_t size = 0;
    int64_t written = 0;
  };
  std::unique_ptr<AtomicFileWriter> file_;
  std::map<std::string, Part> parts_;
};

// float32 to the two 16-bit formats and back, round to nearest even.
std::vector<uint16_t> ToFloat16(absl::Span<const float> values);
std::vector<uint16_t> ToBFloat16(absl::Span<const float> values);
float FromFloat16(uint16_t bits);
float FromBFloat16(uint16_t bits);

}  // namespace eqat::io

#endif  // EQAT_IO_SAFETENSORS_H_
