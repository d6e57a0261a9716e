#include "fuzz/fuzz_file.h"
#include "io/word_vectors.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string path = eqat::fuzz::FileOf(data, size);
  eqat::fuzz::ReadAll(eqat::io::OpenVectorText(path, eqat::io::VecHeader::kCounts));
  eqat::fuzz::ReadAll(eqat::io::OpenVectorText(path, eqat::io::VecHeader::kNone));
  eqat::fuzz::Check(eqat::io::GuessVectorFile(path).status());
  return 0;
}
