#include "io/number_text.h"

#include <cmath>

namespace eqat::io {

std::optional<float> ParseFloat(std::string_view text) {
  float value = 0;
  std::errc error = ParseNumber(text, value);
  if (error == std::errc::result_out_of_range) {
    double wide = 0;
    error = ParseNumber(text, wide);
    if (error == std::errc() && std::abs(wide) < 1.0) {
      value = static_cast<float>(wide);
    } else {
      error = std::errc::result_out_of_range;
    }
  }
  if (error != std::errc() || !std::isfinite(value)) return std::nullopt;
  return value;
}

}  // namespace eqat::io
