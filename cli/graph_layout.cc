#include "cli/graph_layout.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace eqat::cli {
namespace {

constexpr double kMargin = 12;
constexpr double kGapBetweenBoxes = 18;
constexpr double kGapBetweenPoints = 8;
constexpr double kGapBetweenLayers = 34;
constexpr int kSweeps = 12;

// A box, or a point where a long edge crosses a layer.
struct Vertex {
  double width = 0, height = 0;
  size_t layer = 0;
  double x = 0;
  std::vector<size_t> above, below;
};

class LayerLayout {
 public:
  explicit LayerLayout(const std::vector<LayoutNode>& nodes) : nodes_(nodes) {}

  Layout Run() {
    MakeVertices();
    for (int sweep = 0; sweep < kSweeps; ++sweep) OrderLayers(/*downwards=*/sweep % 2 == 0);
    for (int sweep = 0; sweep < kSweeps; ++sweep) MoveToNeighbours(/*downwards=*/sweep % 2 == 0);
    return Result();
  }

 private:
  static double GapBehind(const Vertex& vertex) { return vertex.height > 0 ? kGapBetweenBoxes : kGapBetweenPoints; }

  // The layer of each node: below all it depends on; what depends on nothing stands right above its first reader.
  std::vector<size_t> Layers() const {
    std::vector<size_t> layers(nodes_.size(), 0);
    for (size_t i = 0; i < nodes_.size(); ++i) {
      for (const size_t from : nodes_[i].from) layers[i] = std::max(layers[i], layers[from] + 1);
    }
    std::vector<size_t> first_reader(nodes_.size(), SIZE_MAX);
    for (size_t i = 0; i < nodes_.size(); ++i) {
      for (const size_t from : nodes_[i].from) first_reader[from] = std::min(first_reader[from], layers[i]);
    }
    for (size_t i = 0; i < nodes_.size(); ++i) {
      if (nodes_[i].from.empty() && first_reader[i] != SIZE_MAX) layers[i] = first_reader[i] - 1;
    }
    return layers;
  }

  void MakeVertices() {
    const std::vector<size_t> layers = Layers();
    for (size_t i = 0; i < nodes_.size(); ++i) {
      vertices_.push_back({.width = nodes_[i].width, .height = nodes_[i].height, .layer = layers[i]});
    }
    layers_.resize(layers.empty() ? 0 : *std::max_element(layers.begin(), layers.end()) + 1);
    for (size_t i = 0; i < nodes_.size(); ++i) layers_[layers[i]].push_back(i);
    chains_.resize(nodes_.size());
    for (size_t i = 0; i < nodes_.size(); ++i) {
      for (const size_t from : nodes_[i].from) chains_[i].push_back(Chain(from, i));
    }
    for (std::vector<size_t>& layer : layers_) PlaceInOrder(layer);
  }

  // The vertices of an edge, both ends included.
  std::vector<size_t> Chain(size_t from, size_t to) {
    std::vector<size_t> chain = {from};
    for (size_t layer = vertices_[from].layer + 1; layer < vertices_[to].layer; ++layer) {
      vertices_.push_back({.layer = layer});
      layers_[layer].push_back(vertices_.size() - 1);
      chain.push_back(vertices_.size() - 1);
    }
    chain.push_back(to);
    for (size_t i = 0; i + 1 < chain.size(); ++i) {
      vertices_[chain[i]].below.push_back(chain[i + 1]);
      vertices_[chain[i + 1]].above.push_back(chain[i]);
    }
    return chain;
  }

  // Side by side, from 0.
  void PlaceInOrder(const std::vector<size_t>& layer) {
    double x = 0;
    for (const size_t v : layer) {
      vertices_[v].x = x + vertices_[v].width / 2;
      x += vertices_[v].width + GapBehind(vertices_[v]);
    }
  }

  // Where the neighbours of `v` on one side lie in the middle, or where it lies itself if it has none.
  double MedianOf(size_t v, bool above) const {
    std::vector<double> xs;
    for (const size_t neighbour : above ? vertices_[v].above : vertices_[v].below) xs.push_back(vertices_[neighbour].x);
    if (xs.empty()) return vertices_[v].x;
    std::sort(xs.begin(), xs.end());
    return (xs[(xs.size() - 1) / 2] + xs[xs.size() / 2]) / 2;
  }

