#include "io/npy.h"

#include <limits>

#include "absl/strings/str_cat.h"
#include "core/rng.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/float_bits.h"
#include "tests/support/foreign_files.h"
#include "tests/support/rows_of.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"

namespace eqat::io {
namespace {

using absl::StatusCode;
using eqat::testing::BitsOf;
using eqat::testing::BytesOfAll;
using eqat::testing::NpyFile;
using eqat::testing::RowsOf;
using eqat::testing::StatusIs;
using eqat::testing::TempDir;
using eqat::testing::ZipFile;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

const std::vector<float>& SixFloats() {
  static const auto& values = *new std::vector<float>{0.0f, -0.0f, 1e-45f, 3.4028235e38f, -1.5f, 7.0f};
  return values;
}

std::string TableFile() {
  return NpyFile("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }\n", BytesOfAll(SixFloats()));
}

TensorToWrite FloatArray(const std::string& name, std::vector<int64_t> shape, const std::vector<float>& values) {
  return {name, TensorDtype::kF32, std::move(shape), AsBytes(absl::MakeConstSpan(values))};
}

// NumPy 1.24.2: numpy.save(FILE, numpy.array([[0, -0., 1e-45], [3.4028235e38, -1.5, 7]], "<f4")).
TEST(Npy, WritesWhatNumPyWrites) {
  const TempDir dir;
  EQAT_ASSERT_OK(WriteNpy(dir / "a.npy", FloatArray("", {2, 3}, SixFloats())));
  const std::string dictionary = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }";
  EXPECT_EQ(dir.Read("a.npy"),
            absl::StrCat(std::string("\x93NUMPY\x01\0v\0", 10), dictionary,
                         std::string(128 - 10 - 1 - dictionary.size(), ' '), "\n", BytesOfAll(SixFloats())));
}

TEST(Npy, GivesBackWhatWasWritten) {
  const TempDir dir;
  const Rng rng(1, 0);
  uint64_t position = 0;
  for (int64_t cols = 0; cols <= 130; ++cols) {
    const auto rows = static_cast<int64_t>(rng.Below(position++, 5));
    SCOPED_TRACE(absl::StrCat(rows, " x ", cols));
    std::vector<uint32_t> bits(rows * cols);
    for (uint32_t& pattern : bits) pattern = static_cast<uint32_t>(rng.Bits(position++));
    const std::vector<float> values = eqat::testing::FloatsOf(bits);
    EQAT_ASSERT_OK(WriteNpy(dir / "a.npy", FloatArray("", {rows, cols}, values)));
    EQAT_ASSERT_OK_AND_ASSIGN(const NpyReader reader, NpyReader::Open(dir / "a.npy"));
    EXPECT_THAT(reader.header().shape, ElementsAre(rows, cols));
    EQAT_ASSERT_OK_AND_ASSIGN(const std::unique_ptr<RowSource> source, reader.Rows());
    EQAT_ASSERT_OK_AND_ASSIGN(const std::vector<float> read, RowsOf(*source, 2));
    EXPECT_EQ(BitsOf(read), bits);

    EQAT_ASSERT_OK(WriteNpz(dir / "a.npz", {FloatArray("x", {rows, cols}, values), FloatArray("y", {0}, {})}));
    EQAT_ASSERT_OK_AND_ASSIGN(const NpzReader npz, NpzReader::Open(dir / "a.npz"));
    ASSERT_EQ(npz.arrays().size(), 2);
    EXPECT_EQ(npz.arrays()[0].name, "x");
    EQAT_ASSERT_OK_AND_ASSIGN(const std::unique_ptr<RowSource> zipped, npz.Rows(0));
    EQAT_ASSERT_OK_AND_ASSIGN(const std::vector<float> unzipped, RowsOf(*zipped, 2));
    EXPECT_EQ(BitsOf(unzipped), bits);
  }
}

TEST(Npy, ReadsEveryFloatInEitherOrder) {
  const TempDir dir;
  const std::vector<double> doubles = {1, 2.5, -3, 1e-50, 5, 6};
  const std::vector<uint16_t> halves = {0x3c00, 0x4100, 0xc200, 0, 0x4500, 0x4600};
  const std::vector<float> in_rows = {1, 2.5, -3, 0, 5, 6};
  const std::vector<float> in_columns = {1, -3, 5, 2.5, 0, 6};
  for (const bool is_fortran : {false, true}) {
    for (const bool is_double : {false, true}) {
      const std::string file =
          NpyFile(absl::StrCat("{'descr': '", is_double ? "<f8" : "<f2",
                               "', 'fortran_order': ", is_fortran ? "True" : "False", ", 'shape': (2, 3)}"),
                  is_double ? BytesOfAll(doubles) : BytesOfAll(halves));
      EQAT_ASSERT_OK_AND_ASSIGN(const NpyReader reader, NpyReader::Open(dir.Write("a.npy", file)));
      EQAT_ASSERT_OK_AND_ASSIGN(const std::unique_ptr<RowSource> source, reader.Rows());
      EQAT_ASSERT_OK_AND_ASSIGN(const std::vector<float> read, RowsOf(*source, 1));
      EXPECT_EQ(read, is_fortran ? in_columns : in_rows);
    }
  }
}

TEST(Npy, RefusesEveryBadHeader) {
  const TempDir dir;
  const std::string data = BytesOfAll(SixFloats());
  const std::string good = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }";
  std::string many_ones;
  for (int i = 0; i < 65; ++i) many_ones += "1,";
  const struct {
    std::string file;
    std::string part;
  } kCases[] = {
      {"", "byte 0: magic: is no NumPy array"},
      {"\x93NUMPX" + TableFile().substr(6), "byte 0: magic: is no NumPy array"},
      {TableFile().substr(0, 6), "byte 6: version: the file ends inside it"},
      {TableFile().substr(0, 9), "byte 8: length of the header: the file ends inside it"},
      {TableFile().substr(0, 40), "byte 10: header: the file ends inside it"},
      {std::string("\x93NUMPY\x04\0", 8) + TableFile().substr(8), "byte 6: version: is unknown (got 4.0"},
      {std::string("\x93NUMPY\x02\0\xff\xff\xff\xff", 12), "byte 12: header: is too long"},
      {NpyFile(good, data + "x"), "data: does not match dtype and shape (got 25 bytes, expected 24)"},
      {NpyFile(good, data.substr(1)), "data: does not match dtype and shape (got 23 bytes, expected 24)"},
      {NpyFile(good + "}", data), "something follows the dictionary"},
      {NpyFile("", data), "is no dictionary as NumPy writes it"},
      {NpyFile("{'descr': '<f4', 'shape': (2, 3)}", data), "fortran_order is missing"},
      {NpyFile("{'fortran_order': False, 'shape': (2, 3)}", data), "descr is missing"},
      {NpyFile("{'descr': '<f4', 'fortran_order': False}", data), "shape is missing"},
      {NpyFile("{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (2, 3)}", data),
       "key stands there twice"},
      {NpyFile("{'descr': '<f4', 'order': 'C', 'fortran_order': False, 'shape': (2, 3)}", data),
       "unknown key (got order"},
      {NpyFile("{'descr': '|O', 'fortran_order': False, 'shape': (2, 3)}", data),
       "Python objects (a pickle) are never read"},
      {NpyFile("{'descr': '>f4', 'fortran_order': False, 'shape': (2, 3)}", data), "big-endian numbers are not read"},
      {NpyFile("{'descr': '<U4', 'fortran_order': False, 'shape': (2, 3)}", data), "descr is not read (got <U4"},
      {NpyFile("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (2, 3)}", data),
       "a record of several fields"},
      {NpyFile("{'descr': '<f4', 'fortran_order': 0, 'shape': (2, 3)}", data), "fortran_order is no truth value"},
      {NpyFile("{'descr': '<f4', 'fortran_order': False, 'shape': (-2, 3)}", data), "shape holds a bad size"},
      {NpyFile("{'descr': '<f4', 'fortran_order': False, 'shape': (2.0, 3)}", data),
       "is no dictionary as NumPy writes it"},
      {NpyFile("{'descr': '<f4', 'fortran_order': False, 'shape': (9223372036854775808,)}", data),
       "shape holds a bad size"},
      {NpyFile("{'descr': '<f4', 'fortran_order': False, 'shape': (4611686018427387904, 8)}", data),
       "does not match dtype and shape (got 24 bytes, expected a size below 2^63)"},
      {NpyFile("{'descr': '<f4', 'fortran_order': False, 'shape': (" + many_ones + ")}", data),
       "shape has too many dimensions"},
      {NpyFile("{'descr': '<f4", data), "string does not end"},
  };
  for (const auto& test : kCases) {
    SCOPED_TRACE(test.part);
    EXPECT_THAT(
        NpyReader::Open(dir.Write("bad.npy", test.file)),
        ::testing::AnyOf(StatusIs(StatusCode::kInvalidArgument, AllOf(HasSubstr("bad.npy"), HasSubstr(test.part))),
                         StatusIs(StatusCode::kDataLoss, AllOf(HasSubstr("bad.npy"), HasSubstr(test.part)))));
  }
}

