// Names of modules, nodes and of the tensors that come with them.
#ifndef EQAT_MODEL_NAMES_H_
#define EQAT_MODEL_NAMES_H_

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/string_view.h"

namespace eqat::model {

inline constexpr char kNameRule[] = "letters, digits, '_', '.' and '-'";
// What accompanies a jagged input X: "X.offsets", "X.per_sample_weights".
inline constexpr char kOffsetsSuffix[] = ".offsets";
inline constexpr char kPerSampleWeightsSuffix[] = ".per_sample_weights";

inline bool IsValidName(absl::string_view name) {
  return !name.empty() && std::all_of(name.begin(), name.end(), [](char c) {
    return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '_' || c == '.' || c == '-';
  });
}

}  // namespace eqat::model

#endif  // EQAT_MODEL_NAMES_H_
