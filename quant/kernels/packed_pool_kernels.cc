#include "quant/kernels/packed_pool_kernels.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>

#include "core/parallel_for.h"
#include "quant/kernels/pack_kernels.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "quant/kernels/packed_pool_kernels.cc"
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

// How far ahead rows are fetched into the second-level cache, which can wait for more lines than the first, and how
// much of each.
constexpr int64_t kPrefetchRows = 48;
constexpr int kPrefetchLocality = 2;
constexpr int64_t kPrefetchBytes = 1024;
constexpr int64_t kCacheLineBytes = 64;
// Tables of at most so many bytes are taken to be in cache.
constexpr int64_t kCachedBytes = 256 << 10;
constexpr size_t kMaxLanes = 16;
constexpr int64_t kBlockBytes = 16;

using DF = hn::CappedTag<float, kMaxLanes>;
using DI = hn::RebindToSigned<DF>;
using DU = hn::RebindToUnsigned<DF>;
using VF = hn::Vec<DF>;
using VI = hn::Vec<DI>;
using VU = hn::Vec<DU>;

constexpr int kLanes = static_cast<int>(hn::MaxLanes(DF()));

// Unpackers. Load gives the codes of kVectors * kLanes columns from the bytes that they start in. Where kSmallBits is
// not 0 the codes have that many bits, and the lanes hold those of other columns above them. Column kVectors * i + v is
// lane i of vector v if kInterleaved, else column kLanes * v + i is.

template <typename Code>
struct UnpackBytes {
  static constexpr int kVectors = 4;
  static constexpr int kSmallBits = 0;
  static constexpr bool kInterleaved = false;

  explicit UnpackBytes(const PackedRows& /*table*/) {}

  HWY_INLINE void Load(const uint8_t* HWY_RESTRICT packed, VI (&codes)[kVectors]) const {
    const hn::Rebind<Code, DI> d8;
    const Code* const bytes = reinterpret_cast<const Code*>(packed);
    for (int v = 0; v < kVectors; ++v) codes[v] = hn::PromoteTo(DI(), hn::LoadU(d8, bytes + v * kLanes));
  }
};

// Four codes of 4 or 2 bits in a word of 16 or 8.
template <typename Word>
struct UnpackWords {
  static constexpr int kVectors = 4;
  static constexpr int kSmallBits = sizeof(Word) * 8 / kVectors;
  static constexpr bool kInterleaved = true;

  explicit UnpackWords(const PackedRows& /*table*/) {}

  HWY_INLINE void Load(const uint8_t* HWY_RESTRICT packed, VI (&codes)[kVectors]) const {
    const hn::Rebind<Word, DU> d_word;
    const hn::Repartition<uint8_t, decltype(d_word)> d8;
    const VU words = hn::PromoteTo(DU(), hn::BitCast(d_word, hn::LoadU(d8, packed)));
    codes[0] = hn::BitCast(DI(), words);
    codes[1] = hn::BitCast(DI(), hn::ShiftRight<kSmallBits>(words));
    codes[2] = hn::BitCast(DI(), hn::ShiftRight<2 * kSmallBits>(words));
    codes[3] = hn::BitCast(DI(), hn::ShiftRight<3 * kSmallBits>(words));
  }
};

// Any number of bits. Groups of columns must start on a whole byte, which multiples of eight columns do.
template <int kNumVectors>
class UnpackAnyBits {
 public:
  static constexpr int kVectors = kNumVectors;
  static constexpr int kSmallBits = 0;
  static constexpr bool kInterleaved = false;
  static_assert(kVectors * kLanes % 8 == 0);

  explicit UnpackAnyBits(const PackedRows& table)
      : bits_(table.bits),
        sign_bit_(table.is_signed ? 1 << (table.bits - 1) : 0),
        end_(table.rows == 0 ? table.codes : table.Codes(table.rows - 1) + PackedRowBytes(table.cols, table.bits)) {
    for (int odd = 0; odd < 2; ++odd) {
      for (int lane = 0; lane < kLanes; ++lane) {
        const int bit = odd * kLanes * bits_ % 8 + lane * bits_;
        shifts_[odd][lane] = bit % 8;
        for (int byte = 0; byte < 4; ++byte) {
          // Bytes that hold no bit of the code, and might lie outside the block, become 0.
          const bool is_needed = byte * 8 < bit % 8 + bits_;
          bytes_[odd][lane * 4 + byte] = is_needed ? static_cast<uint8_t>(bit / 8 + byte) : 0x80;
        }
      }
    }
  }

