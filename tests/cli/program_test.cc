#include "cli/program.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>

#include "tests/cli/cli_test.h"

namespace eqat::testing {
namespace {

using ::testing::HasSubstr;

const std::vector<std::string>& Verbs() {
  static const auto& verbs =
      *new std::vector<std::string>{"prepare",  "train", "eval",    "convert", "freeze", "ptq",
                                    "to-float", "run",   "inspect", "import",  "export", "formats"};
  return verbs;
}

TEST(ProgramTest, HelpTeachesEveryVerb) {
  const ProgramResult help = RunProgram({"--help"});
  ExpectDone(help);
  for (const std::string& verb : Verbs()) {
    SCOPED_TRACE(verb);
    EXPECT_THAT(help.out, HasSubstr("\n  " + verb + " "));
    const ProgramResult verb_help = RunProgram({verb, "--help"});
    ExpectDone(verb_help);
    EXPECT_THAT(verb_help.out, HasSubstr("Examples:\n  eqat " + verb));
    EXPECT_THAT(verb_help.out, HasSubstr("Reads "));
    EXPECT_THAT(verb_help.out, HasSubstr("rites "));
    for (const char* flag : {"--threads", "--seed", "--progress"}) EXPECT_THAT(verb_help.out, HasSubstr(flag));
  }
}

TEST(ProgramTest, PrintsItsVersion) {
  const ProgramResult version = RunProgram({"--version"});
  ExpectDone(version);
  EXPECT_THAT(version.out, ::testing::MatchesRegex("eqat [0-9]+\\.[0-9]+\\.[0-9]+\n"));
}

TEST(ProgramTest, WrongUseIsExitCodeTwo) {
  const struct {
    std::vector<std::string> arguments;
    std::string part;
  } kCases[] = {
      {{}, "a verb is missing"},
      {{""}, "no such verb"},
      {{"evaluate"}, "evaluate"},
      {{"--bogus"}, "--bogus"},
      {{"prepare"}, "MODEL is required"},
      {{"prepare", "m", "--out", "o"}, "--qconfig is required"},
      {{"prepare", "m", "--qconfig", "q"}, "--out is required"},
      {{"prepare", "m", "--qconfig", "q", "--out"}, "--out"},
      {{"prepare", "m", "--qconfig", "q", "--out", "o", "--out", "p"}, "--out"},
      {{"convert", "m", "n", "--out", "o"}, "n"},
      {{"convert", "m", "--out", "o", "--bogus"}, "--bogus"},
      {{"to-float", "m", "--out", "o", "--dtype", "f64"}, "f64"},
      {{"eval", "m", "--data", "d", "--loss", "hinge"}, "hinge"},
      {{"run", "m", "--inputs", "i"}, "--outputs is required"},
      {{"inspect", "m", "--threads", "0"}, "--threads"},
      {{"inspect", "m", "--threads", "1e9"}, "--threads"},
      {{"inspect", "m", "--threads", "two"}, "--threads"},
      {{"inspect", "m", "--seed", "-1"}, "--seed"},
      {{"inspect", "m", "--seed", "99999999999999999999999"}, "--seed"},
      {{"inspect", "m\nn", "o\np"}, "o p"},
      {{"inspect", ""}, "PATH: is empty"},
      {{"convert", "m", "--out", ""}, "--out: is empty"},
      {{"eval", "m", "--data", "d", "--predictions", ""}, "--predictions: is empty"},
      {{"run", "m", "--inputs", "i", "--outputs", "o", "--save", ""}, "--save: is empty"},
  };
  for (const auto& test : kCases) {
    SCOPED_TRACE(::testing::PrintToString(test.arguments));
    ExpectError(RunProgram(test.arguments), 2, {"command line: ", test.part});
  }
}

TEST(ProgramTest, EverythingElseIsExitCodeOne) {
  ExpectError(RunProgram({"inspect", "/nonexistent"}), 1, {"/nonexistent", "No such file"});
  ExpectError(RunProgram({"inspect", "/no\nsuch\x1b[31m"}), 1, {"/no such [31m"});
}

using ProgramCliTest = CliTest;

TEST_F(ProgramCliTest, OutputThatNobodyTakesIsAnError) {
  WriteModel();
  ProgramOptions options;
  options.out_is_closed_pipe = true;
  ExpectError(RunProgram({"inspect", Path("model")}, options), 1, {"standard output"});
}

TEST_F(ProgramCliTest, ClosedStandardOutputIsAnErrorAndNoFileTakesItsPlace) {
  WriteQatModel();
  ProgramOptions options;
  options.out_is_closed = true;
  ExpectError(RunProgram({"inspect", Path("model")}, options), 1, {"standard output"});
  ExpectDone(RunProgram({"convert", Path("qat"), "--out", Path("expected")}));
  ExpectError(RunProgram({"convert", Path("qat"), "--out", Path("small")}, options), 1, {"standard output"});
  EXPECT_EQ(Read("small/model.json"), Read("expected/model.json"));
  EXPECT_EQ(Read("small/model.safetensors"), Read("expected/model.safetensors"));
}

// A verb that reads a mapped page that is no longer in its file.
cli::Action DeclareReadOfLostPage(CLI::App&) {
  return [](const cli::CommonOptions&) -> absl::StatusOr<std::string> {
    const int fd = open("/tmp", O_TMPFILE | O_RDWR, 0600);
    if (fd < 0 || ftruncate(fd, 1) != 0) std::abort();
    const auto* page = static_cast<const volatile char*>(mmap(nullptr, 1, PROT_READ, MAP_PRIVATE, fd, 0));
    if (ftruncate(fd, 0) != 0) std::abort();
    return std::string(1, *page);
  };
}

TEST(ProgramDeathTest, AMappedFileThatIsCutOffIsAnError) {
  const cli::Verb verbs[] = {{"read", "Read a lost page", DeclareReadOfLostPage}};
  const char* const arguments[] = {"eqat", "read"};
  EXPECT_EXIT(std::exit(cli::RunProgram(verbs, 2, arguments)), ::testing::ExitedWithCode(1),
              "^eqat: error: memory: a file was cut off .*\n$");
}

TEST_F(ProgramCliTest, SeedAndThreadsHoldForEveryVerb) {
  WriteModel();
  ExpectDone(RunProgram({"inspect", Path("model"), "--threads", "1", "--seed", "18446744073709551615"}));
}

}  // namespace
}  // namespace eqat::testing
