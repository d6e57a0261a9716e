#include "fuzz/fuzz_file.h"
#include "io/word_vectors.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  eqat::fuzz::ReadAll(eqat::io::OpenVectorBinary(eqat::fuzz::FileOf(data, size)));
  return 0;
}
