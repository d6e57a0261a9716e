// Table: a [rows, cols] float32 table, contiguous, that either owns its memory (aligned to a cache line) or has adopted
// somebody else's (a caller's array, a private mapping of a file) together with a keeper that frees it.
//
// Move-only: tables are large, a copy is always the explicit Clone().
// Thread safety: as a plain array.
#ifndef EQAT_CORE_TABLE_H_
#define EQAT_CORE_TABLE_H_

#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "core/table_view.h"

namespace eqat {

class Table {
 public:
  Table() = default;
  Table(Table&& other) noexcept;
  Table& operator=(Table&& other) noexcept;

  // All zeros. `rows` and `cols` may be 0. InvalidArgument when negative; ResourceExhausted when rows * cols * 4
  // overflows or memory is not to be had.
  static absl::StatusOr<Table> Zeros(int64_t rows, int64_t cols);

  // A copy of `view`.
  static absl::StatusOr<Table> CopyOf(TableView view);

  // Uses `data` in place, no copy: [rows, cols], contiguous, aligned to 4 bytes, writable as long as `keeper` (may be
  // null for memory that outlives the table) lives.
  static Table Adopt(float* data, int64_t rows, int64_t cols, std::shared_ptr<void> keeper);

  absl::StatusOr<Table> Clone() const { return CopyOf(view()); }

  int64_t rows() const { return rows_; }
  int64_t cols() const { return cols_; }
  const float* data() const { return data_; }
  float* data() { return data_; }
  const float* Row(int64_t row) const { return data_ + row * cols_; }
  float* Row(int64_t row) { return data_ + row * cols_; }
  TableView view() const { return TableView(data_, rows_, cols_); }
  MutableTableView mutable_view() { return MutableTableView(data_, rows_, cols_); }

 private:
  float* data_ = nullptr;
  int64_t rows_ = 0;
  int64_t cols_ = 0;
  std::shared_ptr<void> keeper_;
};

}  // namespace eqat

#endif  // EQAT_CORE_TABLE_H_
