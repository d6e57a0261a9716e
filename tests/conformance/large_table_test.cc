// Rows, elements and bytes beyond 2^32: no arithmetic on them is narrower than 64 bits. The tables are address space
// without memory behind it, but for the pages of the rows looked up.
#include <sys/mman.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <type_traits>
#include <utility>
#include <vector>

#include "absl/types/span.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/naive_embedding.h"
#include "tests/support/qat_modules.h"
#include "tests/support/status_matchers.h"

namespace eqat {
namespace {

using testing::Batch;
using testing::BitsOf;
using testing::EmbeddingBagFamily;
using testing::EmbeddingFamily;
using ::testing::HasSubstr;
using testing::Matrix;
using testing::RandomMatrix;
using testing::RowObserver;
using testing::StatusIs;

// Zeros; null where so much address space is not to be had.
std::shared_ptr<void> AddressSpace(size_t bytes) {
  void* const memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) return nullptr;
  return std::shared_ptr<void>(memory, [bytes](void* address) { munmap(address, bytes); });
}

template <typename F>
class LargeTable : public ::testing::Test {
 public:
  using Family = F;
  static constexpr int64_t kRows = (int64_t{1} << 32) + 8;
  static constexpr int64_t kCols = 2;
  // Pairs that a narrower row number, element number or byte offset would mistake for each other.
  static std::vector<int64_t> Rows() {
    return {5, (int64_t{1} << 29) + 5, (int64_t{1} << 30) + 5, (int64_t{1} << 31) + 5, (int64_t{1} << 32) + 5};
  }
  static Batch RowsOf(std::vector<int64_t> rows) {
    Batch batch;
    if constexpr (std::is_same_v<Family, EmbeddingBagFamily>) batch.shape = {static_cast<int64_t>(rows.size()), 1};
    batch.indices = std::move(rows);
    return batch;
  }
  static typename Family::Options Options() {
    typename Family::Options options;
    options.num_embeddings = kRows;
    options.embedding_dim = kCols;
    options.padding_idx = kRows - 1;
    return options;
  }
};
using Families = ::testing::Types<EmbeddingFamily, EmbeddingBagFamily>;
TYPED_TEST_SUITE(LargeTable, Families);

template <typename Module, typename Twin>
void ExpectSameStep(Module& module, const Batch& batch, Twin& twin, const Batch& twin_batch) {
  nn::LookupContext context, twin_context;
  EQAT_ASSERT_OK_AND_ASSIGN(const Matrix out, ForwardOf(module, batch, &context));
  EQAT_ASSERT_OK_AND_ASSIGN(const Matrix twin_out, ForwardOf(twin, twin_batch, &twin_context));
  EXPECT_EQ(BitsOf(out.values), BitsOf(twin_out.values));
  EXPECT_EQ(BitsOf(LookupOf(module, batch)->values), BitsOf(LookupOf(twin, twin_batch)->values));
  EQAT_ASSERT_OK_AND_ASSIGN(const nn::EmbeddingGradients gradients, module.Backward(context, out.view()));
  EQAT_ASSERT_OK_AND_ASSIGN(const nn::EmbeddingGradients twin_gradients, twin.Backward(twin_context, out.view()));
  EXPECT_EQ(gradients.weight.rows, batch.indices);
  EXPECT_EQ(BitsOf(gradients.weight.values), BitsOf(twin_gradients.weight.values));
}

TYPED_TEST(LargeTable, TrainsAsASmallOneOfTheSameRows) {
  const std::shared_ptr<void> memory = AddressSpace(this->kRows * this->kCols * sizeof(float));
  if (memory == nullptr) GTEST_SKIP() << "no 32 GiB of address space";
  Table table = Table::Adopt(static_cast<float*>(memory.get()), this->kRows, this->kCols, memory);
  const std::vector<int64_t> rows = this->Rows();
  const Matrix content = RandomMatrix(static_cast<int64_t>(rows.size()), this->kCols, 1);
  for (size_t i = 0; i < rows.size(); ++i) std::copy_n(content.Row(i), this->kCols, table.Row(rows[i]));
  const Batch batch = this->RowsOf(rows);
  const Batch twin_batch = this->RowsOf(testing::AllRows(content));

  auto module = *TypeParam::Float::FromWeight(std::move(table), this->Options(), "item");
  auto twin = testing::MakeFloat<TypeParam>(content, {});
  ExpectSameStep(module, batch, twin, twin_batch);

  for (auto* float_module : {&module, &twin}) float_module->set_qconfig(testing::QConfigOf(RowObserver()));
  auto qat = *TypeParam::Qat::FromFloat(std::move(module));
  auto qat_twin = *TypeParam::Qat::FromFloat(std::move(twin));
  ExpectSameStep(qat, batch, qat_twin, twin_batch);
  qat.WillModifyRows(rows);
  qat_twin.WillModifyAllRows();
  for (size_t i = 0; i < rows.size(); ++i) {
    qat.mutable_weight().Row(rows[i])[1] += 1.0f;
    qat_twin.mutable_weight().Row(i)[1] += 1.0f;
  }
  ExpectSameStep(qat, batch, qat_twin, twin_batch);

  EXPECT_THAT(LookupOf(qat, this->RowsOf({this->kRows})),
              StatusIs(absl::StatusCode::kOutOfRange, HasSubstr("(got 4294967304, expected 0 to 4294967303)")));
}

TYPED_TEST(LargeTable, QuantizedRowsLieBeyond32BitsOfBytes) {
  constexpr int64_t kQuantizedRows = (1 << 12) + 1;
  constexpr int64_t kQuantizedCols = 1 << 20;
  const size_t bytes = kQuantizedRows * kQuantizedCols;
  const std::shared_ptr<void> memory = AddressSpace(bytes);
  if (memory == nullptr) GTEST_SKIP() << "no 4 GiB of address space";
  uint8_t* const codes = static_cast<uint8_t*>(memory.get());
  codes[bytes - 1] = 200;  // of the last row, 2^32 bytes behind that of the first
  codes[kQuantizedCols - 1] = 100;
  EQAT_ASSERT_OK_AND_ASSIGN(quant::QuantizedTable table,
                            quant::QuantizedTable::FromPacked(kQuantizedRows, kQuantizedCols, quant::Dtype::kQUInt8,
                                                              absl::MakeConstSpan(codes, bytes), memory,
                                                              std::vector<float>(kQuantizedRows, 0.5f),
                                                              std::vector<float>(kQuantizedRows, 10.0f)));
  typename TestFixture::Family::Options options;
  options.num_embeddings = kQuantizedRows;
  options.embedding_dim = kQuantizedCols;
  EQAT_ASSERT_OK_AND_ASSIGN(const auto module, TypeParam::Quantized::Create(std::move(table), options, "item"));
  EQAT_ASSERT_OK_AND_ASSIGN(const Matrix out, LookupOf(module, this->RowsOf({kQuantizedRows - 1, 0})));
  EXPECT_EQ(out.Row(0)[kQuantizedCols - 1], 95.0f);
  EXPECT_EQ(out.Row(0)[0], -5.0f);
  EXPECT_EQ(out.Row(1)[kQuantizedCols - 1], 45.0f);
}

}  // namespace
}  // namespace eqat
