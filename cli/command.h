// Verb, Action: what one command of the program is. Each verb has a file pair of its own that declares its arguments
// and hands them to the libraries below; main.cc is the table of them; program.h runs one.
#ifndef EQAT_CLI_COMMAND_H_
#define EQAT_CLI_COMMAND_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "CLI/CLI.hpp"
#include "absl/status/statusor.h"

namespace eqat::cli {

// What every verb takes.
struct CommonOptions {
  std::optional<uint64_t> seed;
  bool progress = false;  // also when standard error is no terminal
};

// Does the work after the command line was parsed; returns what goes to standard output.
using Action = std::function<absl::StatusOr<std::string>(const CommonOptions& common)>;

struct Verb {
  const char* name;
  const char* summary;                // one line, for the program's help
  Action (*declare)(CLI::App& verb);  // adds the verb's own arguments and help
};

}  // namespace eqat::cli

#endif  // EQAT_CLI_COMMAND_H_
