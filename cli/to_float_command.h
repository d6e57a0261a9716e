// eqat to-float QAT_DIR --out DIR [--dtype f32|f16|bf16]: quantization-aware tables become float ones again.
#ifndef EQAT_CLI_TO_FLOAT_COMMAND_H_
#define EQAT_CLI_TO_FLOAT_COMMAND_H_

#include "cli/command.h"

namespace eqat::cli {

Action DeclareToFloat(CLI::App& verb);

}  // namespace eqat::cli

#endif  // EQAT_CLI_TO_FLOAT_COMMAND_H_
