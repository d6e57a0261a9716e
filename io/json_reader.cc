#include "io/json_reader.h"

#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "core/error.h"
#include "core/status_macros.h"
#include "io/file.h"
#include "io/json_parser.h"

namespace eqat::io {
namespace {

constexpr int64_t kMaxFileBytes = int64_t{256} << 20;
constexpr size_t kMaxExcerptBytes = 60;
constexpr size_t kMaxPointerBytes = 300;

// At most `max_bytes`, cut between characters of UTF-8.
std::string Shortened(std::string text, size_t max_bytes) {
  if (text.size() <= max_bytes) return text;
  size_t end = max_bytes - 3;
  while (end > 0 && (text[end] & 0xC0) == 0x80) --end;
  text.resize(end);
  return text + "...";
}

// A pointer made of keys of the file: a message must stay on one line whatever they hold.
std::string OneLine(absl::string_view pointer) {
  for (const char c : pointer) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) {
      return Shortened(absl::Utf8SafeCEscape(pointer), kMaxPointerBytes);
    }
  }
  return Shortened(std::string(pointer), kMaxPointerBytes);
}

std::string Quoted(const std::string& text) { return absl::StrCat("\"", text, "\""); }

std::string ListOf(const std::vector<std::string>& names) {
  return absl::StrJoin(names, ", ", [](std::string* out, const std::string& name) { out->append(Quoted(name)); });
}

std::string RangeText(IntRange range) {
  if (range.minimum == INT64_MIN && range.maximum == INT64_MAX) return "an integer";
  if (range.maximum == INT64_MAX) return absl::StrCat("an integer of at least ", range.minimum);
  if (range.minimum == INT64_MIN) return absl::StrCat("an integer of at most ", range.maximum);
  return absl::StrCat("an integer from ", range.minimum, " to ", range.maximum);
}

std::string RangeText(DoubleRange range) {
  const DoubleRange any;
  const std::string above = absl::StrCat(range.exclude_minimum ? "greater than " : "of at least ", range.minimum);
  const std::string below = absl::StrCat("of at most ", range.maximum);
  const bool has_minimum = range.minimum != any.minimum || range.exclude_minimum;
  const bool has_maximum = range.maximum != any.maximum;
  if (has_minimum && has_maximum) return absl::StrCat("a number ", above, " and ", below);
  if (has_minimum) return absl::StrCat("a number ", above);
  return has_maximum ? absl::StrCat("a number ", below) : "a number";
}

}  // namespace

std::string JsonExcerpt(const Json& json) {
  return Shortened(json.dump(-1, ' ', false, Json::error_handler_t::replace), kMaxExcerptBytes);
}

