#include "train/evaluate.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/strings/str_cat.h"
#include "core/error.h"
#include "core/status_macros.h"

namespace eqat::train {
namespace {

constexpr int64_t kRowsPerBatch = 4096;

// Calls `take` with each batch's first row, labels and output, in file order.
absl::Status ForEachOutput(
    const model::Model& model, const Dataset& data, const std::function<void(int64_t, int64_t)>& progress,
    absl::FunctionRef<absl::Status(int64_t first, absl::Span<const float> labels, const Tensor& output)> take) {
  EQAT_RETURN_IF_ERROR(CheckInputs(model, data));
  if (data.rows() == 0) return InvalidArgument("data", "has no rows");
  const std::vector<BagInput> bag_inputs = BagInputs(model);
  std::vector<int64_t> rows;
  for (int64_t first = 0; first < data.rows(); first += kRowsPerBatch) {
    rows.resize(std::min(kRowsPerBatch, data.rows() - first));
    std::iota(rows.begin(), rows.end(), first);
    const Batch batch = data.MakeBatch(rows);
    EQAT_ASSIGN_OR_RETURN(const Tensor output, model.Evaluate(FeedOf(batch, bag_inputs)));
    if (output.rank() == 0 || output.shape[0] != static_cast<int64_t>(rows.size())) {
      return InvalidArgument("model", "output does not have one row for each row of the data", ShapeText(output.shape),
                             absl::StrCat("[", rows.size(), ", ...]"));
    }
    EQAT_RETURN_IF_ERROR(take(first, batch.labels, output));
    if (progress) progress(first + static_cast<int64_t>(rows.size()), data.rows());
  }
  return absl::OkStatus();
}

bool IsRight(LossKind loss, const float* logits, int64_t classes, float label) {
  if (loss == LossKind::kBinaryCrossEntropyWithLogits) return (logits[0] > 0.0f) == (label > 0.5f);
  return std::max_element(logits, logits + classes) - logits == static_cast<int64_t>(label);
}

absl::Status CheckNoNaN(int64_t first, const Tensor& output) {
  const auto nan = std::find_if(output.values.begin(), output.values.end(), [](float x) { return std::isnan(x); });
  if (nan == output.values.end()) return absl::OkStatus();
  const int64_t per_row = output.size() / output.shape[0];
  return FailedPrecondition(
      "model", absl::StrCat("output of data row ", first + (nan - output.values.begin()) / per_row, " is nan"));
}

}  // namespace

absl::StatusOr<Metrics> Evaluate(const model::Model& model, const Dataset& data, LossKind loss,
                                 const std::function<void(int64_t done, int64_t total)>& progress) {
  double sum = 0;
  int64_t right = 0;
  std::vector<float> scores;
  const bool binary = loss == LossKind::kBinaryCrossEntropyWithLogits;
  if (binary) scores.reserve(data.rows());
  const absl::Status status = ForEachOutput(
      model, data, progress, [&](int64_t first, absl::Span<const float> labels, const Tensor& output) -> absl::Status {
        EQAT_ASSIGN_OR_RETURN(const int64_t classes, ClassesOf(loss, output));
        EQAT_RETURN_IF_ERROR(CheckNoNaN(first, output));
        if (first == 0) EQAT_RETURN_IF_ERROR(CheckLabels(loss, classes, data.labels()));
        EQAT_ASSIGN_OR_RETURN(const LossResult result, ComputeLoss(loss, output, labels));
        sum += result.sum;
        for (size_t i = 0; i < labels.size(); ++i) {
          right += IsRight(loss, output.values.data() + i * classes, classes, labels[i]) ? 1 : 0;
        }
        if (binary) scores.insert(scores.end(), output.values.begin(), output.values.end());
        return absl::OkStatus();
      });
  EQAT_RETURN_IF_ERROR(status);
  Metrics metrics;
  metrics.rows = data.rows();
  metrics.loss = sum / static_cast<double>(data.rows());
  metrics.accuracy = static_cast<double>(right) / static_cast<double>(data.rows());
  if (binary) metrics.auc = AreaUnderCurve(scores, data.labels());
  metrics.skipped_lines = data.skipped_lines();
  return metrics;
}

absl::StatusOr<Tensor> Predict(const model::Model& model, const Dataset& data,
                               const std::function<void(int64_t done, int64_t total)>& progress) {
  Tensor all;
  EQAT_RETURN_IF_ERROR(ForEachOutput(model, data, progress,
                                     [&](int64_t first, absl::Span<const float>, const Tensor& output) -> absl::Status {
                                       if (first == 0) {
                                         all.shape = output.shape;
                                         all.shape[0] = data.rows();
                                         all.values.reserve(data.rows() * (output.size() / output.shape[0]));
                                       }
                                       all.values.insert(all.values.end(), output.values.begin(), output.values.end());
                                       return absl::OkStatus();
                                     }));
  return all;
}

}  // namespace eqat::train
