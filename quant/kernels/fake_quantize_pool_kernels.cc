#include "quant/kernels/fake_quantize_pool_kernels.h"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>

#include "core/distinct_rows.h"
#include "core/parallel_for.h"
#include "core/scratch_memory.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "quant/kernels/fake_quantize_pool_kernels.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
// Must follow foreach_target.h.
#include "core/pool_ops-inl.h"
#include "hwy/highway.h"
#include "quant/kernels/affine-inl.h"

HWY_BEFORE_NAMESPACE();
namespace eqat::quant::kernels {
namespace HWY_NAMESPACE {
namespace {

using eqat::HWY_NAMESPACE::MaxOp;
using eqat::HWY_NAMESPACE::MeanOp;
using eqat::HWY_NAMESPACE::RoundedWeightedSumOp;
using eqat::HWY_NAMESPACE::SumOp;
using eqat::HWY_NAMESPACE::WeightedSumOp;

// Rows whose bounds are found together.
constexpr int64_t kGroup = 8;
// Rows whose parameters are found before any of them is quantized: most must still be in the first-level cache then.
constexpr int64_t kMaxChunk = 64;
constexpr int64_t kChunkFloats = 8192;
// How far ahead rows are fetched (one for each that is quantized, as a burst would stall), and how much of each: into
// the second-level cache, whose queue of misses is several times as long as the first's. While bounds are found, that
// queue goes on with what it holds; of rows from kLongRowFloats on that is not enough, and half is fetched then.
constexpr int64_t kPrefetchRows = 96;
constexpr int64_t kPrefetchFloats = 256;
constexpr int64_t kLongRowFloats = 193;
// How far ahead of the row the places of its bounds are fetched; otherwise writing waits for them.
constexpr int64_t kPrefetchBounds = 64;
constexpr int64_t kFloatsPerCacheLine = 16;
constexpr size_t kMaxLanes = 16;
constexpr float kMaxZeroPoint = 1048576.0f;

using DF = hn::CappedTag<float, kMaxLanes>;
using DGroup = hn::CappedTag<float, kGroup>;
using VF = hn::Vec<DF>;
using VGroup = hn::Vec<DGroup>;

// Where the rows of one chunk are, and their parameters.
struct ChunkParams {
  const float* rows[kMaxChunk];
  HWY_ALIGN float scale[kMaxChunk];
  HWY_ALIGN float inverse[kMaxChunk];
  HWY_ALIGN float zero_point[kMaxChunk];
  HWY_ALIGN float zero_point_head[kMaxChunk];    // zero_point = head + tail
  HWY_ALIGN float minus_tail_scaled[kMaxChunk];  // -tail * scale
  uint8_t needs_no_double[kMaxChunk];            // whether head and tail hold
};

struct MinOf {
  template <class V>
  HWY_INLINE V operator()(V a, V b) const {
    return hn::Min(a, b);
  }
};
struct MaxOf {
  template <class V>
  HWY_INLINE V operator()(V a, V b) const {
    return hn::Max(a, b);
  }
};

// At most kGroup lanes that stand for the lanes of `v`.
template <class D, class Op>
HWY_INLINE VGroup Fold(D /*d*/, hn::Vec<D> v, Op op) {
#if HWY_TARGET != HWY_SCALAR
  if constexpr (hn::MaxLanes(D()) > kGroup) {
    const hn::Half<D> half;
    return op(hn::LowerHalf(half, v), hn::UpperHalf(half, v));
  } else  // NOLINT
#endif
  {
    (void)op;
    return v;
  }
}

// reduced[i] = the reduction of all lanes of rows[i]; by transposition, a few instructions a row.
template <class Op>
HWY_INLINE void ReduceGroup(const VGroup (&rows)[kGroup], Op op, float* HWY_RESTRICT reduced) {
  const DGroup d;
#if HWY_TARGET == HWY_SCALAR
  (void)op;
  for (int64_t i = 0; i < kGroup; ++i) hn::StoreU(rows[i], d, reduced + i);
#else
  const hn::Repartition<double, DGroup> d64;
  // Each 128-bit block of the result: partial results of rows a, b, c, d.
  const auto four = [&](VGroup row_a, VGroup row_b, VGroup row_c, VGroup row_d) HWY_ATTR {
    const auto ab = hn::BitCast(d64, op(hn::InterleaveLower(d, row_a, row_b), hn::InterleaveUpper(d, row_a, row_b)));
    const auto cd = hn::BitCast(d64, op(hn::InterleaveLower(d, row_c, row_d), hn::InterleaveUpper(d, row_c, row_d)));
    return op(hn::BitCast(d, hn::InterleaveLower(d64, ab, cd)), hn::BitCast(d, hn::InterleaveUpper(d64, ab, cd)));
  };
  const VGroup first = four(rows[0], rows[1], rows[2], rows[3]);
  const VGroup second = four(rows[4], rows[5], rows[6], rows[7]);
  if constexpr (hn::MaxLanes(DGroup()) == kGroup) {
    hn::StoreU(op(hn::ConcatLowerLower(d, second, first), hn::ConcatUpperUpper(d, second, first)), d, reduced);
  } else {
    hn::StoreU(first, d, reduced);
    hn::StoreU(second, d, reduced + 4);
  }
#endif
}

// NaN and infinity are looked for either in the rows or, for less, in the pooled sums, where a NaN stays. An infinity
// shows in the range of its row.
enum class NanSearch { kRows, kSums };

// Smallest and largest of a row, one for each lane of a vector. With NanSearch::kRows `zeros` becomes NaN for NaN or
// infinity; otherwise NaN may be passed over. kNarrow: the row has fewer columns than a vector has lanes.
template <NanSearch kSearch, bool kNarrow>
HWY_INLINE void FindLaneBounds(const float* HWY_RESTRICT row, int64_t cols, VF& min, VF& max, VF& zeros) {
  const DF df;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(df));
  const auto search = [&](VF values) HWY_ATTR {
    if constexpr (kSearch == NanSearch::kRows) zeros = hn::MulAdd(values, hn::Zero(df), zeros);
  };
  if constexpr (kNarrow) {
    HWY_ALIGN float values[kMaxLanes];
    std::fill_n(values, lanes, row[0]);
    std::copy_n(row, cols, values);
    min = max = hn::Load(df, values);
    search(min);
  } else {
    const VF first = hn::LoadU(df, row);
    VF smallest = first;
    VF largest = first;
    search(first);
    const auto add = [&](VF values) HWY_ATTR {
      smallest = hn::Min(smallest, values);
      largest = hn::Max(largest, values);
      search(values);
    };
    int64_t col = lanes;
    for (; col + 2 * lanes <= cols; col += 2 * lanes) {
      const VF values0 = hn::LoadU(df, row + col);
      const VF values1 = hn::LoadU(df, row + col + lanes);
      add(values0);
      add(values1);
    }
    if (col + lanes <= cols) add(hn::LoadU(df, row + col)), col += lanes;
    if (col < cols) add(hn::LoadU(df, row + cols - lanes));  // again for some columns, which changes nothing
    min = smallest;
    max = largest;
  }
}

struct AffineRow {
  float scale, inverse, zero_point;
};

// For the few rows whose zero point is not in the usual binades. x, y: [n], n = 1 or whole
// vectors of 4; NaN stays NaN.
HWY_NOINLINE void FakeQuantizeInDouble(const float* HWY_RESTRICT x, int64_t n, const AffineRow& row,
                                       float* HWY_RESTRICT y) {
  const auto quantize = [&](auto d, int64_t i) HWY_ATTR {
    const auto q = hn::Round(FusedMulAdd(d, hn::LoadU(d, x + i), hn::Set(d, row.inverse), hn::Set(d, row.zero_point)));
    const Dequantizer dequantize(row.scale, row.zero_point);
    const auto value = dequantize(d, hn::ConvertTo(hn::RebindToSigned<decltype(d)>(), q));
    hn::StoreU(hn::IfThenElse(hn::Eq(q, q), value, q), d, y + i);
  };
  if (n == 1) return quantize(hn::CappedTag<float, 1>(), 0);
  const hn::CappedTag<float, 4> vector;
  for (int64_t i = 0; i < n; i += static_cast<int64_t>(hn::Lanes(vector))) quantize(vector, i);
}

class Kernel {
 public:
  Kernel(const FreshRule& rule, TableView table)
      : length_(static_cast<float>(rule.quant_max)), eps_(rule.eps), table_(table) {
    const int bits = std::bit_width(static_cast<uint32_t>(rule.quant_max));
    float_from_ = std::ldexp(1.0f, bits - 2);
    float_to_ = std::ldexp(1.0f, bits);
    head_shift_ = std::ldexp(1.5f, bits - 1);
    chunk_rows_ = std::clamp(kChunkFloats / table.cols / kGroup * kGroup, kGroup, kMaxChunk);
    const bool starts_on_lines =
        reinterpret_cast<uintptr_t>(table.data) % 64 == 0 && table.stride % kFloatsPerCacheLine == 0;
    const int64_t half = std::min(table.cols / 2, kPrefetchFloats) / kFloatsPerCacheLine * kFloatsPerCacheLine;
    early_floats_ = table.cols < kLongRowFloats ? 0 : half;
    late_ = table.rows == 0 ? nullptr : table.data + early_floats_;
    late_floats_ = std::min(table.cols - early_floats_, kPrefetchFloats) + (starts_on_lines ? 0 : kFloatsPerCacheLine);
  }

