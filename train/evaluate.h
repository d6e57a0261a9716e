// Evaluate, Predict: any kind of model over a data set. Both change nothing.
#ifndef EQAT_TRAIN_EVALUATE_H_
#define EQAT_TRAIN_EVALUATE_H_

#include <cstdint>
#include <functional>

#include "absl/status/statusor.h"
#include "core/tensor.h"
#include "model/model.h"
#include "train/dataset.h"
#include "train/loss.h"
#include "train/metrics.h"

namespace eqat::train {

// Loss, accuracy and AUC over all rows, in file order. FailedPrecondition names the first row whose output is NaN.
absl::StatusOr<Metrics> Evaluate(const model::Model& model, const Dataset& data, LossKind loss,
                                 const std::function<void(int64_t done, int64_t total)>& progress = {});
// The model's outputs (logits) over all rows, in file order.
absl::StatusOr<Tensor> Predict(const model::Model& model, const Dataset& data,
                               const std::function<void(int64_t done, int64_t total)>& progress = {});

}  // namespace eqat::train

#endif  // EQAT_TRAIN_EVALUATE_H_
