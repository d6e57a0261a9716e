#include "io/npy.h"
#include "fuzz/fuzz_file.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const absl::StatusOr<eqat::io::NpyReader> reader = eqat::io::NpyReader::Open(eqat::fuzz::FileOf(data, size));
  eqat::fuzz::Check(reader.status());
  if (reader.ok()) eqat::fuzz::ReadAll(reader->Rows());
  return 0;
}
