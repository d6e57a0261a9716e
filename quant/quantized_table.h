// QuantizedTable: packed codes with one float scale and zero point per row; value = f32((code - zero_point) * scale)
// computed in double and rounded once, exactly as FakeQuantize dequantizes.
//
// A table made for a deployed format (quant/types/deploy.h) holds that format's codes, scales and offsets (zero points
// or biases, for each row or group of its columns) and gives its values.
//
// Immutable after construction, and moves alone: copying codes by accident would be dear. Const methods may run
// concurrently. A table that owns its rows keeps each row's parameters right behind its codes, so that looking a row up
// touches as few cache lines as can be; one whose codes lie in a mapped file has the parameters of all rows beside it.
// Small tables of few bits also have the values of each row's codes computed once (not those of a deployed format).
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
#include "quant/packed_rows.h"
#include "quant/types/deploy.h"
#include "quant/types/dtype.h"

namespace eqat::quant {

class QuantizedTable {
 public:
  // Takes packed codes [rows, PackedRowBytes(cols, bits)] (kept alive by `keeper`, or copied when it is null),
  // scale [rows] and zero_point [rows]; with `deploy`, which must suit `dtype`, [rows * groups] of scale and of zero
  // point or bias. InvalidArgument: sizes; NaN, infinity or a negative value in scale, NaN or infinity in zero_point
  // (names the row), or what the deployed format cannot hold; bits beyond the last column that are not zero.
  // ResourceExhausted: sizes that overflow.
  static absl::StatusOr<QuantizedTable> FromPacked(int64_t rows, int64_t cols, Dtype dtype,
                                                   absl::Span<const uint8_t> codes, std::shared_ptr<void> keeper,
                                                   const std::vector<float>& scale,
                                                   const std::vector<float>& zero_point,
                                                   const DeployTraits* deploy = nullptr);
  // Rows [begin, end) are filled by `fill(begin, end, packed)`, where row 0 of `packed` is row `begin`; the parameters
  // of a row's further groups follow its first. Called from several threads; the error of the lowest rows is returned,
  // and what FromPacked refuses of a row is an error here.
  static absl::StatusOr<QuantizedTable> BuildPacked(
      int64_t rows, int64_t cols, Dtype dtype,
      const std::function<absl::Status(int64_t begin, int64_t end, const MutablePackedRows& packed)>& fill,
      const DeployTraits* deploy = nullptr);
  // The same from unpacked codes: `codes_of_rows` fills [end - begin, cols] codes (inside the dtype's range) and
  // [end - begin] parameters.
  static absl::StatusOr<QuantizedTable> Build(
      int64_t rows, int64_t cols, Dtype dtype,
      const std::function<absl::Status(int64_t begin, int64_t end, int32_t* codes, QParams* qparams)>& codes_of_rows);

  int64_t rows() const { return packed_.rows; }
  int64_t cols() const { return packed_.cols; }
  Dtype dtype() const { return dtype_; }
  int bits() const { return packed_.bits; }
  int64_t row_bytes() const;                              // bytes of one row's codes
  int64_t bytes() const;                                  // codes, scales and zero points, as a file holds them
  const DeployTraits* deploy() const { return deploy_; }  // null: our own arithmetic, y above
  int64_t groups() const;                                 // of parameters in a row
  absl::Span<const QParams> params(int64_t row) const { return {&packed_.Params(row), static_cast<size_t>(groups())}; }
  const PackedRows& packed_rows() const { return packed_; }
  absl::Span<const uint8_t> codes(int64_t row) const { return {packed_.Codes(row), static_cast<size_t>(row_bytes())}; }
  // Of a row's first group.
  float scale(int64_t row) const { return packed_.Params(row).scale; }
  float zero_point(int64_t row) const { return packed_.Params(row).zero_point; }

  QuantizedTable(QuantizedTable&&) = default;
  QuantizedTable& operator=(QuantizedTable&&) = default;
  // A second table on the same memory, which never changes.
  QuantizedTable Share() const { return *this; }

  // y: [rows.size(), cols]. REQUIRES: every row inside the table. Parallel.
  void DequantizeRows(absl::Span<const int64_t> rows, MutableTableView y) const;
  // Codes of one row, signed for qint8.
  void UnpackRow(int64_t row, int32_t* codes) const;

 private:
  QuantizedTable(int64_t rows, int64_t cols, Dtype dtype, const DeployTraits* deploy);
  QuantizedTable(const QuantizedTable&) = default;
  // Calls fill(begin, end) for blocks of rows, in parallel, and checks what it made.
  absl::Status FillAndCheckRows(const std::function<absl::Status(int64_t begin, int64_t end)>& fill) const;
  absl::Status CheckRows(int64_t begin, int64_t end) const;
  absl::Status TabulateValuesOfSmallTable();

  Dtype dtype_ = Dtype::kQUInt8;
  const DeployTraits* deploy_ = nullptr;
  PackedRows packed_;
  std::shared_ptr<void> codes_keeper_;
  std::shared_ptr<void> params_keeper_;
  std::shared_ptr<void> values_keeper_;
};

}  // namespace eqat::quant

#endif  // EQAT_QUANT_QUANTIZED_TABLE_H_
