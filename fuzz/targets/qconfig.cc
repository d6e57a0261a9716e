#include <string>

#include "configs/qconfig_json.h"
#include "fuzz/fuzz_file.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  eqat::fuzz::Check(eqat::configs::ParseQConfigMapping(text, "qconfig.json").status());
  return 0;
}