TEST(Npy, GivesRowsOfTablesAlone) {
  const TempDir dir;
  const std::string integers =
      NpyFile("{'descr': '<i4', 'fortran_order': False, 'shape': (2, 3)}", std::string(24, '\0'));
  EQAT_ASSERT_OK_AND_ASSIGN(NpyReader reader, NpyReader::Open(dir.Write("i.npy", integers)));
  EXPECT_THAT(reader.Rows(),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("i.npy: is no table of floats (got I32")));
  const std::string vector =
      NpyFile("{'descr': '<f4', 'fortran_order': False, 'shape': (6,)}", BytesOfAll(SixFloats()));
  EQAT_ASSERT_OK_AND_ASSIGN(reader, NpyReader::Open(dir.Write("v.npy", vector)));
  EXPECT_THAT(reader.Rows(), StatusIs(StatusCode::kInvalidArgument, HasSubstr("v.npy: has the wrong shape (got [6]")));
}

TEST(Npz, ReadsDeflatedAndDescribedEntries) {
  const TempDir dir;
  const std::string path = dir.Write("a.npz", ZipFile({{"plain.npy", TableFile()},
                                                       {"packed.npy", TableFile(), true},
                                                       {"described.npy", TableFile(), false, true},
                                                       {"both.npy", TableFile(), true, true}}));
  EQAT_ASSERT_OK_AND_ASSIGN(const NpzReader reader, NpzReader::Open(path));
  ASSERT_EQ(reader.arrays().size(), 4);
  for (size_t i = 0; i < 4; ++i) {
    EQAT_ASSERT_OK_AND_ASSIGN(const std::unique_ptr<RowSource> source, reader.Rows(i));
    EQAT_ASSERT_OK_AND_ASSIGN(const std::vector<float> read, RowsOf(*source, 1));
    EXPECT_EQ(BitsOf(read), BitsOf(SixFloats()));
  }
}

