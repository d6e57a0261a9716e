#include "quant/types/qconfig_mapping.h"

#include <algorithm>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "core/error.h"
#include "re2/re2.h"

namespace eqat::quant {
namespace {

// Bounds what a hostile pattern can cost; RE2 matches in linear time within it.
constexpr int64_t kRegexMemory = int64_t{1} << 20;

RE2::Options RegexOptions() {
  RE2::Options options;
  options.set_log_errors(false);
  options.set_max_mem(kRegexMemory);
  return options;
}

// On one line, cut between characters of UTF-8.
std::string Excerpt(absl::string_view text) {
  size_t end = std::min<size_t>(text.size(), 100);
  while (end > 0 && end < text.size() && (text[end] & 0xC0) == 0x80) --end;
  return absl::Utf8SafeCEscape(text.substr(0, end));
}

bool MatchesPrefix(const std::string& pattern, const std::string& name) {
  const RE2 regex(pattern, RegexOptions());
  return regex.Match(name, 0, name.size(), RE2::ANCHOR_START, nullptr, 0);
}

bool IsSelfOrAncestor(const std::string& ancestor, const std::string& name) {
  return name.compare(0, ancestor.size(), ancestor) == 0 &&
         (name.size() == ancestor.size() || name[ancestor.size()] == '.');
}

// The entry for `name` itself or its nearest ancestor.
const QConfigMapping::Entry* FindModuleName(const std::vector<QConfigMapping::Entry>& entries,
                                            const std::string& name) {
  const QConfigMapping::Entry* nearest = nullptr;
  for (const QConfigMapping::Entry& entry : entries) {
    if (IsSelfOrAncestor(entry.first, name) && (nearest == nullptr || entry.first.size() > nearest->first.size())) {
      nearest = &entry;
    }
  }
  return nearest;
}

template <typename Predicate>
const QConfigMapping::Entry* FindFirst(const std::vector<QConfigMapping::Entry>& entries, Predicate predicate) {
  const auto found = std::find_if(entries.begin(), entries.end(), predicate);
  return found == entries.end() ? nullptr : &*found;
}

void Set(std::vector<QConfigMapping::Entry>& entries, const std::string& key, QConfigMapping::Value value) {
  for (QConfigMapping::Entry& entry : entries) {
    if (entry.first == key) {
      entry.second = std::move(value);
      return;
    }
  }
  entries.emplace_back(key, std::move(value));
}

std::string RuleText(absl::string_view level, const std::string& key) { return absl::StrCat(level, " ", key); }

constexpr char kObjectType[] = "object_type";
constexpr char kModuleNameRegex[] = "module_name_regex";
constexpr char kModuleName[] = "module_name";

}  // namespace

QConfigMapping& QConfigMapping::SetGlobal(Value qconfig) {
  global_ = std::move(qconfig);
  return *this;
}

QConfigMapping& QConfigMapping::SetObjectType(const std::string& type, Value qconfig) {
  Set(object_type_, type, std::move(qconfig));
  return *this;
}

absl::Status QConfigMapping::SetModuleNameRegex(const std::string& pattern, Value qconfig) {
  const RE2 regex(pattern, RegexOptions());
  if (!regex.ok()) {
    return InvalidArgument("", absl::StrCat("is not a regular expression: ", Excerpt(regex.error())), Excerpt(pattern),
                           "RE2 syntax");
  }
  Set(module_name_regex_, pattern, std::move(qconfig));
  return absl::OkStatus();
}

QConfigMapping& QConfigMapping::SetModuleName(const std::string& name, Value qconfig) {
  Set(module_name_, name, std::move(qconfig));
  return *this;
}

QConfigMapping::Resolution QConfigMapping::Resolve(const std::string& name, const std::string& type) const {
  if (const Entry* entry = FindModuleName(module_name_, name)) {
    return {entry->second, RuleText(kModuleName, entry->first)};
  }
  const auto matches = [&name](const Entry& entry) { return MatchesPrefix(entry.first, name); };
  if (const Entry* entry = FindFirst(module_name_regex_, matches)) {
    return {entry->second, RuleText(kModuleNameRegex, entry->first)};
  }
  const auto has_type = [&type](const Entry& entry) { return entry.first == type; };
  if (const Entry* entry = FindFirst(object_type_, has_type)) {
    return {entry->second, RuleText(kObjectType, entry->first)};
  }
  if (global_.has_value()) return {*global_, "global"};
  return {std::nullopt, "no rule"};
}

std::vector<std::string> QConfigMapping::UnmatchedRules(
    const std::vector<std::pair<std::string, std::string>>& modules) const {
  std::vector<std::string> unmatched;
  const auto collect = [&](const std::vector<Entry>& entries, absl::string_view level, auto decides_for) {
    for (const auto& [key, value] : entries) {
      const bool matched = std::any_of(modules.begin(), modules.end(), [&key = key, &decides_for](const auto& module) {
        return decides_for(key, module.first, module.second);
      });
      if (!matched) unmatched.push_back(RuleText(level, key));
    }
  };
  using Text = const std::string&;
  collect(module_name_, kModuleName, [](Text key, Text name, Text) { return IsSelfOrAncestor(key, name); });
  collect(module_name_regex_, kModuleNameRegex, [](Text key, Text name, Text) { return MatchesPrefix(key, name); });
  collect(object_type_, kObjectType, [](Text key, Text, Text type) { return key == type; });
  return unmatched;
}

}  // namespace eqat::quant
