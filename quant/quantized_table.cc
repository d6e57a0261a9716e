#include "quant/quantized_table.h"

#include <algorithm>
#include <cmath>
#include <mutex>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/checked_math.h"
#include "core/error.h"
#include "core/parallel_for.h"
#include "core/status_macros.h"
#include "core/zeroed_memory.h"
#include "quant/kernels/fake_quantize_kernels.h"
#include "quant/kernels/pack_kernels.h"
#include "quant/row_scan.h"

namespace eqat::quant {
namespace {

constexpr int64_t kPrefetchRows = 16;
constexpr int64_t kCacheLineBytes = 64;
constexpr int64_t kCodesPerPiece = 256;  // a multiple of 8: every piece starts on a whole byte

// Bytes of the codes of a whole table.
absl::StatusOr<int64_t> TableBytes(int64_t rows, int64_t cols, Dtype dtype) {
  if (rows < 0 || cols < 0) {
    return InvalidArgument("quantized table", "negative size", absl::StrCat("[", rows, ", ", cols, "]"), "at least 0");
  }
  const std::optional<int64_t> row_bits = CheckedMul(cols, TraitsOf(dtype).bits);
  const std::optional<int64_t> padded_bits = row_bits.has_value() ? CheckedAdd(*row_bits, 7) : std::nullopt;
  const std::optional<int64_t> bytes = padded_bits.has_value() ? CheckedMul(rows, *padded_bits / 8) : std::nullopt;
  if (!bytes.has_value()) {
    return ResourceExhausted("quantized table", "size overflows", absl::StrCat("[", rows, ", ", cols, "]"));
  }
  return *bytes;
}

absl::Status CheckSize(absl::string_view what, size_t got, int64_t expected) {
  if (got == static_cast<size_t>(expected)) return absl::OkStatus();
  return InvalidArgument("quantized table", absl::StrCat(std::string(what), " have the wrong size"), absl::StrCat(got),
                         absl::StrCat(expected));
}

absl::StatusOr<std::shared_ptr<uint8_t[]>> Allocate(int64_t bytes) {
  const std::shared_ptr<void> memory = AllocateZeroed(std::max<int64_t>(1, bytes));
  if (memory == nullptr) {
    return ResourceExhausted("quantized table", "no memory for the codes", absl::StrCat(bytes, " bytes"));
  }
  return std::shared_ptr<uint8_t[]>(memory, static_cast<uint8_t*>(memory.get()));
}

}  // namespace

absl::StatusOr<QuantizedTable> QuantizedTable::FromPacked(int64_t rows, int64_t cols, Dtype dtype,
                                                          absl::Span<const uint8_t> codes, std::shared_ptr<void> keeper,
                                                          std::vector<float> scale, std::vector<float> zero_point) {
  EQAT_ASSIGN_OR_RETURN(const int64_t bytes, TableBytes(rows, cols, dtype));
  EQAT_RETURN_IF_ERROR(CheckSize("codes", codes.size(), bytes));
  EQAT_RETURN_IF_ERROR(CheckSize("scales", scale.size(), rows));
  EQAT_RETURN_IF_ERROR(CheckSize("zero points", zero_point.size(), rows));
  QuantizedTable table;
  table.rows_ = rows;
  table.cols_ = cols;
  table.dtype_ = dtype;
  table.codes_ = codes;
  table.keeper_ = std::move(keeper);
  table.scale_ = std::move(scale);
  table.zero_point_ = std::move(zero_point);
  EQAT_RETURN_IF_ERROR(table.CheckQParams());
  EQAT_RETURN_IF_ERROR(table.CheckPaddingBits());
  if (table.keeper_ == nullptr) {
    EQAT_ASSIGN_OR_RETURN(const std::shared_ptr<uint8_t[]> copy, Allocate(bytes));
    std::copy(codes.begin(), codes.end(), copy.get());
    table.codes_ = absl::MakeConstSpan(copy.get(), bytes);
    table.keeper_ = copy;
  }
  return table;
}

absl::StatusOr<QuantizedTable> QuantizedTable::Build(
    int64_t rows, int64_t cols, Dtype dtype,
    const std::function<absl::Status(int64_t begin, int64_t end, int32_t* codes, QParams* qparams)>& codes_of_rows) {
  EQAT_ASSIGN_OR_RETURN(const int64_t bytes, TableBytes(rows, cols, dtype));
  EQAT_ASSIGN_OR_RETURN(const std::shared_ptr<uint8_t[]> packed, Allocate(bytes));
  QuantizedTable table;
  table.rows_ = rows;
  table.cols_ = cols;
  table.dtype_ = dtype;
  table.codes_ = absl::MakeConstSpan(packed.get(), bytes);
  table.keeper_ = packed;
  table.scale_.resize(rows);
  table.zero_point_.resize(rows);

  std::mutex mutex;
  int64_t failed_row = rows;  // guarded by `mutex`, as is `failure`
  absl::Status failure;
  ParallelFor(rows, RowBlock(cols), [&](int64_t begin, int64_t end) {
    std::vector<int32_t> codes((end - begin) * cols);
    std::vector<QParams> qparams(end - begin);
    absl::Status status = codes_of_rows(begin, end, codes.data(), qparams.data());
    if (!status.ok()) {
      const std::lock_guard<std::mutex> lock(mutex);
      if (begin >= failed_row) return;
      failed_row = begin;
      failure = std::move(status);
      return;
    }
    for (int64_t row = begin; row < end; ++row) {
      kernels::PackRow(codes.data() + (row - begin) * cols, cols, table.bits(), packed.get() + row * table.row_bytes());
      table.scale_[row] = qparams[row - begin].scale;
      table.zero_point_[row] = qparams[row - begin].zero_point;
    }
  });
  EQAT_RETURN_IF_ERROR(failure);
  EQAT_RETURN_IF_ERROR(table.CheckQParams());
  return table;
}

int64_t QuantizedTable::row_bytes() const { return kernels::PackedRowBytes(cols_, bits()); }

int64_t QuantizedTable::bytes() const { return rows_ * (row_bytes() + int64_t{2 * sizeof(float)}); }

void QuantizedTable::DequantizeRows(absl::Span<const int64_t> rows, MutableTableView y) const {
  const int64_t count = static_cast<int64_t>(rows.size());
  ParallelFor(count, RowBlock(cols_), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      if (i + kPrefetchRows < count) PrefetchRow(rows[i + kPrefetchRows]);
      DequantizeRow(rows[i], y.Row(i));
    }
  });
}

