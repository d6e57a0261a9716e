#include "train/batch_source.h"

#include <cassert>
#include <system_error>
#include <utility>

#include "absl/types/span.h"
#include "core/parallel_for.h"

namespace eqat::train {

BatchSource::BatchSource(const Dataset& data, std::vector<BagInput> bag_inputs, const BatchOrder& order)
    : data_(data), bag_inputs_(std::move(bag_inputs)), order_(order), next_step_(order.first_step) {
  if (NumThreads() == 1 || order.first_step >= order.total_steps) return;
  try {
    thread_ = std::thread([this] { PrepareAhead(); });
  } catch (const std::system_error&) {
    // The caller prepares its batches.
  }
}

BatchSource::~BatchSource() {
  if (!thread_.joinable()) return;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

std::unique_ptr<const FedBatch> BatchSource::Next() {
  assert(next_step_ < order_.total_steps);
  const int64_t step = next_step_++;
  if (!thread_.joinable()) return Prepare(step);
  std::unique_lock<std::mutex> lock(mutex_);
  changed_.wait(lock, [this] { return ready_ != nullptr || failure_ != nullptr; });
  if (failure_ != nullptr) std::rethrow_exception(failure_);
  std::unique_ptr<const FedBatch> batch = std::move(ready_);
  lock.unlock();
  changed_.notify_all();
  return batch;
}

std::unique_ptr<const FedBatch> BatchSource::Prepare(int64_t step) {
  const int64_t epoch = step / order_.steps_per_epoch;
  if (epoch != rows_epoch_) {
    rows_ = data_.Order(order_.seed, epoch, order_.shuffle);
    rows_epoch_ = epoch;
  }
  const int64_t first = step % order_.steps_per_epoch * order_.batch_size;
  auto fed = std::make_unique<FedBatch>();
  fed->batch = data_.MakeBatch(absl::MakeConstSpan(rows_).subspan(first, order_.batch_size));
  fed->feed = FeedOf(fed->batch, bag_inputs_);
  return fed;
}

void BatchSource::PrepareAhead() {
  StayOnThisThread();  // the pool belongs to the batch that computes
  try {
    for (int64_t step = order_.first_step; step < order_.total_steps; ++step) {
      std::unique_ptr<const FedBatch> batch = Prepare(step);
      std::unique_lock<std::mutex> lock(mutex_);
      changed_.wait(lock, [this] { return stopping_ || ready_ == nullptr; });
      if (stopping_) return;
      ready_ = std::move(batch);
      lock.unlock();
      changed_.notify_all();
    }
  } catch (...) {  // out of memory: for the caller, as if it had prepared the batch
    const std::lock_guard<std::mutex> lock(mutex_);
    failure_ = std::current_exception();
    changed_.notify_all();
  }
}

}  // namespace eqat::train
