#include "io/onnx_graph.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"

namespace eqat::io {
namespace {

using eqat::testing::TempDir;
using ::testing::HasSubstr;
using ::testing::Not;

// Length-delimited protobuf field.
std::string Field(int number, const std::string& content) {
  std::string length;
  size_t rest = content.size();
  for (; rest >= 128; rest >>= 7) length += static_cast<char>((rest & 127) | 128);
  return std::string(1, static_cast<char>(number << 3 | 2)) + length + static_cast<char>(rest) + content;
}
std::string Varint(int number, char value) { return std::string(1, static_cast<char>(number << 3)) + value; }

// The model onnx 1.23.2 loads as: output = Gather(table, ids).
TEST(OnnxGraphTest, GoldenModel) {
  const TempDir folder;
  OnnxGraph graph;
  const std::string ids = graph.AddInput("ids", OnnxType::kInt64, {"n"});
  const std::string table = graph.AddTensor("t", OnnxType::kUInt8, {2, 1}, "\x01\x02");
  graph.AddOutput("o", graph.AddNode("Gather", {table, ids}, {{"axis", int64_t{0}}}), OnnxType::kUInt8, {"n", "1"});
  EQAT_ASSERT_OK(std::move(graph).Write(folder / "a.onnx", {.opset = 13, .metadata = {{"k", "v"}}}));

  const auto type = [](char element, const std::string& dims) {
    return Field(2, Field(1, Varint(1, element) + Field(2, dims)));
  };
  const std::string n = Field(1, Field(2, "n")), one = Field(1, Varint(1, 1));
  const std::string axis = Field(5, Field(1, "axis") + Varint(3, 0) + std::string("\xa0\x01\x02", 3));
  const std::string nodes = Field(1, Field(1, "t") + Field(1, "ids") + Field(2, "Gather/0") + Field(3, "Gather/0") +
                                         Field(4, "Gather") + axis) +
                            Field(1, Field(1, "Gather/0") + Field(2, "o") + Field(4, "Identity"));
  const std::string tensor =
      Field(5, Varint(1, 2) + Varint(1, 1) + Varint(2, 2) + Field(8, "t") + Field(9, "\x01\x02"));
  const std::string values = Field(11, Field(1, "ids") + type(7, n)) + Field(12, Field(1, "o") + type(2, n + one));
  const std::string expected = Varint(1, 8) + Field(2, "eqat") + Field(7, nodes + Field(2, "eqat") + tensor + values) +
                               Field(8, Field(1, "") + Varint(2, 13)) + Field(14, Field(1, "k") + Field(2, "v"));
  EXPECT_EQ(folder.Read("a.onnx"), expected);
}

TEST(OnnxGraphTest, UInt4AndMicrosoftsOperators) {
  const TempDir folder;
  OnnxGraph graph;
  graph.AddOutput("o", graph.AddTensor("t", OnnxType::kUInt4, {2}, "\x21"), OnnxType::kUInt4, {"2"});
  EQAT_ASSERT_OK(std::move(graph).Write(folder / "a.onnx", {.opset = 21, .microsoft = true}));
  const std::string content = folder.Read("a.onnx");
  EXPECT_THAT(content, ::testing::StartsWith(Varint(1, 10)));  // the IR version that has UINT4
  EXPECT_THAT(content, HasSubstr(Field(1, "com.microsoft") + Varint(2, 1)));
}

TEST(OnnxGraphTest, NoDimensionsMeanAnyShape) {
  const TempDir folder;
  OnnxGraph graph;
  graph.AddOutput("o", graph.AddInput("i", OnnxType::kFloat, {}), OnnxType::kFloat, {});
  EQAT_ASSERT_OK(std::move(graph).Write(folder / "a.onnx", {}));
  const std::string type = Field(2, Field(1, Varint(1, 1)));  // of elements alone
  EXPECT_THAT(folder.Read("a.onnx"), HasSubstr(Field(11, Field(1, "i") + type) + Field(12, Field(1, "o") + type)));
}

TEST(OnnxGraphTest, ATensorIsWrittenOnce) {
  const TempDir folder;
  OnnxGraph graph;
  for (int i = 0; i < 2; ++i) EXPECT_EQ(graph.AddTensor("table", OnnxType::kUInt8, {3}, "abc"), "table");
  EQAT_ASSERT_OK(std::move(graph).Write(folder / "a.onnx", {}));
  const std::string content = folder.Read("a.onnx");
  EXPECT_THAT(content.substr(content.find("abc") + 1), Not(HasSubstr("abc")));
}

}  // namespace
}  // namespace eqat::io
