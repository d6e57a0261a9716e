#include "io/safetensors.h"

#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"

namespace eqat::io {
namespace {

using absl::StatusCode;
using eqat::testing::StatusIs;
using eqat::testing::TempDir;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Pair;

// A file with this header, whatever it says, and this data.
std::string FileOf(const std::string& header, const std::string& data) {
  const uint64_t length = header.size();
  std::string file(reinterpret_cast<const char*>(&length), sizeof(length));
  return file + header + data;
}

template <typename T>
std::string DataOf(const std::vector<T>& values) {
  return std::string(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T));
}

template <typename T>
TensorToWrite Tensor(const std::string& name, TensorDtype dtype, std::vector<int64_t> shape,
                     const std::vector<T>& values) {
  return {name, dtype, std::move(shape), AsBytes(absl::MakeConstSpan(values))};
}

float FloatOf(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof(value));
  return value;
}

TEST(Safetensors, WritesWhatTheFormatsOwnWriterWrites) {
  const TempDir dir;
  const std::vector<float> floats = {1.0f, 2.0f};
  const std::vector<int64_t> integers = {-1};
  const std::vector<uint8_t> bytes = {7, 8, 9};
  EQAT_ASSERT_OK(
      WriteSafetensors(dir / "f",
                       {Tensor("b", TensorDtype::kF32, {1, 2}, floats), Tensor("z", TensorDtype::kI64, {}, integers),
                        Tensor("a", TensorDtype::kF32, {2}, floats), Tensor("c", TensorDtype::kU8, {3}, bytes)},
                       {{"format", "pt"}}));
  std::string header =
      R"({"__metadata__":{"format":"pt"},"z":{"dtype":"I64","shape":[],"data_offsets":[0,8]},)"
      R"("a":{"dtype":"F32","shape":[2],"data_offsets":[8,16]},)"
      R"("b":{"dtype":"F32","shape":[1,2],"data_offsets":[16,24]},"c":{"dtype":"U8","shape":[3],"data_offsets":[24,27]}})";
  while (header.size() % 8 != 0) header += ' ';
  EXPECT_EQ(dir.Read("f"), FileOf(header, DataOf(integers) + DataOf(floats) + DataOf(floats) + DataOf(bytes)));
}

TEST(Safetensors, ReadsWhatItWrote) {
  const TempDir dir;
  const std::vector<float> floats = {1.5f, -0.0f, std::numeric_limits<float>::infinity(), FloatOf(0x7fc12345),
                                     0.1f, 5e-45f};
  const std::vector<int32_t> integers = {-1, 2147483647};
  const std::vector<uint8_t> bytes = {0, 255};
  const std::vector<float> none;
  EQAT_ASSERT_OK(WriteSafetensors(
      dir / "f",
      {Tensor("t", TensorDtype::kF32, {2, 3}, floats), Tensor("i", TensorDtype::kI32, {2}, integers),
       Tensor("u\"\\/\n€", TensorDtype::kU8, {1, 2}, bytes), Tensor("empty", TensorDtype::kF32, {0, 16}, none)},
      {}));
  EQAT_ASSERT_OK_AND_ASSIGN(const SafetensorsReader reader, SafetensorsReader::Open(dir / "f"));
  EXPECT_EQ(reader.path(), dir / "f");
  EXPECT_THAT(reader.metadata(), IsEmpty());
  std::vector<std::string> names;
  for (const TensorInfo& tensor : reader.tensors()) names.push_back(tensor.name);
  EXPECT_THAT(names, ElementsAre("empty", "i", "t", "u\"\\/\n€"));

  EQAT_ASSERT_OK_AND_ASSIGN(const Table table, reader.ReadTable("t"));
  EXPECT_EQ(table.rows(), 2);
  EXPECT_EQ(table.cols(), 3);
  EXPECT_EQ(std::memcmp(table.data(), floats.data(), 24), 0);
  EQAT_ASSERT_OK_AND_ASSIGN(const std::vector<float> values, reader.ReadFloats("t"));
  ASSERT_EQ(values.size(), 6);
  EXPECT_EQ(std::memcmp(values.data(), floats.data(), 24), 0);
  EXPECT_THAT(*reader.ReadIntegers("i"), ElementsAre(-1, 2147483647));
  EXPECT_THAT(*reader.ReadIntegers("u\"\\/\n€"), ElementsAre(0, 255));
  EQAT_ASSERT_OK_AND_ASSIGN(const Table empty, reader.ReadTable("empty"));
  EXPECT_EQ(empty.rows(), 0);
  EXPECT_EQ(empty.cols(), 16);
  EXPECT_EQ(reader.Find("nothing"), nullptr);
  ASSERT_NE(reader.Find("i"), nullptr);
  EXPECT_EQ(std::string(reader.Bytes(*reader.Find("i")).data(), 8), DataOf(integers));
}

