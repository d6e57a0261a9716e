// GraphPicture: a model's graph as boxes and arrows, to be shown as text, as Graphviz's DOT or as SVG.
#ifndef EQAT_CLI_GRAPH_PICTURE_H_
#define EQAT_CLI_GRAPH_PICTURE_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "model/graph.h"
#include "model/model.h"

namespace eqat::cli {

struct GraphBox {
  enum class Kind : uint8_t { kInput, kConstant, kTable, kModule, kNestedModel, kFunction, kOutput };
  Kind kind = Kind::kFunction;
  std::string name;          // of the node
  std::string what;          // "nn.Linear top.0 205 -> 64", "cat dim=1", ...
  std::string shape;         // of its value, "[?, 64]"; empty if nothing is known
  std::vector<size_t> args;  // boxes before it
};

using GraphPicture = std::vector<GraphBox>;  // in the order of execution

// REQUIRES: the model has a graph. Calls of nested models are one box each.
GraphPicture PictureOf(const model::Model& model);
// One table; behind it those of the nested models.
std::string GraphText(const model::Model& model);
// The table of a graph alone. `describe` gives what a call is.
std::string GraphText(const model::Graph& graph);
std::string GraphDot(const GraphPicture& picture);
// Drawn by cli/graph_layout.h. InvalidArgument for a graph too large to be looked at.
absl::StatusOr<std::string> GraphSvg(const GraphPicture& picture);

}  // namespace eqat::cli

#endif  // EQAT_CLI_GRAPH_PICTURE_H_
