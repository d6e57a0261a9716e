// ONNX: a model with a graph as one ONNX graph, else each table as a graph of its own in one file. The look-ups differ
// by format (formats/onnx_tables.h); everything around them is the same.
#include <algorithm>
#include <list>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/error.h"
#include "core/status_macros.h"
#include "formats/export_job.h"
#include "formats/onnx_tables.h"
#include "io/onnx_graph.h"
#include "model/shape_inference.h"

namespace eqat::formats {
namespace {

using io::OnnxGraph;
using io::OnnxType;
using model::Function;
using model::Node;
using model::Op;

constexpr int64_t kPortableOpset = 13;
constexpr int64_t kUInt4Opset = 21;  // the first with UINT4

class OnnxExport {
 public:
  explicit OnnxExport(ExportJob& job) : job_(job) {
    if (job.format == "onnx_qdq") deploy_ = quant::Deploy::kOnnxQdq;
    if (job.format == "onnx_block") deploy_ = quant::Deploy::kOnnxBlock;
  }

  absl::Status Run() {
    for (const SourceTable& table : job_.tables) EQAT_RETURN_IF_ERROR(Prepare(table));
    if (job_.model.graph().has_value() && job_.options.modules.empty()) {
      EQAT_RETURN_IF_ERROR(AddModel(job_.model.inlined_graph()));
      job_.report.left_out.clear();
    } else {
      for (const SourceTable& table : job_.tables) AddTable(table);
    }
    return std::move(graph_).Write(job_.path, {.opset = opset_,
                                               .microsoft = deploy_ == quant::Deploy::kOnnxBlock,
                                               .metadata = {{"format", absl::StrCat("eqat.", job_.format)}}});
  }

 private:
  // The format's arithmetic with the table's own number of bits; 8 for a float table.
  absl::StatusOr<const quant::DeployTraits*> TraitsFor(const SourceTable& table) const {
    const int bits = table.quantized() == nullptr ? 8 : table.quantized()->bits();
    for (const quant::DeployTraits& traits : quant::kDeploys) {
      if (traits.deploy == deploy_ && traits.bits == bits) return &traits;
    }
    return InvalidArgument(table.name(), absl::StrCat(job_.format, " has no tables of this many bits"),
                           absl::StrCat(bits), "8 or 4, or format onnx");
  }

  absl::Status Prepare(const SourceTable& table) {
    ValueErrors errors = {.values = table.rows() * table.cols()};
    std::string to = table.quantized() == nullptr ? "float32" : absl::StrCat(table.quantized()->bits(), " bits");
    int64_t bytes = table.quantized() == nullptr ? 4 * errors.values : table.quantized()->bytes();
    if (deploy_.has_value()) {
      EQAT_ASSIGN_OR_RETURN(const quant::DeployTraits* const traits, TraitsFor(table));
      EQAT_ASSIGN_OR_RETURN(Requantized deployed, DeployedFor(job_, table, *traits));
      errors = deployed.errors;
      to = absl::StrCat(traits->bits, " bits");
      bytes = deployed->bytes();
      if (deploy_ == quant::Deploy::kOnnxQdq && traits->bits == 4) opset_ = kUInt4Opset;
      deployed_.emplace(table.name(), std::move(deployed));
    }
    source_.emplace(table.name(), &table);
    job_.Report(table, std::move(to), bytes, errors);
    return absl::OkStatus();
  }

  std::string AddRows(const SourceTable& table, const std::string& ids) {
    const std::string& name = table.name();
    if (deploy_ == quant::Deploy::kOnnxQdq) return AddQdqLookup(name, *deployed_.at(name), ids, graph_);
    if (deploy_ == quant::Deploy::kOnnxBlock) return AddBlockLookup(name, *deployed_.at(name), ids, graph_);
    return AddPortableLookup(table, ids, graph_);
  }

  // A look-up in `table` by the inputs `ids` and, for a bag, `offsets`.
  std::string AddLookup(const SourceTable& table, const std::string& ids, const std::string& offsets) {
    AddInputOnce(ids, OnnxType::kInt64, {ids + ".size"});
    const std::string rows = AddRows(table, ids);
    if (!table.is_bag()) return rows;
    AddInputOnce(offsets, OnnxType::kInt64, {offsets + ".size"});
    return AddPooling(table, ids, offsets, rows, graph_);
  }

  // A look-up by indices of any shape: of a table, with the shape of its indices before the columns; of a bag, each row
  // of a matrix of them.
  absl::StatusOr<std::string> AddShapedLookup(const SourceTable& table, const Node& node) {
    const std::string& ids = node.args[0];
    const size_t rank = shapes_.at(ids)->size();
    if (rank == 1) return AddLookup(table, ids, ids + ".offsets");
    if (table.is_bag() && rank != 2) {
      return InvalidArgument(ids, "these indices are no bags", model::ShapePatternText(*shapes_.at(ids)),
                             "one or two dimensions");
    }
    AddInputOnce(ids, OnnxType::kInt64, DimsOf(ids));
    const std::string flat = graph_.AddNode("Reshape", {ids, graph_.AddInts({-1})});
    const std::string rows = AddRows(table, flat);
    if (table.is_bag()) return AddPooling(table, flat, AddRectangleOffsets(table, ids, graph_), rows, graph_);
    const std::string shape = graph_.AddNode("Shape", {ids});
    return graph_.AddNode(
        "Reshape", {rows, graph_.AddNode("Concat", {shape, graph_.AddInts({table.cols()})}, {{"axis", int64_t{0}}})});
  }

