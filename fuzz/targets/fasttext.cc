#include "fuzz/fuzz_file.h"
#include "io/fasttext_file.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto file = eqat::io::FastTextFile::Open(eqat::fuzz::FileOf(data, size));
  eqat::fuzz::Check(file.status());
  if (!file.ok()) return 0;
  eqat::fuzz::ReadAll(eqat::io::FastTextFile::InputRows(*file));
  eqat::fuzz::ReadAll(eqat::io::FastTextFile::OutputRows(*file));
  return 0;
}
