#include "core/zeroed_memory.h"

#include <algorithm>
#include <cstdint>
#include <limits>
#include <memory>

#include "gtest/gtest.h"

namespace eqat {
namespace {

TEST(AllocateZeroed, IsZeroAndAlignedAtEverySize) {
  constexpr int64_t kMapped = int64_t{2} << 20;  // from here on memory is mapped
  for (const int64_t bytes : {int64_t{1}, int64_t{63}, int64_t{65}, kMapped - 1, kMapped, kMapped + 1, 3 * kMapped}) {
    SCOPED_TRACE(bytes);
    const std::shared_ptr<void> memory = AllocateZeroed(bytes);
    ASSERT_NE(memory, nullptr);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(memory.get()) % (bytes < kMapped ? 64 : kMapped), 0u);
    auto* const values = static_cast<uint8_t*>(memory.get());
    EXPECT_TRUE(std::all_of(values, values + bytes, [](uint8_t value) { return value == 0; }));
    std::fill_n(values, bytes, uint8_t{255});
  }
}

TEST(AllocateZeroed, IsNullWhenThereIsNotEnough) {
  EXPECT_EQ(AllocateZeroed(std::numeric_limits<int64_t>::max()), nullptr);
}

}  // namespace
}  // namespace eqat
