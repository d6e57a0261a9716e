#include "io/word_vectors.h"

#include <zlib.h>

#include <cmath>

#include "absl/strings/str_cat.h"
#include "core/parallel_for.h"
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
using eqat::testing::BytesOf;
using eqat::testing::RowsOf;
using eqat::testing::StatusIs;
using eqat::testing::TempDir;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class WordVectorsTest : public ::testing::Test {
 protected:
  absl::StatusOr<std::vector<float>> Text(const std::string& text, VecHeader header, std::string* words = nullptr) {
    EQAT_ASSIGN_OR_RETURN(const std::unique_ptr<RowSource> rows, OpenVectorText(dir_.Write("v", text), header));
    return RowsOf(*rows, 2, words);
  }
  absl::StatusOr<std::vector<float>> Binary(const std::string& bytes, std::string* words = nullptr) {
    EQAT_ASSIGN_OR_RETURN(const std::unique_ptr<RowSource> rows, OpenVectorBinary(dir_.Write("v", bytes)));
    return RowsOf(*rows, 2, words);
  }
  absl::Status Write(const std::vector<std::string>& words, const std::vector<float>& values) {
    const int64_t cols = static_cast<int64_t>(values.size() / words.size());
    return WriteVectorText(
        dir_ / "out", static_cast<int64_t>(words.size()), cols,
        [&](int64_t row) -> absl::StatusOr<std::string_view> { return std::string_view(words[row]); },
        [&](int64_t begin, int64_t end, float* out) {
          std::copy(values.begin() + begin * cols, values.begin() + end * cols, out);
          return absl::OkStatus();
        });
  }

  TempDir dir_;
};

TEST_F(WordVectorsTest, ReadsText) {
  const std::string expected_words("</s>\nA\xff\0\nc\n", 11);
  const std::string lines("</s> 1 -2.5e0 \nA\xff\0\t0.0  -0\r\nc 1e-46 3.4028235e38", 48);
  const std::vector<float> expected = {1, -2.5, 0, -0.0, 0, 3.4028235e38f};
  std::string words;
  for (const bool has_header : {true, false}) {
    const std::string text = absl::StrCat(has_header ? "3 2\n" : "", lines);
    const VecHeader header = has_header ? VecHeader::kCounts : VecHeader::kNone;
    EQAT_ASSERT_OK_AND_ASSIGN(std::vector<float> values, Text(text, header, &words));
    EXPECT_EQ(BitsOf(values), BitsOf(expected));
    EXPECT_EQ(words, expected_words);
    EQAT_ASSERT_OK_AND_ASSIGN(values, Text(text + "\n", header, &words));
    EXPECT_EQ(BitsOf(values), BitsOf(expected));
    gzFile file = gzopen((dir_ / "v.gz").c_str(), "wb");
    gzwrite(file, text.data(), static_cast<unsigned>(text.size()));
    gzclose(file);
    EQAT_ASSERT_OK_AND_ASSIGN(const std::unique_ptr<RowSource> rows, OpenVectorText(dir_ / "v.gz", header));
    EQAT_ASSERT_OK_AND_ASSIGN(values, RowsOf(*rows, 3, &words));
    EXPECT_EQ(BitsOf(values), BitsOf(expected));
  }
}