  // Rows of a chunk: whole groups.
  int64_t chunk_rows() const { return chunk_rows_; }

  // Parameters of the rows ids[0..count), 1 <= count <= chunk_rows(); false where the kernel does not hold. `ids` goes
  // on to ids[last]. The bounds go to found_min and found_max [count], if those are not null.
  template <NanSearch kSearch>
  HWY_INLINE bool FindParams(const int64_t* ids, int64_t count, int64_t last, ChunkParams& params,
                             float* found_min = nullptr, float* found_max = nullptr) const {
    if (early_floats_ != 0) return FindParamsOfLongRows<kSearch>(ids, count, last, params, found_min, found_max);
    return FindParamsAs<kSearch, false>(ids, count, last, params, found_min, found_max);
  }

  // Bounds of the rows ids[0..count), 1 <= count <= kGroup; false where the kernel does not hold. `ids` goes on to
  // ids[last].
  HWY_INLINE bool FindBounds(const int64_t* ids, int64_t count, int64_t last, Bounds* bounds) const {
    ChunkParams params;
    HWY_ALIGN float min_vals[kGroup];
    HWY_ALIGN float max_vals[kGroup];
    for (int64_t i = 0; i < kGroup; ++i) PrefetchLate(ids, i, last);
    if (!FindRowBounds<NanSearch::kRows, true>(ids, count, last, params, min_vals, max_vals)) return false;
    if (!FindAffine(count, min_vals, max_vals, params)) return false;
    for (int64_t i = 0; i < count; ++i) {
      const float* const row = params.rows[i];
      bounds[i] = {WithSignOfFirstZero(row, min_vals[i]), WithSignOfFirstZero(row, max_vals[i])};
    }
    return true;
  }

