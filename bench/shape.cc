#include "bench/shape.h"

#include <algorithm>
#include <fstream>
#include <string>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace eqat::bench {
namespace {

constexpr int64_t kMinBatches = 16;
constexpr int64_t kMaxBatches = 1024;
constexpr int64_t kColdCaches = 4;  // how many times the last-level cache is cold

// The size of the data caches of `level`, as Linux sees it, or `otherwise` where it says nothing. (sysconf() asks the
// processor, which in a virtual machine tells of caches that the machine does not have.)
int64_t CacheBytes(int level, int64_t otherwise) {
  for (int index = 0;; ++index) {
    const std::string folder = absl::StrCat("/sys/devices/system/cpu/cpu0/cache/index", index, "/");
    int found_level = 0;
    std::string type, size;
    if (!(std::ifstream(folder + "level") >> found_level)) return otherwise;
    std::ifstream(folder + "type") >> type;
    std::ifstream(folder + "size") >> size;  // "1024K"
    int64_t kibibytes = 0;
    if (found_level == level && type != "Instruction" && absl::SimpleAtoi(size.substr(0, size.find('K')), &kibibytes)) {
      return kibibytes << 10;
    }
  }
}

int64_t L2Bytes() {
  static const int64_t bytes = CacheBytes(2, int64_t{1} << 20);
  return bytes;
}

int64_t LastLevelBytes() {
  static const int64_t bytes = std::max(L2Bytes(), CacheBytes(3, int64_t{32} << 20));
  return bytes;
}

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