TEST_F(WordVectorsTest, RefusesEveryBadText) {
  const struct {
    std::string text;
    std::string part;
    VecHeader header = VecHeader::kCounts;
  } kCases[] = {
      {"", "v: is empty"},
      {"", "v: is empty", VecHeader::kNone},
      {"a 1 2\n", "v:1: does not give the numbers of rows and dimensions (got 'a 1 2'"},
      {"2\na 1\n", "v:1: does not give the numbers"},
      {"-2 3\na 1\n", "v:1: does not give the numbers"},
      {"2 0\na\n", "v:1: does not give the numbers"},
      {"99999999999999999999 2\n", "v:1: does not give the numbers"},
      {"4000000000000000000 4000000000000000000\n", "v:1: says more rows and dimensions than the file can hold"},
      {"1000 1000\na 1 2\n", "v:1: says more rows and dimensions than the file can hold"},
      {"2 2\nlonger 1.5 2.5\n", "v:3: the file ends early (expected 1 lines more)"},
      {"1 2\na 1 2\nb 3 4\n", "v:3: the file has more lines than its first line says"},
      {"1 2\na 1 2\n\n", "v:3: the file has more lines than its first line says"},
      {"2 2\na 1 2\nb 3\n", "v:3: has 1 numbers (expected a word and 2 numbers)"},
      {"2 2\na 1 2\nb 3 4 5\n", "v:3: has 3 numbers"},
      {"2 2\na 1 2\nb 3 x\n", "v:3: number 2 is no finite float32 (got 'x'"},
      {"2 2\na 1 2\nb nan 4\n", "v:3: number 1 is no finite float32 (got 'nan'"},
      {"2 2\na 1 2\nb 3 inf\n", "v:3: number 2 is no finite float32 (got 'inf'"},
      {"2 2\na 1 2\nb 3 1e39\n", "v:3: number 2 is no finite float32 (got '1e39'"},
      {"2 2\na 1 2\nb 3 0x10\n", "v:3: number 2 is no finite float32 (got '0x10'"},
      {"2 2\na 1 2\nb 3 1,5\n", "v:3: number 2 is no finite float32 (got '1,5'"},
      {"2 2\na 1 2\n 3 4\n", "v:3: word is empty"},
      {"1 2\na\vz 1 2\n", "v:2: word holds a space character (got 'a\\x0bz'"},
      {"1 2\n" + std::string(5000, 'w') + " 1 2\n", "v:2: word is too long"},
      {"alone\n", "v:1: holds no numbers", VecHeader::kNone},
      {"longer 1.5 2.5\nb 1\n", "v:2: has 1 numbers", VecHeader::kNone},
  };
  for (const auto& test : kCases) {
    SCOPED_TRACE(test.part);
    const absl::Status status = Text(test.text, test.header).status();
    EXPECT_FALSE(status.ok());
    EXPECT_THAT(std::string(status.message()), HasSubstr(test.part));
  }
}

TEST_F(WordVectorsTest, NamesTheFirstBadLineForAnyNumberOfThreads) {
  std::string text = "3000 2\n";
  for (int i = 0; i < 3000; ++i) absl::StrAppend(&text, "w", i, i % 700 == 650 ? " 1 x\n" : " 1 2\n");
  for (const int threads : {1, 4}) {
    SetNumThreads(threads);
    EXPECT_THAT(Text(text, VecHeader::kCounts), StatusIs(StatusCode::kInvalidArgument, HasSubstr("v:652: number 2")));
  }
  SetNumThreads(0);
}

TEST_F(WordVectorsTest, ReadsBinary) {
  const std::string rows = "a " + BytesOf(1.0f, -0.0f) + "\nb\xff " + BytesOf(1e-45f, 3.0f);
  const std::vector<float> expected = {1, -0.0f, 1e-45f, 3};
  std::string words;
  for (const std::string& end : {std::string(), std::string("\n")}) {
    EQAT_ASSERT_OK_AND_ASSIGN(const std::vector<float> values, Binary("2 2\n" + rows + end, &words));
    EXPECT_EQ(BitsOf(values), BitsOf(expected));
    EXPECT_EQ(words, "a\nb\xff\n");
  }
}

TEST_F(WordVectorsTest, RefusesEveryBadBinary) {
  const std::string row = "a " + BytesOf(1.0f, 2.0f);
  const struct {
    std::string bytes;
    std::string part;
  } kCases[] = {
      {"", "v: byte 0: numbers of rows and dimensions: does not end"},
      {std::string(100, '1'), "v: byte 0: numbers of rows and dimensions: does not end (got over 64 bytes"},
      {"x y\n" + row, "v: byte 0: first line: does not give the numbers"},
      {"1000000000000 2\n" + row, "v: byte 0: first line: says more rows and dimensions"},
      {"1 2\nwor" + row.substr(0, 9), "v: byte 9: numbers of word 0: the file ends inside it (got 7 bytes, expected 8)"},
      {"1 2\n" + row + "b", "v: byte 14: end: something follows the last row (got 1 bytes"},
      {"1 2\n " + BytesOf(1.0f, 2.0f) + "\n", "v: byte 4: word 0: word is empty"},
      {"1 2\na\tb " + BytesOf(1.0f, 2.0f), "v: byte 4: word 0: word holds a space character"},
      {"1 2\n" + std::string(5000, 'w') + " " + BytesOf(1.0f, 2.0f), "v: byte 4: word 0: does not end"},
  };
  for (const auto& test : kCases) {
    SCOPED_TRACE(test.part);
    const absl::Status status = Binary(test.bytes).status();
    EXPECT_FALSE(status.ok());
    EXPECT_THAT(std::string(status.message()), HasSubstr(test.part));
  }
}

