// Losses on logits and their gradients, mean over the batch. Follow torch.nn.BCEWithLogitsLoss and
// torch.nn.CrossEntropyLoss. Sums in double, in order of the batch.
#ifndef EQAT_TRAIN_LOSS_H_
#define EQAT_TRAIN_LOSS_H_

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "core/tensor.h"

namespace eqat::train {

enum class LossKind : uint8_t { kBinaryCrossEntropyWithLogits, kCrossEntropy };

struct LossResult {
  double sum = 0;  // of the rows' losses
  int64_t count = 0;
  Tensor grad;  // of the mean loss, shape of the logits
};

// logits [n, 1] or [n]; labels [n] in [0, 1].  loss = max(x, 0) - x y + log1p(exp(-|x|))
absl::StatusOr<LossResult> BinaryCrossEntropyWithLogits(const Tensor& logits, absl::Span<const float> labels);
// logits [n, classes]; labels [n], whole numbers in [0, classes).
absl::StatusOr<LossResult> CrossEntropy(const Tensor& logits, absl::Span<const float> labels);
absl::StatusOr<LossResult> ComputeLoss(LossKind kind, const Tensor& logits, absl::Span<const float> labels);

absl::string_view LossName(LossKind kind);  // "bce_with_logits", "cross_entropy"
// Columns of the logits: 1 for binary cross-entropy. InvalidArgument for a shape the loss does not take.
absl::StatusOr<int64_t> ClassesOf(LossKind kind, const Tensor& logits);
// Whether every label is one the loss takes; InvalidArgument names the row.
absl::Status CheckLabels(LossKind kind, int64_t classes, absl::Span<const float> labels);

}  // namespace eqat::train

#endif  // EQAT_TRAIN_LOSS_H_
