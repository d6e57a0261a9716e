#include "core/tensor.h"

#include "gtest/gtest.h"

namespace eqat {
namespace {

TEST(Tensor, StartsAsZeros) {
  const Tensor tensor({2, 3});
  EXPECT_EQ(tensor.values, std::vector<float>(6, 0.0f));
  EXPECT_EQ(tensor.size(), 6);
  EXPECT_EQ(tensor.rank(), 2);
  EXPECT_EQ(Tensor(std::vector<int64_t>{}).size(), 1);  // a scalar
  EXPECT_EQ(Tensor().size(), 0);
}

TEST(Tensor, MatrixKeepsTheLastDimension) {
  Tensor tensor({2, 3, 4});
  tensor.mutable_matrix().Row(5)[3] = 7.0f;
  EXPECT_EQ(tensor.values.back(), 7.0f);
  const TableView matrix = tensor.matrix();
  EXPECT_EQ(matrix.rows, 6);
  EXPECT_EQ(matrix.cols, 4);
  EXPECT_EQ(matrix.stride, 4);
  EXPECT_EQ(matrix.Row(5)[3], 7.0f);
  EXPECT_EQ(Tensor({5}).matrix().rows, 1);
  EXPECT_EQ(Tensor({3, 0}).matrix().rows, 3);
}

TEST(ShapeText, IsWrittenAsAList) {
  EXPECT_EQ(ShapeText({2, 3}), "[2, 3]");
  EXPECT_EQ(ShapeText({}), "[]");
}

}  // namespace
}  // namespace eqat
