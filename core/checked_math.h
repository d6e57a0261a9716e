// Overflow-checked arithmetic for every size that comes from a file, an option or a tensor shape.
#ifndef EQAT_CORE_CHECKED_MATH_H_
#define EQAT_CORE_CHECKED_MATH_H_

#include <cstdint>
#include <optional>

namespace eqat {

// nullopt when the exact result does not fit into int64.
inline std::optional<int64_t> CheckedMul(int64_t a, int64_t b) {
  int64_t result = 0;
  if (__builtin_mul_overflow(a, b, &result)) return std::nullopt;
  return result;
}

inline std::optional<int64_t> CheckedAdd(int64_t a, int64_t b) {
  int64_t result = 0;
  if (__builtin_add_overflow(a, b, &result)) return std::nullopt;
  return result;
}

}  // namespace eqat

#endif  // EQAT_CORE_CHECKED_MATH_H_
