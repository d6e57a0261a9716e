// RowSource: the rows of one table of numbers in a file, in order, as float32, a block at a time, so that a table
// larger than memory can be read. Readers of foreign formats (npy.h, pytorch_file.h, word_vectors.h, ...) give their
// tables as one; CheckFiniteRows says what all importers demand of the values.
#ifndef EQAT_IO_ROW_SOURCE_H_
#define EQAT_IO_ROW_SOURCE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "io/file.h"
#include "io/safetensors.h"

namespace eqat::io {

class RowSource {
 public:
  virtual ~RowSource() = default;
  RowSource(const RowSource&) = delete;
  RowSource& operator=(const RowSource&) = delete;

  int64_t rows() const { return rows_; }
  int64_t cols() const { return cols_; }

  // The next `count` rows into `values`, [count, cols]. Where rows have words, appends each word and a newline to
  // `words`. Errors name the file and the place in it; what was written is then not specified.
  // REQUIRES: `count` rows are left, no earlier Read has failed.
  virtual absl::Status Read(int64_t count, float* values, std::string& words) = 0;
  // After the last row: what can only be found out now, such as bytes that follow it.
  virtual absl::Status Finish() { return absl::OkStatus(); }

 protected:
  RowSource(int64_t rows, int64_t cols) : rows_(rows), cols_(cols) {}

 private:
  int64_t rows_;
  int64_t cols_;
};

// Bytes that can only be read one after the other, such as those of a compressed file.
class ByteStream {
 public:
  virtual ~ByteStream() = default;
  // Exactly `size` bytes; DataLoss naming file and place when there are fewer.
  virtual absl::Status Read(char* data, int64_t size) = 0;
  // The stream ends here, and what is known of its content (a checksum, say) holds.
  virtual absl::Status Finish() = 0;
};

// Whether a table can be made of elements of this dtype: F32, F16, BF16 and F64.
bool IsTableDtype(TensorDtype dtype);

// Where the elements of a matrix lie. Strides are in elements and not negative: element (i, j) is number
// i * row_stride + j * col_stride.
struct MatrixLayout {
  TensorDtype dtype = TensorDtype::kF32;
  int64_t rows = 0;
  int64_t cols = 0;
  int64_t row_stride = 0;
  int64_t col_stride = 1;
};

// The rows of a matrix that begins at byte `offset` of `file`. Pages that were read are given back to the system, so
// that the process stays small. REQUIRES: IsTableDtype; every element lies inside the file; nothing was written to it.
std::unique_ptr<RowSource> RowsOfMapping(std::shared_ptr<const MappedFile> file, int64_t offset,
                                         const MatrixLayout& layout);

// The rows of a contiguous matrix, from a stream that holds nothing after it. REQUIRES: IsTableDtype.
std::unique_ptr<RowSource> RowsOfStream(std::unique_ptr<ByteStream> stream, const MatrixLayout& layout);

// InvalidArgument naming row (the first being `first_row`) and column of the first value that is not finite; that is
// also what a float64 beyond float32 has become.
absl::Status CheckFiniteRows(std::string_view where, int64_t first_row, int64_t rows, int64_t cols,
                             const float* values);

}  // namespace eqat::io

#endif  // EQAT_IO_ROW_SOURCE_H_
