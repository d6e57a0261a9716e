// QuantizedTable: packed codes with one float scale and zero point per row; value = f32((code - zero_point) * scale)
// computed in double and rounded once, exactly as FakeQuantize dequantizes.
//
// Immutable after construction, and moves alone: copying codes by accident would be dear. Const methods may run
// concurrently. A row takes PackedRowBytes(cols, bits) + 8 bytes.
#ifndef EQAT_QUANT_QUANTIZED_TABLE_H_
#define EQAT_QUANT_QUANTIZED_TABLE_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "core/table_view.h"
#include "quant/choose_qparams.h"
#include "quant/types/dtype.h"

namespace eqat::quant {

class QuantizedTable {
 public:
  // Takes over packed codes [rows, PackedRowBytes(cols, bits)] (kept alive by `keeper`, or copied when it is null),
  // scale [rows] and zero_point [rows]. InvalidArgument: sizes; NaN, infinity or a negative value in scale, NaN or
  // infinity in zero_point (names the row); bits beyond the last column that are not zero. ResourceExhausted: sizes
  // that overflow.
  static absl::StatusOr<QuantizedTable> FromPacked(int64_t rows, int64_t cols, Dtype dtype,
                                                   absl::Span<const uint8_t> codes, std::shared_ptr<void> keeper,
                                                   std::vector<float> scale, std::vector<float> zero_point);
  // Packs codes that `codes_of_rows` delivers for blocks of rows: it fills [end - begin, cols] codes (inside the
  // dtype's range) and [end - begin] parameters for rows [begin, end). Called from several threads; the error of the
  // lowest rows is returned, and bad parameters are errors as in FromPacked.
  static absl::StatusOr<QuantizedTable> Build(
      int64_t rows, int64_t cols, Dtype dtype,
      const std::function<absl::Status(int64_t begin, int64_t end, int32_t* codes, QParams* qparams)>& codes_of_rows);

  int64_t rows() const { return rows_; }
  int64_t cols() const { return cols_; }
  Dtype dtype() const { return dtype_; }
  int bits() const { return TraitsOf(dtype_).bits; }
  int64_t row_bytes() const;  // bytes of one row's codes
  int64_t bytes() const;      // codes, scales and zero points
  absl::Span<const uint8_t> codes() const { return codes_; }
  absl::Span<const float> scale() const { return scale_; }
  absl::Span<const float> zero_point() const { return zero_point_; }

  QuantizedTable(QuantizedTable&&) = default;
  QuantizedTable& operator=(QuantizedTable&&) = default;

  // y: [rows.size(), cols]. REQUIRES: every row inside the table. Parallel.
  void DequantizeRows(absl::Span<const int64_t> rows, MutableTableView y) const;
  // Codes of one row, signed for qint8.
  void UnpackRow(int64_t row, int32_t* codes) const;

 private:
  QuantizedTable() = default;
  absl::Status CheckQParams() const;
  absl::Status CheckPaddingBits() const;
  void PrefetchRow(int64_t row) const;
  void DequantizeRow(int64_t row, float* y) const;

  int64_t rows_ = 0;
  int64_t cols_ = 0;
  Dtype dtype_ = Dtype::kQUInt8;
  absl::Span<const uint8_t> codes_;
  std::shared_ptr<void> keeper_;
  std::vector<float> scale_;
  std::vector<float> zero_point_;
};

}  // namespace eqat::quant

#endif  // EQAT_QUANT_QUANTIZED_TABLE_H_
