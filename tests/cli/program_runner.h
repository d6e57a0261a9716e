// RunProgram: the eqat program as a process of its own, the way users run it.
#ifndef EQAT_TESTS_CLI_PROGRAM_RUNNER_H_
#define EQAT_TESTS_CLI_PROGRAM_RUNNER_H_

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace eqat::testing {

struct ProgramResult {
  int exit_code = -1;  // -1: ended by `signal`
  int signal = 0;
  std::string out;         // standard output
  std::string error;       // standard error
  int64_t peak_bytes = 0;  // of its resident memory; at least what the test itself had when it started the program
};

struct ProgramOptions {
  std::optional<uint64_t> file_size_limit;              // RLIMIT_FSIZE in bytes
  std::optional<uint64_t> memory_limit;                 // RLIMIT_AS in bytes; sanitizers do not start under one
  std::optional<std::chrono::microseconds> kill_after;  // SIGKILL
  bool error_is_terminal = false;                       // standard error is a pseudo-terminal, 80 columns
  bool out_is_closed_pipe = false;                      // nobody reads standard output
  bool out_is_closed = false;                           // as by ">&-"
};

ProgramResult RunProgram(const std::vector<std::string>& arguments, const ProgramOptions& options = {});

// A process that is still running, for tests that interrupt it.
class RunningProgram {
 public:
  explicit RunningProgram(const std::vector<std::string>& arguments, const ProgramOptions& options = {});
  RunningProgram(const RunningProgram&) = delete;
  RunningProgram& operator=(const RunningProgram&) = delete;
  ~RunningProgram();  // kills it when it still runs

  // Reads standard error until it holds `text`; false if the process ends before.
  bool WaitForError(const std::string& text);
  void Signal(int signal_number) const;
  ProgramResult Wait();

 private:
  bool ReadSome();

  ProgramOptions options_;
  pid_t pid_ = -1;
  int out_ = -1;
  int error_ = -1;
  ProgramResult result_;
};

}  // namespace eqat::testing

#endif  // EQAT_TESTS_CLI_PROGRAM_RUNNER_H_