  HWY_INLINE void Load(const uint8_t* HWY_RESTRICT packed, VI (&codes)[kVectors]) const {
    const VI sign_bit = hn::Set(DI(), sign_bit_);
    for (int v = 0; v < kVectors; ++v) {
      const VI code = hn::And(Windows(packed, v), hn::Set(DI(), (1 << bits_) - 1));
      codes[v] = hn::Sub(hn::Xor(code, sign_bit), sign_bit);
    }
  }

 private:
  // For each lane of vector `v` the bits from the lowest one of its code on.
  HWY_INLINE VI Windows(const uint8_t* HWY_RESTRICT packed, int v) const {
#if HWY_TARGET == HWY_SCALAR
    int32_t window = 0;
    for (int bit = 0; bit < bits_; ++bit) {
      const uint8_t* const byte = packed + (v * bits_ + bit) / 8;
      if (byte < end_) window |= ((*byte >> ((v * bits_ + bit) % 8)) & 1) << bit;
    }
    return hn::Set(DI(), window);
#else
    const hn::Repartition<uint8_t, DF> d8;
    HWY_ALIGN uint8_t last_bytes[kBlockBytes] = {};
    const uint8_t* block = packed + v * kLanes * bits_ / 8;
    if (HWY_UNLIKELY(end_ - block < kBlockBytes)) {
      std::copy(block, std::max(block, end_), last_bytes);
      block = last_bytes;
    }
    const auto bytes = hn::TableLookupBytesOr0(hn::LoadDup128(d8, block), hn::Load(d8, bytes_[v % 2]));
    return hn::BitCast(DI(), hn::Shr(hn::BitCast(DU(), bytes), hn::Load(DU(), shifts_[v % 2])));
#endif
  }

  int bits_;
  int32_t sign_bit_;
  const uint8_t* end_;
  // Of the lanes of vectors at even and at odd places, as the latter may start on half a byte.
  HWY_ALIGN uint32_t shifts_[2][kLanes];
  HWY_ALIGN uint8_t bytes_[2][kLanes * 4];  // where in the block their bytes lie
};

using UnpackWide = UnpackAnyBits<HWY_MAX(4, 8 / kLanes)>;
using UnpackNarrow = UnpackAnyBits<HWY_MAX(1, 8 / kLanes)>;

// Where y can be computed in float32, exactly. Split the zero point into head + tail, the head on a grid coarse enough
// for code - head to be exact. Then y = (code - head) * scale - tail * scale, rounded once by an fma if tail * scale is
// exact, as it is for a tail of a single bit; and the same in double is exact up to the last rounding.
//
// For codes of b bits and zero points of magnitude 2^(b-2) and more inside the range of codes, the grid of
// (zero_point + 1.5 * 2^b) is one to four units in the last place of the zero point: the tail is 0, 1 or 2 units either
// way. A zero point of 0 has no tail. Scales from 2^-100 on keep tail * scale from underflowing.
class FloatRule {
 public:
  explicit FloatRule(const PackedRows& table)
      : magic_(std::ldexp(1.5f, table.bits)),
        magnitude_mask_(table.is_signed ? 0x7fffffffu : 0xffffffffu),
        from_(std::bit_cast<uint32_t>(std::ldexp(1.0f, table.bits - 2))),
        span_(std::bit_cast<uint32_t>(std::ldexp(1.0f, table.is_signed ? table.bits - 1 : table.bits)) - from_) {}

  HWY_INLINE bool Holds(const QParams& qparams) const {
#if HWY_NATIVE_FMA
    constexpr uint32_t kInfinityBits = 0x7f800000u;
    constexpr uint32_t kMinScaleBits = (127u - 100u) << 23;
    const uint32_t scale = std::bit_cast<uint32_t>(qparams.scale);
    const uint32_t zero_point = std::bit_cast<uint32_t>(qparams.zero_point);
    const bool fits = (zero_point & magnitude_mask_) - from_ <= span_ || zero_point == 0;
    return fits && scale - kMinScaleBits < kInfinityBits - kMinScaleBits;
#else
    (void)qparams;
    return false;
#endif
  }

  float Head(float zero_point) const { return (zero_point + magic_) - magic_; }

 private:
  float magic_;
  [[maybe_unused]] uint32_t magnitude_mask_;
  uint32_t from_;
  uint32_t span_;
};

class FloatDequantizer {
 public:
  HWY_INLINE FloatDequantizer(const QParams& qparams, const FloatRule& rule) {
    const float head = rule.Head(qparams.zero_point);
    scale_ = hn::Set(DF(), qparams.scale);
    head_ = hn::Set(DF(), head);
    minus_tail_scaled_ = hn::Set(DF(), (head - qparams.zero_point) * qparams.scale);
  }
  HWY_INLINE VF operator()(VI code) const {
    return hn::MulAdd(hn::Sub(hn::ConvertTo(DF(), code), head_), scale_, minus_tail_scaled_);
  }