void QuantizedTable::PrefetchRow(int64_t row) const {
  constexpr int64_t kCacheLine = 64;
  const uint8_t* packed = codes_.data() + row * row_bytes();
  for (int64_t byte = 0; byte < row_bytes(); byte += kCacheLine) __builtin_prefetch(packed + byte);
  __builtin_prefetch(&scale_[row]);
  __builtin_prefetch(&zero_point_[row]);
}

void QuantizedTable::DequantizeRow(int64_t row, float* y) const {
  kernels::AffineParams params;
  params.scale = scale_[row];
  params.zero_point = zero_point_[row];
  const uint8_t* packed = codes_.data() + row * row_bytes();
  if (dtype_ == Dtype::kQInt8) {
    return kernels::DequantizeRow(reinterpret_cast<const int8_t*>(packed), cols_, params, y);
  }
  if (bits() == 8) return kernels::DequantizeRow(packed, cols_, params, y);
  uint8_t codes[kCodesPerPiece];
  for (int64_t col = 0; col < cols_; col += kCodesPerPiece) {
    const int64_t n = std::min(kCodesPerPiece, cols_ - col);
    kernels::UnpackRow(packed + col * bits() / 8, n, bits(), codes);
    kernels::DequantizeRow(codes, n, params, y + col);
  }
}

void QuantizedTable::UnpackRow(int64_t row, int32_t* codes) const {
  kernels::UnpackRow(codes_.data() + row * row_bytes(), cols_, bits(), codes);
  if (dtype_ == Dtype::kQInt8)
    std::transform(codes, codes + cols_, codes, [](int32_t c) { return static_cast<int8_t>(c); });
}

absl::Status QuantizedTable::CheckQParams() const {
  for (int64_t row = 0; row < rows_; ++row) {
    if (!std::isfinite(scale_[row]) || scale_[row] < 0.0f) {
      return InvalidArgument(absl::StrCat("row ", row), "bad scale", absl::StrCat(scale_[row]),
                             "finite and at least 0");
    }
    if (!std::isfinite(zero_point_[row])) {
      return InvalidArgument(absl::StrCat("row ", row), "bad zero point", absl::StrCat(zero_point_[row]), "finite");
    }
  }
  return absl::OkStatus();
}

absl::Status QuantizedTable::CheckPaddingBits() const {
  const int64_t used_bits = cols_ * bits() % 8;
  if (used_bits == 0) return absl::OkStatus();
  const int64_t bad = FirstFailure(rows_, row_bytes(),
                                   [&](int64_t row) { return codes_[(row + 1) * row_bytes() - 1] >> used_bits == 0; });
  if (bad == rows_) return absl::OkStatus();
  return InvalidArgument(absl::StrCat("row ", bad), "bits beyond the last column are not zero",
                         absl::StrCat(codes_[(bad + 1) * row_bytes() - 1], " in the last byte"),
                         absl::StrCat("below ", 1 << used_bits));
}

}  // namespace eqat::quant
