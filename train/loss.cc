#include "train/loss.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "core/error.h"
#include "core/status_macros.h"

namespace eqat::train {
namespace {

constexpr char kBce[] = "bce_with_logits";
constexpr char kCe[] = "cross_entropy";

absl::Status CheckCount(LossKind kind, const Tensor& logits, absl::Span<const float> labels) {
  if (logits.shape[0] == static_cast<int64_t>(labels.size())) return absl::OkStatus();
  return InvalidArgument(LossName(kind), "number of labels differs from the number of outputs",
                         absl::StrCat(labels.size()), absl::StrCat(logits.shape[0]));
}

}  // namespace

absl::string_view LossName(LossKind kind) { return kind == LossKind::kBinaryCrossEntropyWithLogits ? kBce : kCe; }

absl::StatusOr<int64_t> ClassesOf(LossKind kind, const Tensor& logits) {
  if (kind == LossKind::kBinaryCrossEntropyWithLogits) {
    if (logits.rank() == 1 || (logits.rank() == 2 && logits.shape[1] == 1)) return 1;
    return InvalidArgument(kBce, "wrong shape of the model's output", ShapeText(logits.shape), "[n, 1] or [n]");
  }
  if (logits.rank() == 2 && logits.shape[1] >= 1) return logits.shape[1];
  return InvalidArgument(kCe, "wrong shape of the model's output", ShapeText(logits.shape), "[n, classes]");
}

absl::Status CheckLabels(LossKind kind, int64_t classes, absl::Span<const float> labels) {
  const bool binary = kind == LossKind::kBinaryCrossEntropyWithLogits;
  for (size_t i = 0; i < labels.size(); ++i) {
    const float y = labels[i];
    if (binary ? y >= 0.0f && y <= 1.0f : y >= 0.0f && y < static_cast<float>(classes) && y == std::floor(y)) continue;
    return InvalidArgument(LossName(kind), absl::StrCat("label of row ", i, " is out of range"), absl::StrCat(y),
                           binary ? "a number in [0, 1]" : absl::StrCat("a whole number in [0, ", classes, ")"));
  }
  return absl::OkStatus();
}

absl::StatusOr<LossResult> BinaryCrossEntropyWithLogits(const Tensor& logits, absl::Span<const float> labels) {
  EQAT_ASSIGN_OR_RETURN(const int64_t classes, ClassesOf(LossKind::kBinaryCrossEntropyWithLogits, logits));
  EQAT_RETURN_IF_ERROR(CheckCount(LossKind::kBinaryCrossEntropyWithLogits, logits, labels));
  EQAT_RETURN_IF_ERROR(CheckLabels(LossKind::kBinaryCrossEntropyWithLogits, classes, labels));
  LossResult result;
  result.count = static_cast<int64_t>(labels.size());
  result.grad = Tensor(logits.shape);
  for (int64_t i = 0; i < result.count; ++i) {
    const double x = logits.values[i];
    const double y = labels[i];
    const double decay = std::exp(-std::abs(x));
    result.sum += std::max(x, 0.0) - x * y + std::log1p(decay);
    const double probability = x >= 0 ? 1.0 / (1.0 + decay) : decay / (1.0 + decay);
    result.grad.values[i] = static_cast<float>((probability - y) / static_cast<double>(result.count));
  }
  return result;
}

absl::StatusOr<LossResult> CrossEntropy(const Tensor& logits, absl::Span<const float> labels) {
  EQAT_ASSIGN_OR_RETURN(const int64_t classes, ClassesOf(LossKind::kCrossEntropy, logits));
  EQAT_RETURN_IF_ERROR(CheckCount(LossKind::kCrossEntropy, logits, labels));
  EQAT_RETURN_IF_ERROR(CheckLabels(LossKind::kCrossEntropy, classes, labels));
  LossResult result;
  result.count = static_cast<int64_t>(labels.size());
  result.grad = Tensor(logits.shape);
  for (int64_t i = 0; i < result.count; ++i) {
    const float* x = logits.values.data() + i * classes;
    float* grad = result.grad.values.data() + i * classes;
    const int64_t label = static_cast<int64_t>(labels[i]);
    const double maximum = *std::max_element(x, x + classes);
    double total = 0;
    for (int64_t c = 0; c < classes; ++c) total += std::exp(x[c] - maximum);
    result.sum += std::log(total) - (x[label] - maximum);
    for (int64_t c = 0; c < classes; ++c) {
      const double probability = std::exp(x[c] - maximum) / total;
      grad[c] = static_cast<float>((probability - (c == label ? 1.0 : 0.0)) / static_cast<double>(result.count));
    }
  }
  return result;
}

absl::StatusOr<LossResult> ComputeLoss(LossKind kind, const Tensor& logits, absl::Span<const float> labels) {
  return kind == LossKind::kBinaryCrossEntropyWithLogits ? BinaryCrossEntropyWithLogits(logits, labels)
                                                         : CrossEntropy(logits, labels);
}

}  // namespace eqat::train
