#include "io/row_source.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/error.h"
#include "core/parallel_for.h"
#include "core/status_macros.h"

namespace eqat::io {
namespace {

constexpr int64_t kElementsAtATime = 16384;         // elements that one thread widens at a time
constexpr int64_t kStreamBytes = int64_t{1} << 20;  // read of a stream at a time

template <typename T>
T Load(const char* bytes) {
  T value;
  std::memcpy(&value, bytes, sizeof(value));
  return value;
}

// Element number `index` of elements of `dtype` from `data` on, as float32.
template <TensorDtype dtype>
float Element(const char* data, int64_t index) {
  if constexpr (dtype == TensorDtype::kF32) return Load<float>(data + index * 4);
  if constexpr (dtype == TensorDtype::kF64) return static_cast<float>(Load<double>(data + index * 8));
  if constexpr (dtype == TensorDtype::kF16) return FromFloat16(Load<uint16_t>(data + index * 2));
  if constexpr (dtype == TensorDtype::kBF16) return FromBFloat16(Load<uint16_t>(data + index * 2));
}

// Rows [begin, begin + count) of a matrix at `data`.
template <TensorDtype dtype>
void GatherRows(const char* data, const MatrixLayout& layout, int64_t begin, int64_t count, float* values) {
  const int64_t block = std::max<int64_t>(1, kElementsAtATime / std::max<int64_t>(layout.cols, 1));
  ParallelFor(count, block, [&](int64_t first, int64_t last) {
    for (int64_t row = first; row < last; ++row) {
      float* const out = values + row * layout.cols;
      const int64_t start = (begin + row) * layout.row_stride;
      for (int64_t j = 0; j < layout.cols; ++j) out[j] = Element<dtype>(data, start + j * layout.col_stride);
    }
  });
}

void ReadRows(const char* data, const MatrixLayout& layout, int64_t begin, int64_t count, float* values) {
  switch (layout.dtype) {
    case TensorDtype::kF64:
      return GatherRows<TensorDtype::kF64>(data, layout, begin, count, values);
    case TensorDtype::kF16:
      return GatherRows<TensorDtype::kF16>(data, layout, begin, count, values);
    case TensorDtype::kBF16:
      return GatherRows<TensorDtype::kBF16>(data, layout, begin, count, values);
    default:
      return GatherRows<TensorDtype::kF32>(data, layout, begin, count, values);
  }
}

class MappedRows : public RowSource {
 public:
  MappedRows(std::shared_ptr<const MappedFile> file, int64_t offset, const MatrixLayout& layout)
      : RowSource(layout.rows, layout.cols), file_(std::move(file)), offset_(offset), layout_(layout) {}

  absl::Status Read(int64_t count, float* values, std::string&) override {
    ReadRows(file_->data() + offset_, layout_, next_, count, values);
    if (layout_.col_stride == 1) {
      const int64_t row_bytes = layout_.row_stride * TensorDtypeBytes(layout_.dtype);
      file_->Release(offset_ + next_ * row_bytes, count * row_bytes);
    } else {
      file_->Release(0, file_->size());  // the rows lie all over the file
    }
    next_ += count;
    return absl::OkStatus();
  }

 private:
  std::shared_ptr<const MappedFile> file_;
  int64_t offset_;
  MatrixLayout layout_;
  int64_t next_ = 0;  // row
};

class StreamedRows : public RowSource {
 public:
  StreamedRows(std::unique_ptr<ByteStream> stream, const MatrixLayout& layout)
      : RowSource(layout.rows, layout.cols), stream_(std::move(stream)), dtype_(layout.dtype) {}

  absl::Status Read(int64_t count, float* values, std::string&) override {
    const int64_t element_bytes = TensorDtypeBytes(dtype_);
    for (int64_t left = count * cols(); left > 0;) {
      const int64_t elements = std::min(left, kStreamBytes / element_bytes);
      buffer_.resize(elements * element_bytes);
      EQAT_RETURN_IF_ERROR(stream_->Read(buffer_.data(), elements * element_bytes));
      ReadRows(buffer_.data(), {.dtype = dtype_, .rows = elements, .cols = 1, .row_stride = 1}, 0, elements, values);
      values += elements;
      left -= elements;
    }
    return absl::OkStatus();
  }
  absl::Status Finish() override { return stream_->Finish(); }

 private:
  std::unique_ptr<ByteStream> stream_;
  TensorDtype dtype_;
  std::vector<char> buffer_;
};

}  // namespace

bool IsTableDtype(TensorDtype dtype) {
  return dtype == TensorDtype::kF32 || dtype == TensorDtype::kF16 || dtype == TensorDtype::kBF16 ||
         dtype == TensorDtype::kF64;
}

std::unique_ptr<RowSource> RowsOfMapping(std::shared_ptr<const MappedFile> file, int64_t offset,
                                         const MatrixLayout& layout) {
  return std::make_unique<MappedRows>(std::move(file), offset, layout);
}

std::unique_ptr<RowSource> RowsOfStream(std::unique_ptr<ByteStream> stream, const MatrixLayout& layout) {
  return std::make_unique<StreamedRows>(std::move(stream), layout);
}

absl::Status CheckFiniteRows(std::string_view where, int64_t first_row, int64_t rows, int64_t cols,
                             const float* values) {
  if (cols == 0) return absl::OkStatus();
  std::atomic<int64_t> lowest = rows * cols;
  ParallelFor(rows * cols, kElementsAtATime, [&](int64_t begin, int64_t end) {
    const float* const bad =
        std::find_if_not(values + begin, values + end, [](float value) { return std::isfinite(value); });
    int64_t known = lowest.load();
    while (bad != values + end && bad - values < known && !lowest.compare_exchange_weak(known, bad - values)) {
    }
  });
  const int64_t position = lowest.load();
  if (position == rows * cols) return absl::OkStatus();
  return InvalidArgument(
      absl::string_view(where.data(), where.size()),
      absl::StrCat("row ", first_row + position / cols, ", column ", position % cols, " is no finite float32"),
      absl::StrCat(values[position]), "a finite number");
}

}  // namespace eqat::io