  // Of the row that comes in a while, all that is not fetched while bounds are found.
  HWY_INLINE void PrefetchLate(const int64_t* ids, int64_t k, int64_t last) const {
    Prefetch(late_, ids[std::min(k + kPrefetchRows, last)], late_floats_);
  }

  // The rows that come first; `ids` ends at `end`.
  HWY_INLINE void PrefetchFirst(const int64_t* ids, const int64_t* end) const {
    end = ids + std::min<int64_t>(kPrefetchRows, end - ids);
    for (; ids < end; ++ids) Prefetch(table_.data, *ids, early_floats_ + late_floats_);
  }

  // The rows of positions [begin, end) of a chunk reduced into `out`, after `Init` or on top of what it holds.
  // False if a sum is NaN.
  template <class Op>
  HWY_INLINE bool PoolSegment(const PoolArgs& args, const ChunkParams& params, int64_t last_position, int64_t chunk,
                              int64_t begin, int64_t end, bool init, float* HWY_RESTRICT out) const {
    const Segment segment = {args, params, last_position, chunk, begin, end, init};
    bool ok = true;
    const DF full;
    const hn::CappedTag<float, 4> quarter;
    const hn::CappedTag<float, 1> single;
    const int64_t lanes = static_cast<int64_t>(hn::Lanes(full));
    const int64_t quarter_lanes = static_cast<int64_t>(hn::Lanes(quarter));
    int64_t col = 0;
    for (; col + 4 * lanes <= table_.cols; col += 4 * lanes) ok &= PoolColumns<Op, 4>(full, segment, col, out);
    for (; col + lanes <= table_.cols; col += lanes) ok &= PoolColumns<Op, 1>(full, segment, col, out);
    for (; col + quarter_lanes <= table_.cols; col += quarter_lanes)
      ok &= PoolColumns<Op, 1>(quarter, segment, col, out);
    for (; col < table_.cols; ++col) ok &= PoolColumns<Op, 1>(single, segment, col, out);
    return ok;
  }

