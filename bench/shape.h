// Shape: the sizes of one benchmark, as its name spells them, and how much it takes for them to come from memory and
// not from a cache.
#ifndef EQAT_BENCH_SHAPE_H_
#define EQAT_BENCH_SHAPE_H_

#include <cstdint>
#include <string>

namespace eqat::bench {

struct Shape {
  int64_t rows = 0;
  int64_t dim = 0;
  int64_t bags = 0;
  int64_t pool = 0;  // look-ups in each bag
  bool zipf = false;
  int threads = 1;

  int64_t lookups() const { return bags * pool; }
};

// "rows:1000000/dim:64/bags:512/pool:20/ids:uniform/threads:1"
std::string ShapeText(const Shape& shape);
// The same without the threads: what data depends on.
std::string DataText(const Shape& shape);

// How many batches to rotate through: their rows, even packed at 2 bits, are four times the last-level cache.
int64_t NumBatches(const Shape& shape);

// How many copies of a table of `bytes` to rotate through: one if it fits in the L2 cache, which is then what is
// measured, otherwise enough for four times the last-level cache.
int64_t NumCopies(int64_t bytes);

}  // namespace eqat::bench

#endif  // EQAT_BENCH_SHAPE_H_
