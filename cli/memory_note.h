// SmallPagesNote: what to say to somebody whose large model will run slower than the machine allows.
#ifndef EQAT_CLI_MEMORY_NOTE_H_
#define EQAT_CLI_MEMORY_NOTE_H_

#include <cstdint>
#include <string>

#include "core/huge_pages.h"

namespace eqat::cli {

// One line, or nothing: for parameters of less than 1 GiB and where the system grants huge pages.
std::string SmallPagesNote(int64_t parameter_bytes, HugePages pages);

}  // namespace eqat::cli

#endif  // EQAT_CLI_MEMORY_NOTE_H_
