#include <cmath>
#include <vector>

#include "core/pool_kernels.h"

namespace eqat {
namespace {

std::vector<int64_t> CountedPositions(const PoolArgs& args, int64_t bag) {
  std::vector<int64_t> positions;
  for (int64_t k = args.offsets[bag]; k < args.offsets[bag + 1]; ++k) {
    if (args.ids[k] != args.padding_id) positions.push_back(k);
  }
  return positions;
}

float SumOf(const PoolArgs& args, const std::vector<int64_t>& positions, int64_t col) {
  float sum = 0.0f;
  for (const int64_t k : positions) {
    const float value = args.rows.Row(args.ids[k])[col];
    if (args.weights == nullptr) {
      sum += value;
    } else if (args.has_padding) {
      sum += args.weights[k] * value;
    } else {
      sum = std::fma(args.weights[k], value, sum);
    }
  }
  return sum;
}

int64_t PositionOfMax(const PoolArgs& args, const std::vector<int64_t>& positions, int64_t col) {
  int64_t best = positions.front();
  for (const int64_t k : positions) {
    if (args.rows.Row(args.ids[k])[col] > args.rows.Row(args.ids[best])[col]) best = k;
  }
  return best;
}

}  // namespace

void PoolRowsReference(const PoolArgs& args, MutableTableView out, int64_t* max_positions) {
  for (int64_t bag = 0; bag < args.num_bags; ++bag) {
    const std::vector<int64_t> positions = CountedPositions(args, bag);
    for (int64_t col = 0; col < args.rows.cols; ++col) {
      float& result = out.Row(bag)[col];
      int64_t max_position = -1;
      if (positions.empty()) {
        result = 0.0f;
      } else if (args.mode == PoolMode::kMax) {
        max_position = PositionOfMax(args, positions, col);
        result = args.rows.Row(args.ids[max_position])[col];
      } else {
        result = SumOf(args, positions, col);
        if (args.mode == PoolMode::kMean) result /= static_cast<float>(positions.size());
      }
      if (max_positions != nullptr) max_positions[bag * args.rows.cols + col] = max_position;
    }
  }
}

}  // namespace eqat
