#include <string>
#include <string_view>

#include "fuzz/fuzz_file.h"
#include "io/pickle.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string bytes(reinterpret_cast<const char*>(data), size);
  eqat::fuzz::Check(eqat::io::ReadPickle(bytes, "pickle").status());
  return 0;
}
