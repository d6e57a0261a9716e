// Number formats of quantized codes, with torch's names. `bits` is what a packed code takes.
#ifndef EQAT_QUANT_TYPES_DTYPE_H_
#define EQAT_QUANT_TYPES_DTYPE_H_

#include <cstdint>
#include <optional>

#include "absl/strings/string_view.h"

namespace eqat::quant {

enum class Dtype : uint8_t {
  kQUInt8,
  kQUInt4x2,
  kQUInt2x4,
  kQInt8,
  kUInt1,
  kUInt2,
  kUInt3,
  kUInt4,
  kUInt5,
  kUInt6,
  kUInt7,
  kUInt8,
};

struct DtypeTraits {
  Dtype dtype;
  const char* name;
  int bits;
  int32_t quant_min;  // default and widest code range
  int32_t quant_max;
};

inline constexpr DtypeTraits kDtypes[] = {
    {Dtype::kQUInt8, "quint8", 8, 0, 255},   {Dtype::kQUInt4x2, "quint4x2", 4, 0, 15},
    {Dtype::kQUInt2x4, "quint2x4", 2, 0, 3}, {Dtype::kQInt8, "qint8", 8, -128, 127},
    {Dtype::kUInt1, "uint1", 1, 0, 1},       {Dtype::kUInt2, "uint2", 2, 0, 3},
    {Dtype::kUInt3, "uint3", 3, 0, 7},       {Dtype::kUInt4, "uint4", 4, 0, 15},
    {Dtype::kUInt5, "uint5", 5, 0, 31},      {Dtype::kUInt6, "uint6", 6, 0, 63},
    {Dtype::kUInt7, "uint7", 7, 0, 127},     {Dtype::kUInt8, "uint8", 8, 0, 255},
};

constexpr const DtypeTraits& TraitsOf(Dtype dtype) { return kDtypes[static_cast<int>(dtype)]; }
static_assert(TraitsOf(Dtype::kUInt8).dtype == Dtype::kUInt8);

inline std::optional<Dtype> DtypeFromName(absl::string_view name) {
  for (const DtypeTraits& traits : kDtypes) {
    if (name == traits.name) return traits.dtype;
  }
  return std::nullopt;
}

}  // namespace eqat::quant

#endif  // EQAT_QUANT_TYPES_DTYPE_H_
