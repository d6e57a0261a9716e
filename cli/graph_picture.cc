#include "cli/graph_picture.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <utility>
#include <variant>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "cli/graph_layout.h"
#include "cli/text_table.h"
#include "core/error.h"
#include "core/tensor.h"
#include "model/shape_inference.h"

namespace eqat::cli {
namespace {

using Kind = GraphBox::Kind;

constexpr size_t kMaxDrawnBoxes = 2000;

std::string SizesOf(const model::Module& module) {
  if (const EmbeddingLookup* table = model::AsLookup(module)) {
    const int bits = model::WeightBits(module);
    return absl::StrCat(" ", table->num_embeddings(), " x ", table->embedding_dim(),
                        bits < 32 ? absl::StrCat(", ", bits, " bits") : "");
  }
  if (const auto* linear = std::get_if<nn::Linear>(&module)) {
    return absl::StrCat(" ", linear->options().in_features, " -> ", linear->options().out_features);
  }
  if (const auto* batch_norm = std::get_if<nn::BatchNorm1d>(&module)) {
    return absl::StrCat(" ", batch_norm->options().num_features);
  }
  if (const auto* dropout = std::get_if<model::Dropout>(&module)) return absl::StrCat(" p=", dropout->p);
  return "";
}

std::string KwargsText(const model::Node& node) {
  const model::FunctionTraits& traits = model::TraitsOf(node.function);
  std::string text;
  if (traits.int_kwarg != nullptr) absl::StrAppend(&text, " ", traits.int_kwarg, "=", node.int_arg);
  if (traits.takes_range) {
    absl::StrAppend(&text, " ", node.start, ":", node.end == model::kToTheEnd ? "" : absl::StrCat(node.end));
  }
  return text;
}

// `module` is null where it is not at hand.
std::string WhatOf(const model::Node& node, const model::Module* module) {
  switch (node.op) {
    case model::Op::kPlaceholder:
      return "placeholder";
    case model::Op::kOutput:
      return "output";
    case model::Op::kGetAttr:
      return absl::StrCat("get_attr ", node.target);
    case model::Op::kCallFunction:
      return absl::StrCat(model::TraitsOf(node.function).name, KwargsText(node));
    case model::Op::kCallModule:
      return module == nullptr
                 ? absl::StrCat("call ", node.target)
                 : absl::StrCat(std::string(model::TypeName(*module)), " ", node.target, SizesOf(*module));
  }
  return "";
}

Kind KindOf(const model::Node& node, const model::Module* module) {
  switch (node.op) {
    case model::Op::kPlaceholder:
      return Kind::kInput;
    case model::Op::kOutput:
      return Kind::kOutput;
    case model::Op::kGetAttr:
      return Kind::kConstant;
    case model::Op::kCallFunction:
      return Kind::kFunction;
    case model::Op::kCallModule:
      break;
  }
  if (model::AsLookup(*module) != nullptr) return Kind::kTable;
  const bool nested =
      std::holds_alternative<model::GraphModule>(*module) || std::holds_alternative<model::InterfaceModule>(*module);
  return nested ? Kind::kNestedModel : Kind::kModule;
}

using ShapeTexts = std::map<std::string, std::string>;

// Of the nodes of the inlined graph. A model whose shapes do not fit is shown without them.
ShapeTexts ShapesOf(const model::Model& model) {
  const absl::StatusOr<model::Shapes> shapes = model::InferShapes(
      model.inlined_graph(), [&](const std::string& name) { return model.Find(name); }, model::Inference::kBothWays);
  ShapeTexts texts;
  if (!shapes.ok()) return texts;
  for (const auto& [node, sizes] : *shapes) {
    if (sizes) texts.emplace(node, model::ShapePatternText(*sizes));
  }
  return texts;
}

std::string TextOf(const ShapeTexts& shapes, const std::string& node) {
  const auto it = shapes.find(node);
  return it == shapes.end() ? "" : it->second;
}

template <typename FindModule>
std::string TableOf(const model::Graph& graph, const ShapeTexts& shapes, FindModule find) {
  TextTable table({{"node"}, {"op"}, {"arguments"}, {"shape"}});
  for (const model::Node& node : graph.nodes) {
    table.AddRow({node.name, WhatOf(node, find(node)), absl::StrJoin(node.args, ", "), TextOf(shapes, node.name)});
  }
  return table.ToString();
}

std::string XmlText(const std::string& text) {
  return absl::StrReplaceAll(text, {{"&", "&amp;"}, {"<", "&lt;"}, {">", "&gt;"}, {"\"", "&quot;"}});
}

std::string DotText(const std::string& text) { return absl::StrReplaceAll(text, {{"\\", "\\\\"}, {"\"", "\\\""}}); }

struct Colors {
  const char* fill;
  const char* line;
};

Colors ColorsOf(Kind kind) {
  switch (kind) {
    case Kind::kInput:
      return {"#e3eefb", "#4a7ab5"};
    case Kind::kConstant:
      return {"#eeeeee", "#888888"};
    case Kind::kTable:
      return {"#fdeecf", "#c08a1e"};
    case Kind::kModule:
      return {"#fbe3e0", "#b8584c"};
    case Kind::kNestedModel:
      return {"#ece4f7", "#7d5bb0"};
    case Kind::kFunction:
      return {"#e2f3e4", "#4c935a"};
    case Kind::kOutput:
      return {"#e3eefb", "#4a7ab5"};
  }
  return {"#ffffff", "#000000"};
}

std::vector<std::string> LinesOf(const GraphBox& box) {
  std::vector<std::string> lines = {box.name};
  if (box.what != box.name) lines.push_back(box.what);
  if (!box.shape.empty()) lines.push_back(box.shape);
  return lines;
}

constexpr double kCharacterWidth = 7.3, kLineHeight = 16, kPadding = 9;

LayoutNode LayoutNodeOf(const GraphBox& box) {
  const std::vector<std::string> lines = LinesOf(box);
  size_t longest = 0;
  for (const std::string& line : lines) longest = std::max(longest, line.size());
  return {.width = static_cast<double>(longest) * kCharacterWidth + 2 * kPadding,
          .height = static_cast<double>(lines.size()) * kLineHeight + 2 * kPadding - 4,
          .from = box.args};
}

// Whole tenths: the same text on every machine.
std::string Number(double value) { return absl::StrCat(std::round(value * 10) / 10); }

std::string PathOf(const std::vector<Point>& route) {
  std::string path = absl::StrCat("M", Number(route[0].x), " ", Number(route[0].y));
  for (size_t i = 1; i < route.size(); ++i) {
    const double middle = (route[i - 1].y + route[i].y) / 2;
    absl::StrAppend(&path, " C", Number(route[i - 1].x), " ", Number(middle), " ", Number(route[i].x), " ",
                    Number(middle), " ", Number(route[i].x), " ", Number(route[i].y));
  }
  return path;
}

void AppendBox(const GraphBox& box, const LayoutNode& node, Point center, std::string& svg) {
  const Colors colors = ColorsOf(box.kind);
  absl::StrAppend(&svg, "<rect x=\"", Number(center.x - node.width / 2), "\" y=\"", Number(center.y - node.height / 2),
                  "\" width=\"", Number(node.width), "\" height=\"", Number(node.height), "\" rx=\"5\" fill=\"",
                  colors.fill, "\" stroke=\"", colors.line, "\"/>\n");
  const std::vector<std::string> lines = LinesOf(box);
  double y = center.y - static_cast<double>(lines.size()) * kLineHeight / 2 + 12;
  for (size_t i = 0; i < lines.size(); ++i, y += kLineHeight) {
    absl::StrAppend(&svg, "<text x=\"", Number(center.x), "\" y=\"", Number(y), "\"",
                    i == 0 ? " font-weight=\"bold\"" : "", ">", XmlText(lines[i]), "</text>\n");
  }
}

}  // namespace

GraphPicture PictureOf(const model::Model& model) {
  const ShapeTexts shapes = ShapesOf(model);
  GraphPicture picture;
  std::map<std::string, size_t> boxes;
  for (const model::Node& node : model.graph()->nodes) {
    const model::Module* module = node.target.empty() ? nullptr : model.Find(node.target);
    GraphBox box;
    box.kind = KindOf(node, module);
    box.name = node.name;
    box.what = WhatOf(node, module);
    box.shape = TextOf(shapes, node.name);
    for (const std::string& arg : node.args) box.args.push_back(boxes.at(arg));
    boxes.emplace(node.name, picture.size());
    picture.push_back(std::move(box));
  }
  return picture;
}

std::string GraphText(const model::Model& model) {
  const auto find_in = [&](const std::string& scope) {
    return [&model, scope](const model::Node& node) -> const model::Module* {
      return node.target.empty() ? nullptr : model.Find(scope.empty() ? node.target : scope + "." + node.target);
    };
  };
  std::string text = TableOf(*model.graph(), ShapesOf(model), find_in(""));
  for (const std::string& name : model.module_names()) {
    const auto* nested = std::get_if<model::GraphModule>(model.Find(name));
    if (nested == nullptr) continue;
    absl::StrAppend(&text, "\nmodel.Graph ", name, "\n\n", TableOf(nested->graph, {}, find_in(name)));
  }
  return text;
}

std::string GraphText(const model::Graph& graph) {
  return TableOf(graph, {}, [](const model::Node&) -> const model::Module* { return nullptr; });
}

std::string GraphDot(const GraphPicture& picture) {
  std::string dot =
      "digraph model {\n"
      "  node [shape=box, style=\"rounded,filled\", fontname=\"monospace\", fontsize=10];\n";
  for (size_t i = 0; i < picture.size(); ++i) {
    const std::string label = absl::StrJoin(LinesOf(picture[i]), "\\n", [](std::string* out, const std::string& line) {
      absl::StrAppend(out, DotText(line));
    });
    const Colors colors = ColorsOf(picture[i].kind);
    absl::StrAppend(&dot, "  n", i, " [label=\"", label, "\", fillcolor=\"", colors.fill, "\", color=\"", colors.line,
                    "\"];\n");
    for (const size_t arg : picture[i].args) absl::StrAppend(&dot, "  n", arg, " -> n", i, ";\n");
  }
  return dot + "}\n";
}

absl::StatusOr<std::string> GraphSvg(const GraphPicture& picture) {
  if (picture.size() > kMaxDrawnBoxes) {
    return InvalidArgument("--graph", "the graph is too large for a picture", absl::StrCat(picture.size(), " nodes"),
                           absl::StrCat("at most ", kMaxDrawnBoxes, "; --graph=dot has no limit"));
  }
  std::vector<LayoutNode> nodes;
  for (const GraphBox& box : picture) nodes.push_back(LayoutNodeOf(box));
  const Layout layout = LayOutGraph(nodes);
  std::string svg = absl::StrCat(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"", Number(layout.width), "\" height=\"", Number(layout.height),
      "\" viewBox=\"0 0 ", Number(layout.width), " ", Number(layout.height),
      "\" font-family=\"monospace\" font-size=\"12\" text-anchor=\"middle\">\n",
      "<defs><marker id=\"arrow\" viewBox=\"0 0 8 8\" refX=\"7\" refY=\"4\" markerWidth=\"7\" markerHeight=\"7\" "
      "orient=\"auto\"><path d=\"M0 0 L8 4 L0 8 z\" fill=\"#666666\"/></marker></defs>\n",
      "<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n");
  for (const auto& routes : layout.routes) {
    for (const std::vector<Point>& route : routes) {
      absl::StrAppend(&svg, "<path d=\"", PathOf(route),
                      "\" fill=\"none\" stroke=\"#666666\" marker-end=\"url(#arrow)\"/>\n");
    }
  }
  for (size_t i = 0; i < picture.size(); ++i) AppendBox(picture[i], nodes[i], layout.centers[i], svg);
  return svg + "</svg>\n";
}

}  // namespace eqat::cli
