#include "io/file.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <string>

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

// A process id that no process has.
constexpr char kDeadProcess[] = "2147483646";

absl::Span<const char> Bytes(absl::string_view text) { return absl::MakeConstSpan(text.data(), text.size()); }

TEST(ReadFile, ReturnsTheWholeFile) {
  const TempDir dir;
  const std::string content("a\0b\r\n\xff", 6);
  EXPECT_EQ(*ReadFile(dir.Write("file", content)), content);
  EXPECT_EQ(*ReadFile(dir.Write("empty", "")), "");
  const std::string large(3'000'001, 'x');
  EXPECT_EQ(*ReadFile(dir.Write("large", large)), large);
}

TEST(ReadFile, ReadsFilesThatDoNotTellTheirSize) {
  const absl::StatusOr<std::string> content = ReadFile("/proc/self/status");
  EQAT_ASSERT_OK(content);
  EXPECT_THAT(*content, HasSubstr(absl::StrCat("Pid:\t", getpid())));
}

TEST(ReadFile, RefusesMoreThanTheLimit) {
  const TempDir dir;
  const std::string path = dir.Write("file", "12345");
  EQAT_EXPECT_OK(ReadFile(path, 5));
  EXPECT_THAT(ReadFile(path, 4), StatusIs(StatusCode::kResourceExhausted, HasSubstr(path + ": file is too long")));
  EXPECT_THAT(ReadFile("/proc/self/status", 4), StatusIs(StatusCode::kResourceExhausted, HasSubstr("too long")));
}

TEST(ReadFile, RefusesWhatIsNoRegularFile) {
  const TempDir dir;
  const std::string fifo = dir / "fifo";
  ASSERT_EQ(mkfifo(fifo.c_str(), 0600), 0);
  for (const std::string& path : {dir.path(), fifo, std::string("/dev/zero")}) {
    SCOPED_TRACE(path);
    EXPECT_THAT(ReadFile(path), StatusIs(StatusCode::kInvalidArgument, HasSubstr(path + ": is not a regular file")));
    EXPECT_THAT(MappedFile::Open(path), StatusIs(StatusCode::kInvalidArgument, HasSubstr("is not a regular file")));
  }
}

TEST(ReadFile, NamesMissingAndImpossiblePaths) {
  const TempDir dir;
  EXPECT_THAT(ReadFile(dir / "none"),
              StatusIs(StatusCode::kNotFound, HasSubstr(dir / "none" + ": cannot open: No such file or directory")));
  EXPECT_THAT(ReadFile(""), StatusIs(StatusCode::kInvalidArgument, HasSubstr("path: is empty")));
  EXPECT_THAT(ReadFile(std::string("a\0b", 3)), StatusIs(StatusCode::kInvalidArgument, HasSubstr("NUL byte")));
}

TEST(MappedFile, ShowsTheFileAndKeepsWritesToItself) {
  const TempDir dir;
  const std::string path = dir.Write("file", "hello");
  EQAT_ASSERT_OK_AND_ASSIGN(const std::shared_ptr<MappedFile> file, MappedFile::Open(path));
  EXPECT_EQ(std::string(file->data(), file->size()), "hello");
  file->data()[0] = 'J';
  EXPECT_EQ(std::string(file->data(), file->size()), "Jello");
  EXPECT_EQ(dir.Read("file"), "hello");
}

TEST(MappedFile, KeepsTheOldContentOfAReplacedFile) {
  const TempDir dir;
  const std::string path = dir.Write("file", "old");
  EQAT_ASSERT_OK_AND_ASSIGN(const std::shared_ptr<MappedFile> file, MappedFile::Open(path));
  EQAT_ASSERT_OK(WriteFileAtomically(path, "new"));
  EXPECT_EQ(std::string(file->data(), file->size()), "old");
}

TEST(MappedFile, MapsAnEmptyFile) {
  const TempDir dir;
  EQAT_ASSERT_OK_AND_ASSIGN(const std::shared_ptr<MappedFile> file, MappedFile::Open(dir.Write("empty", "")));
  EXPECT_EQ(file->size(), 0);
}

TEST(AtomicFileWriter, AppearsOnlyAtCommit) {
  const TempDir dir;
  dir.Write("file", "old");
  EQAT_ASSERT_OK_AND_ASSIGN(const auto writer, AtomicFileWriter::Create(dir / "file"));
  EQAT_ASSERT_OK(writer->Write(Bytes("new ")));
  EQAT_ASSERT_OK(writer->Write(Bytes("content")));
  EXPECT_EQ(dir.Read("file"), "old");
  EQAT_ASSERT_OK(writer->Commit());
  EXPECT_EQ(dir.Read("file"), "new content");
  EXPECT_THAT(dir.List(), ElementsAre("file"));
  EXPECT_THAT(writer->Commit(), StatusIs(StatusCode::kFailedPrecondition, HasSubstr("not open for writing")));
  EXPECT_THAT(writer->Write(Bytes("x")), StatusIs(StatusCode::kFailedPrecondition, HasSubstr("not open for writing")));
}

TEST(AtomicFileWriter, LeavesNothingWithoutCommit) {
  const TempDir dir;
  {
    EQAT_ASSERT_OK_AND_ASSIGN(const auto writer, AtomicFileWriter::Create(dir / "file"));
    EQAT_ASSERT_OK(writer->Write(Bytes("half")));
    EXPECT_THAT(dir.List(), ElementsAre(absl::StrCat(".eqat-tmp-file-", getpid())));
  }
  EXPECT_THAT(dir.List(), IsEmpty());
}

