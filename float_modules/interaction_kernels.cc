#include "float_modules/interaction_kernels.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "core/scratch_memory.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "float_modules/interaction_kernels.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace eqat::nn {
namespace HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;

using D = hn::CappedTag<float, kInteractionRows>;
using V = hn::Vec<D>;

constexpr int64_t kSums = 8;

// Values of all features of one row that are turned around at a time, at most: larger rows fit into no cache.
constexpr int64_t kMaxRowValues = 1 << 16;

// a and b: [dim] vectors, a row in each lane.
HWY_INLINE V DotOfLanes(const float* HWY_RESTRICT a, const float* HWY_RESTRICT b, int64_t dim) {
  const D d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  const auto product = [&](int64_t c)
                           HWY_ATTR { return hn::Mul(hn::Load(d, a + c * lanes), hn::Load(d, b + c * lanes)); };
  V sums[kSums];
  for (int64_t i = 0; i < kSums; ++i) sums[i] = hn::Zero(d);
  const int64_t whole = dim - dim % kSums;
  for (int64_t c = 0; c < whole; c += kSums) {
#pragma GCC unroll 8
    for (int64_t i = 0; i < kSums; ++i) sums[i] = hn::Add(sums[i], product(c + i));
  }
  V dot = hn::Zero(d);
  for (int64_t i = 0; i < kSums; ++i) dot = hn::Add(dot, sums[i]);
  for (int64_t c = whole; c < dim; ++c) dot = hn::Add(dot, product(c));
  return dot;
}

// As many rows at once as a vector has lanes; rows that fill none are left to the reference.
void InteractRows(absl::Span<const float* const> features, int64_t dim, int64_t begin, int64_t end, float* dots) {
  const D d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  const int64_t count = static_cast<int64_t>(features.size());
  const int64_t pairs = count * (count - 1) / 2;
  int64_t row = begin;
  if (count * dim <= kMaxRowValues && lanes > 1 && end - begin >= lanes) {
    const ScratchArray<float> turned(count * dim * lanes);  // [count, dim, lanes]
    const ScratchArray<float> of_one(count * lanes);        // dots of one feature with those before: [lanes] each
    for (; row + lanes <= end; row += lanes) {
      for (int64_t i = 0; i < count; ++i) {
        const float* HWY_RESTRICT from = features[i] + row * dim;
        float* HWY_RESTRICT to = turned.data() + i * dim * lanes;
        for (int64_t c = 0; c < dim; ++c) {
          for (int64_t lane = 0; lane < lanes; ++lane) to[c * lanes + lane] = from[lane * dim + c];
        }
      }
      for (int64_t i = 1; i < count; ++i) {
        for (int64_t j = 0; j < i; ++j) {
          const float* const values = turned.data();
          hn::Store(DotOfLanes(values + i * dim * lanes, values + j * dim * lanes, dim), d, of_one.data() + j * lanes);
        }
        for (int64_t lane = 0; lane < lanes; ++lane) {
          float* const out = dots + (row + lane) * pairs + i * (i - 1) / 2;
          for (int64_t j = 0; j < i; ++j) out[j] = of_one[j * lanes + lane];
        }
      }
    }
  }
  InteractRowsReference(features, dim, row, end, dots);
}

// One vector of columns of one row of the gradient of feature k. `g`: of this row's dots.
template <class DC>
HWY_INLINE void SumColumns(DC d, absl::Span<const float* const> features, int64_t k, const float* HWY_RESTRICT g,
                           int64_t at, float* HWY_RESTRICT gradient) {
  const int64_t count = static_cast<int64_t>(features.size());
  hn::Vec<DC> sum = hn::Zero(d);
  const auto add = [&](int64_t m, int64_t pair)
                       HWY_ATTR { sum = hn::Add(sum, hn::Mul(hn::Set(d, g[pair]), hn::LoadU(d, features[m] + at))); };
  for (int64_t m = 0; m < k; ++m) add(m, k * (k - 1) / 2 + m);
  for (int64_t m = k + 1; m < count; ++m) add(m, m * (m - 1) / 2 + k);
  hn::StoreU(sum, d, gradient + at);
}

void InteractRowsBackward(absl::Span<const float* const> features, int64_t dim, const float* grad_dots, int64_t begin,
                          int64_t end, absl::Span<float* const> gradients) {
  const D full;
  const hn::CappedTag<float, 4> quarter;
  const hn::CappedTag<float, 1> single;
  const int64_t count = static_cast<int64_t>(features.size());
  for (int64_t row = begin; row < end; ++row) {
    const float* const g = grad_dots + row * (count * (count - 1) / 2);
    for (int64_t k = 0; k < count; ++k) {
      int64_t c = 0;
      const auto sum_vectors = [&](auto d) HWY_ATTR {
        const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
        for (; c + lanes <= dim; c += lanes) SumColumns(d, features, k, g, row * dim + c, gradients[k]);
      };
      sum_vectors(full);
      sum_vectors(quarter);
      sum_vectors(single);
    }
  }
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace eqat::nn
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace eqat::nn {

HWY_EXPORT(InteractRows);
HWY_EXPORT(InteractRowsBackward);

void InteractRows(absl::Span<const float* const> features, int64_t dim, int64_t begin, int64_t end, float* dots) {
  HWY_DYNAMIC_DISPATCH(InteractRows)(features, dim, begin, end, dots);
}

void InteractRowsBackward(absl::Span<const float* const> features, int64_t dim, const float* grad_dots, int64_t begin,
                          int64_t end, absl::Span<float* const> gradients) {
  HWY_DYNAMIC_DISPATCH(InteractRowsBackward)(features, dim, grad_dots, begin, end, gradients);
}

}  // namespace eqat::nn
#endif  // HWY_ONCE
