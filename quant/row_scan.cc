#include "quant/row_scan.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <mutex>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/error.h"
#include "core/parallel_for.h"

namespace eqat::quant {

int64_t RowBlock(int64_t cols) { return std::max<int64_t>(1, 16384 / std::max<int64_t>(cols, 1)); }

int64_t FirstFailure(int64_t n, int64_t cols, absl::FunctionRef<bool(int64_t i)> body) {
  std::atomic<int64_t> first = n;
  ParallelFor(n, RowBlock(cols), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      if (body(i)) continue;
      int64_t seen = first.load();
      while (i < seen && !first.compare_exchange_weak(seen, i)) {
      }
      return;
    }
  });
  return first.load();
}

absl::Status FirstError(int64_t n, int64_t cols, absl::FunctionRef<absl::Status(int64_t begin, int64_t end)> body) {
  std::mutex mutex;
  int64_t failed_block = n;  // guarded by `mutex`, as is `failure`
  absl::Status failure;
  ParallelFor(n, RowBlock(cols), [&](int64_t begin, int64_t end) {
    absl::Status status = body(begin, end);
    if (status.ok()) return;
    const std::lock_guard<std::mutex> lock(mutex);
    if (begin >= failed_block) return;
    failed_block = begin;
    failure = std::move(status);
  });
  return failure;
}

absl::Status NotFiniteError(int64_t row, absl::Span<const float> values) {
  const auto bad = std::find_if(values.begin(), values.end(), [](float value) { return !std::isfinite(value); });
  return InvalidArgument(absl::StrCat("row ", row), "holds a value that is not finite",
                         absl::StrCat(*bad, " at column ", bad - values.begin()), "finite values");
}

}  // namespace eqat::quant
