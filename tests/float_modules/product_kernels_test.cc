#include "float_modules/product_kernels.h"

#include <bit>
#include <cstdint>
#include <vector>

#include "tests/float_modules/random_values.h"
#include "tests/support/simd_targets.h"

namespace eqat::nn {
namespace {

using ::eqat::testing::ForEachSimdTarget;

constexpr float kUntouchedProduct = 0x1.23456p7f;

// In views that start at odd addresses and have gaps; `transposed`: the left matrix lies column by column.
void ExpectReference(int64_t rows, int64_t depth, int64_t cols, bool transposed) {
  SCOPED_TRACE(::testing::Message() << rows << " x " << depth << " x " << cols << ", transposed " << transposed);
  const std::vector<float> left_memory = RandomValues(1, (rows + 1) * (depth + 1) + 1);
  const std::vector<float> right_memory = RandomValues(2, depth * (cols + 5) + 1);
  const LeftMatrix left =
      transposed ? LeftMatrix{left_memory.data() + 1, 1, rows + 1} : LeftMatrix{left_memory.data() + 1, depth + 1, 1};
  const TableView right(right_memory.data() + 1, depth, cols + 3, cols + 5);
  const auto product_of = [&](auto multiply) {
    std::vector<float> memory(rows * (cols + 2) + 1, kUntouchedProduct);
    multiply(left, right, cols, MutableTableView(memory.data() + 1, rows, cols + 1, cols + 2));
    return memory;
  };
  const std::vector<float> expected = product_of(MultiplyInOrderReference);
  const std::vector<float> actual = product_of(MultiplyInOrder);
  for (size_t i = 0; i < expected.size(); ++i) {
    ASSERT_EQ(std::bit_cast<uint32_t>(actual[i]), std::bit_cast<uint32_t>(expected[i])) << "at " << i;
  }
}

TEST(ProductKernelsTest, EveryTargetEqualsTheReference) {
  ForEachSimdTarget([] {
    for (const bool transposed : {false, true}) {
      for (const int64_t rows : {1, 3, 4, 5, 8, 15, 32}) {
        for (const int64_t cols : {8, 16, 24, 32, 40, 64, 72}) ExpectReference(rows, 17, cols, transposed);
      }
      for (const int64_t depth : {1, 2, 239, 240, 241, 480, 500}) ExpectReference(6, depth, 56, transposed);
    }
  });
}

}  // namespace
}  // namespace eqat::nn
