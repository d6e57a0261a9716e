#include "float_modules/batch_norm.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/error.h"
#include "core/parallel_for.h"
#include "core/status_macros.h"

namespace eqat::nn {
namespace {

constexpr int64_t kColumnBlock = 16;
constexpr int64_t kNormalizedRows = 64;

struct ColumnStatistics {
  std::vector<double> mean;
  std::vector<double> variance;  // biased
};

// Adds term(row, column) over all rows, in order, in double; [x.cols] sums.
template <typename Term>
std::vector<double> SumColumns(TableView x, Term term) {
  std::vector<double> sums(x.cols);
  ParallelFor(x.cols, kColumnBlock, [&](int64_t begin, int64_t end) {
    for (int64_t row = 0; row < x.rows; ++row) {
      for (int64_t c = begin; c < end; ++c) sums[c] += term(row, c);
    }
  });
  return sums;
}

// Two passes, so that a large mean costs no digits of the variance.
ColumnStatistics StatisticsOf(TableView x) {
  ColumnStatistics statistics;
  const double count = static_cast<double>(x.rows);
  statistics.mean = SumColumns(x, [&](int64_t row, int64_t c) { return static_cast<double>(x.Row(row)[c]); });
  for (double& mean : statistics.mean) mean /= count;
  statistics.variance = SumColumns(x, [&](int64_t row, int64_t c) {
    const double deviation = x.Row(row)[c] - statistics.mean[c];
    return deviation * deviation;
  });
  for (double& variance : statistics.variance) variance /= count;
  return statistics;
}

// Calls body(row, column) for every element, in parallel over rows.
template <typename Body>
void ForEachElement(TableView x, Body body) {
  ParallelFor(x.rows, kNormalizedRows, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      for (int64_t c = 0; c < x.cols; ++c) body(row, c);
    }
  });
}

std::string BatchNormPlace(const std::string& name) { return name.empty() ? "nn.BatchNorm1d" : name; }

absl::Status CheckInput(const BatchNorm1dOptions& options, const std::string& name, const Tensor& x) {
  if (x.rank() == 2 && x.shape[1] == options.num_features) return absl::OkStatus();
  return InvalidArgument(BatchNormPlace(name), "the input has the wrong shape", ShapeText(x.shape),
                         absl::StrCat("[n, ", options.num_features, "]"));
}

absl::Status CheckBatch(const std::string& name, const Tensor& x) {
  if (x.shape[0] >= 2) return absl::OkStatus();
  return InvalidArgument(BatchNormPlace(name), "a batch of this size has no variance",
                         absl::StrCat(x.shape[0], " rows"), "at least 2");
}

absl::Status CheckSize(const std::string& name, absl::string_view field, const std::vector<float>& values,
                       int64_t expected) {
  if (static_cast<int64_t>(values.size()) == expected) return absl::OkStatus();
  return InvalidArgument(BatchNormPlace(name), absl::StrCat(field, " has the wrong size"), absl::StrCat(values.size()),
                         absl::StrCat(expected));
}

BatchNorm1dContext ContextOf(const ColumnStatistics& statistics, double eps, bool batch_statistics) {
  BatchNorm1dContext context;
  context.batch_statistics = batch_statistics;
  context.mean.assign(statistics.mean.begin(), statistics.mean.end());
  for (const double variance : statistics.variance) {
    context.inv_std.push_back(static_cast<float>(1 / std::sqrt(variance + eps)));
  }
  return context;
}

Tensor Normalize(const BatchNorm1dContext& context, const BatchNorm1dState& state, const Tensor& x) {
  Tensor y(x.shape);
  const TableView from = x.matrix();
  const MutableTableView to = y.mutable_matrix();
  const bool affine = !state.weight.empty();
  ForEachElement(from, [&](int64_t row, int64_t c) {
    const float normalized = (from.Row(row)[c] - context.mean[c]) * context.inv_std[c];
    to.Row(row)[c] = affine ? normalized * state.weight[c] + state.bias[c] : normalized;
  });
  return y;
}

// running += factor * (current - running)
void Follow(double factor, double current, float& running) {
  running = static_cast<float>(factor * current + (1 - factor) * running);
}

}  // namespace

BatchNorm1d::BatchNorm1d(const BatchNorm1dOptions& options, std::string name)
    : options_(options), name_(std::move(name)) {
  const int64_t parameters = options.affine ? options.num_features : 0;
  const int64_t statistics = options.track_running_stats ? options.num_features : 0;
  state_.weight.assign(parameters, 1.0f);
  state_.bias.assign(parameters, 0.0f);
  state_.running_mean.assign(statistics, 0.0f);
  state_.running_var.assign(statistics, 1.0f);
}

absl::StatusOr<BatchNorm1d> BatchNorm1d::Create(const BatchNorm1dOptions& options, std::string name) {
  const std::string where = BatchNormPlace(name);
  if (options.num_features < 1) {
    return InvalidArgument(where, "num_features is not positive", absl::StrCat(options.num_features), "at least 1");
  }
  if (!(options.eps >= 0) || std::isinf(options.eps)) {
    return InvalidArgument(where, "eps is out of range", absl::StrCat(options.eps), "a finite number of at least 0");
  }
  if (options.momentum.has_value() && !(*options.momentum >= 0 && *options.momentum <= 1)) {
    return InvalidArgument(where, "momentum is out of range", absl::StrCat(*options.momentum), "0 to 1, or none");
  }
  return BatchNorm1d(options, std::move(name));
}