 private:
  VF scale_;
  VF head_;
  VF minus_tail_scaled_;
};

#if HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX3
// The sixteen lanes of one vector hold all values of a row of 4- or 2-bit codes.
template <int kBits>
class ValueTable {
 public:
  static_assert(kLanes == PackedRows::kValues);

  HWY_INLINE explicit ValueTable(const float* HWY_RESTRICT values) : values_(hn::Load(DF(), values)) {}

  HWY_INLINE ValueTable(const QParams& qparams, const FloatRule& float_rule) {
    HWY_ALIGN static constexpr float kNibbles[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    HWY_ALIGN static constexpr float kPairs[] = {0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3};
    const DF df;
    const VF codes = hn::Load(df, kBits == 4 ? kNibbles : kPairs);
    if (HWY_UNLIKELY(!float_rule.Holds(qparams))) {
      values_ = Dequantizer(qparams.scale, qparams.zero_point)(df, hn::ConvertTo(DI(), codes));
      return;
    }
    // FloatRule with code - zero_point, rounded, in place of code - head: fewer instructions for a single vector.
    const VF zero_point = hn::Set(df, qparams.zero_point);
    const VF scale = hn::Set(df, qparams.scale);
    const VF difference = hn::Sub(codes, zero_point);
    const VF minus_tail = hn::Sub(hn::Sub(codes, difference), zero_point);
    values_ = hn::MulAdd(difference, scale, hn::Mul(minus_tail, scale));
  }

  // Only the low four bits of a lane count.
  HWY_INLINE VF operator()(VI code) const { return VF{_mm512_permutexvar_ps(code.raw, values_.raw)}; }

 private:
  VF values_;
};
constexpr bool kHasValueTable = true;
#else
template <int kBits>
class ValueTable;
constexpr bool kHasValueTable = false;
#endif

#if HWY_NATIVE_FMA
// Unweighted sums by fma(1, row, sum), which is sum + row: the adders have more to do here than the multipliers.
template <class Op>
struct ByMultiplier : Op {
  template <class D, class V = hn::Vec<D>>
  static HWY_INLINE V Next(D d, V sum, V row, V /*w*/) {
    return hn::MulAdd(hn::Set(d, 1.0f), row, sum);
  }
};
#else
template <class Op>
using ByMultiplier = Op;
#endif

struct Bag {
  int64_t begin;
  int64_t end;
  int64_t count;  // positions that count
};

// The rows of one batch pooled into bags.
template <class Op, class Unpack>
class Pooler {
 public:
  Pooler(const PackedRows& table, const PoolArgs& args)
      : table_(table),
        args_(args),
        fetch_end_(IsCached(table)           ? 0
                   : args.offsets == nullptr ? args.num_bags
                                             : args.offsets[args.num_bags]),
        prefetch_bytes_(std::min(PackedRowBytes(table.cols, table.bits), kPrefetchBytes)),
        last_byte_(LastByte(table)),
        unpack_(table),
        unpack_narrow_(table),
        float_rule_(table) {}

  void PoolBags(int64_t begin, int64_t end, const MutableTableView& out) const {
    const int64_t first = BagAt(begin).begin;
    for (int64_t k = first; k < std::min(first + kPrefetchRows, fetch_end_); ++k) Prefetch(args_.ids[k]);
    for (int64_t b = begin; b < end; ++b) {
      const Bag bag = BagAt(b);
      if (bag.count == 0) {
        std::fill_n(out.Row(b), table_.cols, 0.0f);
        continue;
      }
      int64_t col = 0;
      for (; col + kColumns<Unpack> <= table_.cols; col += kColumns<Unpack>) PoolColumns(unpack_, bag, col, out.Row(b));
      for (; col < table_.cols; col += kColumns<UnpackNarrow>) PoolColumns(unpack_narrow_, bag, col, out.Row(b));
    }
  }

 private:
  template <class AnyUnpack>
  static constexpr int64_t kColumns = AnyUnpack::kVectors* kLanes;

  static bool IsCached(const PackedRows& table) { return table.rows * table.code_stride <= kCachedBytes; }

