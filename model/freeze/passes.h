// The passes of freezing, each in a file of its own. Each takes a workspace whose graph is valid, leaves one that
// computes the same, and returns how many changes it made: 0 when it has found nothing (left) to do. Internal to this
// folder; docs/freeze.md describes them with pictures.
#ifndef EQAT_MODEL_FREEZE_PASSES_H_
#define EQAT_MODEL_FREEZE_PASSES_H_

#include <cstdint>

#include "absl/status/statusor.h"
#include "model/freeze/workspace.h"

namespace eqat::model {

// Parameters become constants: QAT tables packed or float ones, max_norm applied for good, training options dropped;
// nn.ReLU and nn.Sigmoid, which have none, become functions.
absl::StatusOr<int64_t> FreezeParameters(Workspace& workspace, FrozenTables tables);

// --- These move no arithmetic: every bit of the output stays.

// Dropout does nothing in evaluation.
absl::StatusOr<int64_t> RemoveDropout(Workspace& workspace);
// Nodes whose arguments are all constants are computed now.
absl::StatusOr<int64_t> PropagateConstants(Workspace& workspace);
// Local patterns: relu of relu, cat of one, flatten of what is flat, x + 0, x - 0, x * 1, x / 1, slices of slices, cat
// of adjacent slices. Where a rank must be known it must follow from the nodes before.
absl::StatusOr<int64_t> ApplyPeephole(Workspace& workspace);
// Nodes that compute the same from the same become one, as do equal constants.
absl::StatusOr<int64_t> EliminateCommonSubexpressions(Workspace& workspace);
// Nodes and modules that the output does not depend on. Inputs and preserved modules stay.
absl::StatusOr<int64_t> EliminateDeadCode(Workspace& workspace);

// --- These move arithmetic, each within a bound that it adds to workspace.bounds.

// A Linear whose only reader adds, subtracts, multiplies or divides by a constant of one value, or one per column.
absl::StatusOr<int64_t> FoldArithmetic(Workspace& workspace);
// A Linear whose only reader is a BatchNorm1d with running statistics.
absl::StatusOr<int64_t> FoldBatchNorm(Workspace& workspace);
// Several Linear on one input become one, whose columns slices pick.
absl::StatusOr<int64_t> MergeLinears(Workspace& workspace);

}  // namespace eqat::model

#endif  // EQAT_MODEL_FREEZE_PASSES_H_
