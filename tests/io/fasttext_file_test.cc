#include "io/fasttext_file.h"

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/foreign_files.h"
#include "tests/support/rows_of.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"

namespace eqat::io {
namespace {

using eqat::testing::BytesOf;
using eqat::testing::BytesOfAll;
using eqat::testing::FastTextHead;
using eqat::testing::FastTextModel;
using eqat::testing::FastTextParts;
using eqat::testing::RowsOf;
using eqat::testing::TempDir;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(FastTextFile, ReadsWordsSubwordsAndOutput) {
  const TempDir dir;
  EQAT_ASSERT_OK_AND_ASSIGN(const std::shared_ptr<const FastTextFile> file,
                            FastTextFile::Open(dir.Write("m.bin", FastTextModel({}))));
  EXPECT_THAT(file->words(), ElementsAre("</s>", "a"));
  EXPECT_EQ(file->arguments().bucket, 1);
  EXPECT_EQ(file->arguments().min_n, 3);
  EXPECT_EQ(file->arguments().max_n, 6);
  std::string words;
  EQAT_ASSERT_OK_AND_ASSIGN(std::vector<float> values, RowsOf(*FastTextFile::InputRows(file), 2, &words));
  EXPECT_THAT(values, ElementsAre(1, 2, 3, 4, 5, 6, 7, 8, 9));
  EXPECT_EQ(words, "</s>\na\n");
  EQAT_ASSERT_OK_AND_ASSIGN(values, RowsOf(*FastTextFile::OutputRows(file), 1, &words));
  EXPECT_THAT(values, ElementsAre(-1, -2, -3, -4, -5, -6));
  EXPECT_EQ(words, "</s>\na\n");
}

TEST(FastTextFile, ReadsLabels) {
  const TempDir dir;
  FastTextParts parts{.model = 3, .words = 1, .labels = 1, .dictionary = {{"</s>", 0}, {"__label__x", 1}}};
  parts.input_rows = 2;
  parts.input.resize(24);
  parts.output_rows = 1;
  parts.output.resize(12);
  EQAT_ASSERT_OK_AND_ASSIGN(const std::shared_ptr<const FastTextFile> file,
                            FastTextFile::Open(dir.Write("m.bin", FastTextModel(parts))));
  std::string words;
  EQAT_ASSERT_OK_AND_ASSIGN(const std::vector<float> values, RowsOf(*FastTextFile::OutputRows(file), 1, &words));
  EXPECT_THAT(values, ElementsAre(-1, -2, -3));
  EXPECT_EQ(words, "__label__x\n");
}

// Centroid c of column j is 10 * j + c + 1 throughout; rows are norm * centroid.
std::string Quantised(int32_t parts_of_row, bool has_norms) {
  const FastTextParts parts;
  std::vector<float> centroids, norms;
  const int32_t part_cols = parts_of_row == 1 ? 3 : 2;
  const int32_t last_cols = parts_of_row == 1 ? 3 : 1;
  for (int32_t part = 0; part < parts_of_row; ++part) {
    const int32_t cols = part + 1 == parts_of_row ? last_cols : part_cols;
    for (int c = 0; c < 256; ++c) {
      for (int32_t j = 0; j < cols; ++j) centroids.push_back(static_cast<float>(10 * (part * part_cols + j) + c + 1));
    }
  }
  for (int c = 0; c < 256; ++c) norms.push_back(static_cast<float>(c));
  std::string codes;
  for (int row = 0; row < 3; ++row) {
    for (int part = 0; part < parts_of_row; ++part) codes.push_back(static_cast<char>(row + part));
  }
  std::string matrix = BytesOf(has_norms, parts.input_rows, parts.input_cols) +
                       BytesOf(static_cast<int32_t>(codes.size())) + codes +
                       BytesOf(int32_t{3}, parts_of_row, part_cols, last_cols) + BytesOfAll(centroids);
  if (has_norms) {
    matrix += std::string("\x02\x03\x04") + BytesOf(int32_t{1}, int32_t{1}, int32_t{1}, int32_t{1}) + BytesOfAll(norms);
  }
  return FastTextHead(parts) + "\x01" + matrix + std::string(1, '\0') + BytesOf(parts.output_rows, parts.output_cols) +
         parts.output;
}

TEST(FastTextFile, DecodesQuantisedRows) {
  const TempDir dir;
  EQAT_ASSERT_OK_AND_ASSIGN(std::shared_ptr<const FastTextFile> file,
                            FastTextFile::Open(dir.Write("m.ftz", Quantised(1, false))));
  EQAT_ASSERT_OK_AND_ASSIGN(std::vector<float> values, RowsOf(*FastTextFile::InputRows(file), 2));
  EXPECT_THAT(values, ElementsAre(1, 11, 21, 2, 12, 22, 3, 13, 23));
  EQAT_ASSERT_OK_AND_ASSIGN(file, FastTextFile::Open(dir.Write("m.ftz", Quantised(2, true))));
  EQAT_ASSERT_OK_AND_ASSIGN(values, RowsOf(*FastTextFile::InputRows(file), 2));
  EXPECT_THAT(values, ElementsAre(2 * 1, 2 * 11, 2 * 22, 3 * 2, 3 * 12, 3 * 23, 4 * 3, 4 * 13, 4 * 24));
}

TEST(FastTextFile, RefusesEveryBadField) {
  const TempDir dir;
  const auto bent = [](auto change) {
    FastTextParts parts;
    change(parts);
    return FastTextModel(parts);
  };
  const std::string good = FastTextModel({});
  const std::string quantised = Quantised(2, true);
  const auto with = [&](size_t position, const std::string& bytes) {
    std::string file = quantised;
    return file.replace(position, bytes.size(), bytes);
  };
  const size_t matrix = FastTextHead({}).size() + 1;  // of the quantised input
  const size_t quantizer = matrix + 1 + 16 + 4 + 6;
  const struct {
    std::string file;
    std::string part;
  } kCases[] = {
      {"", "m.bin: byte 0: magic number: the file ends inside it"},
      {bent([](FastTextParts& p) { p.magic = 1; }),
       "byte 0: magic number: is no fastText model (got 1, expected 793712314)"},
      {bent([](FastTextParts& p) { p.version = 11; }), "byte 4: version: is not read"},
      {bent([](FastTextParts& p) { p.dim = 0; }), "byte 8: dim: is out of range (got 0, expected 1 to 1048576)"},
      {bent([](FastTextParts& p) { p.model = 4; }), "model: is out of range (got 4"},
      {bent([](FastTextParts& p) { p.bucket = -1; }), "bucket: is out of range (got -1"},
      {bent([](FastTextParts& p) { p.entries = -1; }), "dictionary size: is out of range"},
      {bent([](FastTextParts& p) { p.words = 3; }), "number of words: is out of range (got 3, expected 0 to 2)"},
      {bent([](FastTextParts& p) { p.labels = 1; }), "number of labels: is out of range (got 1, expected 0 to 0)"},
      {bent([](FastTextParts& p) { p.entries = p.words = 1 << 30; }),
       "dictionary: has more entries than the file can hold"},
      {bent([](FastTextParts& p) { p.dictionary[1].first = ""; }), "dictionary entry 1: word is empty"},
      {bent([](FastTextParts& p) { p.dictionary[1].first = "a b"; }),
       "dictionary entry 1: word holds a space character"},
      {bent([](FastTextParts& p) { p.dictionary[1].first = std::string(5000, 'w'); }),
       "dictionary entry 1: does not end"},
      {bent([](FastTextParts& p) { p.dictionary[1].second = 1; }), "dictionary entry 1 type: is out of range (got 1"},
      {bent([](FastTextParts& p) { p.pruned = 1; }), "input: a pruned dictionary with a dense matrix cannot be used"},
      {bent([](FastTextParts& p) { p.quantised_input = 2; }), "quantised input: is out of range (got 2"},
      {bent([](FastTextParts& p) { p.quantised_output = 1; }), "quantised output: only the output is quantised"},
      {bent([](FastTextParts& p) { p.input_rows = -1; }), "input rows: is out of range"},
      {bent([](FastTextParts& p) { p.input_cols = 4; }), "input columns: is out of range (got 4, expected 3 to 3)"},
      {bent([](FastTextParts& p) { p.input_rows = INT64_MAX / 4; }), "input values: size overflows"},
      {bent([](FastTextParts& p) { p.input_rows = 1000; }), "input values: the file ends inside it"},
      {bent([](FastTextParts& p) { p.bucket = 2; }),
       "input: has a number of rows that the dictionary does not explain (got 3, expected 4)"},
      {bent([](FastTextParts& p) {
         p.output_rows = 1;
         p.output.resize(12);
       }),
       "output: has a number of rows that the dictionary does not explain"},
      {bent([](FastTextParts& p) { p.rest = "x"; }), "end: something follows the output matrix (got 1 bytes"},
      {good.substr(0, good.size() - 1), "output values: the file ends inside it (got 23 bytes, expected 24)"},
      {with(matrix, "\x02"), "input has norms: is out of range"},
      {with(matrix + 17, BytesOf(int32_t{-1})), "input codes: is out of range"},
      {with(quantizer, BytesOf(int32_t{4})), "input quantizer columns: is out of range (got 4, expected 3 to 3)"},
      {with(quantizer + 4, BytesOf(int32_t{0})), "input quantizer parts: is out of range"},
      {with(quantizer + 8, BytesOf(int32_t{3})), "input quantizer columns of the last part: is out of range"},
      {with(quantizer + 12, BytesOf(int32_t{2})),
       "input quantizer columns of the last part: is out of range (got 2, expected 1 to 1)"},
      {with(quantizer + 4, BytesOf(int32_t{3}, int32_t{1}, int32_t{1})), "input codes: do not match rows and parts"},
      {with(quantizer + 8, BytesOf(int32_t{1}, int32_t{2})), "input quantizer: parts do not cover the columns"},
  };
  for (const auto& test : kCases) {
    SCOPED_TRACE(test.part);
    const absl::Status status = FastTextFile::Open(dir.Write("m.bin", test.file)).status();
    EXPECT_FALSE(status.ok());
    EXPECT_THAT(std::string(status.message()), HasSubstr("m.bin: byte "));
    EXPECT_THAT(std::string(status.message()), HasSubstr(test.part));
  }
}

}  // namespace
}  // namespace eqat::io
