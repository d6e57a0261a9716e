// Freeze: the smallest graph that computes the same as a trained model in evaluation. Follows the purpose of
// torch.jit.freeze: parameters become constants, parts for training alone disappear, calls are inlined, the graph is
// optimized by passes (docs/freeze.md describes each).
//
//   EQAT_ASSIGN_OR_RETURN(FrozenModel frozen, Freeze(model, {.preserve = {"top.0"}}));
//   frozen.model.Evaluate(feed);
//
// Passes that move no arithmetic leave every bit of the output as it was. The others fold constants into a Linear or
// merge several; they can be left out (optimize_numerics), and each of their changes comes with a bound.
#ifndef EQAT_MODEL_FREEZE_FREEZE_H_
#define EQAT_MODEL_FREEZE_FREEZE_H_

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "model/graph.h"
#include "model/model.h"

namespace eqat::model {

// What a QAT table becomes. Both give its evaluation bit for bit.
enum class FrozenTables : uint8_t {
  kPacked,  // packed codes, as by conversion
  kFloat,   // the fake-quantized values in float
};

struct FreezeOptions {
  // Modules, or tensors of theirs ("top.0.weight"), that stay as they are, under their names: no pass reads their
  // values, so they can be replaced afterwards. A nested model's name stands for every module in it.
  std::vector<std::string> preserve = {};
  bool optimize_numerics = true;
  FrozenTables tables = FrozenTables::kPacked;
  // Called after each run of a pass with the graph as it is then, calls inlined.
  std::function<void(const std::string& pass, const Graph& graph)> after_pass = nullptr;
};

// One run of one pass. Bytes are those of the modules' parameters (ParameterBytes).
struct PassRun {
  std::string pass;
  int64_t changes = 0;
  int64_t nodes_before = 0, nodes_after = 0;
  int64_t bytes_before = 0, bytes_after = 0;
};

// How far one change moves the values of node `node`: by at most slope * max|x| + offset per element, x being the
// values that reach the Linear, as long as nothing overflows. Several bounds of one node add up.
struct FoldBound {
  std::string pass;
  std::string node;
  double slope = 0;
  double offset = 0;
};

struct FreezeReport {
  std::vector<PassRun> runs;
  std::vector<FoldBound> bounds;
};

struct FrozenModel {
  Model model;  // frozen(), with a graph without nested models
  FreezeReport report;
};

// Names of the passes, in the order of their first run.
const std::vector<std::string>& FreezePasses();

// Freezes a clone; `model` is as it was. FailedPrecondition: a model in training mode or without a graph, a QAT table
// that cannot be converted. InvalidArgument: a name to preserve that does not exist, shapes that can never fit.
absl::StatusOr<FrozenModel> Freeze(const Model& model, const FreezeOptions& options = {});
// Consumes `model`: its tables are moved, not copied. On error it is lost.
absl::StatusOr<FrozenModel> Freeze(Model&& model, const FreezeOptions& options = {});

}  // namespace eqat::model

#endif  // EQAT_MODEL_FREEZE_FREEZE_H_