  std::string AddInputOnce(const std::string& name, OnnxType type, const std::vector<std::string>& dims) {
    return inputs_.insert(name).second ? graph_.AddInput(name, type, dims) : name;
  }

  void AddTable(const SourceTable& table) {
    const std::string& name = table.name();
    const std::string values = AddLookup(table, name + ".input", name + ".offsets");
    graph_.AddOutput(name + ".output", values, OnnxType::kFloat, {name + ".output.rows", absl::StrCat(table.cols())});
  }

  absl::StatusOr<model::Shapes> ShapesOf(const model::Graph& graph) const {
    return model::InferShapes(
        graph, [&](const std::string& target) { return job_.model.Find(target); }, model::Inference::kBothWays);
  }

  absl::Status AddModel(model::Graph graph) {
    EQAT_ASSIGN_OR_RETURN(shapes_, ShapesOf(graph));
    // Indices are a list unless the model says otherwise: an ONNX input has one rank.
    std::set<std::string> lists;
    for (const Node& node : graph.nodes) {
      if (node.op != Op::kCallModule || model::AsLookup(*job_.model.Find(node.target)) == nullptr) continue;
      if (!shapes_.at(node.args[0]).has_value()) lists.insert(node.args[0]);
    }
    for (Node& node : graph.nodes) {
      if (lists.count(node.name) > 0) node.shape = std::vector<int64_t>{model::kAnySize};
    }
    EQAT_ASSIGN_OR_RETURN(shapes_, ShapesOf(graph));
    for (const Node& node : graph.nodes) {
      if (node.op == Op::kOutput) {
        graph_.AddOutput("output", values_.at(node.args[0]), OnnxType::kFloat, DimsOf(node.args[0]));
      } else if (node.op != Op::kPlaceholder) {
        absl::StatusOr<std::string> value = Compute(node);
        if (!value.ok()) return AtPlace(absl::StrCat("graph node ", node.name), value.status());
        values_[node.name] = *std::move(value);
      }
    }
    return absl::OkStatus();
  }

  // The value of an argument; a placeholder that feeds no table is a dense input.
  std::string Arg(const Node& node, size_t i) {
    const auto found = values_.find(node.args[i]);
    return found != values_.end() ? found->second : AddInputOnce(node.args[i], OnnxType::kFloat, DimsOf(node.args[i]));
  }

  // Names for unknown sizes; nothing while the rank is unknown.
  std::vector<std::string> DimsOf(const std::string& node) const {
    std::vector<std::string> dims;
    const auto shape = shapes_.find(node);
    if (shape == shapes_.end() || !shape->second.has_value()) return dims;
    for (const int64_t size : *shape->second) {
      dims.push_back(size == model::kAnySize ? absl::StrCat(node, ".size", dims.size()) : absl::StrCat(size));
    }
    return dims;
  }

  std::vector<std::string> Args(const Node& node) {
    std::vector<std::string> args;
    for (size_t i = 0; i < node.args.size(); ++i) args.push_back(Arg(node, i));
    return args;
  }

  absl::StatusOr<std::string> Compute(const Node& node) {
    if (node.op == Op::kCallModule) return CallModule(node);
    if (node.op == Op::kCallFunction) return CallFunction(node);
    const Tensor& constant = *model::AsTensor(*job_.model.Find(node.target));
    return AddFloats(node.target, constant.shape, constant.values);
  }

  absl::StatusOr<std::string> CallModule(const Node& node) {
    const model::Module& module = *job_.model.Find(node.target);
    if (model::AsLookup(module) != nullptr) {
      return AddShapedLookup(*source_.at(node.target), node);
    }
    const std::string x = Arg(node, 0);
    if (const auto* linear = std::get_if<nn::Linear>(&module)) return AddLinear(*linear, node.target, x);
    if (std::holds_alternative<model::ReLU>(module)) return graph_.AddNode("Relu", {x});
    if (std::holds_alternative<model::Sigmoid>(module)) return graph_.AddNode("Sigmoid", {x});
    if (std::holds_alternative<model::Dropout>(module)) return x;
    return AddBatchNorm(std::get<nn::BatchNorm1d>(module), node.target, x);
  }

  std::string AddFloats(const std::string& name, const std::vector<int64_t>& shape, absl::Span<const float> values) {
    return graph_.AddTensor(name, OnnxType::kFloat, shape,
                            std::string(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float)));
  }

