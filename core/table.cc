#include "core/table.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/checked_math.h"
#include "core/error.h"
#include "core/parallel_for.h"
#include "core/status_macros.h"

namespace eqat {
namespace {

constexpr size_t kCacheLineBytes = 64;
// From this size on memory is mapped: it comes zeroed, costs nothing until it is touched, and can be huge pages, which
// save most of the page walks of random row accesses.
constexpr size_t kMappedBytes = size_t{2} << 20;
constexpr int64_t kCopyBlockBytes = int64_t{1} << 20;

std::shared_ptr<void> MapZeroed(size_t bytes) {
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return nullptr;
  madvise(memory, bytes, MADV_HUGEPAGE);  // a hint: without huge pages everything still works
  return std::shared_ptr<void>(memory, [bytes](void* mapped) { munmap(mapped, bytes); });
}

std::shared_ptr<void> AllocateZeroed(size_t bytes) {
  const size_t padded_bytes = (bytes + kCacheLineBytes - 1) / kCacheLineBytes * kCacheLineBytes;
  void* memory = std::aligned_alloc(kCacheLineBytes, padded_bytes);
  if (memory == nullptr) return nullptr;
  std::memset(memory, 0, padded_bytes);
  return std::shared_ptr<void>(memory, std::free);
}

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

  const size_t size = static_cast<size_t>(*bytes);
  std::shared_ptr<void> memory = size >= kMappedBytes ? MapZeroed(size) : AllocateZeroed(size);
  if (memory == nullptr) {
    return ResourceExhausted("table", "memory is not to be had", absl::StrCat(shape_text(), ", ", size, " bytes"));
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
