// eqat_bench: what look-ups, training steps and quantization cost, per look-up or row. Names:
//
//   <op>/<variant>/rows:<N>/dim:<D>/bags:<B>/pool:<L>/ids:<uniform|zipf>/threads:<T>
//
// Ops and variants are those of workload.h. A benchmark is set up, and its result checked, when it is run and not
// before: --benchmark_filter pays for what it picks. Counters: ns_per_lookup (op quantize: ns_per_row) and
// bytes_per_second, the stored bytes of the rows that were read; both by the wall clock.
#include <benchmark/benchmark.h>

#include <chrono>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "bench/shape.h"
#include "bench/workload.h"
#include "core/parallel_for.h"

namespace {

using eqat::bench::Shape;
using eqat::bench::Workload;

// Google Benchmark calls a function several times before it believes a time. The workload of the last call is kept for
// the next one, and until its successor is made, which may share the table.
Workload& WorkloadOf(const std::string& op, const std::string& variant, const Shape& shape) {
  static std::string current_name;
  static std::unique_ptr<Workload> current;
  const std::string name = absl::StrCat(op, "/", variant, "/", eqat::bench::DataText(shape));
  if (name != current_name) {
    current = eqat::bench::MakeWorkload(op, variant, shape);
    current_name = name;
  }
  return *current;
}

void Time(benchmark::State& state, const std::string& op, const std::string& variant, const Shape& shape) {
  eqat::SetNumThreads(shape.threads);
  Workload& workload = WorkloadOf(op, variant, shape);
  int64_t iteration = 0;
  const auto start = std::chrono::steady_clock::now();
  for (auto _ : state) workload.Run(iteration++);
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  const double items = static_cast<double>(iteration) * static_cast<double>(workload.items_per_call());
  state.counters[workload.items_are_rows() ? "ns_per_row" : "ns_per_lookup"] = seconds.count() * 1e9 / items;
  state.counters["bytes_per_second"] = benchmark::Counter(items * workload.bytes_per_item() / seconds.count(),
                                                          benchmark::Counter::kDefaults, benchmark::Counter::kIs1024);
}

// The threads change fastest: what is set up serves them all.
void Register(const std::string& op, Shape shape) {
  for (const std::string& variant : eqat::bench::VariantsOf(op)) {
    for (const int threads : {1, 2}) {
      shape.threads = threads;
      const std::string name = absl::StrCat(op, "/", variant, "/", eqat::bench::ShapeText(shape));
      benchmark::RegisterBenchmark(name.c_str(), [=](benchmark::State& state) { Time(state, op, variant, shape); });
    }
  }
}

void RegisterAll() {
  const int64_t kMillion = 1'000'000;
  const Shape tables[] = {
      {.rows = 1024, .dim = 64},      {.rows = 10'000, .dim = 64},       {.rows = 100'000, .dim = 64},
      {.rows = kMillion, .dim = 16},  {.rows = kMillion, .dim = 64},     {.rows = kMillion, .dim = 128},
      {.rows = kMillion, .dim = 256}, {.rows = 2 * kMillion, .dim = 64}, {.rows = 10 * kMillion, .dim = 64}};
  for (Shape shape : tables) {
    shape.bags = 512;
    shape.pool = 20;
    for (const bool zipf : {false, true}) {
      shape.zipf = zipf;
      Register("forward", shape);
      Register("step", shape);
    }
    shape.zipf = false;
    Register("quantize", shape);
  }
  const Shape large_batch = {.rows = kMillion, .dim = 64, .bags = 4096, .pool = 20, .zipf = true};
  Register("forward", large_batch);
  Register("step", large_batch);
}

}  // namespace

int main(int argc, char** argv) {
  RegisterAll();
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
}
