// QConfigMapping: which QConfig each module of a model gets. Resolution as torch's: module_name over module_name_regex
// (first match in order of registration) over object_type over global. A module_name entry also holds for the children
// of that name ("tower" for "tower.item") unless a longer name is given. nullopt as a value means "leave in float" and
// stops the search at its level.
#ifndef EQAT_QUANT_TYPES_QCONFIG_MAPPING_H_
#define EQAT_QUANT_TYPES_QCONFIG_MAPPING_H_

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "quant/types/qconfig.h"

namespace eqat::quant {

class QConfigMapping {
 public:
  using Value = std::optional<QConfig>;
  using Entry = std::pair<std::string, Value>;

  // Each returns *this; setting a key again replaces its value and keeps its place.
  QConfigMapping& SetGlobal(Value qconfig);
  QConfigMapping& SetObjectType(const std::string& type, Value qconfig);  // "nn.Embedding", "nn.EmbeddingBag"
  // RE2 pattern that must match from the start of the full name (a prefix match, as Python's re.match).
  // InvalidArgument when it is no regular expression.
  absl::Status SetModuleNameRegex(const std::string& pattern, Value qconfig);
  QConfigMapping& SetModuleName(const std::string& name, Value qconfig);

  struct Resolution {
    Value qconfig;
    std::string
        rule;  // "module_name item", "module_name_regex user_.*", "object_type nn.Embedding", "global", "no rule"
  };
  Resolution Resolve(const std::string& name, const std::string& type) const;

  // Rules (not global) that decide for none of the given (name, type) modules even if no other rule existed, as their
  // text in Resolution::rule. Callers make an error of them that lists the names there are.
  std::vector<std::string> UnmatchedRules(const std::vector<std::pair<std::string, std::string>>& modules) const;

  const std::optional<Value>& global() const { return global_; }
  const std::vector<Entry>& object_type() const { return object_type_; }
  const std::vector<Entry>& module_name_regex() const { return module_name_regex_; }
  const std::vector<Entry>& module_name() const { return module_name_; }

 private:
  std::optional<Value> global_;
  std::vector<Entry> object_type_;
  std::vector<Entry> module_name_regex_;
  std::vector<Entry> module_name_;
};

}  // namespace eqat::quant

#endif  // EQAT_QUANT_TYPES_QCONFIG_MAPPING_H_
