// RunProgram: parses the command line, runs one verb and turns every failure into one line and an exit code.
#ifndef EQAT_CLI_PROGRAM_H_
#define EQAT_CLI_PROGRAM_H_

#include "absl/types/span.h"
#include "cli/command.h"

namespace eqat::cli {

enum ExitCode : int { kDone = 0, kFailed = 1, kWrongUse = 2 };

// Never throws. Standard output gets what the verb returns; standard error, on failure, exactly one line
// "eqat: error: WHERE: WHAT (got ..., expected ...)".
int RunProgram(absl::Span<const Verb> verbs, int argc, const char* const* argv);

}  // namespace eqat::cli

#endif  // EQAT_CLI_PROGRAM_H_
