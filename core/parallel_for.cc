#include "core/parallel_for.h"

#include <algorithm>
#include <atomic>
#include <cassert>
#include <condition_variable>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

namespace eqat {
namespace {

// Blocks of one ParallelFor, handed out in order to whichever thread comes next.
class Job {
 public:
  Job(int64_t n, int64_t block, absl::FunctionRef<void(int64_t, int64_t)> body) : n_(n), block_(block), body_(body) {}

  int64_t num_blocks() const { return n_ / block_ + (n_ % block_ != 0); }

  void RunBlocks() {
    const int64_t num_blocks_total = num_blocks();
    for (;;) {
      const int64_t i = next_.fetch_add(1, std::memory_order_relaxed);
      if (i >= num_blocks_total) return;
      const int64_t begin = i * block_;
      body_(begin, begin + std::min(block_, n_ - begin));
    }
  }

 private:
  const int64_t n_;
  const int64_t block_;
  const absl::FunctionRef<void(int64_t, int64_t)> body_;
  std::atomic<int64_t> next_{0};
};

thread_local bool inside_parallel_for = false;

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
    std::unique_lock<std::mutex> lock(mutex_);
    job_ = nullptr;  // workers that wake up late find nothing to do
    idle_.wait(lock, [this] { return busy_workers_ == 0; });
    return true;
  }

 private:
  static int AllCores() { return std::max(1, static_cast<int>(std::thread::hardware_concurrency())); }

  void StartWorkers() {
    while (static_cast<int>(workers_.size()) < num_threads() - 1) {
      try {
        workers_.emplace_back([this] { Work(); });
      } catch (const std::system_error&) {
        return;  // the system allows no more threads: fewer give the same results
      }
    }
  }

  void StopWorkers() {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      stopping_ = true;
    }
    wake_.notify_all();
    for (std::thread& worker : workers_) worker.join();
    workers_.clear();
    stopping_ = false;
  }

  void Publish(Job& job) {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      job_ = &job;
      ++job_number_;
    }
    const int64_t useful_workers = std::min<int64_t>(job.num_blocks() - 1, static_cast<int64_t>(workers_.size()));
    for (int64_t i = 0; i < useful_workers; ++i) wake_.notify_one();
  }

  void Work() {
    inside_parallel_for = true;
    uint64_t last_job_number = 0;
    std::unique_lock<std::mutex> lock(mutex_);
    for (;;) {
      wake_.wait(lock, [&] { return stopping_ || (job_ != nullptr && job_number_ != last_job_number); });
      if (stopping_) return;
      Job* const job = job_;
      last_job_number = job_number_;
      ++busy_workers_;
      lock.unlock();
      job->RunBlocks();
      lock.lock();
      if (--busy_workers_ == 0) idle_.notify_one();
    }
  }

  std::atomic<int> num_threads_{AllCores()};
  std::mutex owner_mutex_;  // held by the one thread whose job the workers run
  std::vector<std::thread> workers_;

  std::mutex mutex_;  // guards what follows
  std::condition_variable wake_;
  std::condition_variable idle_;
  Job* job_ = nullptr;
  uint64_t job_number_ = 0;
  int busy_workers_ = 0;
  bool stopping_ = false;
};

}  // namespace

void SetNumThreads(int num_threads) {
  assert(!inside_parallel_for);
  Pool::Get().SetNumThreads(num_threads);
}

int NumThreads() { return Pool::Get().num_threads(); }

void ParallelFor(int64_t n, int64_t block, absl::FunctionRef<void(int64_t begin, int64_t end)> body) {
  assert(block >= 1);
  if (n <= 0) return;
  Job job(n, block, body);
  if (job.num_blocks() == 1 || inside_parallel_for || NumThreads() == 1) return job.RunBlocks();
  inside_parallel_for = true;
  if (!Pool::Get().TryRun(job)) job.RunBlocks();
  inside_parallel_for = false;
}

}  // namespace eqat
