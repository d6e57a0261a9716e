#include "fuzz/fuzz_file.h"
#include "io/npy.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const absl::StatusOr<eqat::io::NpzReader> reader = eqat::io::NpzReader::Open(eqat::fuzz::FileOf(data, size));
  eqat::fuzz::Check(reader.status());
  if (!reader.ok()) return 0;
  for (size_t i = 0; i < reader->arrays().size(); ++i) eqat::fuzz::ReadAll(reader->Rows(i));
  return 0;
}
