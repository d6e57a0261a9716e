#include "train/batch_source.h"

#include <chrono>
#include <thread>
#include <vector>

#include "absl/types/span.h"
#include "core/parallel_for.h"
#include "tests/train/train_fixture.h"

namespace eqat::train {
namespace {

constexpr int64_t kSampleRows = 53;
constexpr int64_t kBatchSize = 8;

class BatchSourceTest : public ::eqat::testing::TrainTest {
 protected:
  BatchSourceTest() {
    Write("sample.tsv", testing::SampleLines(kSampleRows, 1));
    data_ = *Dataset::Read(*ReadDataSpec(Write("spec.json", testing::kSampleSpec)));
  }
  ~BatchSourceTest() override { SetNumThreads(0); }

  static BatchOrder Order(int64_t first_step, int64_t epochs) {
    BatchOrder order;
    order.seed = 5;
    order.batch_size = kBatchSize;
    order.steps_per_epoch = (kSampleRows - 1) / kBatchSize + 1;
    order.first_step = first_step;
    order.total_steps = epochs * order.steps_per_epoch;
    return order;
  }

  Dataset data_;
};

TEST_F(BatchSourceTest, GivesTheBatchesOfEachEpochInOrderFromAnyStep) {
  const std::vector<BagInput> bags = {{"tag_ids", true}};
  for (const int threads : {1, 2, 4}) {
    SetNumThreads(threads);
    for (const int64_t first_step : {0, 3, 7, 20}) {
      for (const bool shuffle : {false, true}) {
        SCOPED_TRACE(::testing::Message() << threads << " threads, from step " << first_step << ", " << shuffle);
        BatchOrder order = Order(first_step, 3);
        order.shuffle = shuffle;
        BatchSource source(data_, bags, order);
        for (int64_t step = first_step; step < order.total_steps; ++step) {
          const std::vector<int64_t> rows = data_.Order(5, step / order.steps_per_epoch, shuffle);
          const Batch expected =
              data_.MakeBatch(absl::MakeConstSpan(rows).subspan(step % order.steps_per_epoch * kBatchSize, kBatchSize));
          const std::unique_ptr<const FedBatch> fed = source.Next();
          EXPECT_EQ(fed->batch.labels, expected.labels);
          const Batch::Jagged& tags = fed->batch.jagged.at("tag_ids");
          EXPECT_EQ(tags.indices, expected.jagged.at("tag_ids").indices);
          EXPECT_EQ(tags.offsets, expected.jagged.at("tag_ids").offsets);
          for (const auto& [name, tensor] : expected.dense) EXPECT_EQ(fed->feed.dense.at(name).values, tensor.values);
          // The feed views this batch.
          EXPECT_EQ(fed->feed.lookups.at("tag_ids").indices.size(), static_cast<int64_t>(tags.indices.size()));
          EXPECT_EQ(fed->feed.lookups.at("tag_ids").offsets->size(), static_cast<int64_t>(tags.offsets.size()));
        }
      }
    }
  }
}

TEST_F(BatchSourceTest, MayBeLeftAtAnyMoment) {
  SetNumThreads(2);
  for (int taken = 0; taken < 5; ++taken) {
    BatchSource source(data_, {}, Order(0, 100));
    for (int i = 0; i < taken; ++i) source.Next();
    if (taken % 2 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  const BatchSource finished(data_, {}, Order(21, 3));
}

// The thread of the background leaves the pool to the one that computes.
TEST_F(BatchSourceTest, DoesNotTakeThePool) {
  SetNumThreads(2);
  BatchSource source(data_, {}, Order(0, 50));
  for (int64_t step = 0; step < 50 * 7; ++step) {
    std::vector<int> counts(100);
    ParallelFor(100, 1, [&](int64_t i, int64_t) { ++counts[i]; });
    EXPECT_EQ(counts, std::vector<int>(100, 1));
    EXPECT_FALSE(source.Next()->batch.labels.empty());
  }
}

}  // namespace
}  // namespace eqat::train
