// eqat prepare MODEL --qconfig FILE --out DIR: a float model becomes a quantization-aware one.
#ifndef EQAT_CLI_PREPARE_COMMAND_H_
#define EQAT_CLI_PREPARE_COMMAND_H_

#include "cli/command.h"

namespace eqat::cli {

Action DeclarePrepare(CLI::App& verb);

}  // namespace eqat::cli

#endif  // EQAT_CLI_PREPARE_COMMAND_H_
