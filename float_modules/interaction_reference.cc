#include <algorithm>

#include "float_modules/dot.h"
#include "float_modules/interaction_kernels.h"

namespace eqat::nn {

void InteractRowsReference(absl::Span<const float* const> features, int64_t dim, int64_t begin, int64_t end,
                           float* dots) {
  const int64_t count = static_cast<int64_t>(features.size());
  float* out = dots + begin * (count * (count - 1) / 2);
  for (int64_t row = begin; row < end; ++row) {
    for (int64_t i = 1; i < count; ++i) {
      for (int64_t j = 0; j < i; ++j) *out++ = Dot(features[i] + row * dim, features[j] + row * dim, dim);
    }
  }
}

void InteractRowsBackwardReference(absl::Span<const float* const> features, int64_t dim, const float* grad_dots,
                                   int64_t begin, int64_t end, absl::Span<float* const> gradients) {
  const int64_t count = static_cast<int64_t>(features.size());
  for (float* const gradient : gradients) std::fill(gradient + begin * dim, gradient + end * dim, 0.0f);
  const float* g = grad_dots + begin * (count * (count - 1) / 2);
  for (int64_t row = begin; row < end; ++row) {
    for (int64_t i = 1; i < count; ++i) {
      for (int64_t j = 0; j < i; ++j, ++g) {
        for (int64_t c = row * dim; c < (row + 1) * dim; ++c) {
          gradients[i][c] += *g * features[j][c];
          gradients[j][c] += *g * features[i][c];
        }
      }
    }
  }
}

}  // namespace eqat::nn
