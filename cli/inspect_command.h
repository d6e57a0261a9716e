// eqat inspect PATH [--json]: what a model directory or a tensor file holds.
#ifndef EQAT_CLI_INSPECT_COMMAND_H_
#define EQAT_CLI_INSPECT_COMMAND_H_

#include "cli/command.h"

namespace eqat::cli {

Action DeclareInspect(CLI::App& verb);

}  // namespace eqat::cli

#endif  // EQAT_CLI_INSPECT_COMMAND_H_
