#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <string>
#include <thread>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "io/file.h"
#include "io/replace_directory.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"

namespace eqat::io {
namespace {

namespace fs = std::filesystem;
using absl::StatusCode;
using eqat::testing::StatusIs;
using eqat::testing::TempDir;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

const std::vector<std::string>& Names() {
  static const auto& names = *new std::vector<std::string>{"a.json", "b.bin"};
  return names;
}

// Replaces `path` by a directory that holds a.json and b.bin with `content`.
absl::Status WriteBoth(const std::string& path, absl::string_view content) {
  auto writer = AtomicDirectoryWriter::Create(path, Names());
  if (!writer.ok()) return writer.status();
  for (const std::string& name : Names()) {
    if (absl::Status status = (*writer)->WriteFile(name, content); !status.ok()) return status;
  }
  return (*writer)->Commit();
}

TEST(AtomicDirectoryWriter, CreatesADirectory) {
  const TempDir dir;
  EQAT_ASSERT_OK(WriteBoth(dir / "model", "1"));
  EXPECT_THAT(dir.List(), ElementsAre("model"));
  EXPECT_THAT(dir.List("model"), ElementsAre("a.json", "b.bin"));
  EXPECT_EQ(dir.Read("model/a.json"), "1");
}

TEST(AtomicDirectoryWriter, ReplacesTheWholeDirectory) {
  const TempDir dir;
  EQAT_ASSERT_OK(WriteBoth(dir / "model", "old"));
  ASSERT_EQ(chmod((dir / "model").c_str(), 0750), 0);
  EQAT_ASSERT_OK_AND_ASSIGN(const auto writer, AtomicDirectoryWriter::Create(dir / "model", Names()));
  EQAT_ASSERT_OK(writer->WriteFile("a.json", "new"));
  EXPECT_EQ(dir.Read("model/a.json"), "old");
  EQAT_ASSERT_OK(writer->Commit());
  EXPECT_EQ(dir.Read("model/a.json"), "new");
  EXPECT_THAT(dir.List("model"), ElementsAre("a.json"));
  EXPECT_THAT(dir.List(), ElementsAre("model"));
  struct stat status;
  ASSERT_EQ(stat((dir / "model").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777, 0750);
  EXPECT_THAT(writer->Commit(), StatusIs(StatusCode::kFailedPrecondition, HasSubstr("is written already")));
}

TEST(AtomicDirectoryWriter, LeavesNothingWithoutCommit) {
  const TempDir dir;
  EQAT_ASSERT_OK(WriteBoth(dir / "model", "old"));
  {
    EQAT_ASSERT_OK_AND_ASSIGN(const auto writer, AtomicDirectoryWriter::Create(dir / "model", Names()));
    EQAT_ASSERT_OK(writer->WriteFile("a.json", "new"));
  }
  EXPECT_THAT(dir.List(), ElementsAre("model"));
  EXPECT_EQ(dir.Read("model/b.bin"), "old");
}

TEST(AtomicDirectoryWriter, TakesPathsInEverySpelling) {
  const TempDir dir;
  fs::create_directory(dir / "inside");
  const fs::path before = fs::current_path();
  const absl::Cleanup restore = [&] { fs::current_path(before); };
  fs::current_path(dir / "inside");
  int round = 0;
  for (const char* path : {"model", "./model/", "model//", "../inside/model", "model/../model", "none/../model"}) {
    SCOPED_TRACE(path);
    const std::string content = absl::StrCat("round ", round++);
    EQAT_ASSERT_OK(WriteBoth(path, content));
    EXPECT_EQ(dir.Read("inside/model/a.json"), content);
    EXPECT_THAT(dir.List("inside"), ElementsAre("model"));
  }
}

TEST(AtomicDirectoryWriter, ReplacesTheWorkingDirectoryAndStaysInIt) {
  const TempDir dir;
  EQAT_ASSERT_OK(WriteBoth(dir / "model", "old"));
  const fs::path before = fs::current_path();
  const absl::Cleanup restore = [&] { fs::current_path(before); };
  fs::current_path(dir / "model");
  EQAT_ASSERT_OK(WriteBoth(".", "new"));
  EXPECT_EQ(*ReadFile("a.json"), "new");
  EQAT_ASSERT_OK(WriteBoth(".", "newer"));
  EXPECT_EQ(dir.Read("model/a.json"), "newer");
  EXPECT_THAT(dir.List(), ElementsAre("model"));
}

TEST(AtomicDirectoryWriter, ReplacesAWriteProtectedDirectory) {
  const TempDir dir;
  EQAT_ASSERT_OK(WriteBoth(dir / "model", "old"));
  ASSERT_EQ(chmod((dir / "model").c_str(), 0500), 0);
  EQAT_ASSERT_OK(WriteBoth(dir / "model", "new"));
  EXPECT_EQ(dir.Read("model/a.json"), "new");
  EXPECT_THAT(dir.List(), ElementsAre("model"));
}

TEST(AtomicDirectoryWriter, RefusesAnotherUsersWriteProtectedDirectory) {
  if (geteuid() != 0) GTEST_SKIP() << "only root can become another user";
  const TempDir dir;
  EQAT_ASSERT_OK(WriteBoth(dir / "model", "old"));
  ASSERT_EQ(chmod(dir.path().c_str(), 0777), 0);
  ASSERT_EQ(seteuid(65534), 0);
  const absl::Cleanup root = [] { EXPECT_EQ(seteuid(0), 0); };
  EXPECT_THAT(WriteBoth(dir / "model", "new"), StatusIs(StatusCode::kPermissionDenied, HasSubstr("another user")));
  EXPECT_EQ(dir.Read("model/a.json"), "old");
  EXPECT_THAT(dir.List(), ElementsAre("model"));
}

TEST(AtomicDirectoryWriter, FollowsSymbolicLinks) {
  const TempDir dir;
  fs::create_directory(dir / "elsewhere");
  EQAT_ASSERT_OK(WriteBoth(dir / "elsewhere/real", "old"));
  fs::create_symlink("elsewhere/real", dir / "link");
  EQAT_ASSERT_OK(WriteBoth(dir / "link", "new"));
  EXPECT_TRUE(fs::is_symlink(dir / "link"));
  EXPECT_EQ(dir.Read("elsewhere/real/a.json"), "new");
  EXPECT_THAT(dir.List("elsewhere"), ElementsAre("real"));
}

TEST(AtomicDirectoryWriter, RefusesForeignContent) {
  const TempDir dir;
  EQAT_ASSERT_OK(WriteBoth(dir / "model", "old"));
  dir.Write("model/notes.txt", "mine");
  EXPECT_THAT(WriteBoth(dir / "model", "new"),
              StatusIs(StatusCode::kFailedPrecondition,
                       AllOf(HasSubstr(dir / "model" + ": holds something"), HasSubstr("got notes.txt"),
                             HasSubstr("nothing but a.json, b.bin"))));
  EXPECT_EQ(dir.Read("model/a.json"), "old");
  fs::remove(dir / "model/notes.txt");
  fs::remove(dir / "model/a.json");
  fs::create_directory(dir / "model/a.json");
  EXPECT_THAT(WriteBoth(dir / "model", "new"), StatusIs(StatusCode::kFailedPrecondition, HasSubstr("got a.json")));
  EXPECT_THAT(dir.List(), ElementsAre("model"));
}

TEST(AtomicDirectoryWriter, RefusesForeignContentThatCameMeanwhile) {
  const TempDir dir;
  EQAT_ASSERT_OK(WriteBoth(dir / "model", "old"));
  {
    EQAT_ASSERT_OK_AND_ASSIGN(const auto writer, AtomicDirectoryWriter::Create(dir / "model", Names()));
    EQAT_ASSERT_OK(writer->WriteFile("a.json", "new"));
    dir.Write("model/notes.txt", "mine");
    EXPECT_THAT(writer->Commit(), StatusIs(StatusCode::kFailedPrecondition, HasSubstr("got notes.txt")));
  }
  EXPECT_EQ(dir.Read("model/notes.txt"), "mine");
  EXPECT_EQ(dir.Read("model/a.json"), "old");
  EXPECT_THAT(dir.List(), ElementsAre("model"));
}

TEST(AtomicDirectoryWriter, DoesNotReplaceADirectoryThatAppearedMeanwhile) {
  const TempDir dir;
  {
    EQAT_ASSERT_OK_AND_ASSIGN(const auto writer, AtomicDirectoryWriter::Create(dir / "model", Names()));
    EQAT_ASSERT_OK(writer->WriteFile("a.json", "new"));
    fs::create_directory(dir / "model");
    dir.Write("model/notes.txt", "mine");
    EXPECT_FALSE(writer->Commit().ok());
  }
  EXPECT_THAT(dir.List(), ElementsAre("model"));
  EXPECT_THAT(dir.List("model"), ElementsAre("notes.txt"));
}

TEST(AtomicDirectoryWriter, RefusesFilesThatAreNotAllowed) {
  const TempDir dir;
  {
    EQAT_ASSERT_OK_AND_ASSIGN(const auto writer, AtomicDirectoryWriter::Create(dir / "model", Names()));
    EQAT_ASSERT_OK(writer->WriteFile("a.json", "x"));
    const std::string other = writer->PathOf("other");
    EQAT_ASSERT_OK(writer->WriteFile("other", "x"));
    EXPECT_THAT(writer->Commit(), StatusIs(StatusCode::kFailedPrecondition, HasSubstr("got other")));
    fs::remove(other);
  }
  EXPECT_THAT(dir.List(), IsEmpty());
}

TEST(AtomicDirectoryWriter, NamesWhatIsInTheWay) {
  const TempDir dir;
  dir.Write("file", "");
  EXPECT_THAT(WriteBoth(dir / "file", "x"),
              StatusIs(StatusCode::kFailedPrecondition, HasSubstr(dir / "file" + ": is not a directory")));
  EXPECT_THAT(WriteBoth(dir / "none/model", "x"),
              StatusIs(StatusCode::kNotFound, HasSubstr(dir / "none/model" + ": parent folder does not exist")));
  EXPECT_THAT(WriteBoth("/", "x"), StatusIs(StatusCode::kInvalidArgument, HasSubstr("the root folder")));
  EXPECT_THAT(WriteBoth("", "x"), StatusIs(StatusCode::kInvalidArgument, HasSubstr("path: is empty")));
  EXPECT_THAT(dir.List(), ElementsAre("file"));
}

TEST(AtomicDirectoryWriter, RemovesLeftoversOfKilledWriters) {
  const TempDir dir;
  EQAT_ASSERT_OK(WriteBoth(dir / "model", "old"));
  const pid_t child = fork();
  if (child == 0) {  // dies with one file written and another half written
    auto writer = AtomicDirectoryWriter::Create(dir / "model", Names());
    (void)(*writer)->WriteFile("a.json", "new");
    auto file = AtomicFileWriter::Create((*writer)->PathOf("b.bin"));
    (void)(*file)->Write(absl::MakeConstSpan("half", 4));
    raise(SIGKILL);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFSIGNALED(status));
  EXPECT_EQ(dir.List(), (std::vector<std::string>{absl::StrCat(".eqat-tmp-model-", child), "model"}));
  EXPECT_EQ(dir.Read("model/a.json"), "old");
  EQAT_ASSERT_OK(WriteBoth(dir / "model", "new"));
  EXPECT_THAT(dir.List(), ElementsAre("model"));
}

TEST(AtomicDirectoryWriter, ReadersSeeOneStateOrTheOther) {
  const TempDir dir;
  EQAT_ASSERT_OK(WriteBoth(dir / "model", "0"));
  std::atomic<bool> done = false;
  std::thread writer([&] {
    for (int i = 1; i <= 15; ++i) EQAT_EXPECT_OK(WriteBoth(dir / "model", absl::StrCat(i)));
    done = true;
  });
  while (!done) {
    std::string a, b;
    EQAT_EXPECT_OK(ReadDirectory(dir / "model", [&](const std::string& directory) {
      absl::StatusOr<std::string> first = ReadFile(directory + "/a.json");
      absl::StatusOr<std::string> second = ReadFile(directory + "/b.bin");
      if (!first.ok()) return first.status();
      a = *first;
      if (second.ok()) b = *second;
      return second.status();
    }));
    EXPECT_EQ(a, b);
  }
  writer.join();
  EXPECT_EQ(dir.Read("model/b.bin"), "15");
}

TEST(ReadDirectory, ReadsAgainWhatWasReplacedMeanwhile) {
  const TempDir dir;
  EQAT_ASSERT_OK(WriteBoth(dir / "model", "old"));
  int calls = 0;
  EQAT_EXPECT_OK(ReadDirectory(dir / "model", [&](const std::string& directory) {
    EXPECT_EQ(directory, dir / "model");
    return ++calls == 1 ? WriteBoth(directory, "new") : absl::OkStatus();
  }));
  EXPECT_EQ(calls, 2);
}

TEST(ReadDirectory, GivesUpAndGivesBackErrors) {
  const TempDir dir;
  EXPECT_THAT(ReadDirectory(dir / "model", [](const std::string&) { return absl::OkStatus(); }),
              StatusIs(StatusCode::kNotFound, HasSubstr("cannot open directory")));
  EQAT_ASSERT_OK(WriteBoth(dir / "model", "old"));
  EXPECT_THAT(ReadDirectory(dir / "model", [](const std::string&) { return absl::DataLossError("reason"); }),
              StatusIs(StatusCode::kDataLoss, HasSubstr("reason")));
  EXPECT_THAT(ReadDirectory(dir / "model",
                            [](const std::string& directory) {
                              fs::permissions(directory, fs::perms::owner_all);  // another time of change
                              return absl::OkStatus();
                            }),
              StatusIs(StatusCode::kFailedPrecondition, HasSubstr("is replaced again and again")));
}

TEST(ReplaceDirectory, DoesNotReplaceWhatIsSaidNotToBeThere) {
  const TempDir dir;
  EQAT_ASSERT_OK(WriteBoth(dir / "other", "new"));
  fs::create_directory(dir / "model");
  EXPECT_THAT(ReplaceDirectory(dir / "other", dir / "model", /*exists=*/false),
              StatusIs(StatusCode::kAlreadyExists, HasSubstr("model: cannot be put in place: File exists")));
  EXPECT_THAT(dir.List("model"), IsEmpty());
}

TEST(ReplaceByTwoRenames, PutsTheOldContentAside) {
  const TempDir dir;
  EQAT_ASSERT_OK(WriteBoth(dir / "model", "old"));
  EQAT_ASSERT_OK(WriteBoth(dir / "other", "new"));
  EQAT_ASSERT_OK_AND_ASSIGN(const std::string old_path, ReplaceByTwoRenames(dir / "other", dir / "model"));
  EXPECT_EQ(old_path, dir / ".eqat-old-model");
  EXPECT_EQ(dir.Read("model/a.json"), "new");
  EXPECT_EQ(dir.Read(".eqat-old-model/a.json"), "old");
  EXPECT_THAT(dir.List(), ElementsAre(".eqat-old-model", "model"));
}

TEST(ReplaceByTwoRenames, PutsTheOldContentBackOnError) {
  const TempDir dir;
  EQAT_ASSERT_OK(WriteBoth(dir / "model", "old"));
  EXPECT_THAT(ReplaceByTwoRenames(dir / "none", dir / "model"),
              StatusIs(StatusCode::kNotFound, HasSubstr("model: cannot be put in place")));
  EXPECT_EQ(dir.Read("model/a.json"), "old");
  EXPECT_THAT(dir.List(), ElementsAre("model"));
}

TEST(OpenDirectory, FindsAnInterruptedReplacement) {
  const TempDir dir;
  EQAT_ASSERT_OK(WriteBoth(dir / ".eqat-old-model", "old"));
  EXPECT_EQ(*OpenDirectory(dir / "model"), dir / ".eqat-old-model");
  EXPECT_EQ(*OpenDirectory(dir / "model/"), dir / ".eqat-old-model");
  // The next writer puts it back, so that an error leaves the directory complete.
  { EQAT_ASSERT_OK(AtomicDirectoryWriter::Create(dir / "model", Names())); }
  EXPECT_EQ(dir.Read("model/a.json"), "old");
  EXPECT_EQ(*OpenDirectory(dir / "model"), dir / "model");
}

TEST(OpenDirectory, PrefersTheDirectoryItself) {
  const TempDir dir;
  EQAT_ASSERT_OK(WriteBoth(dir / ".eqat-old-model", "old"));
  EQAT_ASSERT_OK(WriteBoth(dir / "elsewhere", "new"));
  fs::rename(dir / "elsewhere", dir / "model");
  EXPECT_EQ(*OpenDirectory(dir / "model"), dir / "model");
  EQAT_ASSERT_OK(WriteBoth(dir / "model", "newer"));
  EXPECT_THAT(dir.List(), ElementsAre("model"));
}

TEST(OpenDirectory, NamesWhatIsMissing) {
  const TempDir dir;
  EXPECT_THAT(OpenDirectory(dir / "model"),
              StatusIs(StatusCode::kNotFound, HasSubstr(dir / "model" + ": cannot open directory: No such file")));
  EXPECT_THAT(OpenDirectory(dir / "none/model"), StatusIs(StatusCode::kNotFound, HasSubstr("No such file")));
  EXPECT_THAT(OpenDirectory(dir.Write("file", "")),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("file: is not a directory")));
  EXPECT_THAT(OpenDirectory(""), StatusIs(StatusCode::kInvalidArgument, HasSubstr("path: is empty")));
}

}  // namespace
}  // namespace eqat::io
