#include "core/zeroed_memory.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstdlib>
#include <cstring>

namespace eqat {
namespace {

constexpr size_t kCacheLineBytes = 64;
constexpr size_t kHugePageBytes = size_t{2} << 20;

size_t RoundUp(size_t bytes, size_t unit) { return (bytes + unit - 1) / unit * unit; }

// From a border of huge pages on, since one that is not whole cannot be huge.
std::shared_ptr<void> MapZeroed(size_t bytes) {
  const size_t size = RoundUp(bytes, static_cast<size_t>(sysconf(_SC_PAGESIZE)));
  void* mapped = mmap(nullptr, size + kHugePageBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapped == MAP_FAILED) return nullptr;
  char* const begin = static_cast<char*>(mapped);
  const size_t before =
      RoundUp(reinterpret_cast<uintptr_t>(begin), kHugePageBytes) - reinterpret_cast<uintptr_t>(begin);
  char* const memory = begin + before;
  if (before > 0) munmap(begin, before);
  munmap(memory + size, kHugePageBytes - before);
  madvise(memory, size, MADV_HUGEPAGE);  // a hint: without huge pages everything still works (huge_pages.h tells)
  return std::shared_ptr<void>(memory, [size](void* block) { munmap(block, size); });
}

}  // namespace

std::shared_ptr<void> AllocateZeroed(int64_t bytes) {
  const size_t size = static_cast<size_t>(bytes);
  if (size >= kHugePageBytes) return MapZeroed(size);
  const size_t padded_size = RoundUp(size, kCacheLineBytes);
  void* memory = std::aligned_alloc(kCacheLineBytes, padded_size);
  if (memory == nullptr) return nullptr;
  std::memset(memory, 0, padded_size);
  return std::shared_ptr<void>(memory, std::free);
}

}  // namespace eqat
