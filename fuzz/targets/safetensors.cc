#include "io/safetensors.h"
#include "fuzz/fuzz_file.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto reader = eqat::io::SafetensorsReader::Open(eqat::fuzz::FileOf(data, size));
  eqat::fuzz::Check(reader.status());
  if (!reader.ok()) return 0;
  for (const eqat::io::TensorInfo& tensor : reader->tensors()) {
    eqat::fuzz::Check(reader->ReadTable(tensor.name).status());
    eqat::fuzz::Check(reader->ReadFloats(tensor.name).status());
    eqat::fuzz::Check(reader->ReadIntegers(tensor.name).status());
    if (tensor.shape.size() == 2 && eqat::io::IsTableDtype(tensor.dtype)) eqat::fuzz::ReadAll(reader->Rows(tensor));
  }
  return 0;
}
