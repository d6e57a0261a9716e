// eqat export: a model's tables as a file of another program.
#ifndef EQAT_CLI_EXPORT_COMMAND_H_
#define EQAT_CLI_EXPORT_COMMAND_H_

#include "cli/command.h"

namespace eqat::cli {

Action DeclareExport(CLI::App& verb);

}  // namespace eqat::cli

#endif  // EQAT_CLI_EXPORT_COMMAND_H_