 private:
  struct Segment {
    const PoolArgs& args;
    const ChunkParams& params;
    int64_t last_position;  // of the whole batch
    int64_t chunk;          // position of params' first row
    int64_t begin;
    int64_t end;
    bool init;
  };

  // `floats` of row `id` that begin where `from` does in row 0.
  HWY_INLINE void Prefetch(const float* from, int64_t id, int64_t floats) const {
    from += id * table_.stride;
    for (int64_t i = 0; i < floats; i += kFloatsPerCacheLine) __builtin_prefetch(from + i, 0, 2);
  }

  HWY_INLINE void PrefetchEarly(const int64_t* ids, int64_t k, int64_t last) const {
    // The minimum lets the compiler unroll, which is worth a tenth.
    Prefetch(table_.data, ids[std::min(k + kPrefetchRows, last)], std::min(early_floats_, kPrefetchFloats));
  }

  template <NanSearch kSearch, bool kEarly>
  HWY_INLINE bool FindParamsAs(const int64_t* ids, int64_t count, int64_t last, ChunkParams& params, float* found_min,
                               float* found_max) const {
    HWY_ALIGN float min_vals[kMaxChunk];
    HWY_ALIGN float max_vals[kMaxChunk];
    if (!FindRowBounds<kSearch, kEarly>(ids, count, last, params, min_vals, max_vals)) return false;
    if (found_min != nullptr) {
      CopyBounds(params, min_vals, count, found_min);
      CopyBounds(params, max_vals, count, found_max);
    }
    return FindAffine(count, min_vals, max_vals, params);
  }

  // Apart from PoolBags: what else is in registers there would cost short rows.
  template <NanSearch kSearch>
  HWY_NOINLINE bool FindParamsOfLongRows(const int64_t* ids, int64_t count, int64_t last, ChunkParams& params,
                                         float* found_min, float* found_max) const {
    return FindParamsAs<kSearch, true>(ids, count, last, params, found_min, found_max);
  }

  // As RowMinMax: a bound that is zero has the sign of the first zero.
  HWY_INLINE float WithSignOfFirstZero(const float* row, float bound) const {
    return bound == 0.0f ? *std::find(row, row + table_.cols, 0.0f) : bound;
  }

  // `bounds` holds whole groups.
  HWY_INLINE void CopyBounds(const ChunkParams& params, const float* HWY_RESTRICT bounds, int64_t count,
                             float* HWY_RESTRICT out) const {
    const DGroup d;
    auto non_zero = hn::Ne(hn::Set(d, 1.0f), hn::Zero(d));
    for (int64_t i = 0; i < count; i += static_cast<int64_t>(hn::Lanes(d))) {
      non_zero = hn::And(non_zero, hn::Ne(hn::Load(d, bounds + i), hn::Zero(d)));
    }
    std::copy_n(bounds, count, out);
    if (HWY_LIKELY(hn::AllTrue(d, non_zero))) return;
    for (int64_t i = 0; i < count; ++i) out[i] = WithSignOfFirstZero(params.rows[i], out[i]);
  }

  // Where the rows are, and their bounds; false for one that is not finite (if it is looked for in rows). The last row
  // stands in for those that are missing in its group. kEarly: fetches rows that come, up to ids[last].
  template <NanSearch kSearch, bool kEarly>
  HWY_INLINE bool FindRowBounds(const int64_t* ids, int64_t count, int64_t last, ChunkParams& params,
                                float* HWY_RESTRICT min_vals, float* HWY_RESTRICT max_vals) const {
    for (int64_t i = 0; i < count; ++i) params.rows[i] = table_.Row(ids[i]);
    for (int64_t i = count; i % kGroup != 0; ++i) params.rows[i] = params.rows[count - 1];
    VF zeros = hn::Zero(DF());
    const bool narrow = table_.cols < static_cast<int64_t>(hn::Lanes(DF()));
    for (int64_t i = 0; i < count; i += kGroup) {
      if constexpr (kEarly) {
        for (int64_t k = i; k < i + kGroup; ++k) PrefetchEarly(ids, k, last);
      }
      if (narrow) {
        FindGroupBounds<kSearch, true>(params.rows + i, zeros, min_vals + i, max_vals + i);
      } else {
        FindGroupBounds<kSearch, false>(params.rows + i, zeros, min_vals + i, max_vals + i);
      }
    }
    return kSearch == NanSearch::kSums || hn::AllTrue(DF(), hn::Eq(zeros, hn::Zero(DF())));
  }

