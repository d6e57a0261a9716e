// eqat freeze MODEL --out DIR ...: the smallest graph that computes the same.
#ifndef EQAT_CLI_FREEZE_COMMAND_H_
#define EQAT_CLI_FREEZE_COMMAND_H_

#include "cli/command.h"

namespace eqat::cli {

Action DeclareFreeze(CLI::App& verb);

}  // namespace eqat::cli

#endif  // EQAT_CLI_FREEZE_COMMAND_H_