TEST(AtomicFileWriter, TwoWritersOfOneFileDoNotMix) {
  const TempDir dir;
  EQAT_ASSERT_OK_AND_ASSIGN(const auto first, AtomicFileWriter::Create(dir / "file"));
  EQAT_ASSERT_OK_AND_ASSIGN(const auto second, AtomicFileWriter::Create(dir / "file"));
  EQAT_ASSERT_OK(first->Write(Bytes("first")));
  EQAT_ASSERT_OK(second->Write(Bytes("second")));
  EQAT_ASSERT_OK(first->Commit());
  EXPECT_EQ(dir.Read("file"), "first");
  EQAT_ASSERT_OK(second->Commit());
  EXPECT_EQ(dir.Read("file"), "second");
  EXPECT_THAT(dir.List(), ElementsAre("file"));
}

TEST(AtomicFileWriter, KeepsPermissionsOfTheReplacedFile) {
  const TempDir dir;
  const std::string path = dir.Write("file", "secret");
  ASSERT_EQ(chmod(path.c_str(), 0600), 0);
  EQAT_ASSERT_OK(WriteFileAtomically(path, "new"));
  struct stat status;
  ASSERT_EQ(stat(path.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777, 0600);
}

TEST(AtomicFileWriter, WritesThroughSymbolicLinks) {
  const TempDir dir;
  dir.Write("real", "old");
  std::filesystem::create_symlink("real", dir / "link");
  EQAT_ASSERT_OK(WriteFileAtomically(dir / "link", "new"));
  EXPECT_EQ(dir.Read("real"), "new");
  EXPECT_TRUE(std::filesystem::is_symlink(dir / "link"));
  std::filesystem::create_symlink("nothing", dir / "dangling");
  EXPECT_THAT(WriteFileAtomically(dir / "dangling", "new"),
              StatusIs(StatusCode::kFailedPrecondition, HasSubstr("symbolic link to nothing")));
}

TEST(AtomicFileWriter, RefusesToReplaceDirectoriesAndDevices) {
  const TempDir dir;
  EXPECT_THAT(WriteFileAtomically(dir.path(), "x"),
              StatusIs(StatusCode::kFailedPrecondition, HasSubstr("got a directory, expected a regular file")));
  EXPECT_THAT(
      WriteFileAtomically("/dev/null", "x"),
      StatusIs(StatusCode::kFailedPrecondition, HasSubstr("/dev/null: cannot be replaced (got a special file")));
  EXPECT_THAT(WriteFileAtomically("/", "x"), StatusIs(StatusCode::kInvalidArgument, HasSubstr("the root folder")));
}

TEST(AtomicFileWriter, NamesAMissingParent) {
  const TempDir dir;
  EXPECT_THAT(WriteFileAtomically(dir / "none/file", "x"),
              StatusIs(StatusCode::kNotFound, AllOf(HasSubstr(dir / "none/file" + ": parent folder does not exist"),
                                                    HasSubstr("got " + dir / "none"))));
  dir.Write("plain", "");
  EXPECT_FALSE(WriteFileAtomically(dir / "plain/file", "x").ok());
  EXPECT_THAT(dir.List(), ElementsAre("plain"));
}

TEST(AtomicFileWriter, NamesAnUnwritableFolder) {
  if (geteuid() == 0) {
    EXPECT_THAT(WriteFileAtomically("/proc/file", "x").message(), HasSubstr("cannot write in this folder"));
    return;
  }
  const TempDir dir;
  ASSERT_EQ(chmod(dir.path().c_str(), 0500), 0);
  EXPECT_THAT(WriteFileAtomically(dir / "file", "x"),
              StatusIs(StatusCode::kPermissionDenied, HasSubstr(dir / "file" + ": cannot write in this folder")));
}

TEST(AtomicFileWriter, KeepsTheOldFileWhenWritingFails) {
  const TempDir dir;
  dir.Write("file", "old");
  // A file size limit fails like a full disk.
  struct rlimit before;
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  signal(SIGXFSZ, SIG_IGN);
  const struct rlimit limit = {1000, before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &limit), 0);
  EQAT_ASSERT_OK_AND_ASSIGN(const auto writer, AtomicFileWriter::Create(dir / "file"));
  const absl::Status status = writer->Write(Bytes(std::string(5000, 'x')));
  const absl::Status commit = writer->Commit();
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &before), 0);
  signal(SIGXFSZ, SIG_DFL);
  EXPECT_THAT(status.message(), HasSubstr(dir / "file" + ": cannot write: File too large"));
  EXPECT_THAT(commit, StatusIs(StatusCode::kFailedPrecondition, HasSubstr("not open for writing")));
  EXPECT_EQ(dir.Read("file"), "old");
  EXPECT_THAT(dir.List(), ElementsAre("file"));
}

TEST(AtomicFileWriter, RemovesLeftoversOfDeadProcessesOnly) {
  const TempDir dir;
  const std::string dead = absl::StrCat(".eqat-tmp-file-", kDeadProcess);
  const std::string dead_second = dead + ".2";
  const std::string alive = absl::StrCat(".eqat-tmp-file-", getppid());
  const std::string other = absl::StrCat(".eqat-tmp-file-2-", kDeadProcess);
  const std::string no_process = ".eqat-tmp-file-x";
  for (const std::string& name : {dead, dead_second, alive, other, no_process}) dir.Write(name, "");
  EQAT_ASSERT_OK(WriteFileAtomically(dir / "file", "x"));
  EXPECT_THAT(dir.List(), ::testing::UnorderedElementsAre(alive, other, no_process, "file"));
}

}  // namespace
}  // namespace eqat::io