TEST(Safetensors, WritesNoTensorsAtAll) {
  const TempDir dir;
  EQAT_ASSERT_OK(WriteSafetensors(dir / "f", {}, {{"k", "v"}}));
  EQAT_ASSERT_OK_AND_ASSIGN(const SafetensorsReader reader, SafetensorsReader::Open(dir / "f"));
  EXPECT_THAT(reader.tensors(), IsEmpty());
  EXPECT_THAT(reader.metadata(), ElementsAre(Pair("k", "v")));
  EQAT_ASSERT_OK(SafetensorsReader::Open(dir.Write("empty", FileOf("{}", ""))));
}

TEST(Safetensors, TablesAreMappedAndWritesStayInMemory) {
  const TempDir dir;
  const std::vector<float> floats = {1.0f, 2.0f};
  EQAT_ASSERT_OK(WriteSafetensors(dir / "f", {Tensor("t", TensorDtype::kF32, {1, 2}, floats)}, {}));
  const std::string before = dir.Read("f");
  Table table;
  {
    EQAT_ASSERT_OK_AND_ASSIGN(const SafetensorsReader reader, SafetensorsReader::Open(dir / "f"));
    EQAT_ASSERT_OK_AND_ASSIGN(table, reader.ReadTable("t"));
    EXPECT_EQ(reinterpret_cast<const char*>(table.data()), reader.Bytes(*reader.Find("t")).data());
  }
  table.data()[0] = 5.0f;  // outlives the reader
  EXPECT_EQ(table.data()[1], 2.0f);
  EXPECT_EQ(dir.Read("f"), before);
}

TEST(Safetensors, ReadsMisalignedTensors) {
  const TempDir dir;
  const std::vector<float> floats = {1.5f, 2.5f};
  for (int spaces = 0; spaces < 4; ++spaces) {
    SCOPED_TRACE(spaces);
    const std::string padding(spaces, ' ');
    const std::string header = absl::StrCat(R"({"t":{"dtype":"F32","shape":[2,1],"data_offsets":[0,8]},)",
                                            R"("i":{"dtype":"I64","shape":[1],"data_offsets":[8,16]}})", padding);
    const std::string path =
        dir.Write(absl::StrCat("f", spaces), FileOf(header, DataOf(floats) + DataOf<int64_t>({-7})));
    EQAT_ASSERT_OK_AND_ASSIGN(const SafetensorsReader reader, SafetensorsReader::Open(path));
    EQAT_ASSERT_OK_AND_ASSIGN(const Table table, reader.ReadTable("t"));
    EXPECT_EQ(reinterpret_cast<uintptr_t>(table.data()) % alignof(float), 0);
    EXPECT_EQ(table.data()[0], 1.5f);
    EXPECT_EQ(table.data()[1], 2.5f);
    EXPECT_THAT(*reader.ReadFloats("t"), ElementsAre(1.5f, 2.5f));
    EXPECT_THAT(*reader.ReadIntegers("i"), ElementsAre(-7));
  }
}

