#include "cli/tensor_file_description.h"

#include <limits>

#include "tests/cli/cli_test.h"

namespace eqat::testing {
namespace {

using io::TensorDtype;
using ::testing::HasSubstr;

using TensorFileTest = CliTest;

TEST_F(TensorFileTest, DescribesEveryDtype) {
  const struct {
    const char* name;
    TestTensor tensor;
    const char* min;
    const char* max;
    int64_t non_finite;
  } kCases[] = {
      {"bool", MakeTensor<uint8_t>(TensorDtype::kBool, {2}, {0, 1}), "0", "1", 0},
      {"f16", MakeTensor<uint16_t>(TensorDtype::kF16, {4}, {0x3c00, 0xc100, 0x7c00, 0x0001}), "-2.5", "1.0", 1},
      {"bf16", MakeTensor<uint16_t>(TensorDtype::kBF16, {3}, {0x3f80, 0xc020, 0x7fc0}), "-2.5", "1.0", 1},
      {"f32", F32({2, 2}, {1.5f, -std::numeric_limits<float>::infinity(), 0, 2}), "0.0", "2.0", 1},
      {"f64", MakeTensor<double>(TensorDtype::kF64, {1}, {0.1}), "0.1", "0.1", 0},
      {"f8", MakeTensor<uint8_t>(TensorDtype::kF8E4M3, {1}, {0x38}), "null", "null", 0},
      {"i64", I64({2}, {INT64_MIN, INT64_MAX}), "-9223372036854775808", "9223372036854775807", 0},
      {"i8", MakeTensor<int8_t>(TensorDtype::kI8, {2}, {-128, 127}), "-128", "127", 0},
      {"u64", MakeTensor<uint64_t>(TensorDtype::kU64, {1}, {UINT64_MAX}), "18446744073709551615",
       "18446744073709551615", 0},
      {"empty", F32({0, 3}, {}), "null", "null", 0},
      {"nan", F32({1}, {std::numeric_limits<float>::quiet_NaN()}), "null", "null", 1},
  };
  TestTensors tensors;
  for (const auto& test : kCases) tensors[test.name] = test.tensor;
  WriteTensors("x.safetensors", tensors);
  const absl::StatusOr<io::SafetensorsReader> reader = io::SafetensorsReader::Open(Path("x.safetensors"));
  ASSERT_TRUE(reader.ok());
  const cli::TensorFileDescription description = cli::Describe(*reader);
  ASSERT_EQ(description.tensors.size(), std::size(kCases));
  for (const cli::TensorDescription& actual : description.tensors) {
    SCOPED_TRACE(actual.info.name);
    const auto test = std::find_if(std::begin(kCases), std::end(kCases),
                                   [&](const auto& each) { return each.name == actual.info.name; });
    EXPECT_EQ(actual.min.dump(), test->min);
    EXPECT_EQ(actual.max.dump(), test->max);
    EXPECT_EQ(actual.non_finite, test->non_finite);
  }
}

TEST_F(TensorFileTest, InspectPrintsTableAndJson) {
  WriteTensors("x.safetensors", {{"w", F32({2, 2}, {1, 2, 3, 4.5f})}, {"ids", I32({3}, {7, 8, 9})}});
  const ProgramResult text = RunProgram({"inspect", Path("x.safetensors")});
  ExpectDone(text);
  EXPECT_EQ(text.out,
            "tensor  dtype  shape   size  min  max  non-finite\n"
            "------  -----  ------  ----  ---  ---  ----------\n"
            "ids     I32    [3]     12 B    7    9           0\n"
            "w       F32    [2, 2]  16 B    1  4.5           0\n"
            "\n2 tensors, 28 B\n");
  const ProgramResult json = RunProgram({"inspect", Path("x.safetensors"), "--json"});
  ExpectDone(json);
  const io::Json parsed = io::Json::parse(json.out);
  EXPECT_EQ(parsed["kind"], "tensors");
  EXPECT_EQ(parsed["tensors"][1]["max"], 4.5);
  EXPECT_EQ(parsed["bytes"], 28);
}

}  // namespace
}  // namespace eqat::testing
