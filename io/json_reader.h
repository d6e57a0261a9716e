// Strict JSON: what nlohmann/json accepts silently is refused here, and every error carries file, JSON pointer, value
// and what is allowed.
//
//   EQAT_ASSIGN_OR_RETURN(nlohmann::json json, ParseJson(text, "train.json"));
//   EQAT_ASSIGN_OR_RETURN(ObjectReader object, ObjectReader::Of(json, "train.json", ""));
//   EQAT_ASSIGN_OR_RETURN(double lr, object.Double("lr", {.minimum = 0.0}));         // required
//   EQAT_ASSIGN_OR_RETURN(std::optional<int64_t> steps, object.OptionalInt("steps", 0, kMax));
//   EQAT_RETURN_IF_ERROR(object.Finish());                                            // refuses unknown keys
//
// Refused: duplicate keys, comments, nesting over 64, NaN literals, numbers of the wrong kind (32.7 for an integer,
// true for 1, -1 for an unsigned), integers outside their range, unknown keys, unknown names of an enumeration.
#ifndef EQAT_IO_JSON_READER_H_
#define EQAT_IO_JSON_READER_H_

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "nlohmann/json.hpp"

namespace eqat::io {

using Json = nlohmann::ordered_json;  // keeps the order of keys, so that files are written as they were read

absl::StatusOr<Json> ParseJson(absl::string_view text, absl::string_view file);
absl::StatusOr<Json> ReadJsonFile(const std::string& path);
// Two-space indentation, trailing newline; numbers in shortest round-trip form.
std::string JsonText(const Json& json);
// `file: pointer: what (got VALUE, expected EXPECTED)` as InvalidArgument.
absl::Status JsonError(absl::string_view file, absl::string_view pointer, absl::string_view what, const Json* got,
                       absl::string_view expected);
// A JSON value shortened to a line for messages.
std::string JsonExcerpt(const Json& json);

struct IntRange {
  int64_t minimum = INT64_MIN;
  int64_t maximum = INT64_MAX;
};
struct DoubleRange {
  double minimum = -1.7976931348623157e308;
  double maximum = 1.7976931348623157e308;
  bool exclude_minimum = false;
};

class ObjectReader {
 public:
  // `json` must be an object and outlive the reader. `pointer` is its JSON pointer ("" for the root).
  static absl::StatusOr<ObjectReader> Of(const Json& json, std::string file, std::string pointer);

  bool Has(absl::string_view key) const;  // present, null included; does not mark the key as used
  // Required members.
  absl::StatusOr<int64_t> Int(absl::string_view key, IntRange range = {});
  absl::StatusOr<double> Double(absl::string_view key, DoubleRange range = {});
  absl::StatusOr<bool> Bool(absl::string_view key);
  absl::StatusOr<std::string> String(absl::string_view key);
  absl::StatusOr<const Json*> Object(absl::string_view key);
  absl::StatusOr<const Json*> Array(absl::string_view key);
  absl::StatusOr<const Json*> Any(absl::string_view key);
  // Index into `names`; the error lists them.
  absl::StatusOr<int> Choice(absl::string_view key, const std::vector<std::string>& names);
  // Optional members: nullopt (or null pointer) when the key is absent. An explicit null is an error unless said.
  absl::StatusOr<std::optional<int64_t>> OptionalInt(absl::string_view key, IntRange range = {});
  absl::StatusOr<std::optional<double>> OptionalDouble(absl::string_view key, DoubleRange range = {});
  absl::StatusOr<std::optional<bool>> OptionalBool(absl::string_view key);
  absl::StatusOr<std::optional<std::string>> OptionalString(absl::string_view key);
  absl::StatusOr<std::optional<int>> OptionalChoice(absl::string_view key, const std::vector<std::string>& names);
  absl::StatusOr<const Json*> OptionalObject(absl::string_view key);  // null pointer when absent
  absl::StatusOr<const Json*> OptionalArray(absl::string_view key);
  absl::StatusOr<const Json*> OptionalAny(absl::string_view key);

  // Refuses the first key nobody asked for; the message lists those that were.
  absl::Status Finish() const;

  const std::string& file() const { return file_; }
  std::string PointerTo(absl::string_view key) const;
  absl::Status Error(absl::string_view key, absl::string_view what, absl::string_view expected) const;

 private:
  ObjectReader(const Json* json, std::string file, std::string pointer);
  const Json* Find(absl::string_view key);  // null when absent; marks the key as asked for
  absl::Status Missing(absl::string_view key, absl::string_view expected) const;
  const Json* json_;
  std::string file_;
  std::string pointer_;
  std::set<std::string> asked_;
};

}  // namespace eqat::io

#endif  // EQAT_IO_JSON_READER_H_
