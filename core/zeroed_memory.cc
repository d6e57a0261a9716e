#include "core/zeroed_memory.h"

#include <sys/mman.h>

#include <cstddef>
#include <cstdlib>
#include <cstring>

namespace eqat {
namespace {

constexpr size_t kCacheLineBytes = 64;
constexpr size_t kHugePageBytes = size_t{2} << 20;

std::shared_ptr<void> MapZeroed(size_t bytes) {
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return nullptr;
  madvise(memory, bytes, MADV_HUGEPAGE);  // a hint: without huge pages everything still works
  return std::shared_ptr<void>(memory, [bytes](void* mapped) { munmap(mapped, bytes); });
}

}  // namespace

std::shared_ptr<void> AllocateZeroed(int64_t bytes) {
  const size_t size = static_cast<size_t>(bytes);
  if (size >= kHugePageBytes) return MapZeroed(size);
  const size_t padded_size = (size + kCacheLineBytes - 1) / kCacheLineBytes * kCacheLineBytes;
  void* memory = std::aligned_alloc(kCacheLineBytes, padded_size);
  if (memory == nullptr) return nullptr;
  std::memset(memory, 0, padded_size);
  return std::shared_ptr<void>(memory, std::free);
}

}  // namespace eqat