  template <NanSearch kSearch, bool kNarrow>
  HWY_INLINE void FindGroupBounds(const float* const* rows, VF& zeros, float* HWY_RESTRICT min_vals,
                                  float* HWY_RESTRICT max_vals) const {
    VGroup mins[kGroup];
    VGroup maxs[kGroup];
#pragma GCC unroll 8
    for (int64_t i = 0; i < kGroup; ++i) {
      VF min, max;
      FindLaneBounds<kSearch, kNarrow>(rows[i], table_.cols, min, max, zeros);
      mins[i] = Fold(DF(), min, MinOf());
      maxs[i] = Fold(DF(), max, MaxOf());
    }
    ReduceGroup(mins, MinOf(), min_vals);
    ReduceGroup(maxs, MaxOf(), max_vals);
  }

  // Scales, zero points and what follows from them, for whole groups; apart from the bounds, as each division waits for
  // the one before it and those of other rows can go on meanwhile.
  HWY_INLINE bool FindAffine(int64_t count, const float* HWY_RESTRICT min_vals, const float* HWY_RESTRICT max_vals,
                             ChunkParams& params) const {
    const DGroup d;
    const VGroup one = hn::Set(d, 1.0f);
    auto usable = hn::Eq(one, one);
    const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
    for (int64_t i = 0; i < count; i += lanes) {
      const VGroup min_val = hn::Load(d, min_vals + i);
      const VGroup range = hn::Div(hn::Sub(hn::Load(d, max_vals + i), min_val), hn::Set(d, length_));
      const VGroup scale = hn::IfThenElse(hn::Gt(range, hn::Set(d, eps_)), range, one);
      const VGroup zero_point = hn::Div(hn::Neg(min_val), scale);
      // An infinite range gives an infinite scale and leaves the zero point small.
      usable = hn::And(usable, hn::And(hn::Le(hn::Abs(zero_point), hn::Set(d, kMaxZeroPoint)),
                                       hn::Lt(scale, hn::Set(d, HUGE_VALF))));
      hn::Store(scale, d, params.scale + i);
      hn::Store(zero_point, d, params.zero_point + i);
      hn::Store(hn::Div(one, scale), d, params.inverse + i);
      const VGroup head = hn::Sub(hn::Add(zero_point, hn::Set(d, head_shift_)), hn::Set(d, head_shift_));
      const auto needs_no_double =
          hn::And(hn::Ge(zero_point, hn::Set(d, float_from_)), hn::Lt(zero_point, hn::Set(d, float_to_)));
      hn::Store(head, d, params.zero_point_head + i);
      StoreFlags(d, needs_no_double, params.needs_no_double + i);
      hn::Store(hn::Mul(hn::Sub(head, zero_point), scale), d, params.minus_tail_scaled + i);
    }
    return hn::AllTrue(d, usable);
  }

