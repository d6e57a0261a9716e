#include "train/data_spec.h"

#include "fuzz/fuzz_file.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  eqat::fuzz::Check(eqat::train::ReadDataSpec(eqat::fuzz::FileOf(data, size)).status());
  return 0;
}
