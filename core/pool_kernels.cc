#include "core/pool_kernels.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "core/parallel_for.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/pool_kernels.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
// Must follow foreach_target.h.
#include "core/pool_ops-inl.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace eqat {
namespace HWY_NAMESPACE {
namespace {

// How far ahead rows are fetched, those of more than kShortFloats less far, and how much of each: into the second-level
// cache, whose queue of misses is several times as long as the first's.
constexpr int64_t kPrefetchRows = 14;
constexpr int64_t kPrefetchShortRows = 24;
constexpr int64_t kShortFloats = 64;
constexpr int64_t kPrefetchFloats = 256;
// Tables that such a cache holds need none of that.
constexpr int64_t kCachedFloats = 1 << 16;
constexpr int64_t kFloatsPerCacheLine = 16;

struct Bag {
  int64_t begin;  // the first position that counts
  int64_t end;
  int64_t count;  // positions that count; at least 1
};

template <class Op, class D>
HWY_INLINE Vec<D> WeightAt(D d, const PoolArgs& args, int64_t k) {
  return hn::Set(d, Op::kWeighted ? args.weights[k] : 1.0f);
}

// Columns [col, col + kVectors vectors) of one bag.
template <class Op, int kVectors, class D>
HWY_INLINE void PoolColumns(D d, const PoolArgs& args, const Bag& bag, int64_t col, float* HWY_RESTRICT out) {
  const size_t lanes = hn::Lanes(d);
  const float* row = args.rows.Row(args.ids[bag.begin]) + col;
  Vec<D> w = WeightAt<Op>(d, args, bag.begin);
  Vec<D> pooled[kVectors];
  for (int v = 0; v < kVectors; ++v) pooled[v] = Op::Start(d, hn::LoadU(d, row + v * lanes), w);
  for (int64_t k = bag.begin + 1; k < bag.end; ++k) {
    if (args.ids[k] == args.padding_id) continue;
    row = args.rows.Row(args.ids[k]) + col;
    w = WeightAt<Op>(d, args, k);
    for (int v = 0; v < kVectors; ++v) pooled[v] = Op::Next(d, pooled[v], hn::LoadU(d, row + v * lanes), w);
  }
  for (int v = 0; v < kVectors; ++v) hn::StoreU(Op::Finish(d, pooled[v], bag.count), d, out + col + v * lanes);
}

template <class Op>
HWY_INLINE void PoolBag(const PoolArgs& args, const Bag& bag, float* HWY_RESTRICT out) {
  const hn::ScalableTag<float> full;
  const hn::CappedTag<float, 4> quarter;
  const hn::CappedTag<float, 1> single;
  const int64_t cols = args.rows.cols;
  const int64_t full_lanes = static_cast<int64_t>(hn::Lanes(full));
  const int64_t quarter_lanes = static_cast<int64_t>(hn::Lanes(quarter));
  int64_t col = 0;
  for (; col + 8 * full_lanes <= cols; col += 8 * full_lanes) PoolColumns<Op, 8>(full, args, bag, col, out);
  for (; col + 4 * full_lanes <= cols; col += 4 * full_lanes) PoolColumns<Op, 4>(full, args, bag, col, out);
  for (; col + full_lanes <= cols; col += full_lanes) PoolColumns<Op, 1>(full, args, bag, col, out);
  for (; col + quarter_lanes <= cols; col += quarter_lanes) PoolColumns<Op, 1>(quarter, args, bag, col, out);
  for (; col < cols; ++col) PoolColumns<Op, 1>(single, args, bag, col, out);
}

HWY_INLINE Bag CountedBag(const PoolArgs& args, int64_t begin, int64_t end) {
  if (args.padding_id < 0) return {begin, end, end - begin};
  const int64_t count = end - begin - std::count(args.ids + begin, args.ids + end, args.padding_id);
  while (begin < end && args.ids[begin] == args.padding_id) ++begin;
  return {begin, end, count};
}

// Asks for the rows that come kPrefetchRows behind positions [begin, end), in later bags too.
HWY_INLINE void PrefetchRows(const PoolArgs& args, int64_t begin, int64_t end) {
  if (args.rows.rows * args.rows.stride <= kCachedFloats) return;
  const int64_t num_positions = args.offsets[args.num_bags];
  const int64_t floats = std::min(args.rows.cols, kPrefetchFloats);
  const int64_t ahead = args.rows.cols > kShortFloats ? kPrefetchRows : kPrefetchShortRows;
  const int64_t last = std::min(end + ahead, num_positions);
  for (int64_t k = begin + ahead; k < last; ++k) {
    const float* row = args.rows.Row(args.ids[k]);
    for (int64_t col = 0; col < floats; col += kFloatsPerCacheLine) __builtin_prefetch(row + col, 0, 2);
  }
}

template <class Op>
HWY_INLINE void PoolBags(const PoolArgs& args, int64_t begin_bag, int64_t end_bag, const MutableTableView& out) {
  for (int64_t b = begin_bag; b < end_bag; ++b) {
    PrefetchRows(args, args.offsets[b], args.offsets[b + 1]);
    const Bag bag = CountedBag(args, args.offsets[b], args.offsets[b + 1]);
    if (bag.count == 0) {
      std::fill_n(out.Row(b), args.rows.cols, 0.0f);
    } else {
      PoolBag<Op>(args, bag, out.Row(b));
    }
  }
}

void PoolBlock(const PoolArgs& args, int64_t begin_bag, int64_t end_bag, const MutableTableView& out) {
  if (args.mode == PoolMode::kMean) return PoolBags<MeanOp>(args, begin_bag, end_bag, out);
  if (args.mode == PoolMode::kMax) return PoolBags<MaxOp>(args, begin_bag, end_bag, out);
  if (args.weights == nullptr) return PoolBags<SumOp>(args, begin_bag, end_bag, out);
  if (args.has_padding) return PoolBags<RoundedWeightedSumOp>(args, begin_bag, end_bag, out);
  return PoolBags<WeightedSumOp>(args, begin_bag, end_bag, out);
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace eqat
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace eqat {
namespace {

HWY_EXPORT(PoolBlock);

// The maximum of each column of one bag together with where it came from.
void MaxOfBag(const PoolArgs& args, int64_t bag, float* HWY_RESTRICT out, int64_t* HWY_RESTRICT max_positions) {
  const int64_t cols = args.rows.cols;
  bool is_first = true;
  for (int64_t k = args.offsets[bag]; k < args.offsets[bag + 1]; ++k) {
    if (args.ids[k] == args.padding_id) continue;
    const float* HWY_RESTRICT row = args.rows.Row(args.ids[k]);
    for (int64_t col = 0; col < cols; ++col) {
      const bool replaces = is_first || row[col] > out[col];
      out[col] = replaces ? row[col] : out[col];
      max_positions[col] = replaces ? k : max_positions[col];
    }
    is_first = false;
  }
  if (!is_first) return;
  std::fill_n(out, cols, 0.0f);
  std::fill_n(max_positions, cols, -1);
}

// Bags for one block: about 64 KiB of rows.
int64_t BagsPerBlock(const PoolArgs& args) {
  constexpr int64_t kBlockFloats = 1 << 14;
  const int64_t rows_per_bag = args.offsets[args.num_bags] / args.num_bags + 1;
  return std::max<int64_t>(1, kBlockFloats / std::max<int64_t>(1, args.rows.cols) / rows_per_bag);
}

}  // namespace

void PoolRows(const PoolArgs& args, MutableTableView out, int64_t* max_positions) {
  if (args.num_bags == 0) return;
  ParallelFor(args.num_bags, BagsPerBlock(args), [&](int64_t begin, int64_t end) {
    if (args.mode != PoolMode::kMax || max_positions == nullptr) {
      HWY_DYNAMIC_DISPATCH(PoolBlock)(args, begin, end, out);
      return;
    }
    for (int64_t bag = begin; bag < end; ++bag) {
      MaxOfBag(args, bag, out.Row(bag), max_positions + bag * args.rows.cols);
    }
  });
}

}  // namespace eqat
#endif  // HWY_ONCE
