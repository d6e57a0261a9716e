// RunBatch: one batch from a tensor file through a model, or one module of it, to another tensor file; what `eqat run`
// does. docs/commands.md says what the tensors are called.
#ifndef EQAT_CLI_BATCH_RUN_H_
#define EQAT_CLI_BATCH_RUN_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"

namespace eqat::cli {

struct BatchRunRequest {
  std::string model;
  std::string inputs;
  std::string outputs;
  std::string module;  // empty: the whole model by its graph
  bool train = false;
  std::string optimizer;  // JSON file; empty: no update
  std::string save;       // model directory; empty: the model after the call is dropped
  uint64_t seed = 0;      // of dropout
};

// Everything is computed and checked before anything is written; on error neither `outputs` nor `save` has changed.
absl::Status RunBatch(const BatchRunRequest& request);

}  // namespace eqat::cli

#endif  // EQAT_CLI_BATCH_RUN_H_
