#include "formats/fused_rows.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/formats/export_models.h"

namespace eqat::formats {
namespace {

using quant::Deploy;
using quant::Dtype;
using testing::ConfigFor;
using ::testing::ElementsAre;
using testing::MatrixOfValues;
using testing::PackedTable;

// Rows that embedding_bag_{byte,4bit,2bit}_prepack of PyTorch 1.13.0 (Debian 12) gives for these tables.
TEST(FusedRowsTest, TorchsBytes) {
  const auto byte = PackedTable(MatrixOfValues(2, 2, {10, 20, 30, 40}), ConfigFor(Dtype::kQUInt8, Deploy::kTorch));
  EXPECT_THAT(FusedRows(byte.weight(), {}), ElementsAre(0x00, 0xff, 0xa1, 0xa0, 0x20, 0x3d, 0x00, 0x00, 0x20, 0x41,  //
                                                        0x00, 0xff, 0xa1, 0xa0, 0x20, 0x3d, 0x00, 0x00, 0xf0, 0x41));
  const auto nibbles = PackedTable(MatrixOfValues(1, 4, {0, 1, 2, 15}), ConfigFor(Dtype::kQUInt4x2, Deploy::kTorch));
  EXPECT_THAT(FusedRows(nibbles.weight(), {}), ElementsAre(0x10, 0xf2, 0x00, 0x3c, 0x00, 0x00));
  const auto pairs =
      PackedTable(MatrixOfValues(1, 8, {0, 1, 2, 3, 3, 2, 1, 0}), ConfigFor(Dtype::kQUInt2x4, Deploy::kTorch));
  EXPECT_THAT(FusedRows(pairs.weight(), {}), ElementsAre(0xe4, 0x1b, 0x00, 0x3c, 0x00, 0x00));
}

TEST(FusedRowsTest, ParametersFirstAndPadding) {
  const auto odd = PackedTable(MatrixOfValues(1, 3, {1, 2, 16}), ConfigFor(Dtype::kQUInt4x2, Deploy::kFbgemmHalf));
  EXPECT_THAT(FusedRows(odd.weight(), {.params_first = true}), ElementsAre(0x00, 0x3c, 0x00, 0x3c, 0x10, 0x0f));
  EXPECT_THAT(FusedRows(odd.weight(), {.params_first = true, .alignment = 8}),
              ElementsAre(0x00, 0x3c, 0x00, 0x3c, 0x10, 0x0f, 0, 0));
  EXPECT_THAT(FusedRows(odd.weight(), {.alignment = 4}), ElementsAre(0x10, 0x0f, 0x00, 0x3c, 0x00, 0x3c, 0, 0));
  EXPECT_EQ(FusedRowBytes(odd.weight(), {.alignment = 16}), 16);
}

}  // namespace
}  // namespace eqat::formats
