// table_size_bench: does a QAT training forward cost more on a larger table? Times qat::EmbeddingBag::Forward (observe,
// fake-quantize, pool) and, beside it, the look-ups of nn::EmbeddingBag on the same number of rows in tables of 100,000
// and 10,000,000 rows, alternating, each batch twice:
//
//   from memory   the caches are evicted first: otherwise the small table would be timed in the cache and the large one
//                 in memory. What is left, and is the same for both modules, is translating addresses: the large
//                 table's rows lie on a hundred times as many pages, and the tables that say where are in memory, too.
//   from cache    the same batch again: its rows are in the cache by now, its pages as far as the processor keeps them.
//
//   table_size_bench [LOOKUPS] [DIM] [REPETITIONS]      default 4096 64 51
//
// Prints medians, how they grow, and how much of the memory lies on huge pages; exit code 1 if QAT grows over 1.25
// times as much as plain float look-ups do. A forward that passed over the table would grow a hundredfold.
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <optional>
#include <string>
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

// Of one batch, once with its rows in memory and once with them in the cache.
struct Microseconds {
  double from_memory = 0;
  double from_cache = 0;
};

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

  // One QAT forward on fresh rows.
  Microseconds TimeQat(int64_t repetition) {
    return Time(repetition, 1, [this](const eqat::LookupInput& input, eqat::MutableTableView out) {
      return bag_->Forward(input, out, &context_);
    });
  }

  // One float look-up of fresh rows of the same table.
  Microseconds TimeFloat(int64_t repetition) {
    eqat::nn::EmbeddingBag table = std::move(*bag_).ToFloat();
    const Microseconds time = Time(repetition, 2, [&table](const eqat::LookupInput& input, eqat::MutableTableView out) {
      return table.Lookup(input, out);
    });
    bag_.emplace(OrDie(eqat::qat::EmbeddingBag::FromFloat(std::move(table))));
    return time;
  }

 private:
  template <typename Call>
  Microseconds Time(int64_t repetition, uint64_t stream, Call call) {
    const eqat::Rng rng(static_cast<uint64_t>(repetition), stream);
    for (size_t i = 0; i < indices_.size(); ++i) indices_[i] = static_cast<int64_t>(rng.Below(i, rows_));
    const double from_memory = TimeBatch(call);
    return {from_memory, TimeBatch(call)};
  }

  template <typename Call>
  double TimeBatch(Call call) {
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

// A line of /proc/self/smaps_rollup.
double ProcessGigabytes(const std::string& key) {
  std::ifstream rollup("/proc/self/smaps_rollup");
  std::string word;
  double kilobytes = 0;
  while (rollup >> word && word != key) continue;
  rollup >> kilobytes;
  return kilobytes / 1e6;
}

void EvictCaches(std::vector<char>& memory) {
  for (size_t i = 0; i < memory.size(); i += 64) ++memory[i];
}

// What one module took, for the small and the large table.
class Times {
 public:
  void Add(Microseconds small, Microseconds large) {
    const double values[] = {small.from_memory, large.from_memory, small.from_cache, large.from_cache};
    for (int i = 0; i < 4; ++i) columns_[i].push_back(values[i]);
  }
  // Prints a line and returns how much longer the large table took.
  double PrintFromMemory(const char* name) const { return Print(name, "from memory", 0); }
  double PrintFromCache(const char* name) const { return Print(name, "from cache", 2); }

 private:
  double Print(const char* name, const char* place, int column) const {
    const double small = Quantile(columns_[column], 0.5), large = Quantile(columns_[column + 1], 0.5);
    std::printf("%-22s %-12s %12.1f %12.1f %8.2f\n", name, place, small, large, large / small);
    return large / small;
  }

  std::vector<double> columns_[4];
};

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
  Times qat, plain;
  const auto time_qat = [&](TimedTable& table, int64_t repetition) {
    EvictCaches(eviction);
    return table.TimeQat(repetition);
  };
  const auto time_float = [&](TimedTable& table, int64_t repetition) {
    EvictCaches(eviction);
    return table.TimeFloat(repetition);
  };
  for (int64_t repetition = -2; repetition < repetitions; ++repetition) {
    const Microseconds times[] = {time_qat(small, repetition), time_qat(large, repetition),
                                  time_float(small, repetition), time_float(large, repetition)};
    if (repetition < 0) continue;  // warm-up: memory of the outputs, threads
    qat.Add(times[0], times[1]);
    plain.Add(times[2], times[3]);
  }
  std::printf("%lld look-ups, dim %lld, medians of %lld in us, one thread\n", static_cast<long long>(lookups),
              static_cast<long long>(dim), static_cast<long long>(repetitions));
  std::printf("%-35s %12s %12s %8s\n", "rows", "100,000", "10,000,000", "growth");
  const double from_memory = qat.PrintFromMemory("QAT training forward") / plain.PrintFromMemory("float look-up");
  const double from_cache = qat.PrintFromCache("QAT training forward") / plain.PrintFromCache("float look-up");
  std::printf("QAT grows %.2f times as much as float from memory, %.2f times from cache (bound %.2f)\n", from_memory,
              from_cache, kBound);
  std::printf("%.1f GB of %.1f GB of anonymous memory are on huge pages\n", ProcessGigabytes("AnonHugePages:"),
              ProcessGigabytes("Anonymous:"));
  return std::max(from_memory, from_cache) <= kBound ? 0 : 1;
}
