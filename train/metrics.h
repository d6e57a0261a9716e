// Metrics of a model over a data set: loss, accuracy, AUC. Deterministic: sums in double in data order; AUC from ranks
// with ties counted half (Mann and Whitney), exact.
#ifndef EQAT_TRAIN_METRICS_H_
#define EQAT_TRAIN_METRICS_H_

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/types/span.h"

namespace eqat::train {

struct Metrics {
  int64_t rows = 0;
  double loss = 0;            // mean
  double accuracy = 0;        // logit > 0 (binary) or argmax (classes) equals the label
  std::optional<double> auc;  // binary only; absent when a class is missing
  int64_t skipped_lines = 0;  // bad lines the data spec allowed to skip
};

// Area under the ROC curve of `scores` for labels > 0.5; nullopt when one class is absent or a score is NaN.
// O(n log n).
std::optional<double> AreaUnderCurve(absl::Span<const float> scores, absl::Span<const float> labels);

}  // namespace eqat::train

#endif  // EQAT_TRAIN_METRICS_H_
