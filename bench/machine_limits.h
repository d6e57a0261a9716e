// What the machine can do at best: the plainest loops over float rows that the modules are held against. No checks, no
// options; kernels in Highway, chosen at run time.
#ifndef EQAT_BENCH_MACHINE_LIMITS_H_
#define EQAT_BENCH_MACHINE_LIMITS_H_

#include <cstdint>

#include "core/table_view.h"

namespace eqat::bench {

// out[b] = ((0 + row_1) + row_2) + ... over ids[offsets[b]] .. ids[offsets[b + 1] - 1]. Parallel over bags.
void GatherSum(TableView table, const int64_t* ids, const int64_t* offsets, int64_t num_bags, MutableTableView out);
void GatherSumReference(TableView table, const int64_t* ids, const int64_t* offsets, int64_t num_bags,
                        MutableTableView out);

// Reads n 64-bit words once, in order, and adds them up modulo 2^64. Parallel over blocks. REQUIRES: aligned to 64.
uint64_t ReadSweep(const uint64_t* words, int64_t n);
uint64_t ReadSweepReference(const uint64_t* words, int64_t n);

}  // namespace eqat::bench

#endif  // EQAT_BENCH_MACHINE_LIMITS_H_
