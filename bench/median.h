#ifndef EQAT_BENCH_MEDIAN_H_
#define EQAT_BENCH_MEDIAN_H_

#include <algorithm>
#include <cstddef>
#include <vector>

namespace eqat::bench {

// The value that the given share of `values` lies below; 0.5 is the median. REQUIRES: values not empty.
inline double Quantile(std::vector<double> values, double share) {
  const auto at = values.begin() + static_cast<ptrdiff_t>(share * static_cast<double>(values.size() - 1) + 0.5);
  std::nth_element(values.begin(), at, values.end());
  return *at;
}

}  // namespace eqat::bench

#endif  // EQAT_BENCH_MEDIAN_H_
