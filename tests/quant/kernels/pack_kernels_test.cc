#include "quant/kernels/pack_kernels.h"

#include <vector>

#include "core/rng.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace eqat::quant::kernels {
namespace {

using ::testing::ElementsAre;

constexpr int64_t kMaxCodes = 130;
constexpr uint8_t kGuardByte = 0x5A;
constexpr int32_t kGuardCode = -12345;

TEST(PackKernelsTest, RowBytesAreWholeBytes) {
  EXPECT_EQ(PackedRowBytes(0, 4), 0);
  EXPECT_EQ(PackedRowBytes(1, 1), 1);
  EXPECT_EQ(PackedRowBytes(3, 4), 2);
  EXPECT_EQ(PackedRowBytes(5, 2), 2);
  EXPECT_EQ(PackedRowBytes(8, 3), 3);
  EXPECT_EQ(PackedRowBytes(9, 7), 8);
}

TEST(PackKernelsTest, LowBitsFirst) {
  uint8_t packed[4] = {};
  const int32_t nibbles[] = {0, 5, 10, 15};
  PackRow(nibbles, 4, 4, packed);
  EXPECT_THAT(packed, ElementsAre(0x50, 0xfa, 0, 0));
  const int32_t pairs[] = {0, 1, 2, 3};
  PackRow(pairs, 4, 2, packed);
  EXPECT_EQ(packed[0], 0xe4);
  // 001 010 011, the last one across the border: 11010001 then 0.
  const int32_t triples[] = {1, 2, 3};
  PackRow(triples, 3, 3, packed);
  EXPECT_EQ(packed[0], 0xd1);
  EXPECT_EQ(packed[1], 0x00);
}

TEST(PackKernelsTest, PackEqualsReferenceAndUnpackGivesTheCodesBack) {
  const Rng rng(3, 1);
  for (int bits = 1; bits <= 8; ++bits) {
    for (int64_t n = 0; n <= kMaxCodes; ++n) {
      SCOPED_TRACE(::testing::Message() << bits << " bits, n " << n);
      // Bits above the code, as negative codes have them, must not reach the neighbours.
      std::vector<int32_t> codes(n);
      std::vector<int32_t> low_bits(n + 4, kGuardCode);
      for (int64_t i = 0; i < n; ++i) {
        codes[i] = static_cast<int32_t>(rng.Bits(n * 256 + i));
        low_bits[i] = codes[i] & ((1 << bits) - 1);
      }
      std::vector<uint8_t> packed(PackedRowBytes(n, bits) + 4, kGuardByte);
      std::vector<uint8_t> want(packed.size(), kGuardByte);
      PackRow(codes.data(), n, bits, packed.data());
      reference::PackRow(codes.data(), n, bits, want.data());
      ASSERT_EQ(packed, want);

      std::vector<int32_t> unpacked(n + 4, kGuardCode);
      UnpackRow(packed.data(), n, bits, unpacked.data());
      ASSERT_EQ(unpacked, low_bits);
      std::vector<int32_t> unpacked_by_reference(n + 4, kGuardCode);
      reference::UnpackRow(packed.data(), n, bits, unpacked_by_reference.data());
      ASSERT_EQ(unpacked_by_reference, low_bits);
    }
  }
}

}  // namespace
}  // namespace eqat::quant::kernels
