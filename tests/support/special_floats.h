// The floats that arithmetic treats in ways of their own.

#ifndef EQAT_TESTS_SUPPORT_SPECIAL_FLOATS_H_
#define EQAT_TESTS_SUPPORT_SPECIAL_FLOATS_H_

#include <limits>

namespace eqat::testing {

inline constexpr float kFloatInfinity = std::numeric_limits<float>::infinity();
inline constexpr float kFloatNaN = std::numeric_limits<float>::quiet_NaN();

}  // namespace eqat::testing

#endif  // EQAT_TESTS_SUPPORT_SPECIAL_FLOATS_H_
