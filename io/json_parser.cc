#include "io/json_parser.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "core/error.h"

namespace eqat::io {
namespace {

// nlohmann's text without its id and position: "syntax error while parsing value - unexpected end of input". What was
// read last is quoted apart, because it can be long.
std::string Reason(absl::string_view message) {
  const size_t column = message.find("column ");
  const size_t start = message.find(": ", column == absl::string_view::npos ? 0 : column);
  if (column == absl::string_view::npos || start == absl::string_view::npos) return "a number is out of range";
  message.remove_prefix(start + 2);
  return std::string(message.substr(0, message.find("; last read: ")));
}

}  // namespace

absl::Status SyntaxError(absl::string_view text, absl::string_view file, size_t offset, absl::string_view reason,
                         const std::string& token) {
  const absl::string_view before = text.substr(0, offset);
  const int64_t line = 1 + std::count(before.begin(), before.end(), '\n');
  const size_t line_start = before.rfind('\n') + 1;  // npos + 1 is 0
  const std::string where = absl::StrCat(file, ": line ", line, ", column ", before.size() - line_start + 1);
  return InvalidArgument(where, absl::StrCat("is not valid JSON: ", reason), token.empty() ? "" : JsonExcerpt(token));
}

std::string PointerJoin(absl::string_view pointer, absl::string_view key) {
  return absl::StrCat(pointer, "/", absl::StrReplaceAll(key, {{"~", "~0"}, {"/", "~1"}}));
}

bool DocumentBuilder::key(string_t& key) {
  Level& level = levels_.back();
  level.key = key;
  if (!level.keys.insert(key).second) {
    status_ = JsonError(file_, Pointer(), "duplicate key", nullptr, "each key once");
    return false;
  }
  return true;
}

bool DocumentBuilder::Open(Json container) {
  if (levels_.size() == kMaxJsonDepth) {
    status_ =
        JsonError(file_, Pointer(), "nested too deep", nullptr, absl::StrCat("at most ", kMaxJsonDepth, " levels"));
    return false;
  }
  levels_.push_back({Place(std::move(container)), {}, {}});
  return true;
}

bool DocumentBuilder::Close() {
  levels_.pop_back();
  return true;
}

// Pointers to open containers stay valid: only the innermost one grows.
Json* DocumentBuilder::Place(Json value) {
  if (levels_.empty()) {
    document_ = std::move(value);
    return &document_;
  }
  Json& container = *levels_.back().container;
  if (container.is_array()) {
    container.push_back(std::move(value));
    return &container.back();
  }
  // Past ordered_map's own insertion, which searches for the key: key() has done so.
  Json::object_t::Container& members = container.get_ref<Json::object_t&>();
  members.emplace_back(levels_.back().key, std::move(value));
  return &members.back().second;
}

std::string DocumentBuilder::Pointer() const {
  std::string pointer;
  for (const Level& level : levels_) {
    // In the innermost array the element is still to come, in the others it is the last one.
    const bool innermost = &level == &levels_.back();
    const std::string index = absl::StrCat(level.container->size() - (innermost ? 0 : 1));
    pointer = PointerJoin(pointer, level.container->is_array() ? index : level.key);
  }
  return pointer;
}

bool DocumentBuilder::parse_error(std::size_t position, const std::string& last_token, const Json::exception& error) {
  // `position` counts bytes read, so the last of them is where the error was seen.
  status_ = SyntaxError(text_, file_, position == 0 ? 0 : position - 1, Reason(error.what()), last_token);
  return false;
}

}  // namespace eqat::io
