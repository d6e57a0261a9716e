// table_size_bench: does a QAT training forward cost more on a larger table? Times qat::EmbeddingBag::Forward (observe,
// fake-quantize, pool) on the same number of look-ups in tables of 100,000 and 10,000,000 rows, alternating, with the
// caches evicted before each: otherwise the small table would be timed in the cache and the large one in memory.
//
//   table_size_bench [LOOKUPS] [DIM] [REPETITIONS]      default 4096 64 51
//
// Prints medians and their ratio; exit code 1 if the larger table takes over 1.25 times as long (its rows lie on more
// pages, whose addresses have to be translated; PyTorch's forward takes 100 times as long).
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/numbers.h"
#include "core/parallel_for.h"
#include "core/rng.h"
#include "qat/embedding_bag.h"
#include "quant/types/qconfig.h"

namespace {

constexpr int64_t kSmallRows = 100'000;
constexpr int64_t kLargeRows = 10'000'000;
constexpr double kBound = 1.25;
constexpr size_t kEvictionBytes = size_t{256} << 20;  // well over any cache

template <typename T>
T OrDie(absl::StatusOr<T> value) {
  if (!value.ok()) {
    std::fprintf(stderr, "table_size_bench: %s\n", value.status().ToString().c_str());
    std::exit(1);
  }
  return *std::move(value);
}

class TimedTable {
 public:
  TimedTable(int64_t rows, int64_t dim, int64_t lookups)
      : rows_(rows), dim_(dim), indices_(lookups), out_(lookups * dim) {
    eqat::nn::EmbeddingBagOptions options;
    options.num_embeddings = rows;
    options.embedding_dim = dim;
    options.mode = eqat::PoolMode::kSum;
    options.sparse = true;
    eqat::nn::EmbeddingBag table = OrDie(eqat::nn::EmbeddingBag::Create(options, 1, "table"));
    table.set_qconfig(eqat::quant::QConfigPreset("default_embedding_qat_qconfig"));
    bag_.emplace(OrDie(eqat::qat::EmbeddingBag::FromFloat(std::move(table))));
    offsets_.resize(lookups);
    for (int64_t i = 0; i < lookups; ++i) offsets_[i] = i;
  }

  // Microseconds of one forward on fresh rows.
  double Time(int64_t repetition) {
    const eqat::Rng rng(static_cast<uint64_t>(repetition), 1);
    for (size_t i = 0; i < indices_.size(); ++i) indices_[i] = static_cast<int64_t>(rng.Below(i, rows_));
    const eqat::LookupInput input = {.indices = indices_, .offsets = offsets_};
    const eqat::MutableTableView out(out_.data(), static_cast<int64_t>(indices_.size()), dim_);
    const auto start = std::chrono::steady_clock::now();
    const absl::Status status = bag_->Forward(input, out, &context_);
    const auto stop = std::chrono::steady_clock::now();
    if (!status.ok()) OrDie(absl::StatusOr<int>(status));
    return std::chrono::duration<double, std::micro>(stop - start).count();
  }

 private:
  int64_t rows_;
  int64_t dim_;
  std::vector<int64_t> indices_, offsets_;
  std::vector<float> out_;
  std::optional<eqat::qat::EmbeddingBag> bag_;
  eqat::nn::LookupContext context_;
};

void EvictCaches(std::vector<char>& memory) {
  for (size_t i = 0; i < memory.size(); i += 64) ++memory[i];
}

double Median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + values.size() / 2, values.end());
  return values[values.size() / 2];
}

}  // namespace

int main(int argc, char** argv) {
  int64_t lookups = 4096, dim = 64, repetitions = 51;
  const bool parsed = (argc < 2 || absl::SimpleAtoi(argv[1], &lookups)) &&
                      (argc < 3 || absl::SimpleAtoi(argv[2], &dim)) &&
                      (argc < 4 || absl::SimpleAtoi(argv[3], &repetitions)) && argc <= 4;
  if (!parsed || lookups < 1 || dim < 1 || repetitions < 1) {
    std::fprintf(stderr, "usage: table_size_bench [LOOKUPS] [DIM] [REPETITIONS]\n");
    return 2;
  }
  eqat::SetNumThreads(1);
  TimedTable small(kSmallRows, dim, lookups), large(kLargeRows, dim, lookups);
  std::vector<char> eviction(kEvictionBytes);
  std::vector<double> small_us, large_us;
  for (int64_t repetition = -2; repetition < repetitions; ++repetition) {
    EvictCaches(eviction);
    const double small_time = small.Time(repetition);
    EvictCaches(eviction);
    const double large_time = large.Time(repetition);
    if (repetition < 0) continue;  // warm-up: memory of the outputs, threads
    small_us.push_back(small_time);
    large_us.push_back(large_time);
  }
  const double small_median = Median(small_us), large_median = Median(large_us);
  std::printf("forward of %lld look-ups, dim %lld, median of %lld, one thread\n", static_cast<long long>(lookups),
              static_cast<long long>(dim), static_cast<long long>(repetitions));
  std::printf("%12lld rows %10.1f us\n", static_cast<long long>(kSmallRows), small_median);
  std::printf("%12lld rows %10.1f us\n", static_cast<long long>(kLargeRows), large_median);
  std::printf("ratio %.2f (bound %.2f)\n", large_median / small_median, kBound);
  return large_median <= kBound * small_median ? 0 : 1;
}
