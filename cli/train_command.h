// eqat train MODEL --data SPEC.json --config TRAIN.json --out DIR [--resume]: trains a model.
#ifndef EQAT_CLI_TRAIN_COMMAND_H_
#define EQAT_CLI_TRAIN_COMMAND_H_

#include "cli/command.h"

namespace eqat::cli {

Action DeclareTrain(CLI::App& verb);

}  // namespace eqat::cli

#endif  // EQAT_CLI_TRAIN_COMMAND_H_
