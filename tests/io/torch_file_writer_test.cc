#include "io/torch_file_writer.h"

#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "io/pytorch_file.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"

namespace eqat::io {
namespace {

using eqat::testing::StatusIs;
using eqat::testing::TempDir;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

const std::vector<float>& Values() {
  static const auto& values = *new std::vector<float>{1, 2, 3, 4, 5, 6};
  return values;
}

TensorToWrite Floats(const std::string& name, std::vector<int64_t> shape, size_t count) {
  return {name, TensorDtype::kF32, std::move(shape), AsBytes(absl::MakeConstSpan(Values()).subspan(0, count))};
}

TEST(TorchFileWriterTest, OurReaderReadsIt) {
  const TempDir folder;
  // Rows that do not lie one behind the other in memory.
  TensorToWrite strided = {
      "strided", TensorDtype::kF32, {2, 2}, ByteRows(AsBytes(absl::MakeConstSpan(Values())).data(), 2, 8, 12)};
  EQAT_ASSERT_OK(WriteTorchStateDict(
      folder / "a.pt", {Floats("item.weight", {3, 2}, 6), Floats("empty", {0}, 0), Floats("scalar", {}, 1), strided},
      {{"", 1}, {"item", 1}}));
  EQAT_ASSERT_OK_AND_ASSIGN(const PyTorchFile file, PyTorchFile::Open(folder / "a.pt"));
  ASSERT_EQ(file.tensors().size(), 4);
  EXPECT_EQ(file.tensors()[0].name, "item.weight");
  EXPECT_EQ(file.tensors()[0].shape, (std::vector<int64_t>{3, 2}));
  EXPECT_EQ(file.tensors()[0].strides, (std::vector<int64_t>{2, 1}));
  EXPECT_EQ(file.tensors()[1].shape, (std::vector<int64_t>{0}));
  EXPECT_THAT(file.tensors()[2].shape, IsEmpty());
  EQAT_ASSERT_OK_AND_ASSIGN(const auto rows, file.Rows(file.tensors()[3]));
  std::vector<float> values(4);
  std::string words;
  EQAT_ASSERT_OK(rows->Read(2, values.data(), words));
  EXPECT_EQ(values, (std::vector<float>{1, 2, 4, 5}));
}

// A state_dict of one tensor "w" [2], disassembled by Python 3.11's pickletools and loaded by PyTorch 1.13.0 (Debian
// 12).
TEST(TorchFileWriterTest, GoldenPickle) {
  const TempDir folder;
  EQAT_ASSERT_OK(WriteTorchStateDict(folder / "a.pt", {Floats("w", {2}, 2)}, {{"", 1}}));
  const auto text = [](const std::string& value) {
    return "X" + std::string(1, static_cast<char>(value.size())) + std::string(3, '\0') + value;
  };
  const auto integer = [](char value) { return std::string("J") + value + std::string(3, '\0'); };
  const std::string ordered_dict = "ccollections\nOrderedDict\n)R";
  const std::string pickle = "\x80\x02" + ordered_dict + "(" + text("w") + "ctorch._utils\n_rebuild_tensor_v2\n((" +
                             text("storage") + "ctorch\nFloatStorage\n" + text("0") + text("cpu") + integer(2) + "tQ" +
                             integer(0) + "(" + integer(2) + "t(" + integer(1) + "t\x89" + ordered_dict + "tRu}(" +
                             text("_metadata") + ordered_dict + "(" + text("") + "}(" + text("version") + integer(1) +
                             "uuub.";
  EXPECT_THAT(folder.Read("a.pt"), HasSubstr(pickle));
}

TEST(TorchFileWriterTest, Refusals) {
  const TempDir folder;
  const auto write = [&](const std::vector<TensorToWrite>& tensors) {
    return WriteTorchStateDict(folder / "a.pt", tensors, {});
  };
  const auto invalid = absl::StatusCode::kInvalidArgument;
  EXPECT_THAT(write({Floats("a", {2}, 2), Floats("a", {2}, 2)}),
              StatusIs(invalid, HasSubstr("a: name is given twice")));
  EXPECT_THAT(write({Floats("a", {3}, 2)}), StatusIs(invalid, HasSubstr("a: bytes do not match the shape")));
  EXPECT_THAT(write({Floats("a", {int64_t{1} << 40, int64_t{1} << 40}, 2)}),
              StatusIs(invalid, HasSubstr("a: shape is impossible")));
  EXPECT_THAT(write({Floats("a", {-1}, 0)}), StatusIs(invalid, HasSubstr("a: shape is impossible")));
  TensorToWrite narrow = Floats("a", {2}, 2);
  narrow.dtype = TensorDtype::kU16;
  EXPECT_THAT(write({narrow}), StatusIs(invalid, HasSubstr("a: torch has no such dtype (got U16)")));
  EXPECT_THAT(folder.List(), IsEmpty());
}

}  // namespace
}  // namespace eqat::io
