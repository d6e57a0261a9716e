// InferShapes: what is known of the shapes of a graph's values before any batch is there.
//
// Sources are the modules (a Linear makes its out_features columns), the constants, and the shapes that placeholders
// declare. Batch sizes stay unknown, and so may whole shapes: a dense input may have any rank unless something says
// otherwise.
#ifndef EQAT_MODEL_SHAPE_INFERENCE_H_
#define EQAT_MODEL_SHAPE_INFERENCE_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "model/graph.h"
#include "model/inline_calls.h"

namespace eqat::model {

// By node. Sizes with kAnySize for unknown ones; nullopt while even the rank is unknown. Of a placeholder of indices:
// the shape of the index tensor.
using Shapes = std::map<std::string, std::optional<std::vector<int64_t>>>;

enum class Inference : uint8_t {
  kForward,   // what follows from the nodes before: true for every batch that gets so far
  kBothWays,  // also from the nodes behind: true for every batch that the whole graph takes
};

// REQUIRES: `graph` has its calls inlined. InvalidArgument "node X: ..." for shapes that can never fit.
absl::StatusOr<Shapes> InferShapes(const Graph& graph, FindModule find, Inference inference);

}  // namespace eqat::model

#endif  // EQAT_MODEL_SHAPE_INFERENCE_H_
