// BatchSource: the batches of a training run in order, each prepared by a thread of the background while the one before
// it computes.
//
// Batches do not depend on the number of threads: with SetNumThreads(1), or where the system allows no thread, the
// caller prepares them.
#ifndef EQAT_TRAIN_BATCH_SOURCE_H_
#define EQAT_TRAIN_BATCH_SOURCE_H_

#include <condition_variable>
#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "train/dataset.h"

namespace eqat::train {

struct BatchOrder {
  uint64_t seed = 0;
  bool shuffle = true;
  int64_t batch_size = 0;
  int64_t steps_per_epoch = 0;
  int64_t first_step = 0;
  int64_t total_steps = 0;
};

// A batch and the feed that views it.
struct FedBatch {
  Batch batch;
  model::Feed feed;
};

class BatchSource {
 public:
  // `data` must outlive the source. REQUIRES: batch_size * steps_per_epoch covers the rows of `data`.
  BatchSource(const Dataset& data, std::vector<BagInput> bag_inputs, const BatchOrder& order);
  BatchSource(const BatchSource&) = delete;
  BatchSource& operator=(const BatchSource&) = delete;
  ~BatchSource();  // waits for a batch that is being prepared

  // The batch of step first_step, then of the next. REQUIRES: called at most total_steps - first_step times.
  std::unique_ptr<const FedBatch> Next();

 private:
  std::unique_ptr<const FedBatch> Prepare(int64_t step);
  void PrepareAhead();

  const Dataset& data_;
  const std::vector<BagInput> bag_inputs_;
  const BatchOrder order_;
  int64_t next_step_;
  std::vector<int64_t> rows_;  // in the order of epoch rows_epoch_
  int64_t rows_epoch_ = -1;

  std::mutex mutex_;  // guards what follows; the thread owns rows_ and rows_epoch_
  std::condition_variable changed_;
  std::unique_ptr<const FedBatch> ready_;
  std::exception_ptr failure_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace eqat::train

#endif  // EQAT_TRAIN_BATCH_SOURCE_H_
