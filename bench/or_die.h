// OrDie: the value of a StatusOr, or the end of the benchmark program with its error.
#ifndef EQAT_BENCH_OR_DIE_H_
#define EQAT_BENCH_OR_DIE_H_

#include <cstdio>
#include <cstdlib>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace eqat::bench {

inline void OrDie(const absl::Status& status) {
  if (status.ok()) return;
  std::fprintf(stderr, "error: %s\n", status.ToString().c_str());
  std::exit(1);
}

template <typename T>
T OrDie(absl::StatusOr<T> value) {
  OrDie(value.status());
  return *std::move(value);
}

}  // namespace eqat::bench

#endif  // EQAT_BENCH_OR_DIE_H_
