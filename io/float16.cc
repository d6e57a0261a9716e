#include <algorithm>
#include <cstdint>
#include <vector>

#include "Eigen/Core"
#include "core/float16.h"
#include "io/safetensors.h"

namespace eqat::io {

std::vector<uint16_t> ToFloat16(absl::Span<const float> values) {
  std::vector<uint16_t> result(values.size());
  std::transform(values.begin(), values.end(), result.begin(), ToFloat16Bits);
  return result;
}

std::vector<uint16_t> ToBFloat16(absl::Span<const float> values) {
  std::vector<uint16_t> result(values.size());
  std::transform(values.begin(), values.end(), result.begin(),
                 [](float value) { return Eigen::numext::bit_cast<uint16_t>(Eigen::bfloat16(value)); });
  return result;
}

float FromFloat16(uint16_t bits) { return FromFloat16Bits(bits); }

float FromBFloat16(uint16_t bits) { return static_cast<float>(Eigen::numext::bit_cast<Eigen::bfloat16>(bits)); }

}  // namespace eqat::io
