// nn::Linear: y = x W^T + b on [n, in_features] float32. Follows torch.nn.Linear; initialised as there, uniform in
// +-1/sqrt(in_features), from a seed.
//
// Determinism: rows are multiplied in fixed blocks, so results do not depend on the number of threads, and row i of y
// depends on row i of x alone (not on how many rows came with it).
#ifndef EQAT_FLOAT_MODULES_LINEAR_H_
#define EQAT_FLOAT_MODULES_LINEAR_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/table.h"
#include "core/tensor.h"

namespace eqat::nn {

struct LinearOptions {
  int64_t in_features = 0;
  int64_t out_features = 0;
  bool bias = true;
  bool operator==(const LinearOptions&) const = default;
};

struct LinearGradients {
  std::vector<float> weight;  // [out_features, in_features]
  std::vector<float> bias;    // [out_features], empty without bias
  Tensor input;               // shape of x
};

class Linear {
 public:
  static absl::StatusOr<Linear> Create(const LinearOptions& options, uint64_t seed, std::string name = "");
  // weight [out_features, in_features]; bias [out_features], or empty without one.
  static absl::StatusOr<Linear> FromWeight(Table&& weight, std::vector<float> bias, const LinearOptions& options,
                                           std::string name = "");
  Linear(Linear&&) = default;
  Linear& operator=(Linear&&) = default;

  const LinearOptions& options() const { return options_; }
  const std::string& name() const { return name_; }
  const Table& weight() const { return weight_; }
  Table& mutable_weight() { return weight_; }
  const std::vector<float>& bias() const { return bias_; }
  std::vector<float>& mutable_bias() { return bias_; }

  // x [..., in_features] -> [..., out_features]. InvalidArgument when the last dimension differs.
  absl::StatusOr<Tensor> Forward(const Tensor& x) const;
  absl::StatusOr<LinearGradients> Backward(const Tensor& x, const Tensor& grad_output) const;

 private:
  Linear(Table&& weight, std::vector<float> bias, LinearOptions options, std::string name);
  Table weight_;
  std::vector<float> bias_;
  LinearOptions options_;
  std::string name_;
};

}  // namespace eqat::nn

#endif  // EQAT_FLOAT_MODULES_LINEAR_H_
