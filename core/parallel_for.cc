#include "core/parallel_for.h"

#include <algorithm>
#include <atomic>
#include <cassert>
#include <chrono>
#include <cstdint>
#include <exception>
#include <mutex>
#include <numeric>
#include <thread>
#include <vector>

namespace eqat {
namespace {

// Blocks of one ParallelFor, handed out in order to whichever thread comes next.
class Job {
 public:
  Job(int64_t n, int64_t block, absl::FunctionRef<void(int64_t, int64_t)> body) : n_(n), block_(block), body_(body) {}

  int64_t num_blocks() const { return n_ / block_ + (n_ % block_ != 0); }

  // Does not throw: after an exception no more blocks are handed out.
  void RunBlocks() {
    const int64_t num_blocks_total = num_blocks();
    try {
      for (;;) {
        const int64_t i = next_.fetch_add(1, std::memory_order_relaxed);
        if (i >= num_blocks_total) return;
        const int64_t begin = i * block_;
        body_(begin, begin + std::min(block_, n_ - begin));
      }
    } catch (...) {
      next_.store(num_blocks_total, std::memory_order_relaxed);
      if (!failed_.test_and_set()) failure_ = std::current_exception();
    }
  }

  // When all threads have left: throws the first exception of the body again.
  void RethrowFailure() const {
    if (failure_ != nullptr) std::rethrow_exception(failure_);
  }

 private:
  const int64_t n_;
  const int64_t block_;
  const absl::FunctionRef<void(int64_t, int64_t)> body_;
  std::atomic<int64_t> next_{0};
  std::atomic_flag failed_ = ATOMIC_FLAG_INIT;
  std::exception_ptr failure_;
};

// True while ParallelFor must stay on this thread.
thread_local bool inside_parallel_for = false;

// Waking a thread that sleeps takes longer than many a job, so threads look out for news this long before they sleep.
constexpr std::chrono::microseconds kSpinTime{50};

void RelaxProcessor() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Returns when `condition` holds or kSpinTime has passed.
template <typename Condition>
void SpinUntil(const Condition& condition) {
  constexpr int kLooksPerClock = 32;
  const auto deadline = std::chrono::steady_clock::now() + kSpinTime;
  do {
    for (int look = 0; look < kLooksPerClock; ++look) {
      if (condition()) return;
      RelaxProcessor();
    }
  } while (std::chrono::steady_clock::now() < deadline);
}

class Pool {
 public:
  static Pool& Get() {
    static Pool* const pool = new Pool;  // never destroyed: static destructors may still call ParallelFor
    return *pool;
  }

  int num_threads() const { return num_threads_.load(std::memory_order_relaxed); }

  void SetNumThreads(int num_threads) {
    const std::lock_guard<std::mutex> owner(owner_mutex_);
    StopWorkers();
    num_threads_.store(num_threads > 0 ? num_threads : AllCores(), std::memory_order_relaxed);
  }

  // False, without having done anything, when another thread is using the pool.
  bool TryRun(Job& job) {
    const std::unique_lock<std::mutex> owner(owner_mutex_, std::try_to_lock);
    if (!owner.owns_lock()) return false;
    StartWorkers();
    Publish(job);
    job.RunBlocks();
    state_.fetch_and(~kOpen, std::memory_order_relaxed);  // workers that wake up late find nothing to do
    WaitForWorkers();
    return true;
  }

 private:
  // A state: how many workers run the job (it lives until they are done), whether more may join, and a number that
  // changes with each job.
  static constexpr uint32_t kOneWorker = 1;
  static constexpr uint32_t kWorkers = (1u << 12) - 1;
  static constexpr uint32_t kOpen = 1u << 12;
  static constexpr uint32_t kOneJob = 1u << 13;

  static int AllCores() { return std::max(1, static_cast<int>(std::thread::hardware_concurrency())); }

  // With more threads than cores a thread that spins would keep another from working.
  bool MaySpin() const { return num_threads() <= all_cores_; }

  void StartWorkers() {
    while (static_cast<int>(workers_.size()) < num_threads() - 1) {
      try {
        workers_.emplace_back([this] { Work(); });
      } catch (const std::exception&) {
        return;  // the system allows no more threads, or has no memory for one: fewer give the same results
      }
    }
  }

