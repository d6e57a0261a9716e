// The formats that models are imported from and exported to: one row each, from which `eqat formats`, the choices of
// --format and the messages about them are made.
#ifndef EQAT_FORMATS_FORMAT_LIST_H_
#define EQAT_FORMATS_FORMAT_LIST_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/types/span.h"

namespace eqat::formats {

enum class Access : uint8_t { kRead, kWrite, kReadWrite };

struct Format {
  std::string_view name;           // what --format takes
  Access access;                   // kRead: `eqat import` takes it; kWrite: `eqat export` does
  std::string_view ending;         // usual ending of its files
  std::string_view recognised_by;  // how `eqat import` tells it by its content; "" when only --format does
  std::string_view summary;        // one line
};

// In the order in which they are shown.
absl::Span<const Format> Formats();

// Null when there is none of this name.
const Format* FindFormat(std::string_view name);

// Names of the formats that can be read (written), in order.
std::vector<std::string> ReadableFormats();
std::vector<std::string> WritableFormats();

}  // namespace eqat::formats

#endif  // EQAT_FORMATS_FORMAT_LIST_H_
