#include "bench/machine_limits.h"

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <numeric>

#include "core/parallel_for.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "bench/machine_limits.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
// Must follow foreach_target.h.
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace eqat::bench {
namespace HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;

constexpr int64_t kPrefetchRows = 24;
constexpr int64_t kFloatsPerCacheLine = 16;

HWY_INLINE void PrefetchRow(const float* row, int64_t cols) {
  for (int64_t col = 0; col < cols; col += kFloatsPerCacheLine) __builtin_prefetch(row + col, 0, 2);
}

// Columns [col, col + 4 vectors) of one bag; the first columns fetch the rows that come later.
template <class D>
HWY_INLINE void SumFourVectors(D d, const TableView& table, const int64_t* ids, int64_t begin, int64_t end,
                               int64_t last, int64_t col, float* HWY_RESTRICT out) {
  const size_t lanes = hn::Lanes(d);
  auto sum0 = hn::Zero(d), sum1 = sum0, sum2 = sum0, sum3 = sum0;
  for (int64_t k = begin; k < end; ++k) {
    if (col == 0) PrefetchRow(table.Row(ids[std::min(k + kPrefetchRows, last)]), table.cols);
    const float* row = table.Row(ids[k]) + col;
    sum0 = hn::Add(sum0, hn::LoadU(d, row));
    sum1 = hn::Add(sum1, hn::LoadU(d, row + lanes));
    sum2 = hn::Add(sum2, hn::LoadU(d, row + 2 * lanes));
    sum3 = hn::Add(sum3, hn::LoadU(d, row + 3 * lanes));
  }
  hn::StoreU(sum0, d, out + col);
  hn::StoreU(sum1, d, out + col + lanes);
  hn::StoreU(sum2, d, out + col + 2 * lanes);
  hn::StoreU(sum3, d, out + col + 3 * lanes);
}

template <class D>
HWY_INLINE void SumOneVector(D d, const TableView& table, const int64_t* ids, int64_t begin, int64_t end, int64_t last,
                             int64_t col, float* HWY_RESTRICT out) {
  auto sum = hn::Zero(d);
  for (int64_t k = begin; k < end; ++k) {
    if (col == 0) PrefetchRow(table.Row(ids[std::min(k + kPrefetchRows, last)]), table.cols);
    sum = hn::Add(sum, hn::LoadU(d, table.Row(ids[k]) + col));
  }
  hn::StoreU(sum, d, out + col);
}

// `last`: the last position of the whole batch.
void SumBags(const TableView& table, const int64_t* ids, const int64_t* offsets, int64_t begin_bag, int64_t end_bag,
             int64_t last, const MutableTableView& out) {
  const hn::ScalableTag<float> full;
  const hn::CappedTag<float, 1> single;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(full));
  for (int64_t b = begin_bag; b < end_bag; ++b) {
    int64_t col = 0;
    for (; col + 4 * lanes <= table.cols; col += 4 * lanes) {
      SumFourVectors(full, table, ids, offsets[b], offsets[b + 1], last, col, out.Row(b));
    }
    for (; col + lanes <= table.cols; col += lanes) {
      SumOneVector(full, table, ids, offsets[b], offsets[b + 1], last, col, out.Row(b));
    }
    for (; col < table.cols; ++col) {
      SumOneVector(single, table, ids, offsets[b], offsets[b + 1], last, col, out.Row(b));
    }
  }
}

uint64_t SumWords(const uint64_t* words, int64_t n) {
  const hn::ScalableTag<uint64_t> d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  auto sum0 = hn::Zero(d), sum1 = sum0, sum2 = sum0, sum3 = sum0;
  int64_t i = 0;
  for (; i + 4 * lanes <= n; i += 4 * lanes) {
    sum0 = hn::Add(sum0, hn::LoadU(d, words + i));
    sum1 = hn::Add(sum1, hn::LoadU(d, words + i + lanes));
    sum2 = hn::Add(sum2, hn::LoadU(d, words + i + 2 * lanes));
    sum3 = hn::Add(sum3, hn::LoadU(d, words + i + 3 * lanes));
  }
  HWY_ALIGN uint64_t parts[HWY_MAX_BYTES / sizeof(uint64_t)];
  hn::Store(hn::Add(hn::Add(sum0, sum1), hn::Add(sum2, sum3)), d, parts);
  return std::accumulate(words + i, words + n, std::accumulate(parts, parts + lanes, uint64_t{0}));
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace eqat::bench
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace eqat::bench {
namespace {

constexpr int64_t kBagsPerBlock = 16;
constexpr int64_t kWordsPerBlock = int64_t{1} << 17;

HWY_EXPORT(SumBags);
HWY_EXPORT(SumWords);

}  // namespace

void GatherSum(TableView table, const int64_t* ids, const int64_t* offsets, int64_t num_bags, MutableTableView out) {
  ParallelFor(num_bags, kBagsPerBlock, [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(SumBags)(table, ids, offsets, begin, end, offsets[num_bags] - 1, out);
  });
}

void GatherSumReference(TableView table, const int64_t* ids, const int64_t* offsets, int64_t num_bags,
                        MutableTableView out) {
  for (int64_t b = 0; b < num_bags; ++b) {
    std::fill_n(out.Row(b), table.cols, 0.0f);
    for (int64_t k = offsets[b]; k < offsets[b + 1]; ++k) {
      for (int64_t col = 0; col < table.cols; ++col) out.Row(b)[col] += table.Row(ids[k])[col];
    }
  }
}

uint64_t ReadSweep(const uint64_t* words, int64_t n) {
  std::atomic<uint64_t> sum = 0;
  ParallelFor(n, kWordsPerBlock, [&](int64_t begin, int64_t end) {
    sum.fetch_add(HWY_DYNAMIC_DISPATCH(SumWords)(words + begin, end - begin), std::memory_order_relaxed);
  });
  return sum.load();
}

uint64_t ReadSweepReference(const uint64_t* words, int64_t n) { return std::accumulate(words, words + n, uint64_t{0}); }

}  // namespace eqat::bench
#endif  // HWY_ONCE
