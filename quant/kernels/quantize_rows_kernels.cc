#include "quant/kernels/quantize_rows_kernels.h"

#include <algorithm>
#include <cassert>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "quant/kernels/pack_kernels.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "quant/kernels/quantize_rows_kernels.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
// Must follow foreach_target.h.
#include "hwy/highway.h"
#include "quant/kernels/affine-inl.h"

HWY_BEFORE_NAMESPACE();
namespace eqat::quant::kernels {
namespace HWY_NAMESPACE {
namespace {

#if HWY_TARGET == HWY_SCALAR

int64_t QuantizeByOwnBounds(TableView x, const QParamsRule& rule, int bits, const MutablePackedRows& out) {
  return reference::QuantizeRowsByOwnBounds(x, rule, bits, out);
}

int64_t QuantizeWithQParams(TableView x, const QParams* qparams, const QParamsRule& rule, int bits,
                            const MutablePackedRows& out) {
  return reference::QuantizeRowsWithQParams(x, qparams, rule, bits, out);
}

#else

// Rows are worked on in groups of as many rows as a vector has lanes: one pass for their bounds, one for their codes,
// which finds the rows in cache. Nothing is prefetched: rows lie in order, and the processor's own prefetching was the
// fastest (0.70 of a plain read sweep's speed at 64 columns; fetching 0.5 to 8 KiB ahead gave 0.35 to 0.6).
using DF = hn::CappedTag<float, 16>;
using VF = hn::Vec<DF>;
constexpr size_t kLaneCapacity = hn::MaxLanes(DF());
template <class D>
using BytesOf = hn::Repartition<uint8_t, D>;
using SixteenBytes = hn::CappedTag<uint8_t, 16>;

// What the codes of a row take.
struct RowParams {
  float inverse;  // f32(1 / scale)
  float zero_point;
};

struct CodeLimits {
  float quant_min;
  float quant_max;
};

// ---- From values to codes and packed bytes.

// The codes of one vector in the low byte of each lane; the other bytes are not specified.
template <bool kClamp, class D>
HWY_INLINE hn::Vec<D> WideCodes(D d, const float* HWY_RESTRICT x, RowParams params, const CodeLimits& limits) {
  hn::Vec<D> value = FusedMulAdd(d, hn::LoadU(d, x), hn::Set(d, params.inverse), hn::Set(d, params.zero_point));
  if constexpr (kClamp) {
    // As FakeQuantizeRow: NaN and values that x86 cannot convert to int64 get quant_min.
    const hn::Vec<D> quant_min = hn::Set(d, limits.quant_min);
    value = hn::IfThenElse(hn::Lt(value, hn::Set(d, 0x1p63f)), value, quant_min);
    value = hn::Min(hn::Max(value, quant_min), hn::Set(d, limits.quant_max));
  }
  // The sum has no bits for fractions, so it is rounded to the nearest integer, ties to even, and ends with its bits.
  return hn::Add(value, hn::Set(d, 0x1.8p23f));
}

// The codes of four vectors, in order.
template <bool kClamp, class D>
HWY_INLINE hn::Vec<BytesOf<D> > CodesOfFourVectors(D d, const float* HWY_RESTRICT x, RowParams params,
                                                   const CodeLimits& limits) {
  const hn::Repartition<uint16_t, D> d16;
  const BytesOf<D> d8;
  const size_t lanes = hn::Lanes(d);
  const auto codes0 = hn::BitCast(d16, WideCodes<kClamp>(d, x, params, limits));
  const auto codes1 = hn::BitCast(d16, WideCodes<kClamp>(d, x + lanes, params, limits));
  const auto codes2 = hn::BitCast(d16, WideCodes<kClamp>(d, x + 2 * lanes, params, limits));
  const auto codes3 = hn::BitCast(d16, WideCodes<kClamp>(d, x + 3 * lanes, params, limits));
  const auto codes01 = hn::BitCast(d8, hn::ConcatEven(d16, codes1, codes0));
  const auto codes23 = hn::BitCast(d8, hn::ConcatEven(d16, codes3, codes2));
  return hn::ConcatEven(d8, codes23, codes01);
}

// Eight codes fill `bits` whole bytes: the group is one little-endian number.
template <int kBits>
HWY_INLINE void StoreGroups(const uint8_t* codes, size_t groups, uint8_t* HWY_RESTRICT packed) {
  for (size_t group = 0; group < groups; ++group) {
    uint64_t number = 0;
    for (int k = 0; k < 8; ++k) number |= uint64_t{codes[group * 8 + k]} << (k * kBits);
    for (int b = 0; b < kBits; ++b) packed[group * kBits + b] = static_cast<uint8_t>(number >> (8 * b));
  }
}

// Stores the Lanes(d8) * kBits / 8 bytes that the codes take.
template <int kBits, class D8>
HWY_INLINE void StorePacked(D8 d8, hn::Vec<D8> codes, uint8_t* HWY_RESTRICT packed) {
  if constexpr (kBits == 8) {
    hn::StoreU(codes, d8, packed);
  } else if constexpr (8 % kBits != 0) {
    HWY_ALIGN uint8_t bytes[hn::MaxLanes(D8())];
    hn::Store(codes, d8, bytes);
    StoreGroups<kBits>(bytes, hn::Lanes(d8) / 8, packed);
  } else {
    // Neighbours become one code of twice the bits.
    const hn::Repartition<uint16_t, D8> d16;
    const auto pairs = hn::BitCast(d16, codes);
    const auto merged = hn::BitCast(d8, hn::Or(pairs, hn::ShiftRight<8 - kBits>(pairs)));
    const hn::Half<D8> half;
    StorePacked<2 * kBits>(half, hn::LowerHalf(half, hn::ConcatEven(d8, merged, merged)), packed);
  }
}

// Fewer than sixteen codes; bits beyond the last are zero.
template <int kBits, bool kClamp>
HWY_INLINE void QuantizeRest(const float* HWY_RESTRICT x, size_t n, RowParams params, const CodeLimits& limits,
                             uint8_t* HWY_RESTRICT packed) {
  HWY_ALIGN float values[16] = {};
  HWY_ALIGN uint8_t bytes[16];
  std::copy_n(x, n, values);
  const SixteenBytes d8;
  const auto codes = CodesOfFourVectors<kClamp>(hn::CappedTag<float, 4>(), values, params, limits);
  StorePacked<kBits>(d8, hn::IfThenElseZero(hn::FirstN(d8, n), codes), bytes);
  std::copy_n(bytes, PackedRowBytes(static_cast<int64_t>(n), kBits), packed);
}

// Columns from `x` on, four vectors at a time, then with vectors of half the size.
template <int kBits, bool kClamp, class D>
HWY_INLINE void QuantizeColumns(D d, const float* HWY_RESTRICT x, size_t n, RowParams params, const CodeLimits& limits,
                                uint8_t* HWY_RESTRICT packed) {
  const size_t step = 4 * hn::Lanes(d);
  for (; n >= step; n -= step, x += step, packed += step / 8 * kBits) {
    StorePacked<kBits>(BytesOf<D>(), CodesOfFourVectors<kClamp>(d, x, params, limits), packed);
  }
  if (n == 0) return;
  if constexpr (hn::MaxLanes(D()) > 4) {
    QuantizeColumns<kBits, kClamp>(hn::Half<D>(), x, n, params, limits, packed);
  } else {
    QuantizeRest<kBits, kClamp>(x, n, params, limits, packed);
  }
}

// ---- Groups of rows.

struct Group {
  TableView x;  // `rows` of them
  MutablePackedRows out;
};

Group GroupAt(TableView x, int64_t row, int64_t rows, const MutablePackedRows& out) {
  return {TableView(x.Row(row), rows, x.cols, x.stride), out.From(row)};
}

template <int kBits, bool kClamp>
HWY_INLINE void QuantizeGroup(const Group& group, const float* HWY_RESTRICT inverses,
                              const float* HWY_RESTRICT zero_points, const CodeLimits& limits) {
  for (int64_t row = 0; row < group.x.rows; ++row) {
    QuantizeColumns<kBits, kClamp>(DF(), group.x.Row(row), group.x.cols, {inverses[row], zero_points[row]}, limits,
                                   group.out.Codes(row));
  }
}

HWY_INLINE void StoreParams(const Group& group, const float* HWY_RESTRICT scales,
                            const float* HWY_RESTRICT zero_points) {
  for (int64_t row = 0; row < group.x.rows; ++row) {
    group.out.Params(row) = {scales[row], zero_points[row]};
  }
}

// ---- Bounds and parameters of a group.

// Calls `body` for vectors that hold every value of a row, some of them twice.
template <class Body>
HWY_INLINE void ForEachVector(const float* HWY_RESTRICT x, size_t n, const Body& body) {
  const DF d;
  const size_t lanes = hn::Lanes(d);
  HWY_ALIGN float short_row[kLaneCapacity];
  if (n < lanes) {
    std::fill(std::copy_n(x, n, short_row), short_row + lanes, x[0]);
    x = short_row;
    n = lanes;
  }
  for (size_t i = 0; i < n; i += lanes) body(hn::LoadU(d, x + std::min(i, n - lanes)));
}

// `zeros` stays +-0 unless a value is NaN or infinite.
HWY_INLINE void AddZeros(VF values, VF& zeros) { zeros = hn::MulAdd(values, hn::Zero(DF()), zeros); }
HWY_INLINE bool AllZero(VF zeros) {
  const DF d;
  return hn::AllTrue(d, hn::Eq(zeros, hn::Zero(d)));
}

struct Smaller {
  HWY_INLINE VF operator()(VF a, VF b) const { return hn::Min(a, b); }
};
struct Larger {
  HWY_INLINE VF operator()(VF a, VF b) const { return hn::Max(a, b); }
};

// lanes [row * Lanes + i] -> vector with, for each row, `op` of its lanes. Halves the number of vectors and of lanes
// that a row takes until both are one.
template <class Op>
HWY_INLINE VF ReduceRows(float* HWY_RESTRICT lanes, Op op) {
  const DF d;
  const size_t n = hn::Lanes(d);
  for (size_t vectors = n; vectors > 1; vectors /= 2) {
    for (size_t i = 0; i < vectors; i += 2) {
      const VF low = hn::Load(d, lanes + i * n);
      const VF high = hn::Load(d, lanes + (i + 1) * n);
      hn::Store(op(hn::ConcatEven(d, high, low), hn::ConcatOdd(d, high, low)), d, lanes + i / 2 * n);
    }
  }
  return hn::Load(d, lanes);
}

// The sign of a zero bound is that of the first zero, as in a sequential search.
HWY_INLINE VF WithSignsOfFirstZeros(TableView x, VF min) {
  const DF d;
  if (hn::AllFalse(d, hn::Eq(min, hn::Zero(d)))) return min;
  HWY_ALIGN float values[kLaneCapacity];
  hn::Store(min, d, values);
  for (int64_t row = 0; row < x.rows; ++row) {
    if (values[row] == 0.0f) values[row] = *std::find(x.Row(row), x.Row(row) + x.cols, 0.0f);
  }
  return hn::Load(d, values);
}

// With parameters of a row's own bounds, quant_min 0 and moderate parameters the codes stay inside 0 .. length unasked.
// Let u = 2^-24: s is within 2u of (max - min) / length, 1 / s and z = -min / s are within u of theirs, relatively. So
// what is rounded to a code is monotone in x, for `min` at most 2u * |z| <= 1/8 away from 0, and for `max` at most
// 2u * length + u * (|max / s| + |z|) < 1/4 away from length. Where eps has replaced s by 1 it is x - min, at most
// length * eps.
HWY_INLINE bool ClampCannotAct(const QParamsRule& rule, VF scale, VF zero_point) {
  const DF d;
  if (rule.quant_min != 0 || rule.eps > 1.0f) return false;
  const auto moderate = hn::And(hn::Le(hn::Abs(zero_point), hn::Set(d, 0x1p20f)),
                                hn::And(hn::Ge(scale, hn::Set(d, 0x1p-100f)), hn::Le(scale, hn::Set(d, 0x1p100f))));
  return hn::AllTrue(d, moderate);
}

// False if a row has no parameters.
template <int kBits>
HWY_INLINE bool QuantizeGroupByOwnBounds(const Group& group, const QParamsRule& rule, const CodeLimits& limits) {
  const DF d;
  const size_t lanes = hn::Lanes(d);
  HWY_ALIGN float mins[kLaneCapacity * kLaneCapacity];
  HWY_ALIGN float maxs[kLaneCapacity * kLaneCapacity];
  VF zeros = hn::Zero(d);
  for (int64_t row = 0; row < group.x.rows; ++row) {
    VF min = hn::Set(d, *group.x.Row(row));
    VF max = min;
    ForEachVector(group.x.Row(row), group.x.cols, [&](VF values) HWY_ATTR {
      min = hn::Min(min, values);
      max = hn::Max(max, values);
      AddZeros(values, zeros);
    });
    hn::Store(min, d, mins + row * lanes);
    hn::Store(max, d, maxs + row * lanes);
  }
  // Rows beyond the last are rows of zeros.
  std::fill(mins + group.x.rows * lanes, mins + lanes * lanes, 0.0f);
  std::fill(maxs + group.x.rows * lanes, maxs + lanes * lanes, 0.0f);
  const VF min = WithSignsOfFirstZeros(group.x, ReduceRows(mins, Smaller()));
  const VF max = ReduceRows(maxs, Larger());

  // ChooseQParams.
  const VF one = hn::Set(d, 1.0f);
  VF scale = hn::Div(hn::Sub(max, min), hn::Set(d, static_cast<float>(rule.quant_max - rule.quant_min)));
  scale = hn::IfThenElse(hn::Gt(scale, hn::Set(d, rule.eps)), scale, one);
  const VF zero_point = hn::Div(hn::Neg(min), scale);
  AddZeros(scale, zeros);
  AddZeros(zero_point, zeros);
  if (!AllZero(zeros)) return false;

  HWY_ALIGN float scales[kLaneCapacity];
  HWY_ALIGN float zero_points[kLaneCapacity];
  HWY_ALIGN float inverses[kLaneCapacity];
  hn::Store(scale, d, scales);
  hn::Store(zero_point, d, zero_points);
  hn::Store(hn::Div(one, scale), d, inverses);
  StoreParams(group, scales, zero_points);
  if (ClampCannotAct(rule, scale, zero_point)) {
    QuantizeGroup<kBits, false>(group, inverses, zero_points, limits);
  } else {
    QuantizeGroup<kBits, true>(group, inverses, zero_points, limits);
  }
  return true;
}

template <int kBits>
int64_t QuantizeByOwnBoundsOf(TableView x, const QParamsRule& rule, const CodeLimits& limits,
                              const MutablePackedRows& out) {
  const int64_t group_rows = static_cast<int64_t>(hn::Lanes(DF()));
  for (int64_t row = 0; row < x.rows; row += group_rows) {
    const Group group = GroupAt(x, row, std::min(group_rows, x.rows - row), out);
    if (QuantizeGroupByOwnBounds<kBits>(group, rule, limits)) continue;
    return row + reference::QuantizeRowsByOwnBounds(group.x, rule, kBits, group.out);
  }
  return x.rows;
}

template <int kBits>
int64_t QuantizeWithQParamsOf(TableView x, const QParams* qparams, const QParamsRule& rule, const CodeLimits& limits,
                              const MutablePackedRows& out) {
  const int64_t group_rows = static_cast<int64_t>(hn::Lanes(DF()));
  HWY_ALIGN float inverses[kLaneCapacity];
  HWY_ALIGN float scales[kLaneCapacity];
  HWY_ALIGN float zero_points[kLaneCapacity];
  for (int64_t begin = 0; begin < x.rows; begin += group_rows) {
    const Group group = GroupAt(x, begin, std::min(group_rows, x.rows - begin), out);
    VF zeros = hn::Zero(DF());
    for (int64_t row = 0; row < group.x.rows; ++row) {
      ForEachVector(group.x.Row(row), group.x.cols, [&](VF values) HWY_ATTR { AddZeros(values, zeros); });
      scales[row] = qparams[begin + row].scale;
      zero_points[row] = qparams[begin + row].zero_point;
      inverses[row] = 1.0f / scales[row];
    }
    if (!AllZero(zeros)) {
      return begin + reference::QuantizeRowsWithQParams(group.x, qparams + begin, rule, kBits, group.out);
    }
    StoreParams(group, scales, zero_points);
    QuantizeGroup<kBits, /*kClamp=*/true>(group, inverses, zero_points, limits);
  }
  return x.rows;
}

// Calls `body` with the template argument for `bits`.
template <class Body>
HWY_INLINE auto WithBits(int bits, const Body& body) {
  switch (bits) {
    case 1:
      return body(std::integral_constant<int, 1>());
    case 2:
      return body(std::integral_constant<int, 2>());
    case 3:
      return body(std::integral_constant<int, 3>());
    case 4:
      return body(std::integral_constant<int, 4>());
    case 5:
      return body(std::integral_constant<int, 5>());
    case 6:
      return body(std::integral_constant<int, 6>());
    case 7:
      return body(std::integral_constant<int, 7>());
    default:
      assert(bits == 8);
      return body(std::integral_constant<int, 8>());
  }
}

CodeLimits LimitsOf(const QParamsRule& rule) {
  return {static_cast<float>(rule.quant_min), static_cast<float>(rule.quant_max)};
}

int64_t QuantizeByOwnBounds(TableView x, const QParamsRule& rule, int bits, const MutablePackedRows& out) {
  return WithBits(bits, [&](auto constant) {
    return QuantizeByOwnBoundsOf<decltype(constant)::value>(x, rule, LimitsOf(rule), out);
  });
}

int64_t QuantizeWithQParams(TableView x, const QParams* qparams, const QParamsRule& rule, int bits,
                            const MutablePackedRows& out) {
  return WithBits(bits, [&](auto constant) {
    return QuantizeWithQParamsOf<decltype(constant)::value>(x, qparams, rule, LimitsOf(rule), out);
  });
}

#endif  // HWY_TARGET == HWY_SCALAR

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace eqat::quant::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace eqat::quant::kernels {
namespace {

HWY_EXPORT(QuantizeByOwnBounds);
HWY_EXPORT(QuantizeWithQParams);

}  // namespace

int64_t QuantizeRowsByOwnBounds(TableView x, const QParamsRule& rule, int bits, const MutablePackedRows& out) {
  return HWY_DYNAMIC_DISPATCH(QuantizeByOwnBounds)(x, rule, bits, out);
}

int64_t QuantizeRowsWithQParams(TableView x, const QParams* qparams, const QParamsRule& rule, int bits,
                                const MutablePackedRows& out) {
  return HWY_DYNAMIC_DISPATCH(QuantizeWithQParams)(x, qparams, rule, bits, out);
}

}  // namespace eqat::quant::kernels
#endif  // HWY_ONCE