  void StopWorkers() {
    stopping_.store(true, std::memory_order_relaxed);
    state_.fetch_add(kOneJob);
    state_.notify_all();
    for (std::thread& worker : workers_) worker.join();
    workers_.clear();
    stopping_.store(false, std::memory_order_relaxed);
  }

  void Publish(Job& job) {
    job_.store(&job, std::memory_order_relaxed);
    state_.fetch_add(kOneJob | kOpen);
    const int64_t useful_workers = std::min<int64_t>(job.num_blocks() - 1, static_cast<int64_t>(workers_.size()));
    for (int64_t i = 0; i < useful_workers; ++i) state_.notify_one();
  }

  void WaitForWorkers() {
    const auto all_left = [this] { return (state_.load(std::memory_order_acquire) & kWorkers) == 0; };
    if (MaySpin()) SpinUntil(all_left);
    for (;;) {
      const uint32_t departures = departures_.load(std::memory_order_acquire);
      if (all_left()) return;
      departures_.wait(departures, std::memory_order_acquire);
    }
  }

  // The job of `state`, which the calling worker then has to Leave; null when there is none to join.
  Job* Join(uint32_t& state) {
    while ((state & kOpen) != 0 && (state & kWorkers) != kWorkers) {
      if (state_.compare_exchange_weak(state, state + kOneWorker, std::memory_order_acquire)) {
        return job_.load(std::memory_order_relaxed);
      }
    }
    return nullptr;
  }

  void Leave() {
    const uint32_t before = state_.fetch_sub(kOneWorker, std::memory_order_release);
    if ((before & kOpen) != 0 || (before & kWorkers) != kOneWorker) return;
    departures_.fetch_add(1);
    departures_.notify_one();
  }

  void Work() {
    inside_parallel_for = true;
    const auto job_of = [](uint32_t state) { return state / kOneJob; };
    uint32_t state = 0;
    for (uint32_t last_job = 0;; last_job = job_of(state)) {
      const auto is_news = [&] { return job_of(state = state_.load(std::memory_order_acquire)) != last_job; };
      if (MaySpin()) SpinUntil(is_news);
      while (!is_news()) state_.wait(state, std::memory_order_acquire);
      if (stopping_.load(std::memory_order_relaxed)) return;
      if (Job* const job = Join(state)) {
        job->RunBlocks();
        Leave();
      }
    }
  }

  const int all_cores_ = AllCores();
  std::atomic<int> num_threads_{AllCores()};
  std::mutex owner_mutex_;  // held by the one thread whose job the workers run
  std::vector<std::thread> workers_;

  std::atomic<uint32_t> state_{0};
  std::atomic<Job*> job_{nullptr};       // of the state; valid for workers that have joined
  std::atomic<uint32_t> departures_{0};  // changes when the last worker leaves a closed job
  std::atomic<bool> stopping_{false};
};

}  // namespace

void SetNumThreads(int num_threads) {
  assert(!inside_parallel_for);
  Pool::Get().SetNumThreads(num_threads);
}

void StayOnThisThread() { inside_parallel_for = true; }

int NumThreads() { return Pool::Get().num_threads(); }

void ParallelFor(int64_t n, int64_t block, absl::FunctionRef<void(int64_t begin, int64_t end)> body) {
  assert(block >= 1);
  if (n <= 0) return;
  Job job(n, block, body);
  if (job.num_blocks() == 1 || inside_parallel_for || NumThreads() == 1) {
    job.RunBlocks();
  } else {
    inside_parallel_for = true;
    if (!Pool::Get().TryRun(job)) job.RunBlocks();
    inside_parallel_for = false;
  }
  job.RethrowFailure();
}

void ParallelTasks(absl::Span<const int64_t> costs, absl::FunctionRef<void(int64_t task)> body) {
  const double share = std::accumulate(costs.begin(), costs.end(), 0.0) / NumThreads();
  std::vector<int64_t> small;
  for (int64_t task = 0; task < static_cast<int64_t>(costs.size()); ++task) {
    if (static_cast<double>(costs[task]) > share) {
      body(task);
    } else {
      small.push_back(task);
    }
  }
  // The dearest first: what is left at the end is short.
  std::stable_sort(small.begin(), small.end(), [&](int64_t a, int64_t b) { return costs[a] > costs[b]; });
  ParallelFor(static_cast<int64_t>(small.size()), 1, [&](int64_t i, int64_t /*end*/) { body(small[i]); });
}

}  // namespace eqat