TEST(Safetensors, WidensHalfFormats) {
  const TempDir dir;
  const std::vector<uint16_t> half = {0x3c00, 0x8000, 0x7bff, 0x0001, 0x7c00, 0xfc00};
  const std::vector<uint16_t> brain = {0x3f80, 0x8000, 0x7f7f, 0x0001, 0x7f80, 0xff80};
  EQAT_ASSERT_OK(WriteSafetensors(
      dir / "f", {Tensor("h", TensorDtype::kF16, {2, 3}, half), Tensor("b", TensorDtype::kBF16, {3, 2}, brain)}, {}));
  EQAT_ASSERT_OK_AND_ASSIGN(const SafetensorsReader reader, SafetensorsReader::Open(dir / "f"));
  const float infinity = std::numeric_limits<float>::infinity();
  EXPECT_THAT(*reader.ReadFloats("h"), ElementsAre(1.0f, -0.0f, 65504.0f, 0x1p-24f, infinity, -infinity));
  EXPECT_THAT(*reader.ReadFloats("b"),
              ElementsAre(1.0f, -0.0f, FloatOf(0x7f7f0000), FloatOf(0x00010000), infinity, -infinity));
  EQAT_ASSERT_OK_AND_ASSIGN(const Table table, reader.ReadTable("h"));
  EXPECT_EQ(table.rows(), 2);
  EXPECT_EQ(table.Row(1)[0], 0x1p-24f);
  EXPECT_EQ((*reader.ReadTable("b")).cols(), 2);
}

