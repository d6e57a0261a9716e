// IEEE 754 half precision (float16): float32 to its bits and back, rounded to nearest even. Values beyond 65504 become
// infinity, NaN stays NaN.
#ifndef EQAT_CORE_FLOAT16_H_
#define EQAT_CORE_FLOAT16_H_

#include <cstdint>

namespace eqat {

uint16_t ToFloat16Bits(float value);
float FromFloat16Bits(uint16_t bits);

// The float16 nearest to `value`.
inline float RoundToFloat16(float value) { return FromFloat16Bits(ToFloat16Bits(value)); }

}  // namespace eqat

#endif  // EQAT_CORE_FLOAT16_H_
