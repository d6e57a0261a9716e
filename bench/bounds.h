// The bounds that eqat_ratios holds the benchmarks to.
#ifndef EQAT_BENCH_BOUNDS_H_
#define EQAT_BENCH_BOUNDS_H_

#include <string>
#include <vector>

#include "bench/shape.h"

namespace eqat::bench {

struct Side {
  std::string op;
  std::string variant;
  Shape shape;
};

// The time of `over` divided by that of `under`, each per item.
struct Bound {
  int number = 0;  // several bounds may share one
  std::string what;
  Side over;
  Side under;
  double limit = 0;
  bool at_least = false;  // the ratio must not be smaller; otherwise not larger

  bool IsMet(double ratio) const { return at_least ? ratio >= limit : ratio <= limit; }
};

// All bounds, by number. Tables have `shrink` times fewer rows (1: as published).
std::vector<Bound> Bounds(int64_t shrink);

}  // namespace eqat::bench

#endif  // EQAT_BENCH_BOUNDS_H_
