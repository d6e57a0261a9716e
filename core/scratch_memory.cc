#include "core/scratch_memory.h"

#include <algorithm>
#include <bit>
#include <new>
#include <vector>

namespace eqat {
namespace {

constexpr std::align_val_t kAlignment{64};
constexpr size_t kMaxBlocks = 8;
constexpr size_t kMaxBytes = size_t{32} << 20;
constexpr size_t kMinBytes = 256;
// A block this many times larger than asked for is left for somebody who needs it.
constexpr size_t kMaxOversize = 8;

struct Block {
  void* data;
  size_t size;
};

// The blocks that a thread keeps, the longest kept first.
class KeptBlocks {
 public:
  ~KeptBlocks() {
    for (const Block& block : blocks_) ::operator delete(block.data, kAlignment);
  }

  // A block of at least `bytes`, or one without data.
  Block Take(size_t bytes) {
    auto best = blocks_.end();
    for (auto block = blocks_.begin(); block != blocks_.end(); ++block) {
      const bool suits = block->size >= bytes && block->size / kMaxOversize <= bytes;
      if (suits && (best == blocks_.end() || block->size < best->size)) best = block;
    }
    if (best == blocks_.end()) return {nullptr, 0};
    const Block taken = *best;
    blocks_.erase(best);
    bytes_ -= taken.size;
    return taken;
  }

  void Keep(Block block) {
    if (block.size > kMaxBytes / 2) return ::operator delete(block.data, kAlignment);
    blocks_.push_back(block);
    bytes_ += block.size;
    while (blocks_.size() > kMaxBlocks || bytes_ > kMaxBytes) {
      bytes_ -= blocks_.front().size;
      ::operator delete(blocks_.front().data, kAlignment);
      blocks_.erase(blocks_.begin());
    }
  }

 private:
  std::vector<Block> blocks_;
  size_t bytes_ = 0;
};

// Under AddressSanitizer every block is fresh, so that it sees reads past the end of one and after its time.
#if defined(__SANITIZE_ADDRESS__)
constexpr bool kKeep = false;
#else
constexpr bool kKeep = true;
#endif

thread_local KeptBlocks kept_blocks;

}  // namespace

ScratchMemory::ScratchMemory(size_t bytes) {
  const Block kept = kKeep ? kept_blocks.Take(bytes) : Block{nullptr, 0};
  data_ = kept.data;
  size_ = kept.size;
  if (data_ != nullptr) return;
  size_ = kKeep && bytes <= kMaxBytes ? std::bit_ceil(std::max(bytes, kMinBytes)) : bytes;
  data_ = ::operator new(size_, kAlignment);
}

ScratchMemory::~ScratchMemory() {
  if (kKeep) {
    kept_blocks.Keep({data_, size_});
  } else {
    ::operator delete(data_, kAlignment);
  }
}

}  // namespace eqat
