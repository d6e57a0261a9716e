// eqat import: tables of another program's file become a model directory.
#ifndef EQAT_CLI_IMPORT_COMMAND_H_
#define EQAT_CLI_IMPORT_COMMAND_H_

#include "cli/command.h"

namespace eqat::cli {

Action DeclareImport(CLI::App& verb);

}  // namespace eqat::cli

#endif  // EQAT_CLI_IMPORT_COMMAND_H_
