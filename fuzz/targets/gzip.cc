#include <vector>

#include "fuzz/fuzz_file.h"
#include "io/stored_file.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto file = eqat::io::StoredFile::Open(eqat::fuzz::FileOf(data, size));
  eqat::fuzz::Check(file.status());
  if (!file.ok()) return 0;
  std::vector<char> buffer(1000);
  for (int reads = 0; reads < 1000; ++reads) {
    const absl::StatusOr<size_t> count = (*file)->Read(buffer.data(), buffer.size());
    eqat::fuzz::Check(count.status());
    if (!count.ok() || *count == 0) break;
  }
  return 0;
}