std::string JsonText(const Json& json) { return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n"; }

absl::Status JsonError(absl::string_view file, absl::string_view pointer, absl::string_view what, const Json* got,
                       absl::string_view expected) {
  const std::string where = pointer.empty() ? std::string(file) : absl::StrCat(file, ": ", OneLine(pointer));
  return InvalidArgument(where, what, got == nullptr ? "" : JsonExcerpt(*got), expected);
}

absl::StatusOr<Json> ParseJson(absl::string_view text, absl::string_view file) {
  // nlohmann's lexer takes a NUL for the end of the text and would not look at what follows.
  const size_t nul = text.find('\0');
  if (nul != absl::string_view::npos) return SyntaxError(text, file, nul, "NUL byte", "");
  DocumentBuilder builder(text, file);
  if (!Json::sax_parse(text.begin(), text.end(), &builder)) return builder.status();
  return builder.TakeDocument();
}

absl::StatusOr<Json> ReadJsonFile(const std::string& path) {
  EQAT_ASSIGN_OR_RETURN(const std::string text, ReadFile(path, kMaxFileBytes));
  return ParseJson(text, path);
}

ObjectReader::ObjectReader(const Json* json, std::string file, std::string pointer)
    : json_(json), file_(std::move(file)), pointer_(std::move(pointer)) {}

absl::StatusOr<ObjectReader> ObjectReader::Of(const Json& json, std::string file, std::string pointer) {
  if (!json.is_object()) return JsonError(file, pointer, "has the wrong type", &json, "an object");
  return ObjectReader(&json, std::move(file), std::move(pointer));
}

bool ObjectReader::Has(absl::string_view key) const { return json_->contains(std::string(key)); }

std::string ObjectReader::PointerTo(absl::string_view key) const { return PointerJoin(pointer_, key); }

absl::Status ObjectReader::Error(absl::string_view key, absl::string_view what, absl::string_view expected) const {
  const auto member = json_->find(std::string(key));
  return JsonError(file_, PointerTo(key), what, member == json_->end() ? nullptr : &*member, expected);
}

const Json* ObjectReader::Find(absl::string_view key) {
  const auto [name, inserted] = asked_.insert(std::string(key));
  const auto member = json_->find(*name);
  return member == json_->end() ? nullptr : &*member;
}

absl::Status ObjectReader::Missing(absl::string_view key, absl::string_view expected) const {
  return JsonError(file_, PointerTo(key), "is missing", nullptr, expected);
}

absl::StatusOr<std::optional<int64_t>> ObjectReader::OptionalInt(absl::string_view key, IntRange range) {
  const Json* json = Find(key);
  if (json == nullptr) return std::optional<int64_t>();
  if (!json->is_number_integer()) return Error(key, "has the wrong type", RangeText(range));
  const bool too_large = json->is_number_unsigned() && json->get<uint64_t>() > uint64_t{INT64_MAX};
  if (too_large || json->get<int64_t>() < range.minimum || json->get<int64_t>() > range.maximum) {
    return Error(key, "is out of range", RangeText(range));
  }
  return json->get<int64_t>();
}

absl::StatusOr<std::optional<double>> ObjectReader::OptionalDouble(absl::string_view key, DoubleRange range) {
  const Json* json = Find(key);
  if (json == nullptr) return std::optional<double>();
  if (!json->is_number()) return Error(key, "has the wrong type", RangeText(range));
  const double value = json->get<double>();
  if (value < range.minimum || value > range.maximum || (range.exclude_minimum && value == range.minimum)) {
    return Error(key, "is out of range", RangeText(range));
  }
  return value;
}

absl::StatusOr<std::optional<bool>> ObjectReader::OptionalBool(absl::string_view key) {
  const Json* json = Find(key);
  if (json == nullptr) return std::optional<bool>();
  if (!json->is_boolean()) return Error(key, "has the wrong type", "true or false");
  return json->get<bool>();
}

absl::StatusOr<std::optional<std::string>> ObjectReader::OptionalString(absl::string_view key) {
  const Json* json = Find(key);
  if (json == nullptr) return std::optional<std::string>();
  if (!json->is_string()) return Error(key, "has the wrong type", "a string");
  return json->get_ref<const std::string&>();
}

absl::StatusOr<std::optional<int>> ObjectReader::OptionalChoice(absl::string_view key,
                                                                const std::vector<std::string>& names) {
  const Json* json = Find(key);
  if (json == nullptr) return std::optional<int>();
  if (!json->is_string()) return Error(key, "has the wrong type", absl::StrCat("one of ", ListOf(names)));
  for (size_t i = 0; i < names.size(); ++i) {
    if (json->get_ref<const std::string&>() == names[i]) return static_cast<int>(i);
  }
  return Error(key, "is unknown", absl::StrCat("one of ", ListOf(names)));
}

absl::StatusOr<const Json*> ObjectReader::OptionalObject(absl::string_view key) {
  const Json* json = Find(key);
  if (json != nullptr && !json->is_object()) return Error(key, "has the wrong type", "an object");
  return json;
}

absl::StatusOr<const Json*> ObjectReader::OptionalArray(absl::string_view key) {
  const Json* json = Find(key);
  if (json != nullptr && !json->is_array()) return Error(key, "has the wrong type", "an array");
  return json;
}

absl::StatusOr<const Json*> ObjectReader::OptionalAny(absl::string_view key) { return Find(key); }

absl::StatusOr<int64_t> ObjectReader::Int(absl::string_view key, IntRange range) {
  EQAT_ASSIGN_OR_RETURN(const std::optional<int64_t> value, OptionalInt(key, range));
  if (!value.has_value()) return Missing(key, RangeText(range));
  return *value;
}

absl::StatusOr<double> ObjectReader::Double(absl::string_view key, DoubleRange range) {
  EQAT_ASSIGN_OR_RETURN(const std::optional<double> value, OptionalDouble(key, range));
  if (!value.has_value()) return Missing(key, RangeText(range));
  return *value;
}

absl::StatusOr<bool> ObjectReader::Bool(absl::string_view key) {
  EQAT_ASSIGN_OR_RETURN(const std::optional<bool> value, OptionalBool(key));
  if (!value.has_value()) return Missing(key, "true or false");
  return *value;
}

absl::StatusOr<std::string> ObjectReader::String(absl::string_view key) {
  EQAT_ASSIGN_OR_RETURN(std::optional<std::string> value, OptionalString(key));
  if (!value.has_value()) return Missing(key, "a string");
  return *std::move(value);
}

absl::StatusOr<int> ObjectReader::Choice(absl::string_view key, const std::vector<std::string>& names) {
  EQAT_ASSIGN_OR_RETURN(const std::optional<int> value, OptionalChoice(key, names));
  if (!value.has_value()) return Missing(key, absl::StrCat("one of ", ListOf(names)));
  return *value;
}

absl::StatusOr<const Json*> ObjectReader::Object(absl::string_view key) {
  EQAT_ASSIGN_OR_RETURN(const Json* value, OptionalObject(key));
  if (value == nullptr) return Missing(key, "an object");
  return value;
}

absl::StatusOr<const Json*> ObjectReader::Array(absl::string_view key) {
  EQAT_ASSIGN_OR_RETURN(const Json* value, OptionalArray(key));
  if (value == nullptr) return Missing(key, "an array");
  return value;
}

absl::StatusOr<const Json*> ObjectReader::Any(absl::string_view key) {
  const Json* value = Find(key);
  if (value == nullptr) return Missing(key, "a value");
  return value;
}

absl::Status ObjectReader::Finish() const {
  for (const auto& [key, value] : json_->items()) {
    if (asked_.count(key) > 0) continue;
    const std::vector<std::string> allowed(asked_.begin(), asked_.end());
    return JsonError(file_, PointerTo(key), "unknown key", &value,
                     allowed.empty() ? "no keys" : absl::StrCat("one of the keys ", ListOf(allowed)));
  }
  return absl::OkStatus();
}

}  // namespace eqat::io
