#include "cli/program.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <exception>
#include <new>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "core/error.h"
#include "core/parallel_for.h"

namespace eqat::cli {
namespace {

constexpr int kMaxThreads = 1024;

// `text` on one line and without control characters, which names read from files may hold.
std::string OneLine(absl::string_view text) {
  std::string line(text);
  std::replace_if(
      line.begin(), line.end(), [](char c) { return (c >= 0 && c < ' ') || c == '\x7f'; }, ' ');
  line.erase(line.find_last_not_of(' ') + 1);
  return line;
}

int Fail(ExitCode code, absl::string_view message) {
  const std::string line = absl::StrCat("eqat: error: ", OneLine(message), "\n");
  std::fwrite(line.data(), 1, line.size(), stderr);
  return code;
}

int FailOnCommandLine(absl::string_view what, absl::string_view got, absl::string_view expected) {
  return Fail(kWrongUse, ErrorText("command line", what, got, expected));
}

absl::Status WriteToStandardOutput(const std::string& text) {
  if (std::fwrite(text.data(), 1, text.size(), stdout) == text.size() && std::fflush(stdout) == 0) {
    return absl::OkStatus();
  }
  return absl::UnavailableError(ErrorText("standard output", "cannot be written", std::strerror(errno)));
}

// What is wrong with a seed, or nothing. CLI11 alone takes -1 and numbers that do not fit.
std::string SeedError(const std::string& text) {
  uint64_t seed = 0;
  return absl::SimpleAtoi(text, &seed) ? "" : absl::StrCat(text, " is no whole number from 0 to ", UINT64_MAX);
}

// What is wrong with a value that every option refuses, or nothing: an unset shell variable must not pass for a flag
// that was left out.
std::string EmptyError(const std::string& text) { return text.empty() ? "is empty" : ""; }

std::string VerbNames(absl::Span<const Verb> verbs) {
  return absl::StrJoin(verbs, ", ", [](std::string* out, const Verb& verb) { absl::StrAppend(out, verb.name); });
}

struct ParsedProgram {
  CLI::App app{"eqat trains embedding tables that stay accurate in 8, 4 or 2 bits (quantization-aware training)."};
  CommonOptions common;
  int threads = 0;
  std::vector<std::pair<CLI::App*, Action>> actions;
};

void Declare(absl::Span<const Verb> verbs, ParsedProgram& program) {
  CLI::App& app = program.app;
  app.name("eqat");
  app.set_version_flag("--version", "eqat " EQAT_VERSION, "Print the version and exit");
  app.require_subcommand(1);
  app.get_formatter()->column_width(34);
  app.get_formatter()->label("REQUIRED", "(required)");
  app.footer(
      "A model is a directory with model.json and model.safetensors. The usual way:\n"
      "  eqat prepare MODEL --qconfig configs/embedding_4bit.json --out QAT\n"
      "  eqat train QAT --data data.json --config train.json --out TRAINED\n"
      "  eqat convert TRAINED --out SMALL\n"
      "  eqat eval SMALL --data test.json\n"
      "`eqat VERB --help` explains a verb. Exit codes: 0 done, 2 wrong use of the command line, 1 everything else.");
  for (const Verb& verb : verbs) {
    CLI::App* sub = app.add_subcommand(verb.name, verb.summary);
    Action action = verb.declare(*sub);
    sub->add_option("--threads", program.threads, "Number of threads (default: all cores)")
        ->type_name("N")
        ->check(CLI::Range(1, kMaxThreads).description(""));
    sub->add_option("--seed", program.common.seed, "Seed of everything random")
        ->type_name("N")
        ->check(CLI::Validator(SeedError, ""));
    sub->add_flag("--progress", program.common.progress, "Show progress even if standard error is no terminal");
    for (CLI::Option* option : sub->get_options()) {
      if (option->get_items_expected_min() > 0) option->check(CLI::Validator(EmptyError, ""));
    }
    program.actions.emplace_back(sub, std::move(action));
  }
}

int ParseAndRun(absl::Span<const Verb> verbs, int argc, const char* const* argv) {
  ParsedProgram program;
  Declare(verbs, program);
  if (argc < 2) return FailOnCommandLine("a verb is missing", "", absl::StrCat("one of ", VerbNames(verbs)));
  const absl::string_view first = argv[1];
  const bool is_verb = std::any_of(verbs.begin(), verbs.end(), [&](const Verb& verb) { return first == verb.name; });
  if (!is_verb && first != "-h" && first != "--help" && first != "--version") {
    return FailOnCommandLine("no such verb", first, absl::StrCat("one of ", VerbNames(verbs)));
  }
  try {
    program.app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) {  // --help or --version
      program.app.exit(error);
      const absl::Status written = WriteToStandardOutput("");
      return written.ok() ? kDone : Fail(kFailed, written.message());
    }
    return FailOnCommandLine(error.what(), "",
                             absl::StrCat("what `eqat ", is_verb ? absl::StrCat(first, " ") : "", "--help` says"));
  }
  SetNumThreads(program.threads);
  const auto chosen = std::find_if(program.actions.begin(), program.actions.end(),
                                   [](const auto& entry) { return entry.first->parsed(); });
  const absl::StatusOr<std::string> text = chosen->second(program.common);
  if (!text.ok()) return Fail(kFailed, text.status().message());
  const absl::Status written = WriteToStandardOutput(*text);
  return written.ok() ? kDone : Fail(kFailed, written.message());
}

// A standard stream that was closed must not become a file that this program opens. Writing to it stays an error.
void ReserveStandardStreams() {
  for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (fcntl(fd, F_GETFD) < 0) (void)!open("/dev/null", O_RDONLY);
  }
}

// Files are mapped: one that another process cuts off, or that the disk cannot read, ends the program here.
void FailOnLostPage(int) {
  constexpr char kLine[] =
      "eqat: error: memory: a file was cut off while it was in use, or cannot be read from its disk\n";
  (void)!write(STDERR_FILENO, kLine, sizeof(kLine) - 1);
  _exit(kFailed);
}

}  // namespace

int RunProgram(absl::Span<const Verb> verbs, int argc, const char* const* argv) {
  ReserveStandardStreams();
  std::signal(SIGBUS, FailOnLostPage);
  // A closed pipe and a file-size limit become errors of the write that meets them.
  std::signal(SIGPIPE, SIG_IGN);
  std::signal(SIGXFSZ, SIG_IGN);
  try {
    return ParseAndRun(verbs, argc, argv);
  } catch (const std::bad_alloc&) {
    return Fail(kFailed, ErrorText("memory", "there is not enough for this model or batch"));
  } catch (const std::exception& exception) {
    return Fail(kFailed, ErrorText("eqat", exception.what()));
  }
}

}  // namespace eqat::cli
