#include "bench/modules.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "bench/data.h"
#include "bench/or_die.h"
#include "quant/types/qconfig.h"

namespace eqat::bench {

nn::EmbeddingBag MakeFloatBag(const Shape& shape, int64_t copy) {
  nn::EmbeddingBagOptions options;
  options.num_embeddings = shape.rows;
  options.embedding_dim = shape.dim;
  options.mode = PoolMode::kSum;
  options.sparse = true;
  options.include_last_offset = true;
  return OrDie(nn::EmbeddingBag::FromWeight(FloatTable(shape.rows, shape.dim, copy), options, "table"));
}

qat::EmbeddingBag MakeQatBag(const Shape& shape, int64_t copy, int bits) {
  nn::EmbeddingBag bag = MakeFloatBag(shape, copy);
  const std::string preset = "default_embedding_qat_qconfig";
  bag.set_qconfig(quant::QConfigPreset(bits == 8 ? preset : absl::StrCat(preset, "_", bits, "bit")));
  return OrDie(qat::EmbeddingBag::FromFloat(std::move(bag)));
}

}  // namespace eqat::bench
