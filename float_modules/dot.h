// The dot product of this folder: one order of summation, so that results do not depend on the compiler's vectors.
// Internal to this folder.
#ifndef EQAT_FLOAT_MODULES_DOT_H_
#define EQAT_FLOAT_MODULES_DOT_H_

#include <cstdint>

namespace eqat::nn {

// Eight running sums over a[i] * b[i], i mod 8, added up in order, then the last n mod 8 products; each product and
// each sum rounded to float32.
inline float Dot(const float* a, const float* b, int64_t n) {
  constexpr int64_t kLanes = 8;
  float lanes[kLanes] = {};
  const int64_t whole = n - n % kLanes;
  for (int64_t i = 0; i < whole; i += kLanes) {
    for (int64_t lane = 0; lane < kLanes; ++lane) lanes[lane] += a[i + lane] * b[i + lane];
  }
  float sum = 0;
  for (const float lane : lanes) sum += lane;
  for (int64_t i = whole; i < n; ++i) sum += a[i] * b[i];
  return sum;
}

}  // namespace eqat::nn

#endif  // EQAT_FLOAT_MODULES_DOT_H_