TEST(Safetensors, WidensTensorsLargerThanABlock) {
  const TempDir dir;
  std::vector<uint16_t> brain(100'003);
  for (size_t i = 0; i < brain.size(); ++i) brain[i] = static_cast<uint16_t>(i % 0x7f80);
  EQAT_ASSERT_OK(WriteSafetensors(dir / "f", {Tensor("b", TensorDtype::kBF16, {100'003}, brain)}, {}));
  EQAT_ASSERT_OK_AND_ASSIGN(const SafetensorsReader reader, SafetensorsReader::Open(dir / "f"));
  EQAT_ASSERT_OK_AND_ASSIGN(const std::vector<float> values, reader.ReadFloats("b"));
  ASSERT_EQ(values.size(), brain.size());
  for (size_t i = 0; i < brain.size(); ++i) ASSERT_EQ(values[i], FloatOf(uint32_t{brain[i]} << 16)) << i;
}

TEST(Safetensors, RefusesToReadAsSomethingElse) {
  const TempDir dir;
  const std::vector<float> floats = {1.0f, 2.0f};
  const std::vector<int64_t> integers = {1};
  EQAT_ASSERT_OK(WriteSafetensors(
      dir / "f", {Tensor("f", TensorDtype::kF32, {2}, floats), Tensor("i", TensorDtype::kI64, {1, 1}, integers)}, {}));
  EQAT_ASSERT_OK_AND_ASSIGN(const SafetensorsReader reader, SafetensorsReader::Open(dir / "f"));
  EXPECT_THAT(reader.ReadTable("none"),
              StatusIs(StatusCode::kNotFound, HasSubstr(dir / "f" + ": tensor \"none\": is missing")));
  EXPECT_THAT(reader.ReadFloats("none"), StatusIs(StatusCode::kNotFound, HasSubstr("\"none\"")));
  EXPECT_THAT(reader.ReadIntegers("none"), StatusIs(StatusCode::kNotFound, HasSubstr("\"none\"")));
  EXPECT_THAT(reader.ReadTable("f"), StatusIs(StatusCode::kInvalidArgument,
                                              HasSubstr("has the wrong shape (got [2], expected two dimensions)")));
  EXPECT_THAT(reader.ReadTable("i"), StatusIs(StatusCode::kInvalidArgument,
                                              HasSubstr("has the wrong dtype (got I64, expected F32, F16 or BF16)")));
  EXPECT_THAT(reader.ReadFloats("i"), StatusIs(StatusCode::kInvalidArgument, HasSubstr("got I64")));
  EXPECT_THAT(reader.ReadIntegers("f"), StatusIs(StatusCode::kInvalidArgument, HasSubstr("expected I32, I64 or U8")));
}

TEST(Safetensors, RefusesBrokenFiles) {
  const TempDir dir;
  const std::string four(4, '\0');
  const std::string eight(8, '\0');
  const auto entry = [](const char* name, const char* dtype, const char* shape, const char* offsets) {
    return absl::StrCat("\"", name, "\":{\"dtype\":\"", dtype, "\",\"shape\":", shape, ",\"data_offsets\":", offsets,
                        "}");
  };
  const std::string good = entry("t", "F32", "[1]", "[0,4]");
  const uint64_t huge = 100'000'001;
  const std::string too_long(reinterpret_cast<const char*>(&huge), 8);
  const std::pair<std::string, std::string> cases[] = {
      {"", "is too short for a safetensors file (got 0 bytes"},
      {"1234567", "is too short"},
      {std::string(8, '\0'), "header does not start with '{'"},
      {std::string(8, '\xff') + "{}", "header is too long (got 18446744073709551615 bytes"},
      {FileOf("{}", "").substr(0, 9), "header is too long (got 2 bytes, expected at most 1)"},
      {too_long + "{}", "header is too long"},
      {FileOf(" {}", ""), "header does not start with '{'"},
      {FileOf("[]", ""), "header does not start with '{'"},
      {FileOf("{", ""), "line 1, column 2: is not valid JSON"},
      {FileOf("{}x", ""), "is not valid JSON"},
      {FileOf("{\"\xff\":1}", ""), "is not valid JSON"},
      {FileOf(absl::StrCat("{", good, ",", good, "}"), four), "/t: duplicate key"},
      {FileOf("{\"__metadata__\":{},\"__metadata__\":{}}", ""), "duplicate key"},
      {FileOf("{\"__metadata__\":[]}", ""), "__metadata__: has the wrong type"},
      {FileOf("{\"__metadata__\":null}", ""), "__metadata__: has the wrong type"},
      {FileOf("{\"__metadata__\":{\"a\":1}}", ""), "__metadata__: holds something else (got 1, expected strings)"},
      {FileOf("{\"t\":1}", ""), "tensor \"t\": has the wrong type"},
      {FileOf("{\"t\":{\"shape\":[1],\"data_offsets\":[0,4]}}", four), "/dtype: is missing"},
      {FileOf("{\"t\":{\"dtype\":\"F32\",\"data_offsets\":[0,4]}}", four), "/shape: is missing"},
      {FileOf("{\"t\":{\"dtype\":\"F32\",\"shape\":[1]}}", four), "/data_offsets: is missing"},
      {FileOf(absl::StrCat("{", good.substr(0, good.size() - 1), ",\"x\":1}}"), four), "/x: unknown key"},
      {FileOf(absl::StrCat("{", entry("t", "F12", "[1]", "[0,4]"), "}"), four), "/dtype: is unknown (got \"F12\""},
      {FileOf(absl::StrCat("{", entry("t", "F32", "1", "[0,4]"), "}"), four), "/shape: has the wrong type"},
      {FileOf(absl::StrCat("{", entry("t", "F32", "[-1]", "[0,4]"), "}"), four), "shape holds a bad size (got -1"},
      {FileOf(absl::StrCat("{", entry("t", "F32", "[1.0]", "[0,4]"), "}"), four), "shape holds a bad size (got 1.0"},
      {FileOf(absl::StrCat("{", entry("t", "F32", "[\"1\"]", "[0,4]"), "}"), four), "shape holds a bad size"},
      {FileOf(absl::StrCat("{", entry("t", "F32", "[18446744073709551615]", "[0,4]"), "}"), four), "holds a bad size"},
      {FileOf(absl::StrCat("{", entry("t", "F32", "[4611686018427387904]", "[0,4]"), "}"), four), "shape is too large"},
      {FileOf(absl::StrCat("{", entry("t", "U8", "[4294967296,4294967296]", "[0,0]"), "}"), ""), "shape is too large"},
      {FileOf(absl::StrCat("{", entry("t", "F32", "[1]", "[0]"), "}"), four), "data_offsets is no range (got [0]"},
      {FileOf(absl::StrCat("{", entry("t", "F32", "[1]", "[0,4,4]"), "}"), four), "data_offsets is no range"},
      {FileOf(absl::StrCat("{", entry("t", "F32", "[1]", "[4,0]"), "}"), four), "data_offsets is no range"},
      {FileOf(absl::StrCat("{", entry("t", "F32", "[1]", "[-4,0]"), "}"), four), "data_offsets holds a bad size"},
      {FileOf(absl::StrCat("{", entry("t", "F32", "[2]", "[0,4]"), "}"), four),
       "tensor \"t\": data_offsets do not match dtype and shape (got 4 bytes, expected 8)"},
      {FileOf(absl::StrCat("{", entry("t", "F32", "[1]", "[4,8]"), "}"), eight),
       "tensor \"t\": leaves a hole before it"},
      {FileOf(absl::StrCat("{", good, ",", entry("u", "F32", "[1]", "[2,6]"), "}"), eight),
       "tensor \"u\": overlaps another tensor"},
      {FileOf(absl::StrCat("{", good, ",", entry("u", "F32", "[1]", "[0,4]"), "}"), four), "overlaps another tensor"},
      {FileOf(absl::StrCat("{", good, "}"), eight),
       "has bytes after the last tensor (got 8 bytes of data, expected 4)"},
      {FileOf(absl::StrCat("{", good, "}"), "123"), "ends before its last tensor does"},
      {FileOf(absl::StrCat("{", entry("t", "U8", "[9223372036854775807]", "[0,9223372036854775807]"), "}"), four),
       "ends before its last tensor does"},
      {FileOf(absl::StrCat("{", entry(std::string(5000, 'n').c_str(), "F32", "[1]", "[0,4]"), "}"), four),
       "name is too long (got 5000 bytes"},
      {FileOf(std::string(1, '{') + "\"a\":" + std::string(100, '['), ""), "nested too deep"},
  };
  for (const auto& [content, message] : cases) {
    SCOPED_TRACE(absl::CHexEscape(content.substr(0, 200)));
    const std::string path = dir.Write("f", content);
    EXPECT_THAT(SafetensorsReader::Open(path),
                StatusIs(StatusCode::kInvalidArgument, AllOf(HasSubstr(path), HasSubstr(message))));
  }
}

TEST(Safetensors, SurvivesEveryTruncationAndABitFlipInEveryByte) {
  const TempDir dir;
  const std::vector<float> floats = {1.0f, 2.0f, 3.0f, 4.0f};
  const std::vector<uint8_t> bytes = {1, 2, 3};
  EQAT_ASSERT_OK(WriteSafetensors(
      dir / "f", {Tensor("table", TensorDtype::kF32, {2, 2}, floats), Tensor("codes", TensorDtype::kU8, {3}, bytes)},
      {{"k", "v"}}));
  const std::string good = dir.Read("f");
  for (size_t length = 0; length < good.size(); ++length) {
    EXPECT_FALSE(SafetensorsReader::Open(dir.Write("cut", good.substr(0, length))).ok()) << length;
  }
  const size_t data = good.size() - 19;
  for (size_t byte = 0; byte < data; ++byte) {
    SCOPED_TRACE(byte);
    std::string flipped = good;
    flipped[byte] ^= 1 << byte % 8;
    const auto reader = SafetensorsReader::Open(dir.Write("flip", flipped));
    if (!reader.ok()) continue;  // where it is still well formed, every tensor must lie inside the file
    for (const TensorInfo& tensor : reader->tensors()) {
      EXPECT_GE(tensor.begin, 0);
      EXPECT_LE(tensor.end, 19);
    }
  }
}

TEST(Safetensors, NamesMissingFiles) {
  const TempDir dir;
  EXPECT_THAT(SafetensorsReader::Open(dir / "none"), StatusIs(StatusCode::kNotFound, HasSubstr(dir / "none")));
}

TEST(WriteSafetensors, GathersRowsThatLieApart) {
  const TempDir dir;
  constexpr int64_t kRows = 300'000;  // more than is gathered at a time
  std::vector<uint8_t> apart(kRows * 8);
  std::vector<uint8_t> together;
  for (int64_t i = 0; i < kRows * 8; ++i) {
    apart[i] = static_cast<uint8_t>(i * 7 / 5);
    if (i % 8 < 5) together.push_back(apart[i]);
  }
  TensorToWrite tensor = Tensor("t", TensorDtype::kU8, {kRows, 5}, apart);
  tensor.bytes = ByteRows(tensor.bytes.data, kRows, 5, 8);
  EQAT_ASSERT_OK(WriteSafetensors(dir / "apart", {tensor}, {}));
  EQAT_ASSERT_OK(WriteSafetensors(dir / "together", {Tensor("t", TensorDtype::kU8, {kRows, 5}, together)}, {}));
  EXPECT_EQ(*ReadFile(dir / "apart"), *ReadFile(dir / "together"));
}

TEST(WriteSafetensors, RefusesWhatItCouldNotReadBack) {
  const TempDir dir;
  const std::vector<float> floats = {1.0f};
  const auto tensor = [&](const std::string& name, std::vector<int64_t> shape) {
    return Tensor(name, TensorDtype::kF32, std::move(shape), floats);
  };
  const auto refused = [&](std::vector<TensorToWrite> tensors, const std::string& message) {
    EXPECT_THAT(WriteSafetensors(dir / "f", std::move(tensors), {}),
                StatusIs(StatusCode::kInvalidArgument, AllOf(HasSubstr(dir / "f"), HasSubstr(message))));
  };
  refused({tensor("t", {1}), tensor("t", {1})}, "tensor \"t\": is given twice");
  refused({tensor("t", {2})}, "tensor \"t\": bytes do not match dtype and shape (got 4, expected F32 [2])");
  refused({tensor("t", {-1})}, "bytes do not match");
  refused({tensor("t", {int64_t{1} << 62, 4})}, "bytes do not match");
  refused({tensor("__metadata__", {1})}, "the name is reserved");
  refused({tensor(std::string(5000, 'n'), {1})}, "name is too long");
  refused({tensor("\xff", {1})}, "is not UTF-8");
  EXPECT_THAT(WriteSafetensors(dir / "f", {}, {{"k", "\xff"}}),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("is not UTF-8")));
  EXPECT_THAT(dir.List(), IsEmpty());
}

TEST(Float16, RoundsToNearestEven) {
  const std::pair<float, uint16_t> cases[] = {
      {0.0f, 0x0000},
      {-0.0f, 0x8000},
      {1.0f, 0x3c00},
      {2049.0f, 0x6800},
      {2051.0f, 0x6802},  // ties, to even below and above
      {65504.0f, 0x7bff},
      {65519.99f, 0x7bff},
      {65520.0f, 0x7c00},  // rounds past the largest
      {1e30f, 0x7c00},
      {-1e30f, 0xfc00},
      {0x1p-24f, 0x0001},
      {0x1p-25f, 0x0000},
      {0x1.000002p-25f, 0x0001},
      {0x1.ff8p-15f, 0x03ff},  // subnormal
      {std::numeric_limits<float>::infinity(), 0x7c00},
  };
  for (const auto& [value, bits] : cases) {
    EXPECT_THAT(ToFloat16({value}), ElementsAre(bits)) << value;
  }
  EXPECT_TRUE(std::isnan(FromFloat16(ToFloat16({std::nanf("")})[0])));
  EXPECT_TRUE(std::isnan(FromFloat16(ToFloat16({FloatOf(0x7f800001)})[0])));
}

TEST(BFloat16, RoundsToNearestEven) {
  const std::pair<float, uint16_t> cases[] = {
      {0.0f, 0x0000},
      {-0.0f, 0x8000},
      {1.0f, 0x3f80},
      {FloatOf(0x3f808000), 0x3f80},  // ties, to even below and above
      {FloatOf(0x3f818000), 0x3f82},
      {FloatOf(0x3f808001), 0x3f81},
      {FloatOf(0x7f7f7fff), 0x7f7f},
      {FloatOf(0x7f7f8000), 0x7f80},  // rounds past the largest
      {FloatOf(0x00008001), 0x0001},  // subnormal
      {-std::numeric_limits<float>::infinity(), 0xff80},
  };
  for (const auto& [value, bits] : cases) {
    EXPECT_THAT(ToBFloat16({value}), ElementsAre(bits)) << value;
  }
  EXPECT_TRUE(std::isnan(FromBFloat16(ToBFloat16({std::nanf("")})[0])));
  EXPECT_TRUE(std::isnan(FromBFloat16(ToBFloat16({FloatOf(0x7f800001)})[0])));
}

TEST(Float16, EveryValueSurvivesARoundTrip) {
  for (uint32_t bits = 0; bits <= 0xffff; ++bits) {
    const float half = FromFloat16(static_cast<uint16_t>(bits));
    const float brain = FromBFloat16(static_cast<uint16_t>(bits));
    ASSERT_TRUE(std::isnan(half) || ToFloat16({half})[0] == bits) << bits;
    ASSERT_TRUE(std::isnan(brain) || ToBFloat16({brain})[0] == bits) << bits;
    ASSERT_EQ(std::isnan(half), (bits & 0x7fff) > 0x7c00);
    ASSERT_EQ(std::isnan(brain), (bits & 0x7fff) > 0x7f80);
  }
}

}  // namespace
}  // namespace eqat::io
