// AllocateZeroed: memory for tables, aligned to a cache line, from 2 MiB on to 2 MiB, and all zeros.
#ifndef EQAT_CORE_ZEROED_MEMORY_H_
#define EQAT_CORE_ZEROED_MEMORY_H_

#include <cstdint>
#include <memory>

namespace eqat {

// Null when the memory is not to be had. REQUIRES: bytes >= 1. Big blocks are mapped: they cost nothing until they are
// touched and use huge pages where the system allows it, which saves most page walks of random row accesses.
std::shared_ptr<void> AllocateZeroed(int64_t bytes);

}  // namespace eqat

#endif  // EQAT_CORE_ZEROED_MEMORY_H_
