// LayOutGraph: places for the boxes of a directed graph, layer below layer, so that arrows go down and cross little.
//
// The usual four steps of Sugiyama, Tagawa and Toda (1981): layers by longest path, points where long edges cross a
// layer, orders within layers by the median of the neighbours, then positions near the neighbours. Deterministic.
#ifndef EQAT_CLI_GRAPH_LAYOUT_H_
#define EQAT_CLI_GRAPH_LAYOUT_H_

#include <cstddef>
#include <cstdint>
#include <vector>

namespace eqat::cli {

struct Point {
  double x = 0, y = 0;
};

struct LayoutNode {
  double width = 0, height = 0;
  std::vector<size_t> from;  // earlier nodes
};

struct Layout {
  std::vector<Point> centers;                           // of the nodes
  std::vector<std::vector<std::vector<Point>>> routes;  // [node][edge into it]: points from the bottom of `from` down
  double width = 0, height = 0;
};

Layout LayOutGraph(const std::vector<LayoutNode>& nodes);

}  // namespace eqat::cli

#endif  // EQAT_CLI_GRAPH_LAYOUT_H_
