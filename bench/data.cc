#include "bench/data.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "bench/or_die.h"
#include "core/parallel_for.h"
#include "core/rng.h"

namespace eqat::bench {
namespace {

constexpr int64_t kFillBlock = int64_t{1} << 18;
constexpr double kZipfExponent = 1.05;
constexpr int64_t kScatter = 2654435761;  // a prime: a permutation of any smaller number of rows

// By inversion of the continuous law on [1, rows]; ranks are scattered over the table.
int64_t ZipfId(double uniform, int64_t rows) {
  const double top = std::pow(static_cast<double>(rows), 1.0 - kZipfExponent);
  const double rank = std::pow(1.0 - uniform * (1.0 - top), 1.0 / (1.0 - kZipfExponent)) - 1.0;
  const int64_t whole = std::clamp(static_cast<int64_t>(rank), int64_t{0}, rows - 1);
  return whole * kScatter % rows;
}

std::shared_ptr<Table> MakeFloatTable(int64_t rows, int64_t dim) {
  auto table = std::make_shared<Table>(OrDie(Table::Zeros(rows, dim)));
  const Rng rng(1, 2);
  ParallelFor(rows * dim, kFillBlock, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      table->data()[i] = static_cast<float>(static_cast<int32_t>(rng.Bits(i) >> 32)) * 0x1.0p-31f;
    }
  });
  return table;
}

}  // namespace

Batches::Batches(const Shape& shape) : indices_(NumBatches(shape)) {
  const Rng rng(7, 1);
  ParallelFor(size(), 1, [&](int64_t batch, int64_t) {
    indices_[batch].resize(shape.lookups());
    for (int64_t i = 0; i < shape.lookups(); ++i) {
      const uint64_t position = batch * shape.lookups() + i;
      indices_[batch][i] = shape.zipf ? ZipfId(rng.Uniform(position), shape.rows)
                                      : static_cast<int64_t>(rng.Below(position, shape.rows));
    }
  });
  for (int64_t bag = 0; bag <= shape.bags; ++bag) offsets_.push_back(bag * shape.pool);
}

std::shared_ptr<const Batches> BatchesOf(const Shape& shape) {
  return Shared<const Batches>(DataText(shape), [&] { return std::make_shared<const Batches>(shape); });
}

Table FloatTable(int64_t rows, int64_t dim, int64_t copy) {
  const std::shared_ptr<Table> memory =
      Shared<Table>(absl::StrCat(rows, " ", dim, " ", copy), [&] { return MakeFloatTable(rows, dim); });
  return Table::Adopt(memory->data(), rows, dim, memory);
}

}  // namespace eqat::bench