  template <typename Visit>
  void ForEachLayer(bool downwards, Visit visit) {
    if (downwards) {
      for (size_t i = 1; i < layers_.size(); ++i) visit(layers_[i]);
    } else {
      for (size_t i = layers_.size(); i-- > 1;) visit(layers_[i - 1]);
    }
  }

  void OrderLayers(bool downwards) {
    ForEachLayer(downwards, [&](std::vector<size_t>& layer) {
      std::vector<std::pair<double, size_t>> order;
      for (const size_t v : layer) order.emplace_back(MedianOf(v, downwards), order.size());
      std::sort(order.begin(), order.end());
      std::vector<size_t> sorted;
      for (const auto& [median, position] : order) sorted.push_back(layer[position]);
      layer = std::move(sorted);
      PlaceInOrder(layer);
    });
  }

  // Every vertex goes to the median of its neighbours, or as near as its own ones in the layer let it.
  void MoveToNeighbours(bool downwards) {
    ForEachLayer(downwards, [&](std::vector<size_t>& layer) {
      std::vector<double> wanted;
      for (const size_t v : layer) wanted.push_back(MedianOf(v, downwards));
      PlaceNear(layer, wanted);
    });
  }

  // In the given order, without overlaps, the middle between pushing all to the right and all to the left.
  void PlaceNear(const std::vector<size_t>& layer, const std::vector<double>& wanted) {
    std::vector<double> right(wanted), left(wanted);
    const auto distance = [&](size_t i) {  // between the centers of i and i + 1
      const Vertex &a = vertices_[layer[i]], &b = vertices_[layer[i + 1]];
      return (a.width + b.width) / 2 + GapBehind(a);
    };
    for (size_t i = 0; i + 1 < layer.size(); ++i) right[i + 1] = std::max(right[i + 1], right[i] + distance(i));
    for (size_t i = layer.size(); i-- > 1;) left[i - 1] = std::min(left[i - 1], left[i] - distance(i - 1));
    for (size_t i = 0; i < layer.size(); ++i) vertices_[layer[i]].x = (right[i] + left[i]) / 2;
  }

  Layout Result() {
    double leftmost = INFINITY, rightmost = 0;
    for (const Vertex& vertex : vertices_) leftmost = std::min(leftmost, vertex.x - vertex.width / 2);
    for (Vertex& vertex : vertices_) {
      vertex.x += kMargin - leftmost;
      rightmost = std::max(rightmost, vertex.x + vertex.width / 2);
    }
    std::vector<double> tops, heights;
    double y = kMargin;
    for (const std::vector<size_t>& layer : layers_) {
      double height = 0;
      for (const size_t v : layer) height = std::max(height, vertices_[v].height);
      tops.push_back(y);
      heights.push_back(height);
      y += height + kGapBetweenLayers;
    }
    const auto center_y = [&](size_t v) { return tops[vertices_[v].layer] + heights[vertices_[v].layer] / 2; };
    Layout layout;
    layout.width = rightmost + kMargin;
    layout.height = y - kGapBetweenLayers + kMargin;
    layout.routes.resize(nodes_.size());
    for (size_t i = 0; i < nodes_.size(); ++i) {
      layout.centers.push_back({vertices_[i].x, center_y(i)});
      for (const std::vector<size_t>& chain : chains_[i]) {
        std::vector<Point> route;
        for (const size_t v : chain) route.push_back({vertices_[v].x, center_y(v)});
        route.front().y += nodes_[chain.front()].height / 2;
        route.back().y -= nodes_[i].height / 2;
        layout.routes[i].push_back(std::move(route));
      }
    }
    return layout;
  }

  const std::vector<LayoutNode>& nodes_;
  std::vector<Vertex> vertices_;  // the nodes, then the points
  std::vector<std::vector<size_t>> layers_;
  std::vector<std::vector<std::vector<size_t>>> chains_;  // [node][edge into it]
};

}  // namespace

Layout LayOutGraph(const std::vector<LayoutNode>& nodes) { return LayerLayout(nodes).Run(); }

}  // namespace eqat::cli
