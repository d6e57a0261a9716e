// Sizes of memory on the command line: "512M".
#ifndef EQAT_CLI_BYTE_SIZE_H_
#define EQAT_CLI_BYTE_SIZE_H_

#include <cstdint>
#include <optional>
#include <string>

#include "CLI/CLI.hpp"

namespace eqat::cli {

// Bytes of a whole number with an optional K, M, G or T (powers of 1024); nullopt for anything else or an overflow.
std::optional<int64_t> ParseByteSize(const std::string& text);

// An option --memory-limit that takes such a size of at least 32M.
CLI::Option* AddMemoryLimit(CLI::App& verb, std::string& text, const std::string& description);

}  // namespace eqat::cli

#endif  // EQAT_CLI_BYTE_SIZE_H_
