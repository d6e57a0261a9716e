// eqat ptq MODEL --qconfig FILE --out DIR: float tables become packed codes at once.
#ifndef EQAT_CLI_PTQ_COMMAND_H_
#define EQAT_CLI_PTQ_COMMAND_H_

#include "cli/command.h"

namespace eqat::cli {

Action DeclarePtq(CLI::App& verb);

}  // namespace eqat::cli

#endif  // EQAT_CLI_PTQ_COMMAND_H_
