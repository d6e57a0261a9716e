#include "float_modules/gradient_kernels.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "core/parallel_for.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "float_modules/gradient_kernels.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
// Must follow foreach_target.h.
#include "core/pool_ops-inl.h"
#include "hwy/highway.h"

// Rows [begin, end) and columns [begin_col, end_col) of a result.
#ifndef EQAT_FLOAT_MODULES_GRADIENT_PART_
#define EQAT_FLOAT_MODULES_GRADIENT_PART_
namespace eqat::nn {
namespace {

struct GradientPart {
  int64_t begin = 0;
  int64_t end = 0;
  int64_t begin_col = 0;
  int64_t end_col = 0;
};

// The positions of row i of the result.
inline int64_t SlotOfRow(const GradientArgs& args, int64_t i) {
  return i + (args.skipped_slot >= 0 && i >= args.skipped_slot ? 1 : 0);
}

}  // namespace
}  // namespace eqat::nn
#endif

HWY_BEFORE_NAMESPACE();
namespace eqat::nn {
namespace HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;

template <class D>
using Vec = hn::Vec<D>;

// How many rows ahead the gradient of a row's first bag is fetched, and how much of it.
constexpr int64_t kPrefetchRows = 8;
constexpr int64_t kPrefetchFloats = 256;
constexpr int64_t kFloatsPerCacheLine = 16;

// The positions of one slot.
struct Positions {
  const int64_t* begin;
  const int64_t* end;
  float row_factor;  // f32(1 / positions)
};

HWY_INLINE int64_t BagOf(const GradientArgs& args, int64_t position) {
  return args.bag_of != nullptr ? args.bag_of[position] : position;
}

// Sums of g * factor. kFactor: whether a factor other than 1 occurs.
template <bool kFactor, bool kScaleByCount>
struct SumOfTerms {
  template <class D>
  static HWY_INLINE Vec<D> Next(D d, Vec<D> sum, Vec<D> g, float factor, float row_factor) {
    const Vec<D> term = kFactor ? hn::Mul(g, hn::Set(d, factor)) : g;
    if constexpr (kScaleByCount) return eqat::HWY_NAMESPACE::Fma(d, term, hn::Set(d, row_factor), sum);
    return hn::Add(sum, term);
  }
  static HWY_INLINE float FactorAt(const GradientArgs& args, int64_t position, int64_t bag) {
    if constexpr (!kFactor) return 1;
    return args.position_factors != nullptr ? args.position_factors[position] : args.bag_factors[bag];
  }
};

// sum * mask[0, lanes)
template <class D>
HWY_INLINE Vec<D> Masked(D d, Vec<D> sum, const uint8_t* HWY_RESTRICT mask) {
  if (mask == nullptr) return sum;
  const hn::Rebind<uint8_t, D> du8;
  const hn::RebindToSigned<D> di;
  return hn::Mul(sum, hn::ConvertTo(d, hn::PromoteTo(di, hn::LoadU(du8, mask))));
}

// Columns [col, col + kVectors vectors) of one row; `mask` is that of column col.
template <class Sum, size_t kVectors, class D>
HWY_INLINE void SumVectors(D d, const GradientArgs& args, const Positions& positions, int64_t col,
                           const uint8_t* HWY_RESTRICT mask, float* HWY_RESTRICT out) {
  static_assert(kVectors == 1 || kVectors == 4);
  const size_t lanes = hn::Lanes(d);
  Vec<D> sum0 = hn::Zero(d);
  Vec<D> sum1 = hn::Zero(d);
  Vec<D> sum2 = hn::Zero(d);
  Vec<D> sum3 = hn::Zero(d);
  for (const int64_t* position = positions.begin; position != positions.end; ++position) {
    const int64_t bag = BagOf(args, *position);
    const float* HWY_RESTRICT g = args.grad_output.Row(bag) + col;
    const float factor = Sum::FactorAt(args, *position, bag);
    sum0 = Sum::Next(d, sum0, hn::LoadU(d, g), factor, positions.row_factor);
    if constexpr (kVectors == 4) {
      sum1 = Sum::Next(d, sum1, hn::LoadU(d, g + lanes), factor, positions.row_factor);
      sum2 = Sum::Next(d, sum2, hn::LoadU(d, g + 2 * lanes), factor, positions.row_factor);
      sum3 = Sum::Next(d, sum3, hn::LoadU(d, g + 3 * lanes), factor, positions.row_factor);
    }
  }
  const auto mask_of = [mask, lanes](size_t vector) { return mask == nullptr ? nullptr : mask + vector * lanes; };
  hn::StoreU(Masked(d, sum0, mask), d, out + col);
  if constexpr (kVectors == 4) {
    hn::StoreU(Masked(d, sum1, mask_of(1)), d, out + col + lanes);
    hn::StoreU(Masked(d, sum2, mask_of(2)), d, out + col + 2 * lanes);
    hn::StoreU(Masked(d, sum3, mask_of(3)), d, out + col + 3 * lanes);
  }
}

// Columns [begin_col, end_col) of one row; `mask` is that of column 0.
template <class Sum>
HWY_INLINE void SumRow(const GradientArgs& args, const Positions& positions, const GradientPart& part,
                       const uint8_t* mask, float* HWY_RESTRICT out) {
  const hn::ScalableTag<float> full;
  const hn::CappedTag<float, 4> quarter;
  const hn::CappedTag<float, 1> single;
  const int64_t full_lanes = static_cast<int64_t>(hn::Lanes(full));
  const int64_t quarter_lanes = static_cast<int64_t>(hn::Lanes(quarter));
  const auto mask_at = [mask](int64_t col) { return mask == nullptr ? nullptr : mask + col; };
  int64_t col = part.begin_col;
  for (; col + 4 * full_lanes <= part.end_col; col += 4 * full_lanes) {
    SumVectors<Sum, 4>(full, args, positions, col, mask_at(col), out);
  }
  for (; col + full_lanes <= part.end_col; col += full_lanes) {
    SumVectors<Sum, 1>(full, args, positions, col, mask_at(col), out);
  }
  for (; col + quarter_lanes <= part.end_col; col += quarter_lanes) {
    SumVectors<Sum, 1>(quarter, args, positions, col, mask_at(col), out);
  }
  for (; col < part.end_col; ++col) SumVectors<Sum, 1>(single, args, positions, col, mask_at(col), out);
}

// Asks for the gradient of the first bag of row i + kPrefetchRows.
HWY_INLINE void PrefetchRow(const GradientArgs& args, const GradientPart& part, int64_t i) {
  if (i + kPrefetchRows >= part.end) return;
  const int64_t position = args.distinct->PositionsOf(SlotOfRow(args, i + kPrefetchRows)).front();
  const float* g = args.grad_output.Row(BagOf(args, position));
  const int64_t end = std::min(part.end_col, part.begin_col + kPrefetchFloats);
  for (int64_t col = part.begin_col; col < end; col += kFloatsPerCacheLine) __builtin_prefetch(g + col);
}

template <class Sum>
HWY_INLINE void SumRows(const GradientArgs& args, const GradientPart& part, const MutableTableView& out) {
  for (int64_t i = part.begin; i < part.end; ++i) {
    PrefetchRow(args, part, i);
    const int64_t slot = SlotOfRow(args, i);
    const absl::Span<const int64_t> span = args.distinct->PositionsOf(slot);
    Positions positions = {span.data(), span.data() + span.size(), 1};
    if (args.scale_by_count) positions.row_factor = static_cast<float>(1.0 / static_cast<double>(span.size()));
    SumRow<Sum>(args, positions, part, args.mask == nullptr ? nullptr : args.mask + slot * out.cols, out.Row(i));
  }
}

// Mode max: a plain loop, which the compiler turns into vectors of this target.
void SumMaxRows(const GradientArgs& args, const GradientPart& part, const MutableTableView& out) {
  const int64_t cols = out.cols;
  for (int64_t i = part.begin; i < part.end; ++i) {
    PrefetchRow(args, part, i);
    const int64_t slot = SlotOfRow(args, i);
    float* HWY_RESTRICT sum = out.Row(i);
    std::fill(sum + part.begin_col, sum + part.end_col, 0.0f);
    for (const int64_t position : args.distinct->PositionsOf(slot)) {
      const int64_t bag = BagOf(args, position);
      const float* HWY_RESTRICT g = args.grad_output.Row(bag);
      const int64_t* HWY_RESTRICT sources = args.max_positions + bag * cols;
      for (int64_t c = part.begin_col; c < part.end_col; ++c) sum[c] = sources[c] == position ? sum[c] + g[c] : sum[c];
    }
    if (args.mask == nullptr) continue;
    const uint8_t* HWY_RESTRICT mask = args.mask + slot * cols;
    for (int64_t c = part.begin_col; c < part.end_col; ++c) sum[c] *= static_cast<float>(mask[c]);
  }
}

void SumPart(const GradientArgs& args, const GradientPart& part, const MutableTableView& out) {
  if (args.max_positions != nullptr) return SumMaxRows(args, part, out);
  const bool factor = args.position_factors != nullptr || args.bag_factors != nullptr;
  if (args.scale_by_count) {
    if (factor) return SumRows<SumOfTerms<true, true>>(args, part, out);
    return SumRows<SumOfTerms<false, true>>(args, part, out);
  }
  if (factor) return SumRows<SumOfTerms<true, false>>(args, part, out);
  return SumRows<SumOfTerms<false, false>>(args, part, out);
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace eqat::nn
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace eqat::nn {
namespace {

HWY_EXPORT(SumPart);

// About as many floats a block as a core takes ten microseconds for.
constexpr int64_t kBlockFloats = 1 << 13;
// A row of more positions is cut into columns, which several threads sum.
constexpr size_t kHotPositions = 1024;
constexpr int64_t kHotColumns = 32;

bool IsHot(const GradientArgs& args, int64_t i) {
  return args.distinct->PositionsOf(SlotOfRow(args, i)).size() > kHotPositions;
}

// Empty at once for most batches: as many positions as that must be there first.
std::vector<int64_t> HotRows(const GradientArgs& args, int64_t num_rows) {
  std::vector<int64_t> hot;
  if (args.distinct->slots().size() <= kHotPositions) return hot;
  for (int64_t i = 0; i < num_rows; ++i) {
    if (IsHot(args, i)) hot.push_back(i);
  }
  return hot;
}

// Rows [begin, end) less the hot ones among them.
void SumOtherRows(const GradientArgs& args, const std::vector<int64_t>& hot, int64_t begin, int64_t end,
                  const MutableTableView& out) {
  auto next_hot = std::lower_bound(hot.begin(), hot.end(), begin);
  while (begin < end) {
    const int64_t stop = next_hot != hot.end() && *next_hot < end ? *next_hot++ : end;
    if (begin < stop) HWY_DYNAMIC_DISPATCH(SumPart)(args, {begin, stop, 0, out.cols}, out);
    begin = stop + 1;
  }
}

}  // namespace

void SumGradients(const GradientArgs& args, MutableTableView out) {
  assert(out.rows == args.distinct->size() - (args.skipped_slot >= 0 ? 1 : 0));
  if (out.cols == 0) return;
  const std::vector<int64_t> hot = HotRows(args, out.rows);
  const int64_t hot_parts = (out.cols - 1) / kHotColumns + 1;
  ParallelFor(static_cast<int64_t>(hot.size()) * hot_parts, 1, [&](int64_t part, int64_t /*end*/) {
    const int64_t row = hot[part / hot_parts];
    const int64_t begin_col = part % hot_parts * kHotColumns;
    HWY_DYNAMIC_DISPATCH(SumPart)(args, {row, row + 1, begin_col, std::min(begin_col + kHotColumns, out.cols)}, out);
  });
  ParallelFor(out.rows, std::max<int64_t>(1, kBlockFloats / out.cols),
              [&](int64_t begin, int64_t end) { SumOtherRows(args, hot, begin, end, out); });
}

}  // namespace eqat::nn
#endif  // HWY_ONCE
