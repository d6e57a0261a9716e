// OnnxGraph: an ONNX model under construction, written node by node.
//
//   OnnxGraph graph;
//   const std::string ids = graph.AddInput("ids", OnnxType::kInt64, {"n"});
//   const std::string table = graph.AddTensor("table", OnnxType::kFloat, {rows, cols}, bytes);
//   graph.AddOutput("out", graph.AddNode("Gather", {table, ids}), OnnxType::kFloat, {"n", "16"});
//   EQAT_RETURN_IF_ERROR(std::move(graph).Write(path, {.opset = 13}));
//
// Format: https://github.com/onnx/onnx/blob/main/docs/IR.md
#ifndef EQAT_IO_ONNX_GRAPH_H_
#define EQAT_IO_ONNX_GRAPH_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"

namespace eqat::io {

// TensorProto.DataType.
enum class OnnxType : int32_t {
  kFloat = 1,
  kUInt8 = 2,
  kInt8 = 3,
  kInt64 = 7,
  kBool = 9,
  kDouble = 11,
  kUInt4 = 21,  // two to a byte, the first in the low half, across rows
};

using OnnxAttribute = std::variant<int64_t, float, std::string, std::vector<int64_t>>;
using OnnxAttributes = std::vector<std::pair<std::string, OnnxAttribute>>;

struct OnnxFileOptions {
  int64_t opset = 13;      // of ONNX's own operators
  bool microsoft = false;  // operators of com.microsoft are in use
  std::map<std::string, std::string> metadata = {};
};

class OnnxGraph {
 public:
  OnnxGraph();
  ~OnnxGraph();
  OnnxGraph(const OnnxGraph&) = delete;
  OnnxGraph& operator=(const OnnxGraph&) = delete;

  // Each returns the name of the value it makes. Dimensions of inputs and outputs are numbers, or names
  // for what is not known; none at all: any shape.
  std::string AddInput(const std::string& name, OnnxType type, const std::vector<std::string>& dims);
  // A constant; `bytes` row-major, little-endian. One of this name that is there already is taken for the same.
  std::string AddTensor(const std::string& name, OnnxType type, const std::vector<int64_t>& shape, std::string bytes);
  std::string AddInts(const std::vector<int64_t>& values);  // I64 [n]
  std::string AddInt(int64_t value);                        // I64 scalar
  std::string AddNode(const std::string& op, const std::vector<std::string>& inputs,
                      const OnnxAttributes& attributes = {}, const std::string& domain = "");
  // ONNX's Loop of `trips` turns: `body(graph, turn, state)` adds the nodes of one turn, which may use all values made
  // so far, and returns the state after it. Returns the last state; the first is `state`.
  using LoopBody = std::function<std::vector<std::string>(OnnxGraph& graph, const std::string& turn,
                                                          const std::vector<std::string>& state)>;
  struct LoopState {
    std::string first;
    OnnxType type;
  };
  std::vector<std::string> AddLoop(const std::string& trips, const std::vector<LoopState>& state, const LoopBody& body);
  // The value `value` under the name `name`.
  void AddOutput(const std::string& name, const std::string& value, OnnxType type,
                 const std::vector<std::string>& dims);

  // Replaces `path` atomically. ResourceExhausted for a model of 2 GB or more, which protobuf cannot hold.
  absl::Status Write(const std::string& path, const OnnxFileOptions& options) &&;

 private:
  struct Impl;
  explicit OnnxGraph(OnnxGraph* parent);
  std::string NewName(const std::string& kind);
  std::unique_ptr<Impl> impl_;
};

}  // namespace eqat::io

#endif  // EQAT_IO_ONNX_GRAPH_H_
