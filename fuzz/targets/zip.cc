#include "fuzz/fuzz_file.h"
#include "io/zip_archive.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto archive = eqat::io::ZipArchive::Open(eqat::fuzz::FileOf(data, size));
  eqat::fuzz::Check(archive.status());
  if (!archive.ok()) return 0;
  for (const eqat::io::ZipArchive::Entry& entry : (*archive)->entries()) {
    eqat::fuzz::Check((*archive)->ReadBeginning(entry, 1 << 16).status());
  }
  return 0;
}
