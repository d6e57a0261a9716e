// Comparison of floats by bit pattern, so that NaN equals itself and the zeros differ.
#ifndef EQAT_TESTS_SUPPORT_FLOAT_BITS_H_
#define EQAT_TESTS_SUPPORT_FLOAT_BITS_H_

#include <bit>
#include <cstdint>
#include <vector>

#include "absl/types/span.h"

namespace eqat::testing {

inline std::vector<uint32_t> BitsOf(absl::Span<const float> values) {
  std::vector<uint32_t> bits;
  for (const float value : values) bits.push_back(std::bit_cast<uint32_t>(value));
  return bits;
}

inline std::vector<float> FloatsOf(absl::Span<const uint32_t> bits) {
  std::vector<float> values;
  for (const uint32_t pattern : bits) values.push_back(std::bit_cast<float>(pattern));
  return values;
}

}  // namespace eqat::testing

#endif  // EQAT_TESTS_SUPPORT_FLOAT_BITS_H_
