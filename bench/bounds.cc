#include "bench/bounds.h"

#include <algorithm>
#include <cstdint>
#include <utility>

#include "absl/strings/str_cat.h"

namespace eqat::bench {
namespace {

constexpr int64_t kMinRows = 256;

// 512 bags of 20 uniform ids, one thread, unless changed.
class BoundsList {
 public:
  explicit BoundsList(int64_t shrink) : shrink_(shrink) {}

  Shape Table(int64_t rows, int64_t dim = 64) const {
    return {.rows = std::max(kMinRows, rows / shrink_), .dim = dim, .bags = 512, .pool = 20};
  }

  void AtMost(int number, const std::string& what, double limit, Side over, Side under) {
    bounds_.push_back({number, what, std::move(over), std::move(under), limit, false});
  }
  // Both sides with the same shape.
  void AtMost(int number, const std::string& op, const std::string& over, const std::string& under, double limit,
              const Shape& shape) {
    AtMost(number, absl::StrCat(op, " ", over, " / ", under, ", ", DataText(shape)), limit, {op, over, shape},
           {op, under, shape});
  }
  // How many times as fast two threads are.
  void Threads(int number, const std::string& op, const std::string& variant, double limit, const Shape& shape) {
    Shape two = shape;
    two.threads = 2;
    bounds_.push_back({number,
                       absl::StrCat(op, " ", variant, ", 2 threads against 1, ", DataText(shape)),
                       {op, variant, shape},
                       {op, variant, two},
                       limit,
                       true});
  }
  // Bytes of input per second against those of the read sweep.
  void OfSweep(int number, const std::string& variant, double limit, const Shape& shape) {
    bounds_.push_back(
        {number,
         absl::StrCat("quantize ", variant, " bits / read_sweep, bytes/s, rows:", shape.rows, "/dim:", shape.dim),
         {"quantize", "read_sweep", shape},
         {"quantize", variant, shape},
         limit,
         true});
  }

  std::vector<Bound> Take() { return std::move(bounds_); }

 private:
  int64_t shrink_;
  std::vector<Bound> bounds_;
};

}  // namespace

std::vector<Bound> Bounds(int64_t shrink) {
  constexpr int64_t kMillion = 1'000'000;
  BoundsList list(shrink);
  const Shape million = list.Table(kMillion);
  const Shape two_million = list.Table(2 * kMillion);
  const Shape in_l2 = list.Table(1024);
  Shape skewed = million;
  skewed.bags = 4096;
  skewed.zipf = true;

  list.AtMost(1, "forward", "nn", "gather_limit", 1.05, million);
  list.AtMost(1, "forward", "nn", "gather_limit", 1.05, list.Table(kMillion, 128));
  list.AtMost(2, "forward", "qat8", "nn", 1.5, million);
  list.AtMost(3, "forward", "qat8", "nn", 1.5, list.Table(kMillion, 16));
  list.AtMost(3, "forward", "qat8", "nn", 1.7, list.Table(kMillion, 128));
  list.AtMost(3, "forward", "qat8", "nn", 1.6, list.Table(kMillion, 256));
  list.AtMost(4, "forward", "qat4", "nn", 1.4, million);
  list.AtMost(4, "forward", "qat2", "nn", 1.4, million);
  list.AtMost(5, "forward", "qat8", "nn", 2.5, in_l2);
  list.AtMost(6, "forward", "qat8", "nn", 1.4, skewed);
  list.AtMost(7, "step", "qat8_adagrad", "nn_adagrad", 1.3, million);
  list.AtMost(8, "step qat8_sgd, 1e7 rows / 1e5 rows, dim:64/bags:512/pool:20/ids:uniform", 1.5,
              {"step", "qat8_sgd", list.Table(10 * kMillion)}, {"step", "qat8_sgd", list.Table(kMillion / 10)});
  list.AtMost(11, "forward", "quantized8", "nn", 0.62, two_million);
  list.AtMost(11, "forward", "quantized4", "nn", 0.50, two_million);
  list.AtMost(11, "forward", "quantized2", "nn", 0.42, two_million);
  list.AtMost(12, "forward", "quantized4", "nn", 1.0, in_l2);
  for (const char* bits : {"8", "4", "2"}) list.OfSweep(13, bits, 0.6, two_million);
  for (const char* variant : {"nn", "qat8", "quantized4"}) list.Threads(14, "forward", variant, 1.8, million);
  list.Threads(14, "step", "qat8_sgd", 1.8, million);
  list.Threads(14, "quantize", "8", 1.8, two_million);
  return list.Take();
}

}  // namespace eqat::bench
