#include "tests/cli/program_runner.h"

#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <thread>

#include "gtest/gtest.h"

namespace eqat::testing {
namespace {

[[noreturn]] void BecomeProgram(const std::vector<std::string>& arguments, const ProgramOptions& options, int out,
                                int error) {
  if (options.out_is_closed) {
    close(STDOUT_FILENO);
  } else {
    dup2(out, STDOUT_FILENO);
  }
  dup2(error, STDERR_FILENO);
  close(STDIN_FILENO);
  const auto set_limit = [](auto resource, const std::optional<uint64_t>& bytes) {
    if (!bytes.has_value()) return;
    const rlimit limit = {*bytes, *bytes};
    setrlimit(resource, &limit);
  };
  set_limit(RLIMIT_FSIZE, options.file_size_limit);
  set_limit(RLIMIT_AS, options.memory_limit);
  std::vector<char*> argv = {const_cast<char*>(EQAT_PROGRAM)};
  for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  execv(EQAT_PROGRAM, argv.data());
  _exit(127);
}

void MakePipe(int& read_end, int& write_end) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) std::abort();
  read_end = ends[0];
  write_end = ends[1];
}

void MakeTerminal(int& read_end, int& write_end) {
  winsize size = {};
  size.ws_row = 24;
  size.ws_col = 80;
  termios settings = {};
  cfmakeraw(&settings);
  if (openpty(&read_end, &write_end, nullptr, &settings, &size) != 0) std::abort();
  fcntl(read_end, F_SETFD, FD_CLOEXEC);
  fcntl(write_end, F_SETFD, FD_CLOEXEC);
}

// Appends what can be read now; false at the end.
bool Append(int fd, std::string& text) {
  char buffer[4096];
  const ssize_t count = read(fd, buffer, sizeof(buffer));
  if (count <= 0) return false;
  text.append(buffer, count);
  return true;
}

void CloseOnce(int& fd) {
  if (fd >= 0) close(fd);
  fd = -1;
}

}  // namespace

RunningProgram::RunningProgram(const std::vector<std::string>& arguments, const ProgramOptions& options)
    : options_(options) {
  int out_write = -1, error_write = -1;
  MakePipe(out_, out_write);
  if (options.error_is_terminal) {
    MakeTerminal(error_, error_write);
  } else {
    MakePipe(error_, error_write);
  }
  if (options.out_is_closed_pipe) CloseOnce(out_);
  pid_ = fork();
  if (pid_ == 0) BecomeProgram(arguments, options, out_write, error_write);
  close(out_write);
  close(error_write);
}

RunningProgram::~RunningProgram() {
  if (pid_ > 0) {
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }
  CloseOnce(out_);
  CloseOnce(error_);
}

bool RunningProgram::ReadSome() {
  pollfd fds[2] = {{out_, POLLIN, 0}, {error_, POLLIN, 0}};
  while (poll(fds, 2, -1) < 0 && errno == EINTR) {
  }
  if (fds[0].revents != 0 && !Append(out_, result_.out)) CloseOnce(out_);
  if (fds[1].revents != 0 && !Append(error_, result_.error)) CloseOnce(error_);
  return out_ >= 0 || error_ >= 0;
}

bool RunningProgram::WaitForError(const std::string& text) {
  while (result_.error.find(text) == std::string::npos) {
    if (!ReadSome()) return false;
  }
  return true;
}

void RunningProgram::Signal(int signal_number) const { kill(pid_, signal_number); }

ProgramResult RunningProgram::Wait() {
  if (options_.kill_after.has_value()) {
    std::this_thread::sleep_for(*options_.kill_after);
    Signal(SIGKILL);
  }
  while (ReadSome()) {
  }
  int status = 0;
  struct rusage usage = {};
  wait4(pid_, &status, 0, &usage);
  pid_ = -1;
  result_.peak_bytes = int64_t{usage.ru_maxrss} * 1024;
  if (WIFEXITED(status)) result_.exit_code = WEXITSTATUS(status);
  if (WIFSIGNALED(status)) result_.signal = WTERMSIG(status);
  return result_;
}

ProgramResult RunProgram(const std::vector<std::string>& arguments, const ProgramOptions& options) {
  return RunningProgram(arguments, options).Wait();
}

}  // namespace eqat::testing
