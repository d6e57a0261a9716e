// All rows of a RowSource, read in blocks of a given size.
#ifndef EQAT_TESTS_SUPPORT_ROWS_OF_H_
#define EQAT_TESTS_SUPPORT_ROWS_OF_H_

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "core/status_macros.h"
#include "io/row_source.h"

namespace eqat::testing {

// Their words go to `words` when it is given. A row of sentries behind each block must stay as it is.
inline absl::StatusOr<std::vector<float>> RowsOf(io::RowSource& source, int64_t block, std::string* words = nullptr) {
  constexpr float kSentry = 12345.0f;
  std::vector<float> values;
  std::string all_words;
  for (int64_t begin = 0; begin < source.rows(); begin += block) {
    const int64_t count = std::min(block, source.rows() - begin);
    std::vector<float> part((count + 1) * source.cols(), kSentry);
    EQAT_RETURN_IF_ERROR(source.Read(count, part.data(), all_words));
    const auto end = part.begin() + count * source.cols();
    if (std::any_of(end, part.end(), [](float value) { return value != kSentry; })) {
      return absl::InternalError("wrote behind the block");
    }
    values.insert(values.end(), part.begin(), end);
  }
  EQAT_RETURN_IF_ERROR(source.Finish());
  if (words != nullptr) *words = all_words;
  return values;
}

}  // namespace eqat::testing

#endif  // EQAT_TESTS_SUPPORT_ROWS_OF_H_