  std::string AddLinear(const nn::Linear& linear, const std::string& name, const std::string& x) {
    const Table& weight = linear.weight();
    std::vector<float> transposed(weight.rows() * weight.cols());
    for (int64_t out = 0; out < weight.rows(); ++out) {
      for (int64_t in = 0; in < weight.cols(); ++in) transposed[in * weight.rows() + out] = weight.Row(out)[in];
    }
    const std::string product =
        graph_.AddNode("MatMul", {x, AddFloats(name + ".weight", {weight.cols(), weight.rows()}, transposed)});
    if (!linear.options().bias) return product;
    return graph_.AddNode("Add", {product, AddFloats(name + ".bias", {weight.rows()}, linear.bias())});
  }

  absl::StatusOr<std::string> AddBatchNorm(const nn::BatchNorm1d& norm, const std::string& name, const std::string& x) {
    const nn::BatchNorm1dOptions& options = norm.options();
    if (!options.track_running_stats) {
      return Unimplemented(name, "a BatchNorm1d without running statistics cannot be exported");
    }
    const nn::BatchNorm1dState& state = norm.state();
    const std::vector<float> ones(options.num_features, 1.0f), zeros(options.num_features, 0.0f);
    const auto add = [&](const char* key, absl::Span<const float> values) {
      return AddFloats(absl::StrCat(name, ".", key), {options.num_features}, values);
    };
    return graph_.AddNode(
        "BatchNormalization",
        {x, add("weight", options.affine ? state.weight : ones), add("bias", options.affine ? state.bias : zeros),
         add("running_mean", state.running_mean), add("running_var", state.running_var)},
        {{"epsilon", static_cast<float>(options.eps)}});
  }

  // Dot products of all pairs, (1, 0), (2, 0), (2, 1), ...
  std::string AddInteractDot(const Node& node) {
    std::vector<std::string> stacked;
    const std::string axis = graph_.AddInts({1});
    for (const std::string& arg : Args(node)) stacked.push_back(graph_.AddNode("Unsqueeze", {arg, axis}));
    const std::string features = graph_.AddNode("Concat", stacked, {{"axis", int64_t{1}}});
    const std::string turned = graph_.AddNode("Transpose", {features}, {{"perm", std::vector<int64_t>{0, 2, 1}}});
    const std::string products = graph_.AddNode("MatMul", {features, turned});
    const int64_t count = static_cast<int64_t>(stacked.size());
    const std::string flat = graph_.AddNode("Reshape", {products, graph_.AddInts({0, count * count})});
    std::vector<int64_t> pairs;
    for (int64_t i = 1; i < count; ++i) {
      for (int64_t j = 0; j < i; ++j) pairs.push_back(i * count + j);
    }
    return graph_.AddNode("Gather", {flat, graph_.AddInts(pairs)}, {{"axis", int64_t{1}}});
  }

  absl::StatusOr<std::string> AddFlatten(const Node& node) {
    if (node.int_arg < 0) {
      return Unimplemented(node.name, "flatten from a dimension counted from the end cannot be exported",
                           absl::StrCat(node.int_arg), "start_dim of 0 or more");
    }
    std::vector<int64_t> shape(node.int_arg, 0);  // as they are
    shape.push_back(-1);
    return graph_.AddNode("Reshape", {Arg(node, 0), graph_.AddInts(shape)});
  }

  absl::StatusOr<std::string> CallFunction(const Node& node) {
    switch (node.function) {
      case Function::kCat:
        return graph_.AddNode("Concat", Args(node), {{"axis", node.int_arg}});
      case Function::kInteractDot:
        return AddInteractDot(node);
      case Function::kAdd:
        return graph_.AddNode("Add", Args(node));
      case Function::kSub:
        return graph_.AddNode("Sub", Args(node));
      case Function::kMul:
        return graph_.AddNode("Mul", Args(node));
      case Function::kDiv:
        return graph_.AddNode("Div", Args(node));
      case Function::kSlice:
        return graph_.AddNode("Slice", {Arg(node, 0), graph_.AddInts({node.start}), graph_.AddInts({node.end}),
                                        graph_.AddInts({node.int_arg})});
      case Function::kReLU:
        return graph_.AddNode("Relu", Args(node));
      case Function::kSigmoid:
        return graph_.AddNode("Sigmoid", Args(node));
      case Function::kFlatten:
        return AddFlatten(node);
    }
    return Unimplemented(node.name, "the function cannot be exported");
  }

  ExportJob& job_;
  std::optional<quant::Deploy> deploy_;  // nullopt: portable
  int64_t opset_ = kPortableOpset;
  std::map<std::string, const SourceTable*> source_;  // by module
  std::map<std::string, Requantized> deployed_;       // by module
  OnnxGraph graph_;
  std::set<std::string> inputs_;
  std::map<std::string, std::string> values_;  // by node
  model::Shapes shapes_;
};

}  // namespace

absl::Status ExportOnnx(ExportJob& job) { return OnnxExport(job).Run(); }

}  // namespace eqat::formats
