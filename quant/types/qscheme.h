// Quantization schemes, with torch's names. "Channel" is one slice along ch_axis; for a table and axis 0, one row.
#ifndef EQAT_QUANT_TYPES_QSCHEME_H_
#define EQAT_QUANT_TYPES_QSCHEME_H_

#include <cstdint>
#include <optional>

#include "absl/strings/string_view.h"

namespace eqat::quant {

enum class QScheme : uint8_t {
  kPerTensorAffine,
  kPerTensorSymmetric,
  kPerChannelAffine,
  kPerChannelSymmetric,
  kPerChannelAffineFloatQParams,
};

struct QSchemeTraits {
  QScheme qscheme;
  const char* name;
  bool per_channel;
  bool symmetric;
  bool float_zero_point;
};

inline constexpr QSchemeTraits kQSchemes[] = {
    {QScheme::kPerTensorAffine, "per_tensor_affine", false, false, false},
    {QScheme::kPerTensorSymmetric, "per_tensor_symmetric", false, true, false},
    {QScheme::kPerChannelAffine, "per_channel_affine", true, false, false},
    {QScheme::kPerChannelSymmetric, "per_channel_symmetric", true, true, false},
    {QScheme::kPerChannelAffineFloatQParams, "per_channel_affine_float_qparams", true, false, true},
};

constexpr const QSchemeTraits& TraitsOf(QScheme qscheme) { return kQSchemes[static_cast<int>(qscheme)]; }
static_assert(TraitsOf(QScheme::kPerChannelAffineFloatQParams).float_zero_point);

inline std::optional<QScheme> QSchemeFromName(absl::string_view name) {
  for (const QSchemeTraits& traits : kQSchemes) {
    if (name == traits.name) return traits.qscheme;
  }
  return std::nullopt;
}

}  // namespace eqat::quant

#endif  // EQAT_QUANT_TYPES_QSCHEME_H_
