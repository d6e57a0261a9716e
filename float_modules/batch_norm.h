// nn::BatchNorm1d on [n, num_features]: y = (x - mean) / sqrt(var + eps) * weight + bias. Follows torch.nn.BatchNorm1d:
// in training the batch's mean and biased variance normalise and the running ones follow with `momentum` (unbiased
// variance); in evaluation the running ones normalise. Training needs n >= 2. Accumulates in double, column by column.
#ifndef EQAT_FLOAT_MODULES_BATCH_NORM_H_
#define EQAT_FLOAT_MODULES_BATCH_NORM_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/tensor.h"

namespace eqat::nn {

struct BatchNorm1dOptions {
  int64_t num_features = 0;
  double eps = 1e-5;
  std::optional<double> momentum = 0.1;  // nullopt: cumulative average
  bool affine = true;
  bool track_running_stats = true;
  bool operator==(const BatchNorm1dOptions&) const = default;
};

// What state_dict holds; sizes [num_features], or empty where the option says there is none.
struct BatchNorm1dState {
  std::vector<float> weight, bias, running_mean, running_var;
  int64_t num_batches_tracked = 0;
};

struct BatchNorm1dContext {
  std::vector<float> mean, inv_std;  // [num_features], as used by the forward
  bool batch_statistics = true;
};

struct BatchNorm1dGradients {
  std::vector<float> weight, bias;  // empty without affine
  Tensor input;
};

class BatchNorm1d {
 public:
  static absl::StatusOr<BatchNorm1d> Create(const BatchNorm1dOptions& options, std::string name = "");
  // InvalidArgument naming the field whose size is wrong.
  absl::Status SetState(BatchNorm1dState state);
  const BatchNorm1dState& state() const { return state_; }
  BatchNorm1dState& mutable_state() { return state_; }
  const BatchNorm1dOptions& options() const { return options_; }
  const std::string& name() const { return name_; }

  absl::StatusOr<Tensor> ForwardTraining(const Tensor& x, BatchNorm1dContext* context);
  absl::StatusOr<Tensor> ForwardEvaluation(const Tensor& x, BatchNorm1dContext* context) const;
  absl::StatusOr<BatchNorm1dGradients> Backward(const BatchNorm1dContext& context, const Tensor& x,
                                                const Tensor& grad_output) const;

 private:
  BatchNorm1d(const BatchNorm1dOptions& options, std::string name);
  BatchNorm1dOptions options_;
  BatchNorm1dState state_;
  std::string name_;
};

}  // namespace eqat::nn

#endif  // EQAT_FLOAT_MODULES_BATCH_NORM_H_
