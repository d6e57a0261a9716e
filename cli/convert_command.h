// eqat convert QAT_DIR --out DIR: quantization-aware tables become packed codes.
#ifndef EQAT_CLI_CONVERT_COMMAND_H_
#define EQAT_CLI_CONVERT_COMMAND_H_

#include "cli/command.h"

namespace eqat::cli {

Action DeclareConvert(CLI::App& verb);

}  // namespace eqat::cli

#endif  // EQAT_CLI_CONVERT_COMMAND_H_
