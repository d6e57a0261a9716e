#include "io/onnx_graph.h"

#include <limits>
#include <optional>
#include <set>
#include <type_traits>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "core/error.h"
#include "core/status_macros.h"
#include "io/file.h"
#include "io/onnx.pb.h"

namespace eqat::io {
namespace {

constexpr char kMicrosoft[] = "com.microsoft";

// AttributeProto.AttributeType.
constexpr int32_t kFloatAttribute = 1;
constexpr int32_t kIntAttribute = 2;
constexpr int32_t kStringAttribute = 3;
constexpr int32_t kGraphAttribute = 5;
constexpr int32_t kIntsAttribute = 7;

// The first IR version that knows the types of `opset`.
int64_t IrVersionOf(int64_t opset) { return opset < 21 ? 8 : 10; }

void Fill(onnx::ValueInfoProto& value, const std::string& name, OnnxType type,
          const std::optional<std::vector<std::string>>& dims) {
  value.set_name(name);
  onnx::TypeProto::Tensor& tensor = *value.mutable_type()->mutable_tensor_type();
  tensor.set_elem_type(static_cast<int32_t>(type));
  if (!dims.has_value()) return;
  onnx::TensorShapeProto& shape = *tensor.mutable_shape();
  for (const std::string& dim : *dims) {
    int64_t size = 0;
    if (absl::SimpleAtoi(dim, &size)) {
      shape.add_dim()->set_dim_value(size);
    } else {
      shape.add_dim()->set_dim_param(dim);
    }
  }
}

// What AddInput and AddOutput take.
std::optional<std::vector<std::string>> ShapeOf(const std::vector<std::string>& dims) {
  return dims.empty() ? std::nullopt : std::optional<std::vector<std::string>>(dims);
}

void Fill(onnx::AttributeProto& proto, const std::string& name, const OnnxAttribute& attribute) {
  proto.set_name(name);
  std::visit(
      [&proto](const auto& value) {
        using T = std::decay_t<decltype(value)>;
        if constexpr (std::is_same_v<T, int64_t>) {
          proto.set_type(kIntAttribute);
          proto.set_i(value);
        } else if constexpr (std::is_same_v<T, float>) {
          proto.set_type(kFloatAttribute);
          proto.set_f(value);
        } else if constexpr (std::is_same_v<T, std::string>) {
          proto.set_type(kStringAttribute);
          proto.set_s(value);
        } else {
          proto.set_type(kIntsAttribute);
          for (const int64_t element : value) proto.add_ints(element);
        }
      },
      attribute);
}

std::string BytesOf(absl::Span<const int64_t> values) {
  return std::string(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(int64_t));
}

}  // namespace

struct OnnxGraph::Impl {
  onnx::ModelProto model;
  onnx::GraphProto& graph = *model.mutable_graph();
  std::set<std::string> tensors;
  int64_t own_names = 0;
  int64_t* names = &own_names;  // values named so far, here and in loops
};

OnnxGraph::OnnxGraph() : impl_(std::make_unique<Impl>()) { impl_->graph.set_name("eqat"); }
OnnxGraph::OnnxGraph(OnnxGraph* parent) : OnnxGraph() { impl_->names = parent->impl_->names; }
OnnxGraph::~OnnxGraph() = default;

std::string OnnxGraph::NewName(const std::string& kind) { return absl::StrCat(kind, "/", (*impl_->names)++); }

std::string OnnxGraph::AddInput(const std::string& name, OnnxType type, const std::vector<std::string>& dims) {
  Fill(*impl_->graph.add_input(), name, type, ShapeOf(dims));
  return name;
}

std::string OnnxGraph::AddTensor(const std::string& name, OnnxType type, const std::vector<int64_t>& shape,
                                 std::string bytes) {
  if (!impl_->tensors.insert(name).second) return name;
  onnx::TensorProto& tensor = *impl_->graph.add_initializer();
  tensor.set_name(name);
  tensor.set_data_type(static_cast<int32_t>(type));
  for (const int64_t size : shape) tensor.add_dims(size);
  tensor.set_raw_data(std::move(bytes));
  return name;
}

std::string OnnxGraph::AddInts(const std::vector<int64_t>& values) {
  return AddTensor(NewName("ints"), OnnxType::kInt64, {static_cast<int64_t>(values.size())}, BytesOf(values));
}

std::string OnnxGraph::AddInt(int64_t value) {
  return AddTensor(NewName("int"), OnnxType::kInt64, {}, BytesOf(absl::MakeConstSpan(&value, 1)));
}

std::string OnnxGraph::AddNode(const std::string& op, const std::vector<std::string>& inputs,
                               const OnnxAttributes& attributes, const std::string& domain) {
  onnx::NodeProto& node = *impl_->graph.add_node();
  node.set_op_type(op);
  if (!domain.empty()) node.set_domain(domain);
  for (const std::string& input : inputs) node.add_input(input);
  for (const auto& [name, attribute] : attributes) Fill(*node.add_attribute(), name, attribute);
  node.set_name(NewName(op));
  node.add_output(node.name());
  return node.name();
}

std::vector<std::string> OnnxGraph::AddLoop(const std::string& trips, const std::vector<LoopState>& state,
                                            const LoopBody& body) {
  OnnxGraph turn(this);
  onnx::GraphProto& proto = turn.impl_->graph;
  proto.set_name(NewName("body"));
  const std::string number = NewName("turn"), go_on = NewName("go_on");
  Fill(*proto.add_input(), number, OnnxType::kInt64, std::vector<std::string>());
  Fill(*proto.add_input(), go_on, OnnxType::kBool, std::vector<std::string>());
  std::vector<std::string> before;
  for (const LoopState& value : state) {
    before.push_back(NewName("state"));
    Fill(*proto.add_input(), before.back(), value.type, std::nullopt);
  }
  const std::vector<std::string> after = body(turn, number, before);
  Fill(*proto.add_output(), turn.AddNode("Identity", {go_on}), OnnxType::kBool, std::vector<std::string>());
  for (size_t i = 0; i < state.size(); ++i) Fill(*proto.add_output(), after[i], state[i].type, std::nullopt);

  onnx::NodeProto& node = *impl_->graph.add_node();
  node.set_op_type("Loop");
  node.set_name(NewName("Loop"));
  node.add_input(trips);
  node.add_input("");  // no condition
  std::vector<std::string> last;
  for (const LoopState& value : state) {
    node.add_input(value.first);
    last.push_back(NewName("Loop"));
    node.add_output(last.back());
  }
  onnx::AttributeProto& attribute = *node.add_attribute();
  attribute.set_name("body");
  attribute.set_type(kGraphAttribute);
  attribute.mutable_g()->Swap(&proto);
  return last;
}

void OnnxGraph::AddOutput(const std::string& name, const std::string& value, OnnxType type,
                          const std::vector<std::string>& dims) {
  onnx::NodeProto& node = *impl_->graph.add_node();
  node.set_op_type("Identity");
  node.add_input(value);
  node.add_output(name);
  Fill(*impl_->graph.add_output(), name, type, ShapeOf(dims));
}

absl::Status OnnxGraph::Write(const std::string& path, const OnnxFileOptions& options) && {
  onnx::ModelProto& model = impl_->model;
  model.set_ir_version(IrVersionOf(options.opset));
  model.set_producer_name("eqat");
  onnx::OperatorSetIdProto& opset = *model.add_opset_import();
  opset.set_domain("");
  opset.set_version(options.opset);
  if (options.microsoft) {
    onnx::OperatorSetIdProto& microsoft = *model.add_opset_import();
    microsoft.set_domain(kMicrosoft);
    microsoft.set_version(1);
  }
  for (const auto& [key, value] : options.metadata) {
    onnx::StringStringEntryProto& entry = *model.add_metadata_props();
    entry.set_key(key);
    entry.set_value(value);
  }
  const size_t bytes = model.ByteSizeLong();
  if (bytes > static_cast<size_t>(std::numeric_limits<int32_t>::max())) {
    return ResourceExhausted(path, "an ONNX file cannot be this large", absl::StrCat(bytes, " bytes"),
                             "less than 2 GB: export some tables alone with --module, or another format");
  }
  return WriteFileAtomically(path, model.SerializeAsString());
}

}  // namespace eqat::io
