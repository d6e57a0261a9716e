#include "fuzz/fuzz_file.h"
#include "io/pytorch_file.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const absl::StatusOr<eqat::io::PyTorchFile> file = eqat::io::PyTorchFile::Open(eqat::fuzz::FileOf(data, size));
  eqat::fuzz::Check(file.status());
  if (!file.ok()) return 0;
  for (const eqat::io::PyTorchFile::Tensor& tensor : file->tensors()) eqat::fuzz::ReadAll(file->Rows(tensor));
  return 0;
}
