// ScratchMemory: memory for the duration of a call, which the thread keeps for its next call. A step asks for the same
// few blocks again and again; handing them back to the system would cost a page fault for every 4 KiB each time.
//
// A thread keeps at most 8 blocks and 32 MiB. To be freed by the thread that made it.
#ifndef EQAT_CORE_SCRATCH_MEMORY_H_
#define EQAT_CORE_SCRATCH_MEMORY_H_

#include <cstddef>
#include <type_traits>

namespace eqat {

class ScratchMemory {
 public:
  // `bytes` of any content, aligned to a cache line; std::bad_alloc when they are not to be had.
  explicit ScratchMemory(size_t bytes);
  ~ScratchMemory();
  ScratchMemory(const ScratchMemory&) = delete;
  ScratchMemory& operator=(const ScratchMemory&) = delete;

  void* data() const { return data_; }

 private:
  void* data_;
  size_t size_;
};

// `count` values of any content.
template <typename T>
class ScratchArray {
  static_assert(std::is_trivially_copyable_v<T>);

 public:
  explicit ScratchArray(size_t count) : memory_(count * sizeof(T)), size_(count) {}

  size_t size() const { return size_; }
  T* data() const { return static_cast<T*>(memory_.data()); }
  T* begin() const { return data(); }
  T* end() const { return data() + size_; }
  T& operator[](size_t i) const { return data()[i]; }

 private:
  ScratchMemory memory_;
  size_t size_;
};

}  // namespace eqat

#endif  // EQAT_CORE_SCRATCH_MEMORY_H_
