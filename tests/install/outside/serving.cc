// Links eqat::quantized alone and looks one row up in packed codes.
#include <cstdint>
#include <iostream>
#include <vector>

#include "quantized/embedding_bag.h"

int main() {
  const std::vector<uint8_t> codes = {0x10, 0x32};  // two rows of two 4-bit codes: {0, 1}, {2, 3}
  auto table = eqat::quant::QuantizedTable::FromPacked(2, 2, eqat::quant::Dtype::kQUInt4x2, codes, nullptr,
                                                       {0.5f, 0.25f}, {0.0f, 1.0f});
  if (!table.ok()) return 1;
  eqat::nn::EmbeddingOptions options;
  options.num_embeddings = 2;
  options.embedding_dim = 2;
  auto embedding = eqat::quantized::Embedding::Create(*std::move(table), options);
  if (!embedding.ok()) return 1;
  const std::vector<int64_t> ids = {1};
  std::vector<float> out(2);
  if (!embedding->Lookup({.indices = ids}, eqat::MutableTableView(out.data(), 1, 2)).ok()) return 1;
  std::cout << out[0] << " " << out[1] << "\n";
  return out == std::vector<float>{0.25f, 0.5f} ? 0 : 1;
}
