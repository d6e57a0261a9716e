// Random numbers that are a pure function of (seed, stream, position): the same values on every machine, in any order,
// from any number of threads. SplitMix64 (Steele, Lea, Flood 2014) as a counter-based hash.
#ifndef EQAT_CORE_RNG_H_
#define EQAT_CORE_RNG_H_

#include <cstdint>

#include "absl/strings/string_view.h"
#include "core/table_view.h"

namespace eqat {

class Rng {
 public:
  Rng(uint64_t seed, uint64_t stream) : key_(Mix(seed ^ Mix(stream + 0x9e3779b97f4a7c15ull))) {}

  // 64 uniform bits at `position`.
  uint64_t Bits(uint64_t position) const { return Mix(key_ + position * 0x9e3779b97f4a7c15ull); }
  // Uniform in [0, 1), a multiple of 2^-53.
  double Uniform(uint64_t position) const { return static_cast<double>(Bits(position) >> 11) * 0x1.0p-53; }
  // Uniform in [0, bound), bound > 0; unbiased to 2^-64.
  uint64_t Below(uint64_t position, uint64_t bound) const {
    return static_cast<uint64_t>((static_cast<unsigned __int128>(Bits(position)) * bound) >> 64);
  }
  // N(0, 1) by Box and Muller from positions 2p and 2p + 1.
  float Normal(uint64_t position) const;

 private:
  static uint64_t Mix(uint64_t x) {
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
    return x ^ (x >> 31);
  }
  uint64_t key_;
};

// A stream number for a name ("item.weight"), stable across machines and releases: 64-bit FNV-1a.
uint64_t StreamOf(absl::string_view name);

// Fills `table` with N(0, 1); element (r, c) takes position r * cols + c. Parallel.
void FillNormal(const Rng& rng, MutableTableView table);

}  // namespace eqat

#endif  // EQAT_CORE_RNG_H_
