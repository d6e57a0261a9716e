// What a message shows of text that came from a file.

#ifndef EQAT_IO_EXCERPT_H_
#define EQAT_IO_EXCERPT_H_

#include <algorithm>
#include <cstddef>
#include <string>
#include <string_view>

#include "absl/strings/escaping.h"
#include "absl/strings/string_view.h"

namespace eqat::io {

// The first `max_bytes` of `text`, with everything that is not printable ASCII escaped as in C.
inline std::string Excerpt(std::string_view text, size_t max_bytes = 200) {
  return absl::CHexEscape(absl::string_view(text.data(), std::min(text.size(), max_bytes)));
}

}  // namespace eqat::io

#endif  // EQAT_IO_EXCERPT_H_
