#include <cstdint>
#include <vector>

#include "Eigen/Core"
#include "io/safetensors.h"

namespace eqat::io {
namespace {

template <typename Narrow>
std::vector<uint16_t> Narrowed(absl::Span<const float> values) {
  std::vector<uint16_t> result(values.size());
  for (size_t i = 0; i < values.size(); ++i) {
    result[i] = Eigen::numext::bit_cast<uint16_t>(Narrow(values[i]));
  }
  return result;
}

}  // namespace

std::vector<uint16_t> ToFloat16(absl::Span<const float> values) { return Narrowed<Eigen::half>(values); }

std::vector<uint16_t> ToBFloat16(absl::Span<const float> values) { return Narrowed<Eigen::bfloat16>(values); }

float FromFloat16(uint16_t bits) { return static_cast<float>(Eigen::numext::bit_cast<Eigen::half>(bits)); }

float FromBFloat16(uint16_t bits) { return static_cast<float>(Eigen::numext::bit_cast<Eigen::bfloat16>(bits)); }

}  // namespace eqat::io
