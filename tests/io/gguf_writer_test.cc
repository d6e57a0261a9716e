#include "io/gguf_writer.h"

#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"

namespace eqat::io {
namespace {

using eqat::testing::StatusIs;
using eqat::testing::TempDir;
using ::testing::HasSubstr;

std::string Hex(const std::string& bytes) {
  std::string text;
  for (const char byte : bytes) {
    constexpr char kDigits[] = "0123456789abcdef";
    text += kDigits[static_cast<uint8_t>(byte) >> 4];
    text += kDigits[byte & 15];
  }
  return text;
}

TEST(GgufWriterTest, GoldenFile) {
  const TempDir folder;
  const auto fill = [](int64_t begin, int64_t end, std::string& bytes) {
    for (int64_t row = begin; row < end; ++row) {
      const float value = static_cast<float>(row) + 0.5f;
      bytes.append(reinterpret_cast<const char*>(&value), sizeof(value));
    }
  };
  EQAT_ASSERT_OK(WriteGguf(folder / "a.gguf", {{"k", uint32_t{7}}, {"s", std::string("v")}, {"i", int64_t{-1}}},
                           {{"t", GgufType::kF32, 2, 1, fill}, {"u", GgufType::kF32, 1, 1, fill}}));
  std::string expected =
      "47475546"
      "03000000"
      "0200000000000000"
      "0300000000000000";
  expected +=
      "0100000000000000"
      "6b"
      "04000000"
      "07000000";
  expected +=
      "0100000000000000"
      "73"
      "08000000"
      "0100000000000000"
      "76";
  expected +=
      "0100000000000000"
      "69"
      "0b000000"
      "ffffffffffffffff";
  expected +=
      "0100000000000000"
      "74"
      "02000000"
      "0100000000000000"
      "0200000000000000"
      "00000000"
      "0000000000000000";
  expected +=
      "0100000000000000"
      "75"
      "02000000"
      "0100000000000000"
      "0100000000000000"
      "00000000"
      "2000000000000000";
  expected += std::string((64 - expected.size() % 64) % 64, '0');
  expected += "0000003f0000c03f" + std::string(48, '0') + "0000003f" + std::string(56, '0');
  EXPECT_EQ(Hex(folder.Read("a.gguf")), expected);
}

TEST(GgufWriterTest, Refusals) {
  const TempDir folder;
  const auto write = [&](const std::vector<GgufTensor>& tensors) { return WriteGguf(folder / "a.gguf", {}, tensors); };
  const auto invalid = absl::StatusCode::kInvalidArgument;
  EXPECT_THAT(write({{"", GgufType::kF32, 0, 0, {}}}), StatusIs(invalid, HasSubstr("name")));
  EXPECT_THAT(write({{std::string(64, 'x'), GgufType::kF32, 0, 0, {}}}), StatusIs(invalid, HasSubstr("64 bytes")));
  EXPECT_THAT(write({{"a", GgufType::kF32, 0, 1, {}}, {"a", GgufType::kF32, 0, 1, {}}}),
              StatusIs(invalid, HasSubstr("a: name is given twice")));
  EXPECT_THAT(write({{"a", GgufType::kQ8_0, 1, 33, {}}}), StatusIs(invalid, HasSubstr("33 columns")));
  EXPECT_THAT(write({{"a", GgufType::kF32, int64_t{1} << 40, int64_t{1} << 40, {}}}),
              StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("size overflows")));
  EXPECT_THAT(folder.List(), ::testing::IsEmpty());
}

}  // namespace
}  // namespace eqat::io
