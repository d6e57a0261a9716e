// Parsing of single fields: locale-free, whole field or nothing. FieldError says what is wrong with a field; the caller
// knows where it stands.
#ifndef EQAT_TRAIN_FIELD_PARSER_H_
#define EQAT_TRAIN_FIELD_PARSER_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>

#include "absl/status/statusor.h"
#include "train/data_spec.h"

namespace eqat::train {

// log1p for kLog1p; nullopt when that is not finite.
std::optional<float> Apply(Transform transform, float value);

// Finds words without making strings of them.
struct WordHash {
  using is_transparent = void;
  size_t operator()(std::string_view word) const { return std::hash<std::string_view>()(word); }
};
using Vocabulary = std::unordered_map<std::string, int64_t, WordHash, std::equal_to<>>;

// One value a line (plain or gzip), the line number from 0 is the index. InvalidArgument for an empty file and for a
// value that stands there twice.
absl::StatusOr<Vocabulary> ReadVocabulary(const std::string& path);

// The index of one value, or what was expected instead.
struct IndexResult {
  int64_t index = -1;
  const char* expected = nullptr;  // null: `index` is valid
};
// `text` is not empty.
IndexResult ParseIndex(const CategoricalSpec& spec, const Vocabulary& vocabulary, std::string_view text);

// Every index of the column, unknown and missing included, is below this.
int64_t IndexBound(const CategoricalSpec& spec, const Vocabulary& vocabulary);

// A field for a message: control characters escaped, at most 40 bytes.
std::string FieldExcerpt(std::string_view text);

}  // namespace eqat::train

#endif  // EQAT_TRAIN_FIELD_PARSER_H_