TEST_F(WordVectorsTest, TellsTheKindsApart) {
  const auto guess = [&](const std::string& content) { return *GuessVectorFile(dir_.Write("g", content)); };
  EXPECT_EQ(guess("1 2\na 1 2\n"), VectorFileKind::kTextWithCounts);
  EXPECT_EQ(guess("1 2\na " + BytesOf(1.0f, 2.0f)), VectorFileKind::kBinary);
  EXPECT_EQ(guess("a 1 2\nb 3 4\n"), VectorFileKind::kTextWithoutCounts);
  EXPECT_EQ(guess("1 2\n3 4\n"), VectorFileKind::kTextWithoutCounts);  // a word "1" of one dimension
  EXPECT_EQ(guess("# notes\n"), VectorFileKind::kUnknown);
  EXPECT_EQ(guess(""), VectorFileKind::kUnknown);
}

TEST_F(WordVectorsTest, WritesShortestNumbers) {
  EQAT_ASSERT_OK(Write({"</s>", "w\xff"}, {1.0f, -0.0f, 0.1f, 1e-45f, 3.4028235e38f, -1234.5f}));
  EXPECT_EQ(dir_.Read("out"), "2 3\n</s> 1 -0 0.1\nw\xff 1e-45 3.4028235e+38 -1234.5\n");
}

TEST_F(WordVectorsTest, GivesBackWhatWasWritten) {
  const Rng rng(2, 0);
  uint64_t position = 0;
  for (int64_t cols = 1; cols <= 130; ++cols) {
    SCOPED_TRACE(cols);
    const auto rows = static_cast<int64_t>(1 + rng.Below(position++, 5));
    std::vector<std::string> words(rows);
    std::vector<float> values(rows * cols);
    for (std::string& word : words) word = absl::StrCat("w", rng.Bits(position++));
    for (float& value : values) {
      do {
        value = std::bit_cast<float>(static_cast<uint32_t>(rng.Bits(position++)));
      } while (!std::isfinite(value));
    }
    EQAT_ASSERT_OK(Write(words, values));
    std::string read_words;
    EQAT_ASSERT_OK_AND_ASSIGN(const std::unique_ptr<RowSource> source,
                              OpenVectorText(dir_ / "out", VecHeader::kCounts));
    EQAT_ASSERT_OK_AND_ASSIGN(const std::vector<float> read, RowsOf(*source, 2, &read_words));
    EXPECT_EQ(BitsOf(read), BitsOf(values));
    std::string expected_words;
    for (const std::string& word : words) absl::StrAppend(&expected_words, word, "\n");
    EXPECT_EQ(read_words, expected_words);
  }
}

TEST_F(WordVectorsTest, WritesNothingItCannotRead) {
  const struct {
    std::string word;
    float value;
    std::string part;
  } kCases[] = {{"", 1, "out: row 0: word is empty"},
                {"a b", 1, "out: row 0: word holds a space character (got 'a b'"},
                {"a\n", 1, "out: row 0: word holds a space character"},
                {"a", NAN, "out: row 0, column 0 is no finite float32 (got nan"},
                {"a", INFINITY, "out: row 0, column 0 is no finite float32 (got inf"}};
  for (const auto& test : kCases) {
    EXPECT_THAT(Write({test.word}, {test.value}), StatusIs(StatusCode::kInvalidArgument, HasSubstr(test.part)));
  }
  EXPECT_THAT(dir_.List(), IsEmpty());
}

}  // namespace
}  // namespace eqat::io
