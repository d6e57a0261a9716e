// TableView, MutableTableView: non-owning row-major views of [rows, cols] float32 values whose rows lie `stride`
// elements apart (stride >= cols). Copying a view copies no values.
#ifndef EQAT_CORE_TABLE_VIEW_H_
#define EQAT_CORE_TABLE_VIEW_H_

#include <cstdint>

namespace eqat {

struct TableView {
  const float* data = nullptr;
  int64_t rows = 0;
  int64_t cols = 0;
  int64_t stride = 0;  // elements from one row to the next

  TableView() = default;
  TableView(const float* data_in, int64_t rows_in, int64_t cols_in)
      : data(data_in), rows(rows_in), cols(cols_in), stride(cols_in) {}
  TableView(const float* data_in, int64_t rows_in, int64_t cols_in, int64_t stride_in)
      : data(data_in), rows(rows_in), cols(cols_in), stride(stride_in) {}

  const float* Row(int64_t row) const { return data + row * stride; }
};

struct MutableTableView {
  float* data = nullptr;
  int64_t rows = 0;
  int64_t cols = 0;
  int64_t stride = 0;

  MutableTableView() = default;
  MutableTableView(float* data_in, int64_t rows_in, int64_t cols_in)
      : data(data_in), rows(rows_in), cols(cols_in), stride(cols_in) {}
  MutableTableView(float* data_in, int64_t rows_in, int64_t cols_in, int64_t stride_in)
      : data(data_in), rows(rows_in), cols(cols_in), stride(stride_in) {}

  float* Row(int64_t row) const { return data + row * stride; }
  operator TableView() const { return TableView(data, rows, cols, stride); }  // NOLINT: a view of a view
};

// `values + position`, or null where `values` is null: a place in an output that may be left out.
template <typename T>
T* OffsetOrNull(T* values, int64_t position) {
  return values == nullptr ? nullptr : values + position;
}

}  // namespace eqat

#endif  // EQAT_CORE_TABLE_VIEW_H_
