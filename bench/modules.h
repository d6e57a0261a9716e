// The modules that are timed, over tables of data.h: sum pooling, sparse gradients, offsets with the last one.
#ifndef EQAT_BENCH_MODULES_H_
#define EQAT_BENCH_MODULES_H_

#include <cstdint>

#include "bench/shape.h"
#include "qat/embedding_bag.h"

namespace eqat::bench {

nn::EmbeddingBag MakeFloatBag(const Shape& shape, int64_t copy);
// With torch's default recipe at 8, 4 or 2 bits: parameters from each row itself.
qat::EmbeddingBag MakeQatBag(const Shape& shape, int64_t copy, int bits);

}  // namespace eqat::bench

#endif  // EQAT_BENCH_MODULES_H_
