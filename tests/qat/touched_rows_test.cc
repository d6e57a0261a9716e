// A step touches the rows of its batch and no other: every other row lies in a page that may not be accessed.
#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/naive_embedding.h"
#include "tests/support/qat_modules.h"
#include "tests/support/status_matchers.h"

namespace eqat {
namespace {

using testing::Batch;
using testing::EmbeddingBagFamily;
using testing::EmbeddingFamily;
using testing::Matrix;
using testing::RowObserver;

// A table whose rows are one page each.
class GuardedTable {
 public:
  explicit GuardedTable(int64_t rows) : rows_(rows), page_(static_cast<size_t>(sysconf(_SC_PAGESIZE))) {
    void* const memory = mmap(nullptr, rows * page_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    EXPECT_NE(memory, MAP_FAILED);
    const size_t bytes = rows * page_;
    memory_ = std::shared_ptr<void>(memory, [bytes](void* address) { munmap(address, bytes); });
    const Rng rng(1, 1);
    for (int64_t i = 0; i < rows * cols(); ++i) data()[i] = rng.Normal(i);
  }

  int64_t cols() const { return static_cast<int64_t>(page_ / sizeof(float)); }
  Table table() { return Table::Adopt(data(), rows_, cols(), memory_); }

  // Leaves access to `rows` alone.
  void Allow(const std::vector<int64_t>& rows) {
    ASSERT_EQ(mprotect(data(), rows_ * page_, PROT_NONE), 0);
    for (const int64_t row : rows) {
      ASSERT_EQ(mprotect(data() + row * cols(), page_, PROT_READ | PROT_WRITE), 0);
    }
  }
  void AllowAll() { ASSERT_EQ(mprotect(data(), rows_ * page_, PROT_READ | PROT_WRITE), 0); }

 private:
  float* data() { return static_cast<float*>(memory_.get()); }
  int64_t rows_;
  size_t page_;
  std::shared_ptr<void> memory_;
};

template <typename Family>
void TrainInsideTheBatch(typename Family::Options options, double averaging_constant) {
  GuardedTable guarded(64);
  options.num_embeddings = 64;
  options.embedding_dim = guarded.cols();
  const std::vector<std::vector<int64_t>> batches = {{3, 9, 3, 63}, {9, 20}, {0, 3}};
  auto float_module = *Family::Float::FromWeight(guarded.table(), options, "item");
  float_module.set_qconfig(testing::QConfigOf(RowObserver(quant::Dtype::kQUInt8, averaging_constant)));
  guarded.Allow({});
  auto module = *Family::Qat::FromFloat(std::move(float_module));
  for (const std::vector<int64_t>& rows : batches) {
    guarded.Allow(rows);
    Batch batch;
    batch.indices = rows;
    if constexpr (std::is_same_v<Family, EmbeddingBagFamily>) batch.offsets = {0, 1};
    nn::LookupContext context;
    EQAT_ASSERT_OK_AND_ASSIGN(const Matrix out, ForwardOf(module, batch, &context));
    EQAT_ASSERT_OK_AND_ASSIGN(const nn::EmbeddingGradients gradients, module.Backward(context, out.view()));
    module.WillModifyRows(gradients.weight);
    for (size_t i = 0; i < gradients.weight.rows.size(); ++i) {
      module.mutable_weight().Row(gradients.weight.rows[i])[0] -= gradients.weight.view().Row(i)[0];
    }
    EQAT_ASSERT_OK(LookupOf(module, batch));
    EQAT_ASSERT_OK(ForwardEvaluationOf(module, batch));
  }
  guarded.AllowAll();
  EQAT_ASSERT_OK_AND_ASSIGN(const quant::FakeQuantizeState state, module.FakeQuantState());
  EXPECT_EQ(state.min_val.size(), 64);
}

TEST(TouchedRows, NoOtherRowIsReadOrWritten) {
  for (const double averaging_constant : {1.0, 0.01, 0.0}) {
    for (const std::optional<double> max_norm : {std::optional<double>(), std::optional<double>(2.0)}) {
      SCOPED_TRACE(::testing::Message() << averaging_constant << " max_norm=" << max_norm.value_or(0));
      nn::EmbeddingBagOptions options;
      options.max_norm = max_norm;
      options.padding_idx = 40;
      TrainInsideTheBatch<EmbeddingFamily>(static_cast<const nn::EmbeddingOptions&>(options), averaging_constant);
      for (const PoolMode mode : {PoolMode::kSum, PoolMode::kMean, PoolMode::kMax}) {
        options.mode = mode;
        TrainInsideTheBatch<EmbeddingBagFamily>(options, averaging_constant);
      }
    }
  }
}

}  // namespace
}  // namespace eqat
