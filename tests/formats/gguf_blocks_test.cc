#include <string>
#include <vector>

#include "formats/gguf_blocks.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/formats/export_models.h"

namespace eqat::formats {
namespace {

using quant::Deploy;
using quant::Dtype;
using testing::ConfigFor;
using testing::MatrixOfValues;
using testing::PackedTable;

std::string Hex(const std::string& bytes) {
  std::string text;
  for (const char byte : bytes) {
    constexpr char kDigits[] = "0123456789abcdef";
    text += kDigits[static_cast<uint8_t>(byte) >> 4];
    text += kDigits[byte & 15];
  }
  return text;
}

// Values 0, 1, ..., 31 but for the first, which is `first`.
testing::Matrix Counting(float first) {
  std::vector<float> values(32);
  for (int i = 0; i < 32; ++i) values[i] = static_cast<float>(i);
  values[0] = first;
  return MatrixOfValues(1, 32, values);
}

std::string BlocksOf(const testing::Matrix& weight, Dtype dtype, Deploy deploy) {
  std::string bytes;
  AppendGgufBlocks(PackedTable(weight, ConfigFor(dtype, deploy)).weight(), 0, bytes);
  return Hex(bytes);
}

TEST(GgufBlocksTest, GoldenBlocks) {
  // Scale 1, codes as the values.
  EXPECT_EQ(BlocksOf(Counting(-127), Dtype::kQInt8, Deploy::kGgufQ8_0),
            "003c"
            "810102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f");
  // Scale 31 / 15, in float16 2.06640625, and minimum 0: byte j holds the codes of j and j + 16.
  EXPECT_EQ(BlocksOf(Counting(0), Dtype::kQUInt4x2, Deploy::kGgufQ4_1),
            "2240"
            "0000"
            "80809191a2a2b3b3c4c4d5d5e6e6f7f7");
  // Scale -32 / -8 = 4.
  EXPECT_EQ(BlocksOf(Counting(-32), Dtype::kQUInt4x2, Deploy::kGgufQ4_0),
            "0044"
            "c0c8c8d9d9d9eaeaeaeaeafbfbfbfcfc");
}

}  // namespace
}  // namespace eqat::formats
