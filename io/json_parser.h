// Building a JSON document from nlohmann's events: what ParseJson does inside.
#ifndef EQAT_IO_JSON_PARSER_H_
#define EQAT_IO_JSON_PARSER_H_

#include <string>
#include <vector>

#include "absl/container/btree_set.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "io/json_reader.h"

namespace eqat::io {

inline constexpr int kMaxJsonDepth = 64;

// Handler for Json::sax_parse. A handler of our own because nlohmann's keeps the last of duplicate keys, nests without
// limit, and looks a key up in a list for each insertion, which makes large objects quadratic.
class DocumentBuilder : public nlohmann::json_sax<Json> {
 public:
  DocumentBuilder(absl::string_view text, absl::string_view file) : text_(text), file_(file) {}

  const absl::Status& status() const { return status_; }
  Json TakeDocument() { return std::move(document_); }

  bool null() override { return Add(nullptr); }
  bool boolean(bool value) override { return Add(value); }
  bool number_integer(number_integer_t value) override { return Add(value); }
  bool number_unsigned(number_unsigned_t value) override { return Add(value); }
  bool number_float(number_float_t value, const string_t&) override { return Add(value); }
  bool string(string_t& value) override { return Add(std::move(value)); }
  bool binary(binary_t& value) override { return Add(std::move(value)); }
  bool start_object(std::size_t) override { return Open(Json::object()); }
  bool key(string_t& key) override;
  bool end_object() override { return Close(); }
  bool start_array(std::size_t) override { return Open(Json::array()); }
  bool end_array() override { return Close(); }
  bool parse_error(std::size_t position, const std::string& last_token, const Json::exception& error) override;

 private:
  // An object or array that is not closed yet.
  struct Level {
    Json* container;
    std::string key;  // of the member that is being read
    absl::btree_set<std::string> keys;
  };

  bool Add(Json value) { return Place(std::move(value)) != nullptr; }
  bool Open(Json container);
  bool Close();
  Json* Place(Json value);
  std::string Pointer() const;

  absl::string_view text_;
  absl::string_view file_;
  Json document_;
  std::vector<Level> levels_;
  absl::Status status_;
};

// `file: line L, column C: is not valid JSON: reason (got token)` for the place `offset` bytes into `text`.
absl::Status SyntaxError(absl::string_view text, absl::string_view file, size_t offset, absl::string_view reason,
                         const std::string& token);

// One more segment of a JSON pointer, "~" and "/" escaped.
std::string PointerJoin(absl::string_view pointer, absl::string_view key);

}  // namespace eqat::io

#endif  // EQAT_IO_JSON_PARSER_H_