  template <class Op, int kVectors, class D>
  HWY_INLINE bool PoolColumns(D d, const Segment& segment, int64_t col, float* HWY_RESTRICT out) const {
    using V = hn::Vec<D>;
    const size_t lanes = hn::Lanes(d);
    V pooled[kVectors];
    for (int v = 0; v < kVectors; ++v) pooled[v] = segment.init ? Op::Init(d) : hn::LoadU(d, out + col + v * lanes);
    for (int64_t k = segment.begin; k < segment.end; ++k) {
      const int64_t id = segment.args.ids[k];
      if (col == 0) PrefetchLate(segment.args.ids, k, segment.last_position);
      if (id == segment.args.padding_id) continue;
      const int64_t slot = k - segment.chunk;
      const float* HWY_RESTRICT row = segment.params.rows[slot] + col;
      const V w = hn::Set(d, Op::kWeighted ? segment.args.weights[k] : 1.0f);
#if HWY_NATIVE_FMA
      if (HWY_LIKELY(segment.params.needs_no_double[slot] != 0)) {
        const V inverse = hn::Set(d, segment.params.inverse[slot]);
        const V z = hn::Set(d, segment.params.zero_point[slot]);
        const V scale = hn::Set(d, segment.params.scale[slot]);
        const V head = hn::Set(d, segment.params.zero_point_head[slot]);
        const V tail = hn::Set(d, segment.params.minus_tail_scaled[slot]);
        for (int v = 0; v < kVectors; ++v) {
          const V q = hn::Round(hn::MulAdd(hn::LoadU(d, row + v * lanes), inverse, z));
          pooled[v] = Op::Next(d, pooled[v], hn::MulAdd(hn::Sub(q, head), scale, tail), w);
        }
        continue;
      }
#endif
      HWY_ALIGN float values[kVectors * hn::MaxLanes(D())];
      const AffineRow affine = {segment.params.scale[slot], segment.params.inverse[slot],
                                segment.params.zero_point[slot]};
      FakeQuantizeInDouble(row, static_cast<int64_t>(kVectors * lanes), affine, values);
      for (int v = 0; v < kVectors; ++v) pooled[v] = Op::Next(d, pooled[v], hn::Load(d, values + v * lanes), w);
    }
    auto ordered = hn::Eq(pooled[0], pooled[0]);
    for (int v = 0; v < kVectors; ++v) {
      hn::StoreU(pooled[v], d, out + col + v * lanes);
      ordered = hn::And(ordered, hn::Eq(pooled[v], pooled[v]));
    }
    return hn::AllTrue(d, ordered);
  }

  static HWY_INLINE void StoreFlags(DGroup /*d*/, hn::Mask<DGroup> mask, uint8_t* HWY_RESTRICT flags) {
    const hn::RebindToSigned<DGroup> di;
    const hn::Rebind<uint8_t, DGroup> du8;
    hn::StoreU(hn::DemoteTo(du8, hn::IfThenElseZero(hn::RebindMask(di, mask), hn::Set(di, 1))), du8, flags);
  }

