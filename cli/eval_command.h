// eqat eval MODEL --data SPEC.json [--loss LOSS] [--json]: loss, accuracy and AUC over a data set.
#ifndef EQAT_CLI_EVAL_COMMAND_H_
#define EQAT_CLI_EVAL_COMMAND_H_

#include "cli/command.h"

namespace eqat::cli {

Action DeclareEval(CLI::App& verb);

}  // namespace eqat::cli

#endif  // EQAT_CLI_EVAL_COMMAND_H_
