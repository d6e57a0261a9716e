// eqat run MODEL --inputs IN --outputs OUT ...: one batch through a model or one of its modules.
#ifndef EQAT_CLI_RUN_COMMAND_H_
#define EQAT_CLI_RUN_COMMAND_H_

#include "cli/command.h"

namespace eqat::cli {

Action DeclareRun(CLI::App& verb);

}  // namespace eqat::cli

#endif  // EQAT_CLI_RUN_COMMAND_H_
