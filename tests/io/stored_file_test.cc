#include "io/stored_file.h"

#include <sys/stat.h>
#include <zlib.h>

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/status_macros.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"

namespace eqat::io {
namespace {

using ::eqat::testing::StatusIs;
using ::testing::HasSubstr;

class StoredFileTest : public ::testing::Test {
 protected:
  StoredFileTest() {
    for (int i = 0; i < 200000; ++i) absl::StrAppend(&text_, i * 7919 % 100003, "\n");
  }
  std::string PathOf(const std::string& name) const { return folder_ / name; }
  std::string Write(const std::string& name, const std::string& content) const { return folder_.Write(name, content); }
  std::string WriteGzip(const std::string& name, const std::string& content) const {
    gzFile file = gzopen(PathOf(name).c_str(), "wb");
    gzwrite(file, content.data(), static_cast<unsigned>(content.size()));
    gzclose(file);
    return PathOf(name);
  }
  std::string Packed(const std::string& content) const {
    WriteGzip("packed", content);
    return folder_.Read("packed");
  }

  eqat::testing::TempDir folder_;
  std::string text_;  // over 1 MB, and over 256 KiB when packed
};

// The whole file, read `step` bytes at a time.
absl::StatusOr<std::string> Content(const std::string& path, size_t step) {
  EQAT_ASSIGN_OR_RETURN(const std::unique_ptr<StoredFile> file, StoredFile::Open(path));
  std::string content;
  std::string buffer(step, '\0');
  while (true) {
    EQAT_ASSIGN_OR_RETURN(const size_t count, file->Read(buffer.data(), buffer.size()));
    if (count == 0) break;
    content.append(buffer, 0, count);
  }
  EXPECT_EQ(file->bytes_read(), file->file_bytes());
  return content;
}

TEST_F(StoredFileTest, GivesThePlainBytes) {
  for (const std::string& text : {std::string(), std::string("a"), text_}) {
    for (const size_t step : {size_t{997}, size_t{1} << 20}) {
      SCOPED_TRACE(absl::StrCat(text.size(), " bytes by ", step));
      EXPECT_EQ(*Content(Write("plain", text), step), text);
      EXPECT_EQ(*Content(WriteGzip("packed.gz", text), step), text);
    }
  }
}

TEST_F(StoredFileTest, ReadsEveryGzipMember) {
  const std::string packed = Packed(text_);
  EXPECT_EQ(*Content(Write("members.gz", packed + Packed("") + packed + Packed("end")), 4096), text_ + text_ + "end");
}

TEST_F(StoredFileTest, RefusesWhatFollowsTheGzipData) {
  const std::string packed = Packed(text_);
  for (const std::string& rest : {std::string("garbage"), std::string(512, '\0'), packed.substr(0, 1),
                                  packed.substr(0, 9), packed.substr(0, packed.size() / 2), packed.substr(1)}) {
    SCOPED_TRACE(rest.size());
    EXPECT_THAT(Content(Write("more.gz", packed + rest), 4096),
                StatusIs(absl::StatusCode::kDataLoss, HasSubstr("more.gz: gzip data is truncated or corrupt: ")));
  }
}

TEST_F(StoredFileTest, RefusesWhatIsNoRegularFile) {
  ASSERT_EQ(mkfifo(PathOf("fifo").c_str(), 0600), 0);
  for (const std::string& path : {PathOf("fifo"), PathOf(""), std::string("/dev/zero")}) {
    EXPECT_THAT(StoredFile::Open(path),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(path + ": is not a regular file")));
  }
  EXPECT_THAT(
      StoredFile::Open(PathOf("gone")),
      StatusIs(absl::StatusCode::kNotFound, ::testing::EndsWith("gone: cannot open: No such file or directory")));
}

}  // namespace
}  // namespace eqat::io
