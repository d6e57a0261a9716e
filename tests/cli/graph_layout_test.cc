#include "cli/graph_layout.h"

#include <cmath>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace eqat::cli {
namespace {

// A lattice with long edges, constants and a wide layer.
std::vector<LayoutNode> Nodes() {
  std::vector<LayoutNode> nodes;
  for (size_t i = 0; i < 40; ++i) {
    LayoutNode node = {.width = 40 + static_cast<double>(i * 17 % 60), .height = 20 + static_cast<double>(i % 3) * 12};
    if (i >= 6) node.from = {i - 6, i - 1 - i % 4, i * 7 % i};
    nodes.push_back(node);
  }
  return nodes;
}

TEST(GraphLayout, BoxesAreInsideAndApart) {
  const std::vector<LayoutNode> nodes = Nodes();
  const Layout layout = LayOutGraph(nodes);
  ASSERT_EQ(layout.centers.size(), nodes.size());
  for (size_t i = 0; i < nodes.size(); ++i) {
    EXPECT_GE(layout.centers[i].x - nodes[i].width / 2, 0);
    EXPECT_LE(layout.centers[i].x + nodes[i].width / 2, layout.width);
    EXPECT_GE(layout.centers[i].y - nodes[i].height / 2, 0);
    EXPECT_LE(layout.centers[i].y + nodes[i].height / 2, layout.height);
    for (size_t j = 0; j < i; ++j) {
      const bool apart =
          std::abs(layout.centers[i].x - layout.centers[j].x) >= (nodes[i].width + nodes[j].width) / 2 - 1e-9 ||
          std::abs(layout.centers[i].y - layout.centers[j].y) >= (nodes[i].height + nodes[j].height) / 2 - 1e-9;
      EXPECT_TRUE(apart) << i << " and " << j;
    }
  }
}

TEST(GraphLayout, ArrowsGoDownFromBoxToBox) {
  const std::vector<LayoutNode> nodes = Nodes();
  const Layout layout = LayOutGraph(nodes);
  for (size_t i = 0; i < nodes.size(); ++i) {
    ASSERT_EQ(layout.routes[i].size(), nodes[i].from.size());
    for (size_t k = 0; k < nodes[i].from.size(); ++k) {
      const std::vector<Point>& route = layout.routes[i][k];
      const size_t from = nodes[i].from[k];
      EXPECT_EQ(route.front().x, layout.centers[from].x);
      EXPECT_EQ(route.front().y, layout.centers[from].y + nodes[from].height / 2);
      EXPECT_EQ(route.back().y, layout.centers[i].y - nodes[i].height / 2);
      for (size_t p = 1; p < route.size(); ++p) EXPECT_GT(route[p].y, route[p - 1].y);
    }
  }
}

// A chain is a straight line, and what depends on nothing stands right above its reader.
TEST(GraphLayout, SimpleGraphsLookSimple) {
  const Layout chain = LayOutGraph({{50, 20, {}}, {80, 20, {0}}, {30, 20, {1}}});
  EXPECT_NEAR(chain.centers[0].x, chain.centers[1].x, 1e-9);
  EXPECT_NEAR(chain.centers[1].x, chain.centers[2].x, 1e-9);
  const Layout constant = LayOutGraph({{50, 20, {}}, {50, 20, {0}}, {50, 20, {1}}, {50, 20, {}}, {50, 20, {2, 3}}});
  EXPECT_EQ(constant.centers[3].y, constant.centers[2].y);
  EXPECT_TRUE(LayOutGraph({}).centers.empty());
}

}  // namespace
}  // namespace eqat::cli
