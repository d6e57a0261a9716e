// Values for the tests of kernels.
#ifndef EQAT_TESTS_FLOAT_MODULES_RANDOM_VALUES_H_
#define EQAT_TESTS_FLOAT_MODULES_RANDOM_VALUES_H_

#include <cstdint>
#include <vector>

#include "core/rng.h"

namespace eqat::nn {

// Standard normals, every seventh -0: sums show in which order and from which zero they were made.
inline std::vector<float> RandomValues(uint64_t stream, int64_t n) {
  const Rng rng(21, stream);
  std::vector<float> values(n);
  for (int64_t i = 0; i < n; ++i) values[i] = i % 7 == 3 ? -0.0f : rng.Normal(static_cast<uint64_t>(i));
  return values;
}

}  // namespace eqat::nn

#endif  // EQAT_TESTS_FLOAT_MODULES_RANDOM_VALUES_H_
