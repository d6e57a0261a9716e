// eqat_ratios: measures the ratio of each bound (bounds.cc) in one process and says which are met.
//
//   eqat_ratios [--only 1,2,5] [--rounds 15] [--shrink 1]
//
// Both sides of a bound take turns, over and under, for each round; the ratio is the median of the rounds' ratios. One
// side's turn in a round is as many calls as fill about 30 ms. With one thread the process stays on one core. The sides
// go through the same batches, half of them apart: what one side leaves in the caches is gone when the other gets
// there. Every workload is compared with the scalar reference before it is timed.
//
// --shrink N divides the rows of the tables by N to try the program; ratios then mean nothing and are not judged.
// Prints number, what, ratio, bound and "met" or "MISSED", then the quartiles of the rounds' ratios and the median time
// of each side per look-up or row. Exit code 1 if a bound is missed, 2 for wrong use.
#include <sched.h>
#include <time.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "bench/bounds.h"
#include "bench/data.h"
#include "bench/median.h"
#include "bench/workload.h"
#include "core/parallel_for.h"

namespace {

using eqat::bench::Bound;
using eqat::bench::Quantile;
using eqat::bench::Side;
using eqat::bench::Workload;

constexpr double kSecondsPerTurn = 0.03;
constexpr double kSecondsPerTrialTurn = 0.001;

struct Options {
  std::set<int> only;  // empty: all
  int rounds = 15;
  int64_t shrink = 1;

  bool judges() const { return shrink == 1; }
  double seconds_per_turn() const { return judges() ? kSecondsPerTurn : kSecondsPerTrialTurn; }
};

bool ParseOptions(int argc, char** argv, Options& options) {
  for (int i = 1; i < argc; i += 2) {
    const std::string flag = argv[i];
    if (i + 1 == argc) return false;
    const std::string value = argv[i + 1];
    if (flag == "--rounds") {
      if (!absl::SimpleAtoi(value, &options.rounds) || options.rounds < 1) return false;
    } else if (flag == "--shrink") {
      if (!absl::SimpleAtoi(value, &options.shrink) || options.shrink < 1) return false;
    } else if (flag == "--only") {
      for (const auto part : absl::StrSplit(value, ',')) {
        int number = 0;
        if (!absl::SimpleAtoi(part, &number)) return false;
        options.only.insert(number);
      }
    } else {
      return false;
    }
  }
  return true;
}

// Sets the number of threads; a single one stays on the last core it may use (the first serves most interrupts).
class Threads {
 public:
  Threads() { sched_getaffinity(0, sizeof(all_), &all_); }

  // Returns whether anything changed.
  bool Set(int threads) {
    if (threads == threads_) return false;
    threads_ = threads;
    cpu_set_t cores = all_;
    if (threads == 1) {
      int last = CPU_SETSIZE - 1;
      while (last > 0 && !CPU_ISSET(last, &all_)) --last;
      CPU_ZERO(&cores);
      CPU_SET(last, &cores);
    }
    eqat::SetNumThreads(threads);
    sched_setaffinity(0, sizeof(cores), &cores);  // where it is refused the times are noisier, not wrong
    return true;
  }

 private:
  cpu_set_t all_;
  int threads_ = 0;
};

// One side of a bound on its way through the batches.
class Runner {
 public:
  // `clock`: of clock_gettime.
  Runner(const Side& side, clockid_t clock, Threads& threads)
      : threads_(threads),
        clock_(clock),
        num_threads_(side.shape.threads),
        workload_(eqat::bench::Shared<Workload>(
            absl::StrCat(side.op, "/", side.variant, "/", eqat::bench::DataText(side.shape)),
            [&] { return eqat::bench::MakeWorkload(side.op, side.variant, side.shape); })) {}

  void StartHalfway() { iteration_ = workload_->num_batches() / 2; }

  int64_t CallsThatFill(double turn_seconds) {
    NanosecondsPerItem(1);
    const double seconds = NanosecondsPerItem(3) * 1e-9 * static_cast<double>(workload_->items_per_call());
    return std::max<int64_t>(1, std::llround(turn_seconds / seconds));
  }

  double NanosecondsPerItem(int64_t calls) {
    if (threads_.Set(num_threads_)) workload_->Run(iteration_++);  // starts the threads
    const double start = Now();
    for (int64_t call = 0; call < calls; ++call) workload_->Run(iteration_++);
    return (Now() - start) / static_cast<double>(calls * workload_->items_per_call());
  }

 private:
  double Now() const {  // nanoseconds
    timespec time;
    clock_gettime(clock_, &time);
    return static_cast<double>(time.tv_sec) * 1e9 + static_cast<double>(time.tv_nsec);
  }

  Threads& threads_;
  clockid_t clock_;
  int num_threads_;
  std::shared_ptr<Workload> workload_;
  int64_t iteration_ = 0;
};

struct Measurement {
  std::vector<double> ratios, over, under;  // of each round
};

Measurement Measure(Runner& over, Runner& under, const Options& options) {
  under.StartHalfway();
  const int64_t over_calls = over.CallsThatFill(options.seconds_per_turn());
  const int64_t under_calls = under.CallsThatFill(options.seconds_per_turn());
  Measurement measurement;
  for (int round = 0; round < options.rounds; ++round) {
    measurement.over.push_back(over.NanosecondsPerItem(over_calls));
    measurement.under.push_back(under.NanosecondsPerItem(under_calls));
    measurement.ratios.push_back(measurement.over.back() / measurement.under.back());
  }
  return measurement;
}

// bench/ratios.sh prints its own rows in the same columns.
void PrintRow(const Bound& bound, const Measurement& measurement, bool judge) {
  const double ratio = Quantile(measurement.ratios, 0.5);
  const std::string limit = absl::StrCat(bound.at_least ? ">= " : "<= ", bound.limit);
  std::printf("%3d  %-86s %9.3f  %-8s %-7s %.3f-%.3f, %.2f / %.2f ns\n", bound.number, bound.what.c_str(), ratio,
              limit.c_str(),
              !judge               ? "-"
              : bound.IsMet(ratio) ? "met"
                                   : "MISSED",
              Quantile(measurement.ratios, 0.25), Quantile(measurement.ratios, 0.75), Quantile(measurement.over, 0.5),
              Quantile(measurement.under, 0.5));
  std::fflush(stdout);
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  if (!ParseOptions(argc, argv, options)) {
    std::fprintf(stderr, "usage: eqat_ratios [--only 1,2,5] [--rounds 15] [--shrink 1]\n");
    return 2;
  }
  bool all_met = true;
  Threads threads;
  std::unique_ptr<Runner> over, under;  // those of the last bound live until the next ones have taken what they share
  for (const Bound& bound : eqat::bench::Bounds(options.shrink)) {
    if (!options.only.empty() && options.only.count(bound.number) == 0) continue;
    const bool one_thread = bound.over.shape.threads == 1 && bound.under.shape.threads == 1;
    const clockid_t clock = one_thread ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC;
    auto next_over = std::make_unique<Runner>(bound.over, clock, threads);
    auto next_under = std::make_unique<Runner>(bound.under, clock, threads);
    over = std::move(next_over);
    under = std::move(next_under);
    const Measurement measurement = Measure(*over, *under, options);
    PrintRow(bound, measurement, options.judges());
    all_met = all_met && bound.IsMet(Quantile(measurement.ratios, 0.5));
  }
  return !options.judges() || all_met ? 0 : 1;
}