  float length_;
  float eps_;
  float float_from_;  // zero points from here
  float float_to_;    // to here need no double
  float head_shift_;  // rounds zero points to multiples of 2^(bits - 24)
  int64_t chunk_rows_;
  int64_t early_floats_;  // of a row, fetched while bounds are found
  int64_t late_floats_;   // and the rest
  const float* late_;     // of row 0
  TableView table_;
};

void FinishBag(const PoolArgs& args, int64_t bag, float* HWY_RESTRICT out) {
  const int64_t begin = args.offsets[bag];
  const int64_t end = args.offsets[bag + 1];
  int64_t count = end - begin;
  if (args.padding_id >= 0) count -= std::count(args.ids + begin, args.ids + end, args.padding_id);
  const hn::CappedTag<float, 1> single;
  if (count == 0) {
    std::fill_n(out, args.rows.cols, 0.0f);
  } else if (args.mode == PoolMode::kMean) {
    const DF df;
    const int64_t lanes = static_cast<int64_t>(hn::Lanes(df));
    int64_t col = 0;
    for (; col + lanes <= args.rows.cols; col += lanes) {
      hn::StoreU(MeanOp::Finish(df, hn::LoadU(df, out + col), count), df, out + col);
    }
    for (; col < args.rows.cols; ++col) {
      hn::StoreU(MeanOp::Finish(single, hn::LoadU(single, out + col), count), single, out + col);
    }
  }
}

// The places of `count` rows from position `chunk` that come after this chunk.
HWY_INLINE void PrefetchBounds(RowBounds& bounds, int64_t chunk, int64_t count, int64_t last) {
  const int64_t end = std::min(chunk + kPrefetchBounds + count, last);
  for (int64_t at = chunk + kPrefetchBounds; at < end; at += kFloatsPerCacheLine) {
    __builtin_prefetch(bounds.min_vals.data() + at, 1);
    __builtin_prefetch(bounds.max_vals.data() + at, 1);
  }
}

// The end of a chunk that begins at position `begin`, in `bag` or behind it: that of the last bag that ends at `limit`
// or before, so that short bags are not cut in two, or `limit` if none does.
HWY_INLINE int64_t ChunkEnd(const PoolArgs& args, int64_t bag, int64_t end_bag, int64_t begin, int64_t limit) {
  int64_t end = begin;
  for (; bag < end_bag && args.offsets[bag + 1] <= limit; ++bag) end = args.offsets[bag + 1];
  return limit - end < kGroup ? end : limit;
}

template <class Op, NanSearch kSearch>
HWY_NOINLINE bool PoolBags(const PoolArgs& args, const FreshRule& rule, int64_t begin_bag, int64_t end_bag,
                           const MutableTableView& out, RowBounds* bounds) {
  const Kernel kernel(rule, args.rows);
  const int64_t first = args.offsets[begin_bag];
  const int64_t last = args.offsets[end_bag];
  const int64_t num_positions = args.offsets[args.num_bags];
  int64_t bag = begin_bag;
  ChunkParams params;
  kernel.PrefetchFirst(args.ids + first, args.ids + num_positions);
  for (int64_t chunk = first, chunk_end = first; chunk < last; chunk = chunk_end) {
    chunk_end = ChunkEnd(args, bag, end_bag, chunk, std::min(chunk + kernel.chunk_rows(), last));
    const int64_t count = chunk_end - chunk;
    float* const min_vals = bounds == nullptr ? nullptr : bounds->min_vals.data() + chunk;
    float* const max_vals = bounds == nullptr ? nullptr : bounds->max_vals.data() + chunk;
    if (bounds != nullptr) PrefetchBounds(*bounds, chunk, count, last);
    const int64_t left = num_positions - 1 - chunk;
    if (!kernel.FindParams<kSearch>(args.ids + chunk, count, left, params, min_vals, max_vals)) return false;
    for (int64_t k = chunk; k < chunk_end;) {
      while (args.offsets[bag + 1] <= k) FinishBag(args, bag, out.Row(bag)), ++bag;
      const int64_t end = std::min(args.offsets[bag + 1], chunk_end);
      const bool init = k == args.offsets[bag];
      if (!kernel.PoolSegment<Op>(args, params, num_positions - 1, chunk, k, end, init, out.Row(bag))) return false;
      k = end;
    }
  }
  for (; bag < end_bag; ++bag) FinishBag(args, bag, out.Row(bag));
  return true;
}

bool PoolBlock(const PoolArgs& args, const FreshRule& rule, int64_t begin_bag, int64_t end_bag,
               const MutableTableView& out, RowBounds* bounds) {
  // A maximum may drop a NaN, and padding rows are not pooled.
  constexpr NanSearch kRows = NanSearch::kRows;
  if (args.mode == PoolMode::kMax) return PoolBags<MaxOp, kRows>(args, rule, begin_bag, end_bag, out, bounds);
  if (args.weights != nullptr && args.has_padding) {
    return PoolBags<RoundedWeightedSumOp, kRows>(args, rule, begin_bag, end_bag, out, bounds);
  }
  if (args.weights != nullptr) return PoolBags<WeightedSumOp, kRows>(args, rule, begin_bag, end_bag, out, bounds);
  if (args.padding_id >= 0) return PoolBags<SumOp, kRows>(args, rule, begin_bag, end_bag, out, bounds);
  return PoolBags<SumOp, NanSearch::kSums>(args, rule, begin_bag, end_bag, out, bounds);
}

// Every row is a bag of one whose maximum is the row itself.
bool QuantizeBlock(const PoolArgs& args, const FreshRule& rule, int64_t begin, int64_t end,
                   const MutableTableView& out) {
  const Kernel kernel(rule, args.rows);
  ChunkParams params;
  kernel.PrefetchFirst(args.ids + begin, args.ids + args.num_bags);
  for (int64_t chunk = begin; chunk < end; chunk += kernel.chunk_rows()) {
    const int64_t chunk_end = std::min(chunk + kernel.chunk_rows(), end);
    const int64_t left = args.num_bags - 1 - chunk;
    if (!kernel.FindParams<NanSearch::kRows>(args.ids + chunk, chunk_end - chunk, left, params)) return false;
    for (int64_t k = chunk; k < chunk_end; ++k) {
      kernel.PoolSegment<MaxOp>(args, params, args.num_bags - 1, chunk, k, k + 1, /*init=*/true, out.Row(k));
    }
  }
  return true;
}

bool BoundsBlock(TableView table, const int64_t* ids, int64_t n, const FreshRule& rule, int64_t begin, int64_t end,
                 Bounds* bounds) {
  const Kernel kernel(rule, table);
  for (int64_t i = begin; i < end; i += kGroup) {
    if (!kernel.FindBounds(ids + i, std::min(kGroup, end - i), n - 1 - i, bounds + i)) return false;
  }
  return true;
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace eqat::quant::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace eqat::quant::kernels {
namespace {

HWY_EXPORT(PoolBlock);
HWY_EXPORT(QuantizeBlock);
HWY_EXPORT(BoundsBlock);

// Rows of one block of work: about 64 KiB.
int64_t RowsPerBlock(int64_t cols) { return std::max<int64_t>(1, (1 << 14) / std::max<int64_t>(1, cols)); }

// Runs block(begin, end) over [0, n); false if one of them said so.
template <typename Block>
bool AllBlocks(int64_t n, int64_t per_block, Block block) {
  std::atomic<bool> all{true};
  ParallelFor(n, per_block, [&](int64_t begin, int64_t end) {
    if (all.load(std::memory_order_relaxed) && !block(begin, end)) all.store(false, std::memory_order_relaxed);
  });
  return all.load();
}

// Quantizes each distinct row once.
bool PoolDistinct(const PoolArgs& args, absl::Span<const int64_t> ids, const FreshRule& rule, MutableTableView out) {
  const DistinctRows distinct(ids);
  const ScratchArray<float> values(distinct.size() * args.rows.cols);
  const MutableTableView rows(values.data(), distinct.size(), args.rows.cols);
  if (!FakeQuantizeRows(args.rows, distinct.rows().data(), distinct.size(), rule, rows)) return false;
  PoolArgs pooled = args;
  pooled.rows = rows;
  pooled.ids = distinct.slots().data();
  pooled.padding_id = args.padding_id < 0 ? -1 : distinct.SlotOf(args.padding_id);
  PoolRows(pooled, out);
  return true;
}

}  // namespace

bool SupportsFakeQuantizePool(int32_t quant_min, int32_t quant_max, float eps) {
  // Beyond eps 1 a replaced scale would let codes pass quant_max; far below 1e-30 error * scale might underflow.
  return quant_min == 0 && quant_max >= 1 && quant_max <= 255 && eps >= 1e-30f && eps <= 1.0f;
}

bool FakeQuantizePool(const PoolArgs& args, const FreshRule& rule, MutableTableView out, RowBounds* bounds) {
  const bool nothing = args.num_bags == 0 || args.rows.cols == 0;
  const int64_t num_positions = nothing ? 0 : args.offsets[args.num_bags];
  const auto ids = absl::MakeConstSpan(args.ids, num_positions);
  const bool repeats = !nothing && RepeatsRows(ids, args.rows.rows);
  if (bounds != nullptr) {  // which keeps its size, and so its pages, from batch to batch
    bounds->min_vals.resize(repeats ? 0 : num_positions);
    bounds->max_vals.resize(repeats ? 0 : num_positions);
  }
  if (nothing) return true;
  if (repeats) return PoolDistinct(args, ids, rule, out);
  const int64_t rows_per_bag = num_positions / args.num_bags + 1;
  const int64_t bags_per_block = std::max<int64_t>(1, RowsPerBlock(args.rows.cols) / rows_per_bag);
  return AllBlocks(args.num_bags, bags_per_block, [&](int64_t begin, int64_t end) {
    return HWY_DYNAMIC_DISPATCH(PoolBlock)(args, rule, begin, end, out, bounds);
  });
}

bool FakeQuantizeRows(TableView table, const int64_t* ids, int64_t n, const FreshRule& rule, MutableTableView out) {
  if (n == 0 || table.cols == 0) return true;
  PoolArgs args;
  args.rows = table;
  args.ids = ids;
  args.num_bags = n;
  args.mode = PoolMode::kMax;
  return AllBlocks(n, RowsPerBlock(table.cols), [&](int64_t begin, int64_t end) {
    return HWY_DYNAMIC_DISPATCH(QuantizeBlock)(args, rule, begin, end, out);
  });
}

bool FindFreshBounds(TableView table, const int64_t* ids, int64_t n, const FreshRule& rule, Bounds* bounds) {
  if (n == 0 || table.cols == 0) return true;
  return AllBlocks(n, RowsPerBlock(table.cols), [&](int64_t begin, int64_t end) {
    return HWY_DYNAMIC_DISPATCH(BoundsBlock)(table, ids, n, rule, begin, end, bounds);
  });
}

}  // namespace eqat::quant::kernels
#endif  // HWY_ONCE
