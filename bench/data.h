// What the benchmarks of one shape look up and where: float tables and batches of ids, shared by all who use them at
// the same time and freed with the last of them.
#ifndef EQAT_BENCH_DATA_H_
#define EQAT_BENCH_DATA_H_

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "bench/shape.h"
#include "core/lookup.h"
#include "core/table.h"

namespace eqat::bench {

// `make()`, or what an earlier call made for the same key if somebody still has it.
template <typename T, typename Make>
std::shared_ptr<T> Shared(const std::string& key, Make make) {
  static std::map<std::string, std::weak_ptr<T>>* const made = new std::map<std::string, std::weak_ptr<T>>;
  std::weak_ptr<T>& known = (*made)[key];
  std::shared_ptr<T> value = known.lock();
  if (value == nullptr) known = value = make();
  return value;
}

// Batches of bags of the same length; look-up i of batch b is a pure function of the shape, b and i.
class Batches {
 public:
  explicit Batches(const Shape& shape);

  int64_t size() const { return static_cast<int64_t>(indices_.size()); }
  // `iteration` counts on beyond size().
  const std::vector<int64_t>& Indices(int64_t iteration) const { return indices_[iteration % size()]; }
  const std::vector<int64_t>& offsets() const { return offsets_; }  // [bags + 1]
  // For modules with include_last_offset.
  LookupInput Input(int64_t iteration) const { return {.indices = Indices(iteration), .offsets = offsets_}; }

 private:
  std::vector<std::vector<int64_t>> indices_;
  std::vector<int64_t> offsets_;
};

std::shared_ptr<const Batches> BatchesOf(const Shape& shape);

// A [rows, dim] table of values between -1 and 1. Every copy has the same values; tables of the same sizes and copy
// share their memory.
Table FloatTable(int64_t rows, int64_t dim, int64_t copy);

}  // namespace eqat::bench

#endif  // EQAT_BENCH_DATA_H_