absl::Status BatchNorm1d::SetState(BatchNorm1dState state) {
  const int64_t parameters = options_.affine ? options_.num_features : 0;
  const int64_t statistics = options_.track_running_stats ? options_.num_features : 0;
  EQAT_RETURN_IF_ERROR(CheckSize(name_, "weight", state.weight, parameters));
  EQAT_RETURN_IF_ERROR(CheckSize(name_, "bias", state.bias, parameters));
  EQAT_RETURN_IF_ERROR(CheckSize(name_, "running_mean", state.running_mean, statistics));
  EQAT_RETURN_IF_ERROR(CheckSize(name_, "running_var", state.running_var, statistics));
  if (state.num_batches_tracked < 0) {
    return InvalidArgument(BatchNormPlace(name_), "num_batches_tracked is negative",
                           absl::StrCat(state.num_batches_tracked), "at least 0");
  }
  state_ = std::move(state);
  return absl::OkStatus();
}

absl::StatusOr<Tensor> BatchNorm1d::ForwardTraining(const Tensor& x, BatchNorm1dContext* context) {
  EQAT_RETURN_IF_ERROR(CheckInput(options_, name_, x));
  EQAT_RETURN_IF_ERROR(CheckBatch(name_, x));
  const ColumnStatistics statistics = StatisticsOf(x.matrix());
  BatchNorm1dContext used = ContextOf(statistics, options_.eps, /*batch_statistics=*/true);
  Tensor y = Normalize(used, state_, x);
  if (options_.track_running_stats) {
    ++state_.num_batches_tracked;
    const double factor = options_.momentum.value_or(1.0 / static_cast<double>(state_.num_batches_tracked));
    const double unbiased = static_cast<double>(x.shape[0]) / static_cast<double>(x.shape[0] - 1);
    for (int64_t c = 0; c < options_.num_features; ++c) {
      Follow(factor, statistics.mean[c], state_.running_mean[c]);
      Follow(factor, statistics.variance[c] * unbiased, state_.running_var[c]);
    }
  }
  if (context != nullptr) *context = std::move(used);
  return y;
}

absl::StatusOr<Tensor> BatchNorm1d::ForwardEvaluation(const Tensor& x, BatchNorm1dContext* context) const {
  EQAT_RETURN_IF_ERROR(CheckInput(options_, name_, x));
  ColumnStatistics statistics;
  if (options_.track_running_stats) {
    statistics.mean.assign(state_.running_mean.begin(), state_.running_mean.end());
    statistics.variance.assign(state_.running_var.begin(), state_.running_var.end());
  } else {
    EQAT_RETURN_IF_ERROR(CheckBatch(name_, x));
    statistics = StatisticsOf(x.matrix());
  }
  BatchNorm1dContext used = ContextOf(statistics, options_.eps, !options_.track_running_stats);
  Tensor y = Normalize(used, state_, x);
  if (context != nullptr) *context = std::move(used);
  return y;
}

absl::StatusOr<BatchNorm1dGradients> BatchNorm1d::Backward(const BatchNorm1dContext& context, const Tensor& x,
                                                           const Tensor& grad_output) const {
  EQAT_RETURN_IF_ERROR(CheckInput(options_, name_, x));
  if (grad_output.shape != x.shape) {
    return InvalidArgument(BatchNormPlace(name_), "grad_output has the wrong shape", ShapeText(grad_output.shape),
                           ShapeText(x.shape));
  }
  const TableView input = x.matrix();
  const TableView grad = grad_output.matrix();
  const auto normalized = [&](int64_t row, int64_t c) {
    return (static_cast<double>(input.Row(row)[c]) - context.mean[c]) * context.inv_std[c];
  };
  const std::vector<double> grad_sums =
      SumColumns(grad, [&](int64_t row, int64_t c) { return static_cast<double>(grad.Row(row)[c]); });
  const std::vector<double> weighted_sums =
      SumColumns(grad, [&](int64_t row, int64_t c) { return grad.Row(row)[c] * normalized(row, c); });

  BatchNorm1dGradients gradients;
  if (options_.affine) {
    gradients.weight.assign(weighted_sums.begin(), weighted_sums.end());
    gradients.bias.assign(grad_sums.begin(), grad_sums.end());
  }
  gradients.input = Tensor(x.shape);
  const MutableTableView grad_input = gradients.input.mutable_matrix();
  const double count = static_cast<double>(grad.rows);
  ForEachElement(grad, [&](int64_t row, int64_t c) {
    double centered = grad.Row(row)[c];
    // Through the batch's own mean and variance.
    if (context.batch_statistics) centered -= (grad_sums[c] + normalized(row, c) * weighted_sums[c]) / count;
    const double factor = options_.affine ? context.inv_std[c] * state_.weight[c] : context.inv_std[c];
    grad_input.Row(row)[c] = static_cast<float>(centered * factor);
  });
  return gradients;
}

}  // namespace eqat::nn
