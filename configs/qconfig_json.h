// QConfigMapping as JSON: the only place that knows how a qconfig file looks. Strict: unknown keys, wrong types, values
// out of range and unknown names are InvalidArgument with file, JSON pointer, value and what is allowed. The same rules
// as configs/schema/qconfig_mapping.schema.json, for editors (a test proves that they agree).
//
// {"version": 1, "global": Q, "object_type": {TYPE: Q}, "module_name_regex": [{"pattern": P, "qconfig": Q}],
//  "module_name": {NAME: Q}, "description": TEXT}
// Q: preset name, null ("leave in float"), or {"weight": {...}, "activation": "NoopObserver" or "PlaceholderObserver",
// "deploy": FORMAT}.
// weight: only the observer is required, other defaults are torch's; without "fake_quantize": "FakeQuantize" it is the
// observer alone.
#ifndef EQAT_CONFIGS_QCONFIG_JSON_H_
#define EQAT_CONFIGS_QCONFIG_JSON_H_

#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "io/json_reader.h"
#include "quant/types/qconfig.h"
#include "quant/types/qconfig_mapping.h"

namespace eqat::configs {

absl::StatusOr<quant::QConfigMapping> ParseQConfigMapping(absl::string_view text, absl::string_view file);
absl::StatusOr<quant::QConfigMapping> ReadQConfigMapping(const std::string& path);
io::Json ToJson(const quant::QConfigMapping& mapping);

// One qconfig: preset name, null or object. `pointer` is where it stands in `file`.
absl::StatusOr<std::optional<quant::QConfig>> QConfigFromJson(const io::Json& json, absl::string_view file,
                                                              const std::string& pointer);
// The preset's name when it is (equal to) one, else the object with every field spelled out. nullopt: null.
io::Json ToJson(const std::optional<quant::QConfig>& qconfig);

}  // namespace eqat::configs

#endif  // EQAT_CONFIGS_QCONFIG_JSON_H_