  // The last byte of a row that is read as codes, where fetching its parameters does not fetch it too, else 0. The last
  // block of narrow columns may reach beyond the row.
  static int64_t LastByte(const PackedRows& table) {
    const int64_t narrow_cols = table.cols % kColumns<Unpack>;
    if (narrow_cols != 0) {
      const int64_t cols_before = table.cols - 1 - (narrow_cols - 1) % kColumns<UnpackNarrow>;
      return cols_before * table.bits / 8 + kBlockBytes - 1;
    }
    return table.param_stride != table.code_stride ? PackedRowBytes(table.cols, table.bits) - 1 : 0;
  }

  HWY_INLINE Bag BagAt(int64_t b) const {
    if (args_.offsets == nullptr) return {b, b + 1, 1};
    const int64_t begin = args_.offsets[b];
    const int64_t end = args_.offsets[b + 1];
    if (args_.padding_id < 0) return {begin, end, end - begin};
    return {begin, end, end - begin - std::count(args_.ids + begin, args_.ids + end, args_.padding_id)};
  }

  HWY_INLINE void Prefetch(int64_t id) const {
    const uint8_t* const codes = table_.Codes(id);
    for (int64_t byte = 0; byte < prefetch_bytes_; byte += kCacheLineBytes) {
      __builtin_prefetch(codes + byte, 0, kPrefetchLocality);
    }
    __builtin_prefetch(&table_.Params(id).zero_point, 0, kPrefetchLocality);
    if (last_byte_ != 0) __builtin_prefetch(codes + last_byte_, 0, kPrefetchLocality);
  }

  // Columns [col, col + kColumns<AnyUnpack>) of one bag, as far as there are any.
  template <class AnyUnpack>
  HWY_INLINE void PoolColumns(const AnyUnpack& unpack, const Bag& bag, int64_t col, float* HWY_RESTRICT out) const {
    const DF df;
    VF pooled[AnyUnpack::kVectors];
    for (VF& vector : pooled) vector = Op::Init(df);
    const int64_t* const HWY_RESTRICT ids = args_.ids;
    const int64_t padding_id = args_.padding_id;
    const int64_t byte = col * table_.bits / 8;
    const int64_t fetch_end = col == 0 ? fetch_end_ : 0;
    for (int64_t k = bag.begin; k < bag.end; ++k) {
      if (k + kPrefetchRows < fetch_end) Prefetch(ids[k + kPrefetchRows]);
      const int64_t id = ids[k];
      if (id == padding_id) continue;
      VI codes[AnyUnpack::kVectors];
      unpack.Load(table_.Codes(id) + byte, codes);
      AddRow<AnyUnpack::kSmallBits>(id, hn::Set(df, Op::kWeighted ? args_.weights[k] : 1.0f), codes, pooled);
    }
    for (VF& vector : pooled) vector = Op::Finish(df, vector, bag.count);
    Store(unpack, pooled, std::min(kColumns<AnyUnpack>, table_.cols - col), out + col);
  }

  template <int kSmallBits, int kVectors>
  HWY_INLINE void AddRow(int64_t id, VF w, const VI (&codes)[kVectors], VF (&pooled)[kVectors]) const {
    const QParams& qparams = table_.Params(id);
    if constexpr (kSmallBits != 0 && kHasValueTable) {
      if (table_.values != nullptr) {
        Add(ValueTable<kSmallBits>(table_.values + id * PackedRows::kValues), w, codes, pooled);
      } else {
        Add(ValueTable<kSmallBits>(qparams, float_rule_), w, codes, pooled);
      }
    } else {
      const VI mask = hn::Set(DI(), (1 << kSmallBits) - 1);
      VI whole[kVectors];
      for (int v = 0; v < kVectors; ++v) whole[v] = kSmallBits == 0 ? codes[v] : hn::And(codes[v], mask);
      if (HWY_LIKELY(float_rule_.Holds(qparams))) {
        Add(FloatDequantizer(qparams, float_rule_), w, whole, pooled);
      } else {
        const Dequantizer dequantize(qparams.scale, qparams.zero_point);
        Add([&](VI code) HWY_ATTR { return dequantize(DF(), code); }, w, whole, pooled);
      }
    }
  }

  template <class Dequantize, int kVectors>
  HWY_INLINE static void Add(const Dequantize& dequantize, VF w, const VI (&codes)[kVectors], VF (&pooled)[kVectors]) {
    for (int v = 0; v < kVectors; ++v) pooled[v] = Op::Next(DF(), pooled[v], dequantize(codes[v]), w);
  }

