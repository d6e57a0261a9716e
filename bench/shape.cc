#include "bench/shape.h"

#include <unistd.h>

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace eqat::bench {
namespace {

constexpr int64_t kMinBatches = 16;
constexpr int64_t kMaxBatches = 1024;
constexpr int64_t kColdCaches = 4;  // how many times the last-level cache is cold

// What the system says of a cache, or `otherwise` where it says nothing.
int64_t CacheBytes(int name, int64_t otherwise) {
  const int64_t bytes = sysconf(name);
  return bytes > 0 ? bytes : otherwise;
}
int64_t L2Bytes() { return CacheBytes(_SC_LEVEL2_CACHE_SIZE, int64_t{1} << 20); }
int64_t LastLevelBytes() { return std::max(L2Bytes(), CacheBytes(_SC_LEVEL3_CACHE_SIZE, int64_t{32} << 20)); }

int64_t HowManyToBeCold(int64_t bytes) { return (kColdCaches * LastLevelBytes() + bytes - 1) / bytes; }

}  // namespace

std::string DataText(const Shape& shape) {
  return absl::StrCat("rows:", shape.rows, "/dim:", shape.dim, "/bags:", shape.bags, "/pool:", shape.pool,
                      "/ids:", shape.zipf ? "zipf" : "uniform");
}

std::string ShapeText(const Shape& shape) { return absl::StrCat(DataText(shape), "/threads:", shape.threads); }

int64_t NumBatches(const Shape& shape) {
  const int64_t packed_row_bytes = shape.dim / 4 + 8;
  return std::clamp(HowManyToBeCold(shape.lookups() * packed_row_bytes), kMinBatches, kMaxBatches);
}

int64_t NumCopies(int64_t bytes) { return bytes <= L2Bytes() ? 1 : HowManyToBeCold(bytes); }

}  // namespace eqat::bench
