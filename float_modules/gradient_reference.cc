#include <algorithm>
#include <cmath>

#include "float_modules/gradient_kernels.h"

namespace eqat::nn {
namespace {

void AddPosition(const GradientArgs& args, int64_t position, int64_t num_positions, float* sum) {
  const int64_t bag = args.bag_of != nullptr ? args.bag_of[position] : position;
  const int64_t cols = args.grad_output.cols;
  const float* const g = args.grad_output.Row(bag);
  if (args.max_positions != nullptr) {
    for (int64_t c = 0; c < cols; ++c) {
      if (args.max_positions[bag * cols + c] == position) sum[c] += g[c];
    }
    return;
  }
  float factor = 1;
  if (args.bag_factors != nullptr) factor = args.bag_factors[bag];
  if (args.position_factors != nullptr) factor = args.position_factors[position];
  const float row_factor = static_cast<float>(1.0 / static_cast<double>(num_positions));
  for (int64_t c = 0; c < cols; ++c) {
    const float term = g[c] * factor;
    sum[c] = args.scale_by_count ? std::fma(term, row_factor, sum[c]) : sum[c] + term;
  }
}

}  // namespace

void SumGradientsReference(const GradientArgs& args, MutableTableView out) {
  for (int64_t i = 0; i < out.rows; ++i) {
    const int64_t slot = i + (args.skipped_slot >= 0 && i >= args.skipped_slot ? 1 : 0);
    const absl::Span<const int64_t> positions = args.distinct->PositionsOf(slot);
    float* const sum = out.Row(i);
    std::fill_n(sum, out.cols, 0.0f);
    for (const int64_t position : positions) {
      AddPosition(args, position, static_cast<int64_t>(positions.size()), sum);
    }
    if (args.mask == nullptr) continue;
    for (int64_t c = 0; c < out.cols; ++c) sum[c] *= static_cast<float>(args.mask[slot * out.cols + c]);
  }
}

}  // namespace eqat::nn
