#include "core/table.h"

#include <algorithm>
#include <cstring>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/checked_math.h"
#include "core/error.h"
#include "core/parallel_for.h"
#include "core/status_macros.h"
#include "core/zeroed_memory.h"

namespace eqat {
namespace {

constexpr int64_t kCopyBlockBytes = int64_t{1} << 20;

std::optional<int64_t> TableBytes(int64_t rows, int64_t cols) {
  const std::optional<int64_t> elements = CheckedMul(rows, cols);
  if (!elements) return std::nullopt;
  return CheckedMul(*elements, static_cast<int64_t>(sizeof(float)));
}

}  // namespace

Table::Table(Table&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)),
      rows_(std::exchange(other.rows_, 0)),
      cols_(std::exchange(other.cols_, 0)),
      keeper_(std::move(other.keeper_)) {}

Table& Table::operator=(Table&& other) noexcept {
  Table taken(std::move(other));
  std::swap(data_, taken.data_);
  std::swap(rows_, taken.rows_);
  std::swap(cols_, taken.cols_);
  std::swap(keeper_, taken.keeper_);
  return *this;
}

absl::StatusOr<Table> Table::Zeros(int64_t rows, int64_t cols) {
  const auto shape_text = [&] { return absl::StrCat("[", rows, ", ", cols, "]"); };
  if (rows < 0 || cols < 0) return InvalidArgument("table", "negative size", shape_text(), "sizes of at least 0");
  const std::optional<int64_t> bytes = TableBytes(rows, cols);
  if (!bytes) return ResourceExhausted("table", "size does not fit into 64 bits", shape_text());
  if (*bytes == 0) return Adopt(nullptr, rows, cols, nullptr);

  std::shared_ptr<void> memory = AllocateZeroed(*bytes);
  if (memory == nullptr) {
    return ResourceExhausted("table", "memory is not to be had", absl::StrCat(shape_text(), ", ", *bytes, " bytes"));
  }
  float* const data = static_cast<float*>(memory.get());
  return Adopt(data, rows, cols, std::move(memory));
}

absl::StatusOr<Table> Table::CopyOf(TableView view) {
  EQAT_ASSIGN_OR_RETURN(Table copy, Zeros(view.rows, view.cols));
  if (copy.data() == nullptr) return copy;
  const int64_t row_bytes = view.cols * static_cast<int64_t>(sizeof(float));
  ParallelFor(view.rows, std::max<int64_t>(1, kCopyBlockBytes / row_bytes), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) std::memcpy(copy.Row(row), view.Row(row), row_bytes);
  });
  return copy;
}

Table Table::Adopt(float* data, int64_t rows, int64_t cols, std::shared_ptr<void> keeper) {
  Table table;
  table.data_ = data;
  table.rows_ = rows;
  table.cols_ = cols;
  table.keeper_ = std::move(keeper);
  return table;
}

}  // namespace eqat
