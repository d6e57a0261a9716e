#include "model/model_json.h"

#include <string>

#include "fuzz/fuzz_file.h"
#include "io/json_reader.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  const absl::StatusOr<eqat::io::Json> json = eqat::io::ParseJson(text, "model.json");
  eqat::fuzz::Check(json.status());
  if (!json.ok()) return 0;
  absl::StatusOr<eqat::model::ModelSpec> spec = eqat::model::ParseModel(*json, "model.json");
  eqat::fuzz::Check(spec.status());
  if (!spec.ok() || !spec->graph) return 0;
  eqat::model::Model model;  // no module: every call of one is an error
  eqat::fuzz::Check(model.SetGraph(*std::move(spec->graph)));
  return 0;
}
