#include "io/pytorch_file.h"

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "io/pickle.h"
#include "tests/support/foreign_files.h"
#include "tests/support/rows_of.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"

namespace eqat::io {
namespace {

using absl::StatusCode;
using eqat::testing::BytesOfAll;
using eqat::testing::PickleDictionary;
using eqat::testing::PickledView;
using eqat::testing::PickleInteger;
using eqat::testing::PickleOf;
using eqat::testing::PickleTensor;
using eqat::testing::PickleText;
using eqat::testing::RowsOf;
using eqat::testing::StatusIs;
using eqat::testing::TempDir;
using eqat::testing::TorchFile;
using eqat::testing::ZipFile;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::string Storage() { return BytesOfAll(std::vector<float>{1, 2, 3, 4, 5, 6}); }

absl::StatusOr<std::vector<float>> TableOf(const PyTorchFile& file, size_t index) {
  EQAT_ASSIGN_OR_RETURN(const std::unique_ptr<RowSource> rows, file.Rows(file.tensors()[index]));
  return RowsOf(*rows, 1);
}

TEST(PyTorchFile, ReadsViewsOfStorages) {
  const TempDir dir;
  const std::string pickle =
      PickleOf(PickleDictionary({{"a.weight", PickleTensor({})},
                                 {"t", PickleTensor({.shape = {3, 2}, .strides = {1, 3}})},
                                 {"tail", PickleTensor({.offset = 4, .shape = {1, 2}, .strides = {2, 1}})},
                                 {"same", PickleTensor({.shape = {3, 2}, .strides = {0, 1}})},
                                 {"empty", PickleTensor({.shape = {0, 3}, .strides = {3, 1}})},
                                 {"epoch", PickleInteger(3)},
                                 {"state", PickleDictionary({{"x", PickleTensor({.shape = {6}, .strides = {1}})}})}}));
  EQAT_ASSERT_OK_AND_ASSIGN(const PyTorchFile file, PyTorchFile::Open(dir.Write("m.pt", TorchFile(pickle, Storage()))));
  ASSERT_EQ(file.tensors().size(), 6);
  EXPECT_EQ(file.tensors()[5].name, "state.x");
  EXPECT_THAT(*TableOf(file, 0), ElementsAre(1, 2, 3, 4, 5, 6));
  EXPECT_THAT(*TableOf(file, 1), ElementsAre(1, 4, 2, 5, 3, 6));
  EXPECT_THAT(*TableOf(file, 2), ElementsAre(5, 6));
  EXPECT_THAT(*TableOf(file, 3), ElementsAre(1, 2, 1, 2, 1, 2));
  EXPECT_THAT(*TableOf(file, 4), ElementsAre());
  EXPECT_THAT(TableOf(file, 5),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("tensor \"state.x\": has the wrong shape (got [6]")));
}

TEST(PyTorchFile, RefusesEveryBadTensor) {
  const TempDir dir;
  const struct {
    PickledView view;
    std::string part;
  } kCases[] = {
      {{.storage = "1"}, "tensor \"w\": its storage is missing (got 1)"},
      {{.elements = 7}, "entry \"archive/data/0\": has the wrong size (got 24 bytes, expected 7 elements of F32)"},
      {{.type = "DoubleStorage"}, "has the wrong size (got 24 bytes, expected 6 elements of F64)"},
      {{.elements = -1}, "has a persistent id that is no storage"},
      {{.type = "ComplexStorage"}, "not on the list of safe ones (got torch ComplexStorage"},
      {{.offset = 1}, "tensor \"w\": reaches out of its storage (got offset 1, shape [2, 3], strides [3, 1]"},
      {{.offset = -1}, "builds a tensor with bad sizes or strides"},
      {{.shape = {2, -3}}, "builds a tensor with bad sizes or strides"},
      {{.strides = {3, -1}}, "builds a tensor with bad sizes or strides"},
      {{.strides = {3}}, "builds a tensor with bad sizes or strides"},
      {{.shape = {4, 2}, .strides = {0, 1}}, "tensor \"w\": has more elements than its storage (got [4, 2]"},
      {{.strides = {4, 1}}, "tensor \"w\": reaches out of its storage"},
      {{.shape = {2147483647, 2147483647}, .strides = {2147483647, 2147483647}},
       "tensor \"w\": reaches out of its storage"},
  };
  for (const auto& test : kCases) {
    SCOPED_TRACE(test.part);
    const std::string pickle = PickleOf(PickleDictionary({{"w", PickleTensor(test.view)}}));
    EXPECT_THAT(PyTorchFile::Open(dir.Write("m.pt", TorchFile(pickle, Storage()))),
                StatusIs(StatusCode::kInvalidArgument, HasSubstr(test.part)));
  }
}

TEST(PyTorchFile, RefusesEveryBadArchive) {
  const TempDir dir;
  const std::string good = PickleOf(PickleDictionary({{"w", PickleTensor({})}}));
  const std::string shared = PickleOf("}(" + PickleText("a") + "}q\x01" + PickleText("b") + "h\x01u");
  std::string deep = "}";
  for (int i = 0; i < 20; ++i) deep = PickleDictionary({{"d", deep}});
  const struct {
    std::string file;
    std::string part;
  } kCases[] = {
      {ZipFile({{"archive/data/0", Storage()}}), "m.pt: holds no data.pkl"},
      {ZipFile({{"archive/data.pkl", good}, {"archive/data/0", Storage()}, {"other/x", ""}}),
       "entry \"other/x\": lies outside the file's folder"},
      {ZipFile({{"archive/data.pkl", good}, {"archive/data/0", Storage()}, {"archive/x", ""}}),
       "entry \"archive/x\": is not known"},
      {ZipFile({{"archive/data.pkl", good}, {"archive/data/0", Storage()}, {"archive/code/m.py", ""}}),
       "is a program (TorchScript), which is never run"},
      {ZipFile({{"archive/data.pkl", good}, {"archive/data/0", Storage()}, {"archive/constants.pkl", ""}}),
       "is a program (TorchScript)"},
      {ZipFile({{"archive/data.pkl", good}, {"archive/data/0", Storage()}, {"archive/data/1", ""}}),
       "entry \"archive/data/1\": belongs to no tensor"},
      {ZipFile({{"archive/data.pkl", good}, {"archive/data/0", Storage(), true}}),
       "entry \"archive/data/0\": a storage is compressed"},
      {ZipFile({{"archive/data.pkl", good}, {"archive/data/0", Storage()}, {"archive/byteorder", "big"}}),
       "byte order is not read (got big"},
      {TorchFile(PickleOf(PickleInteger(1)), Storage()), "holds no dictionary of tensors"},
      {TorchFile(PickleOf(PickleDictionary({{"w", PickleTensor({})}, {"w", PickleTensor({})}})), Storage()),
       "tensor \"w\": stands there twice"},
      {ZipFile({{"a/data.pkl", shared}}), "a dictionary stands in two places"},
      {ZipFile({{"a/data.pkl", PickleOf(deep)}}), "dictionaries are nested too deeply"},
      {TorchFile(PickleOf("}(N" + PickleTensor({}) + "u"), Storage()), "a key is neither text nor a whole number"},
      {TorchFile(PickleOf(PickleDictionary({{std::string(5000, 'n'), PickleTensor({})}})), Storage()),
       "names of tensors are too long"},
  };
  for (const auto& test : kCases) {
    SCOPED_TRACE(test.part);
    EXPECT_THAT(PyTorchFile::Open(dir.Write("m.pt", test.file)),
                StatusIs(StatusCode::kInvalidArgument, HasSubstr(test.part)));
  }
}

TEST(PyTorchFile, FindsDamagedStorages) {
  const TempDir dir;
  std::string bytes = TorchFile(PickleOf(PickleDictionary({{"w", PickleTensor({})}})), Storage());
  bytes[bytes.find(Storage()) + 3] ^= 1;
  EQAT_ASSERT_OK_AND_ASSIGN(const PyTorchFile file, PyTorchFile::Open(dir.Write("m.pt", bytes)));
  EXPECT_THAT(TableOf(file, 0),
              StatusIs(StatusCode::kDataLoss, HasSubstr("entry \"archive/data/0\": is damaged: its checksum differs")));
}

TEST(Pickle, RunsNothing) {
  // os.system("echo"), in the forms in which pickles call functions.
  const std::string kAttacks[] = {
      "cos\nsystem\n" + PickleText("echo") + "\x85R",
      PickleText("os") + PickleText("system") + "\x93" + PickleText("echo") + "\x85R",
      "c__builtin__\neval\n" + PickleText("1") + "\x85R",
      "ctorch._utils\n_rebuild_tensor\n)R",
      "ctorch.storage\n_load_from_bytes\n)R",
      "ccollections\nOrderedDict\n)\x81",  // NEWOBJ
      "(ios\nsystem\n",                    // INST
      "(cos\nsystem\no",                   // OBJ
      "\x82\x01",                          // EXT1
      "P0\n",                              // PERSID
  };
  for (const std::string& attack : kAttacks) {
    EXPECT_THAT(ReadPickle(PickleOf(attack), "p"),
                StatusIs(StatusCode::kInvalidArgument, ::testing::AnyOf(HasSubstr("not on the list of safe ones"),
                                                                        HasSubstr("instruction is refused"))))
        << attack;
  }
}

TEST(Pickle, RefusesEveryBadProgram) {
  const struct {
    std::string code;
    std::string part;
  } kCases[] = {
      {"", "p: byte 0: instruction: the file ends inside it"},
      {".", "p: byte 0: pickle: takes a value where there is none"},
      {"\x80\x01N.", "byte 0: pickle: protocol is not read (got 1, expected 2 to 4)"},
      {"\x80\x05N.", "protocol is not read (got 5"},
      {"NN.", "byte 2: pickle: values are left at the end"},
      {"(N.", "pickle: values are left at the end"},
      {"N.x", "byte 1: pickle: something follows the end (got 1 bytes)"},
      {"t.", "byte 0: pickle: goes back to a mark where there is none"},
      {"\x85.", "takes a value where there is none"},
      {"N(\x85t.", "takes a value where there is none"},
      {"X\xff\xff\xff\x7f", "byte 5: text: the file ends inside it"},
      {"h\x05.", "recalls a value that was never kept (got 5)"},
      {"q\x05.", "uses a value where there is none"},
      {"N" + PickleText("k") + "Ns.", "adds items to what is no dictionary"},
      {"}(NNNu.", "adds items to what is no dictionary"},
      {"N)R.", "calls what is no function"},
      {"ccollections\nOrderedDict\nNR.", "calls what is no function"},
      {"ccollections\nOrderedDict\n(NtR.", "calls a known name with unknown arguments (got collections OrderedDict)"},
      {"ccollections\nOrderedDict\n(NNNNNNNNtR.", "calls a known name with unknown arguments"},
      {"NNb.", "sets attributes of what is no dictionary"},
      {"NQ.", "has a persistent id that is no storage"},
      {"ctorch._utils\n_rebuild_tensor_v2\n(NNNNNNtR.", "builds a tensor from what is no storage"},
      {"NN\x93.", "a name is no text"},
      {"c" + std::string(300, 'm'), "module: does not end"},
  };
  for (const auto& test : kCases) {
    SCOPED_TRACE(test.part);
    const absl::Status status = ReadPickle(test.code, "p").status();
    EXPECT_FALSE(status.ok());
    EXPECT_THAT(std::string(status.message()), HasSubstr(test.part));
  }
  EXPECT_THAT(ReadPickle(std::string(kMaxPickleInstructions + 1, 'N'), "p"),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("has too many instructions")));
}

TEST(Pickle, ReadsIntegersOfAnyLength) {
  const auto integer = [](const std::string& code) {
    const Pickle pickle = *ReadPickle(code, "p");
    return pickle.values[pickle.root].integer;
  };
  EXPECT_EQ(integer("K\xff."), 255);
  EXPECT_EQ(integer("M\xff\xff."), 65535);
  EXPECT_EQ(integer("J\xff\xff\xff\xff."), -1);
  EXPECT_EQ(integer(std::string("\x8a\0.", 3)), 0);
  EXPECT_EQ(integer("\x8a\x01\x80."), -128);
  EXPECT_EQ(integer(std::string("\x8a\x05\0\0\0\0\x01.", 8)), int64_t{1} << 32);
}

}  // namespace
}  // namespace eqat::io
