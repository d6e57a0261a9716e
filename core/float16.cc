#include "core/float16.h"

#include "Eigen/Core"

namespace eqat {

uint16_t ToFloat16Bits(float value) { return Eigen::numext::bit_cast<uint16_t>(Eigen::half(value)); }

float FromFloat16Bits(uint16_t bits) { return static_cast<float>(Eigen::numext::bit_cast<Eigen::half>(bits)); }

}  // namespace eqat
