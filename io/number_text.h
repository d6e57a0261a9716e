// Numbers as text: without regard to the locale, whole field or nothing.
#ifndef EQAT_IO_NUMBER_TEXT_H_
#define EQAT_IO_NUMBER_TEXT_H_

#include <charconv>
#include <optional>
#include <string_view>
#include <system_error>

namespace eqat::io {

// std::from_chars over the whole of `text`; extra arguments are its format or base.
template <typename T, typename... Format>
std::errc ParseNumber(std::string_view text, T& value, Format... format) {
  const char* const end = text.data() + text.size();
  const std::from_chars_result result = std::from_chars(text.data(), end, value, format...);
  if (result.ec == std::errc() && result.ptr != end) return std::errc::invalid_argument;
  return result.ec;
}

// A finite decimal number; nullopt otherwise. Values too small for float32 become the nearest float32.
std::optional<float> ParseFloat(std::string_view text);

}  // namespace eqat::io

#endif  // EQAT_IO_NUMBER_TEXT_H_
