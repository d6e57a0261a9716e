// How a model runs: the forward pass over its graph and the backward pass over what the forward left. Internal to this
// folder; model/model.h is the interface.
#ifndef EQAT_MODEL_EXECUTION_H_
#define EQAT_MODEL_EXECUTION_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "core/error.h"
#include "core/rng.h"
#include "core/tensor.h"
#include "float_modules/batch_norm.h"
#include "float_modules/embedding_functional.h"
#include "model/graph.h"
#include "model/model.h"

namespace eqat::model {

enum class Phase : uint8_t {
  kEvaluate,           // changes nothing
  kForwardEvaluation,  // max_norm renormalizes stored rows
  kForwardTraining,    // and observers observe, dropout drops, batch norm uses and follows the batch
};

struct PassOptions {
  Phase phase = Phase::kEvaluate;
  bool keep_contexts = false;  // for a backward
  uint64_t seed = 0;           // of dropout
  uint64_t step = 0;
};

// One record per node of the graph, in the same order.
struct Tape {
  struct Record {
    Tensor computed;                // what the node computed, if it computed anything new
    const Tensor* value = nullptr;  // `computed`, another record's, or the feed's; null for indices
    nn::LookupContext lookup;
    nn::BatchNorm1dContext batch_norm;
    std::optional<Rng> dropout;  // dropout in training: the masks' generator
    bool is_constant = false;    // of no input
  };
  std::vector<Record> records;
  std::shared_ptr<const int> structure;  // of the model at the time
};

// `writable` is `model`, or null for Phase::kEvaluate. Fills `tape` (empty before).
absl::StatusOr<Tensor> RunForward(const Model& model, Model* writable, const Feed& feed, const PassOptions& options,
                                  Tape& tape);

// REQUIRES: `tape` is of a forward that kept contexts, and of this model as it is.
absl::StatusOr<Gradients> RunBackward(const Model& model, const Tape& tape, const Tensor& grad_output);

// `status` with the node's name in front of its message.
inline absl::Status AtNode(const Node& node, const absl::Status& status) {
  return status.ok() ? status : AtPlace(absl::StrCat("node ", node.name), status);
}

}  // namespace eqat::model

#endif  // EQAT_MODEL_EXECUTION_H_