TEST(Npz, RefusesWhatIsNoArray) {
  const TempDir dir;
  EXPECT_THAT(NpzReader::Open(dir.Write("a.npz", ZipFile({{"notes.txt", "hello"}}))),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("a.npz: entry \"notes.txt\": is no array")));
  EXPECT_THAT(NpzReader::Open(dir.Write("a.npz", ZipFile({{"x.npy", "hello"}}))),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("entry \"x.npy\": byte 0: magic: is no NumPy array")));
  std::string fortran = TableFile();
  fortran.replace(fortran.find("False"), 5, "True ");
  EQAT_ASSERT_OK_AND_ASSIGN(
      const NpzReader reader,
      NpzReader::Open(dir.Write("f.npz", ZipFile({{"packed.npy", fortran, true}, {"x.npy", fortran}}))));
  EXPECT_THAT(reader.Rows(0), StatusIs(StatusCode::kUnimplemented, HasSubstr("compressed array in Fortran order")));
  EQAT_ASSERT_OK_AND_ASSIGN(const std::unique_ptr<RowSource> source, reader.Rows(1));
  EQAT_ASSERT_OK_AND_ASSIGN(const std::vector<float> read, RowsOf(*source, 2));
  EXPECT_EQ(read[1], SixFloats()[2]);
}

TEST(Npz, RefusesNamesThatAreNoFiles) {
  const TempDir dir;
  const std::vector<float> values = {1};
  for (const std::string& name : {std::string(), std::string("a/b"), std::string("a\\b"), std::string(256, 'x')}) {
    EXPECT_THAT(WriteNpz(dir / "a.npz", {FloatArray(name, {1}, values)}),
                StatusIs(StatusCode::kInvalidArgument, HasSubstr("a.npz: name of an array cannot be a file's")));
  }
  EXPECT_THAT(WriteNpz(dir / "a.npz", {FloatArray("x", {1}, values), FloatArray("x", {1}, values)}),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("a.npz: an array is given twice (got x)")));
  EXPECT_THAT(WriteNpz(dir / "a.npz", {FloatArray("x", {2}, values)}),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("x: bytes do not match dtype and shape")));
  TensorToWrite bfloat = FloatArray("x", {2}, values);
  bfloat.dtype = TensorDtype::kBF16;
  EXPECT_THAT(WriteNpy(dir / "a.npy", bfloat),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("a.npy: npy: NumPy has no such dtype (got BF16")));
  EXPECT_THAT(dir.List(), ElementsAre());
}

}  // namespace
}  // namespace eqat::io
