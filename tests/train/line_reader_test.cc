#include "train/line_reader.h"

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "tests/train/train_fixture.h"

namespace eqat::train {
namespace {

using ::eqat::testing::IsOk;
using ::eqat::testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using LineReaderTest = ::eqat::testing::TrainTest;

std::vector<std::string> Lines(const std::string& path, absl::Status* status) {
  absl::StatusOr<std::unique_ptr<LineReader>> reader = LineReader::Open(path);
  EXPECT_THAT(reader, IsOk());
  std::vector<std::string> lines;
  for (std::string_view line; (*reader)->Next(&line);) {
    lines.emplace_back(line);
    EXPECT_EQ((*reader)->line_number(), static_cast<int64_t>(lines.size()));
  }
  *status = (*reader)->status();
  return lines;
}

TEST_F(LineReaderTest, LineEnds) {
  const std::pair<std::string, std::vector<std::string>> cases[] = {
      {"", {}},
      {"\n", {}},
      {"\r\n", {}},
      {"a", {"a"}},
      {"a\nb", {"a", "b"}},
      {"a\nb\n", {"a", "b"}},
      {"a\r\nb\r\n", {"a", "b"}},
      {"a\n\nb\n\n", {"a", "", "b"}},
      {"\n\n", {""}},
      {std::string("a\0b\n", 4), {std::string("a\0b", 3)}},
      {"\xef\xbb\xbf"
       "a\n\xef\xbb\xbf"
       "b\n",
       {"a",
        "\xef\xbb\xbf"
        "b"}},
      {"\xef\xbb\xbf", {}},
      {"\xef\xbb", {"\xef\xbb"}},
  };
  for (const auto& [content, expected] : cases) {
    SCOPED_TRACE(absl::StrCat("content: ", content));
    absl::Status status;
    EXPECT_EQ(Lines(Write("plain.tsv", content), &status), expected);
    EQAT_EXPECT_OK(status);
    EXPECT_EQ(Lines(WriteGzip("packed.gz", content), &status), expected);
    EQAT_EXPECT_OK(status);
  }
}

TEST_F(LineReaderTest, LinesLongerThanTheBuffer) {
  const std::string line(3'000'000, 'x');
  absl::Status status;
  EXPECT_THAT(Lines(Write("long.tsv", "a\n" + line + "\r\nb\n" + line), &status), ElementsAre("a", line, "b", line));
  EQAT_EXPECT_OK(status);
}

TEST_F(LineReaderTest, RefusesEndlessLine) {
  absl::Status status;
  EXPECT_THAT(Lines(Write("endless.tsv", "a\n" + std::string(LineReader::kMaxLineBytes + 1, 'x')), &status),
              ElementsAre("a"));
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("endless.tsv:2: line is too long")));
}

TEST_F(LineReaderTest, BytesReadEndAtFileSize) {
  for (const std::string& path : {Write("a.tsv", "a\nb\n"), WriteGzip("a.gz", "a\nb\n")}) {
    EQAT_ASSERT_OK_AND_ASSIGN(const std::unique_ptr<LineReader> reader, LineReader::Open(path));
    for (std::string_view line; reader->Next(&line);) {
    }
    EXPECT_EQ(reader->bytes_read(), reader->file_bytes());
    EXPECT_GT(reader->file_bytes(), 0);
  }
}

TEST_F(LineReaderTest, DamagedGzip) {
  std::string lines;
  for (int i = 0; i < 20000; ++i) absl::StrAppend(&lines, i * 7919 % 10007, "\n");
  WriteGzip("whole.gz", lines);
  const std::string packed = Read("whole.gz");
  for (const size_t length : {size_t{5}, size_t{30}, packed.size() / 2, packed.size() - 8, packed.size() - 1}) {
    SCOPED_TRACE(length);
    absl::Status status;
    Lines(Write("cut.gz", packed.substr(0, length)), &status);
    EXPECT_THAT(status, StatusIs(absl::StatusCode::kDataLoss, HasSubstr("cut.gz: gzip data is truncated or corrupt")));
  }
  std::string changed = packed;
  changed[changed.size() - 5] ^= 1;  // of the checksum
  absl::Status status;
  Lines(Write("changed.gz", changed), &status);
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kDataLoss, HasSubstr("truncated or corrupt")));
}

TEST_F(LineReaderTest, WhatCannotBeOpened) {
  EXPECT_THAT(LineReader::Open(PathOf("none.tsv")), StatusIs(absl::StatusCode::kNotFound, HasSubstr("none.tsv")));
  EXPECT_THAT(LineReader::Open(PathOf("")), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("regular file")));
  EXPECT_THAT(LineReader::Open(Write("text.gz", "not packed\n")),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("text.gz: is not gzip data")));
}

}  // namespace
}  // namespace eqat::train
