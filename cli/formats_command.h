// eqat formats: the formats that can be imported and exported.
#ifndef EQAT_CLI_FORMATS_COMMAND_H_
#define EQAT_CLI_FORMATS_COMMAND_H_

#include "cli/command.h"

namespace eqat::cli {

Action DeclareFormats(CLI::App& verb);

}  // namespace eqat::cli

#endif  // EQAT_CLI_FORMATS_COMMAND_H_
