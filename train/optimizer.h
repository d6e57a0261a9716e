// Optimizers, following torch.optim and, for row-wise Adagrad, its formula in FBGEMM. On tables they touch only the
// rows that torch's would change; optimizers whose state moves every row (momentum, weight decay, Adam on a dense
// gradient) cost a pass over the table, as the formula asks, and say so in DenseOnTables().
//
//   SGD             g += wd * w;  buf = mu * buf + (1 - dampening) * g  (first step: buf = g);  w -= lr * (nesterov ? g
//   + mu * buf : buf) Adagrad         g += wd * w;  G += g^2;  w -= lr / (1 + (t - 1) * lr_decay) * g / (sqrt(G) + eps)
//   RowWiseAdagrad  G_row += mean(g_row^2);  w_row -= lr * g_row / (sqrt(G_row) + eps)
//                   (parameters that are no table: Adagrad)
//   Adam            m, v with bias correction;  w -= lr / (1 - b1^t) * m / (sqrt(v) / sqrt(1 - b2^t) + eps)
//   SparseAdam      m, v of the gradient's rows alone;  w -= lr * sqrt(1 - b2^t) / (1 - b1^t) * m / (sqrt(v) + eps)
//                   (dense parameters: Adam)
//
// t counts the steps of the parameter and stops at 2^24, as torch's float32 counter does. A table's gradient is sparse
// if its `sparse` option says so. Refused as in torch, by name: Adam and weight decay on a sparse gradient, SparseAdam
// on a table with a dense one.
#ifndef EQAT_TRAIN_OPTIMIZER_H_
#define EQAT_TRAIN_OPTIMIZER_H_

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "io/json_reader.h"
#include "io/safetensors.h"
#include "model/model.h"

namespace eqat::train {

enum class OptimizerKind : uint8_t { kSgd, kAdagrad, kRowWiseAdagrad, kAdam, kSparseAdam };

struct OptimizerConfig {
  OptimizerKind kind = OptimizerKind::kSgd;
  double lr = 0.01;
  double momentum = 0.0;                   // SGD
  double dampening = 0.0;                  // SGD
  bool nesterov = false;                   // SGD
  double weight_decay = 0.0;               // SGD, Adagrad, Adam
  double lr_decay = 0.0;                   // Adagrad
  double initial_accumulator_value = 0.0;  // Adagrad, RowWiseAdagrad
  double beta1 = 0.9, beta2 = 0.999;       // Adam, SparseAdam
  double eps = 1e-8;                       // torch's default of each kind: Adagrad 1e-10, others 1e-8
};

// {"type": "SGD" | "Adagrad" | "RowWiseAdagrad" | "Adam" | "SparseAdam", "lr": 0.1, ...}; strict. Names and defaults
// are torch's ("betas": [0.9, 0.999]).
absl::StatusOr<OptimizerConfig> OptimizerFromJson(const io::Json& json, absl::string_view file,
                                                  const std::string& pointer);
io::Json ToJson(const OptimizerConfig& config);
absl::Status Validate(const OptimizerConfig& config);  // InvalidArgument names the field
absl::string_view OptimizerName(OptimizerKind kind);   // "SGD", ...

class Optimizer {
 public:
  // Refuses combinations of parameter and kind that torch refuses (InvalidArgument names the parameter).
  static absl::StatusOr<Optimizer> Create(const OptimizerConfig& config, std::vector<model::Parameter> parameters);
  Optimizer(Optimizer&&) noexcept;
  Optimizer& operator=(Optimizer&&) noexcept;
  ~Optimizer();

  const OptimizerConfig& config() const;
  // Whether a step costs a pass over a whole table.
  bool DenseOnTables() const;
  // After the model's modules have moved (Model was moved, modules replaced): same names and shapes, new addresses.
  absl::Status Rebind(std::vector<model::Parameter> parameters);
  // One update with learning rate `lr`. Parameters without an entry in `gradients` or with requires_grad false stay as
  // they are; entries of other names are no parameters and are left alone. On error nothing has changed.
  absl::Status Step(const model::Gradients& gradients, double lr);

  // State as tensors "<parameter>.<buffer>" plus "<parameter>.step", by parameter, and back. Equal state gives equal
  // bytes. Views: valid until the next Step or SetState.
  struct StateTensor {
    std::string name;
    std::vector<int64_t> shape;
    absl::Span<const float> values;
  };
  std::vector<StateTensor> State() const;
  // Adopts the reader's memory where it can. InvalidArgument names a tensor that is missing, of another shape or not of
  // this optimizer; on error nothing has changed.
  absl::Status SetState(const io::SafetensorsReader& reader);

 private:
  struct Impl;
  explicit Optimizer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace eqat::train

#endif  // EQAT_TRAIN_OPTIMIZER_H_
