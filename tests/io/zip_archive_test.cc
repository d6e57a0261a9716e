#include "io/zip_archive.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/foreign_files.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"

namespace eqat::io {
namespace {

using absl::StatusCode;
using eqat::testing::BytesOf;
using eqat::testing::StatusIs;
using eqat::testing::TempDir;
using eqat::testing::ZipFile;
using ::testing::AllOf;
using ::testing::AnyOf;
using ::testing::HasSubstr;

// `file` with `bytes` at `position` (from the end when negative).
std::string With(std::string file, int64_t position, const std::string& bytes) {
  file.replace(position < 0 ? file.size() + position : position, bytes.size(), bytes);
  return file;
}

absl::StatusOr<std::string> ContentOf(const std::string& path, size_t index = 0) {
  EQAT_ASSIGN_OR_RETURN(const std::shared_ptr<const ZipArchive> archive, ZipArchive::Open(path));
  const ZipArchive::Entry& entry = archive->entries()[index];
  return archive->ReadBeginning(entry, entry.size);
}

TEST(ZipArchive, ReadsStoredAndDeflatedEntries) {
  const TempDir dir;
  const std::string text = absl::StrCat(std::string(100000, 'x'), "end");
  const std::string path =
      dir.Write("z", ZipFile({{"a", text}, {"b/c", text, true}, {"d", "", false, true}, {"e", text, true, true}}));
  EQAT_ASSERT_OK_AND_ASSIGN(const std::shared_ptr<const ZipArchive> archive, ZipArchive::Open(path));
  ASSERT_EQ(archive->entries().size(), 4);
  EXPECT_EQ(archive->Find("b/c"), &archive->entries()[1]);
  EXPECT_EQ(archive->Find("x"), nullptr);
  for (const size_t i : {0, 1, 3}) EXPECT_EQ(*ContentOf(path, i), text);
  EXPECT_EQ(*ContentOf(path, 2), "");
  EQAT_EXPECT_OK(ZipArchive::Open(dir.Write("empty", ZipFile({}))));
}

TEST(ZipArchive, ReadsWhatItWrites) {
  const TempDir dir;
  EQAT_ASSERT_OK_AND_ASSIGN(const std::unique_ptr<AtomicFileWriter> file, AtomicFileWriter::Create(dir / "z"));
  ZipWriter zip(*file);
  const std::string rows = "abXcdXefX";
  EQAT_ASSERT_OK(zip.Add("one", absl::MakeConstSpan("head", 4), ByteRows(rows.data(), 3, 2, 3)));
  EQAT_ASSERT_OK(zip.Add("two/three", {}, ByteRows()));
  EXPECT_THAT(zip.Add("../up", {}, ByteRows()),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("leads out of its folder")));
  EQAT_ASSERT_OK(zip.Finish());
  EQAT_ASSERT_OK(file->Commit());
  EXPECT_EQ(*ContentOf(dir / "z", 0), "headabcdef");
  EXPECT_EQ(*ContentOf(dir / "z", 1), "");
}

TEST(ZipArchive, RefusesEveryBadStructure) {
  const TempDir dir;
  const std::string content(300, 'x');
  const std::string good = ZipFile({{"name", content, true}});
  const int64_t packed = static_cast<int64_t>(eqat::testing::Deflated(content).size());
  const int64_t directory = 34 + packed;
  const std::string stored = ZipFile({{"name", content}});
  const int64_t stored_directory = 34 + 300;
  const struct {
    std::string file;
    std::string part;
  } kCases[] = {
      {"", "byte 0: is no zip file, is cut off, or something follows its end record"},
      {good.substr(0, good.size() - 1), "is no zip file, is cut off"},
      {good + "x", "something follows its end record"},
      {"x" + good, "directory does not end where the end record begins"},
      {With(good, -16, BytesOf(uint16_t{1})), "is one part of several"},
      {With(With(good, -14, BytesOf(uint16_t{2})), -12, BytesOf(uint16_t{2})), "directory entry is missing"},
      {With(With(good, -14, BytesOf(uint16_t{0})), -12, BytesOf(uint16_t{0})),
       "bytes between the last entry and the directory"},
      {With(good, -10, BytesOf(uint32_t{7})), "directory does not end where the end record begins"},
      {With(good, directory + 42, BytesOf(uint32_t{1})), "local header offset leaves a hole or overlaps another entry"},
      {With(good, directory + 24, BytesOf(uint32_t{2000000000})), "claims to unpack to more than deflate can"},
      {With(good, directory + 20, BytesOf(static_cast<uint32_t>(packed + 1))), "entry reaches into the directory"},
      {With(good, directory + 20, BytesOf(static_cast<uint32_t>(packed - 1))),
       "local header differs from the directory"},
      {With(good, directory + 8, BytesOf(uint16_t{1})), "entry \"name\" is encrypted"},
      {With(good, directory + 8, BytesOf(uint16_t{64})), "has unknown flags"},
      {With(good, directory + 10, BytesOf(uint16_t{12})), "has an unknown compression method (got 12"},
      {With(good, directory + 10, BytesOf(uint16_t{0})), "is stored with two sizes"},
      {With(good, 8, BytesOf(uint16_t{0})), "local header differs from the directory"},
      {With(good, 14, BytesOf(uint32_t{0})), "local header differs from the directory"},
      {With(good, 30, "nome"), "local header differs from the directory"},
      {With(good, 0, "PK\x05\x06"), "byte 0: local header is missing"},
      {With(good, directory + 46, std::string("na\0e", 4)), "entry's name holds a backslash or a control character"},
      {ZipFile({{"a", "1"}, {"a", "2"}}), "has two entries of one name (got a)"},
      {ZipFile({{"/a", "1"}}), "entry's name is an absolute path"},
      {ZipFile({{"a/../b", "1"}}), "entry's name leads out of its folder"},
      {ZipFile({{"a\\b", "1"}}), "entry's name holds a backslash"},
      {ZipFile({{"", "1"}}), "entry's name is empty"},
      {ZipFile({{std::string(5000, 'n'), "1"}}), "entry's name is too long"},
      {With(ZipFile({{"name", content, true, true}}), directory + 4, BytesOf(uint32_t{1})),
       "data descriptor differs from the directory"},
      {With(stored, stored_directory + 28, BytesOf(uint16_t{600})), "directory entry is longer than the directory"},
      {With(good, directory + 24, BytesOf(uint32_t{0xffffffff})), "zip64 field lacks a size"},
  };
  for (const auto& test : kCases) {
    SCOPED_TRACE(test.part);
    EXPECT_THAT(ZipArchive::Open(dir.Write("bad.zip", test.file)),
                StatusIs(StatusCode::kInvalidArgument, AllOf(HasSubstr("bad.zip"), HasSubstr(test.part))));
  }
}

TEST(ZipArchive, FindsDamagedContent) {
  const TempDir dir;
  const std::string content(300, 'x');
  EXPECT_THAT(ContentOf(dir.Write("z", With(ZipFile({{"name", content}}), 100, "y"))),
              StatusIs(StatusCode::kDataLoss, HasSubstr("z: entry \"name\": is damaged: its checksum differs")));
  const std::string packed = ZipFile({{"name", content, true}});
  EXPECT_THAT(ContentOf(dir.Write("z", With(packed, 36, "\xff"))),
              StatusIs(StatusCode::kDataLoss, HasSubstr("z: entry \"name\": is damaged")));
  // Both headers agree on a size that the content does not have.
  const int64_t directory = 34 + static_cast<int64_t>(eqat::testing::Deflated(content).size());
  for (const uint32_t size : {299u, 301u}) {
    EXPECT_THAT(ContentOf(dir.Write("z", With(With(packed, 22, BytesOf(size)), directory + 24, BytesOf(size)))),
                StatusIs(StatusCode::kDataLoss, HasSubstr("z: entry \"name\"")));
  }
}

}  // namespace
}  // namespace eqat::io