  template <class AnyUnpack>
  HWY_INLINE static void Store(const AnyUnpack& /*unpack*/, const VF (&pooled)[AnyUnpack::kVectors], int64_t columns,
                               float* HWY_RESTRICT out) {
    const DF df;
    if constexpr (AnyUnpack::kInterleaved) {
      hn::StoreInterleaved4(pooled[0], pooled[1], pooled[2], pooled[3], df, out);
    } else if (HWY_LIKELY(columns == kColumns<AnyUnpack>)) {
      for (int v = 0; v < AnyUnpack::kVectors; ++v) hn::StoreU(pooled[v], df, out + v * kLanes);
    } else {
      HWY_ALIGN float whole[AnyUnpack::kVectors * kLanes];
      for (int v = 0; v < AnyUnpack::kVectors; ++v) hn::Store(pooled[v], df, whole + v * kLanes);
      std::copy_n(whole, columns, out);
    }
  }

  const PackedRows& table_;
  const PoolArgs& args_;
  int64_t fetch_end_;  // rows of positions below it are fetched ahead
  int64_t prefetch_bytes_;
  int64_t last_byte_;
  Unpack unpack_;
  UnpackNarrow unpack_narrow_;
  FloatRule float_rule_;
};

template <class Op>
void PoolWith(const PackedRows& table, const PoolArgs& args, int64_t begin, int64_t end, const MutableTableView& out) {
  if (table.bits == 8 && table.is_signed) return Pooler<Op, UnpackBytes<int8_t>>(table, args).PoolBags(begin, end, out);
  if (table.bits == 8) return Pooler<Op, UnpackBytes<uint8_t>>(table, args).PoolBags(begin, end, out);
#if HWY_TARGET != HWY_SCALAR
  if (table.bits == 4) return Pooler<Op, UnpackWords<uint16_t>>(table, args).PoolBags(begin, end, out);
  if (table.bits == 2) return Pooler<Op, UnpackWords<uint8_t>>(table, args).PoolBags(begin, end, out);
#endif
  return Pooler<Op, UnpackWide>(table, args).PoolBags(begin, end, out);
}

// Bags [begin, end). Without offsets every position is a bag of its own.
void PoolBlock(const PackedRows& table, const PoolArgs& args, int64_t begin, int64_t end, const MutableTableView& out) {
  if (args.mode == PoolMode::kMean) return PoolWith<ByMultiplier<MeanOp>>(table, args, begin, end, out);
  if (args.mode == PoolMode::kMax) return PoolWith<MaxOp>(table, args, begin, end, out);
  if (args.weights == nullptr) return PoolWith<ByMultiplier<SumOp>>(table, args, begin, end, out);
  if (args.has_padding) return PoolWith<RoundedWeightedSumOp>(table, args, begin, end, out);
  return PoolWith<WeightedSumOp>(table, args, begin, end, out);
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace eqat::quant::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace eqat::quant::kernels {
namespace {

HWY_EXPORT(PoolBlock);

// Bags for one block of work.
int64_t BagsPerBlock(int64_t num_positions, int64_t num_bags, int64_t cols) {
  constexpr int64_t kBlockValues = 1 << 15;
  const int64_t rows_per_bag = num_positions / num_bags + 1;
  return std::max<int64_t>(1, kBlockValues / std::max<int64_t>(1, cols) / rows_per_bag);
}

}  // namespace

void TabulateValues(const PackedRows& table, float* values) {
  for (int64_t row = 0; row < table.rows; ++row) {
    const double scale = table.Params(row).scale;
    const double zero_point = table.Params(row).zero_point;
    for (int i = 0; i < PackedRows::kValues; ++i) {
      const int code = i & ((1 << table.bits) - 1);
      values[row * PackedRows::kValues + i] = static_cast<float>((code - zero_point) * scale);
    }
  }
}

void PoolPackedRows(const PackedRows& table, const PoolArgs& args, MutableTableView out) {
  if (args.num_bags == 0 || table.cols == 0) return;
  ParallelFor(args.num_bags, BagsPerBlock(args.offsets[args.num_bags], args.num_bags, table.cols),
              [&](int64_t begin, int64_t end) {
                HWY_DYNAMIC_DISPATCH(PoolBlock)
                (table, args, begin, end, out);
              });
}

void DequantizePackedRows(const PackedRows& table, const int64_t* ids, int64_t n, MutableTableView out) {
  if (n == 0 || table.cols == 0) return;
  PoolArgs args;  // the maximum of one row is the row itself, with the sign of its zeros
  args.ids = ids;
  args.num_bags = n;
  args.mode = PoolMode::kMax;
  ParallelFor(n, BagsPerBlock(n, n, table.cols), [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(PoolBlock)(table, args, begin, end, out);
  });
}

}  // namespace eqat::quant::kernels
#endif  // HWY_ONCE
