// table_size_bench: does a QAT training forward cost more on a larger table? Times qat::EmbeddingBag::Forward (observe,
// fake-quantize, pool) and, beside it, the look-ups of nn::EmbeddingBag on the same number of rows in tables of 100,000
// and 10,000,000 rows, alternating, with the caches evicted before each: otherwise the small table would be timed in
// the cache and the large one in memory. What is left, and is the same for both modules, is translating addresses: the
// large table's rows lie on a hundred times as many pages.
//
//   table_size_bench [LOOKUPS] [DIM] [REPETITIONS]      default 4096 64 51
//
// Prints medians and how they grow; exit code 1 if QAT grows over 1.25 times as much as plain float look-ups do. A
// forward that passed over the table would grow a hundredfold.
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <optional>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "bench/median.h"
#include "bench/or_die.h"
#include "core/parallel_for.h"
#include "core/rng.h"
#include "qat/embedding_bag.h"
#include "quant/types/qconfig.h"

namespace {

constexpr int64_t kSmallRows = 100'000;
constexpr int64_t kLargeRows = 10'000'000;
constexpr double kBound = 1.25;
constexpr size_t kEvictionBytes = size_t{256} << 20;  // well over any cache

using eqat::bench::OrDie;
using eqat::bench::Quantile;

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

  // Microseconds of one QAT forward on fresh rows.
  double TimeQat(int64_t repetition) {
    return Time(repetition, 1, [this](const eqat::LookupInput& input, eqat::MutableTableView out) {
      return bag_->Forward(input, out, &context_);
    });
  }

  // Microseconds of one float look-up of fresh rows of the same table.
  double TimeFloat(int64_t repetition) {
    eqat::nn::EmbeddingBag table = std::move(*bag_).ToFloat();
    const double time = Time(repetition, 2, [&table](const eqat::LookupInput& input, eqat::MutableTableView out) {
      return table.Lookup(input, out);
    });
    bag_.emplace(OrDie(eqat::qat::EmbeddingBag::FromFloat(std::move(table))));
    return time;
  }

 private:
  template <typename Call>
  double Time(int64_t repetition, uint64_t stream, Call call) {
    const eqat::Rng rng(static_cast<uint64_t>(repetition), stream);
    for (size_t i = 0; i < indices_.size(); ++i) indices_[i] = static_cast<int64_t>(rng.Below(i, rows_));
    const eqat::LookupInput input = {.indices = indices_, .offsets = offsets_};
    const eqat::MutableTableView out(out_.data(), static_cast<int64_t>(indices_.size()), dim_);
    const auto start = std::chrono::steady_clock::now();
    const absl::Status status = call(input, out);
    const auto stop = std::chrono::steady_clock::now();
    OrDie(status);
    return std::chrono::duration<double, std::micro>(stop - start).count();
  }

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

double Median(const std::vector<double>& values) { return Quantile(values, 0.5); }

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
  std::vector<double> small_qat, large_qat, small_float, large_float;
  for (int64_t repetition = -2; repetition < repetitions; ++repetition) {
    EvictCaches(eviction);
    const double times[] = {small.TimeQat(repetition), (EvictCaches(eviction), large.TimeQat(repetition)),
                            (EvictCaches(eviction), small.TimeFloat(repetition)),
                            (EvictCaches(eviction), large.TimeFloat(repetition))};
    if (repetition < 0) continue;  // warm-up: memory of the outputs, threads
    small_qat.push_back(times[0]);
    large_qat.push_back(times[1]);
    small_float.push_back(times[2]);
    large_float.push_back(times[3]);
  }
  const double qat_growth = Median(large_qat) / Median(small_qat);
  const double float_growth = Median(large_float) / Median(small_float);
  std::printf("%lld look-ups, dim %lld, medians of %lld in us, one thread\n", static_cast<long long>(lookups),
              static_cast<long long>(dim), static_cast<long long>(repetitions));
  std::printf("%-22s %12s %12s %8s\n", "rows", "100,000", "10,000,000", "growth");
  std::printf("%-22s %12.1f %12.1f %8.2f\n", "QAT training forward", Median(small_qat), Median(large_qat), qat_growth);
  std::printf("%-22s %12.1f %12.1f %8.2f\n", "float look-up", Median(small_float), Median(large_float), float_growth);
  std::printf("QAT grows %.2f times as much as float (bound %.2f)\n", qat_growth / float_growth, kBound);
  return qat_growth <= kBound * float_growth ? 0 : 1;
}
