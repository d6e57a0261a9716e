#include "formats/onnx_tables.h"

#include <cstdint>
#include <limits>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "quant/kernels/pack_kernels.h"

namespace eqat::formats {
namespace {

using io::OnnxGraph;
using io::OnnxType;

constexpr char kMicrosoft[] = "com.microsoft";

template <typename T>
std::string BytesOf(const std::vector<T>& values) {
  return std::string(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T));
}

std::string Cast(const std::string& value, OnnxType type, OnnxGraph& graph) {
  return graph.AddNode("Cast", {value}, {{"to", static_cast<int64_t>(type)}});
}

std::string Unsqueeze(const std::string& value, int64_t axis, OnnxGraph& graph) {
  return graph.AddNode("Unsqueeze", {value, graph.AddInts({axis})});
}

std::string Gather(const std::string& table, const std::string& ids, OnnxGraph& graph) {
  return graph.AddNode("Gather", {table, ids});
}

// [n, ...] as [n, sizes...].
std::string ReshapeRows(const std::string& value, std::vector<int64_t> sizes, OnnxGraph& graph) {
  sizes.insert(sizes.begin(), 0);  // as it is
  return graph.AddNode("Reshape", {value, graph.AddInts(sizes)});
}

// The bytes of all rows, without what lies between them in memory.
std::string PackedCodes(const quant::QuantizedTable& table) {
  std::string bytes;
  bytes.reserve(table.rows() * table.row_bytes());
  for (int64_t row = 0; row < table.rows(); ++row) {
    bytes.append(reinterpret_cast<const char*>(table.codes(row).data()), table.row_bytes());
  }
  return bytes;
}

// One code to a byte, or with `bits` 4 two, across rows.
std::string FlatCodes(const quant::QuantizedTable& table, int bits) {
  std::string bytes((table.rows() * table.cols() * bits + 7) / 8, '\0');
  std::vector<int32_t> codes(table.cols());
  int64_t position = 0;
  for (int64_t row = 0; row < table.rows(); ++row) {
    table.UnpackRow(row, codes.data());
    for (const int32_t code : codes) {
      bytes[position * bits / 8] |= static_cast<char>((code & 0xff) << (position * bits % 8));
      ++position;
    }
  }
  return bytes;
}

struct Parameters {
  std::vector<float> scale;
  std::vector<float> offset;
};

Parameters ParametersOf(const quant::QuantizedTable& table) {
  Parameters parameters;
  for (int64_t row = 0; row < table.rows(); ++row) {
    for (const quant::QParams& params : table.params(row)) {
      parameters.scale.push_back(params.scale);
      parameters.offset.push_back(params.zero_point);
    }
  }
  return parameters;
}

// Zero points that are codes, packed along each row like codes of `bits`.
std::string PackedZeroPoints(const quant::QuantizedTable& table, int bits) {
  std::string bytes;
  std::vector<int32_t> zero_points(table.groups());
  std::vector<uint8_t> packed(quant::kernels::PackedRowBytes(table.groups(), bits));
  for (int64_t row = 0; row < table.rows(); ++row) {
    for (int64_t group = 0; group < table.groups(); ++group) {
      zero_points[group] = static_cast<int32_t>(table.params(row)[group].zero_point);
    }
    quant::kernels::PackRow(zero_points.data(), zero_points.size(), bits, packed.data());
    bytes.append(packed.begin(), packed.end());
  }
  return bytes;
}

// The codes of rows `ids`, [n, cols], in an integer type.
std::string AddCodes(const std::string& name, const quant::QuantizedTable& table, const std::string& ids,
                     OnnxGraph& graph) {
  const int bits = table.bits();
  const bool is_signed = table.packed_rows().is_signed;
  if (8 % bits != 0 || bits == 8) {
    const OnnxType type = is_signed ? OnnxType::kInt8 : OnnxType::kUInt8;
    return Gather(graph.AddTensor(name + ".codes", type, {table.rows(), table.cols()}, FlatCodes(table, 8)), ids,
                  graph);
  }
  const int64_t in_byte = 8 / bits;
  std::string shifts;
  for (int64_t i = 0; i < in_byte; ++i) shifts += static_cast<char>(i * bits);
  const std::string packed =
      graph.AddTensor(name + ".codes", OnnxType::kUInt8, {table.rows(), table.row_bytes()}, PackedCodes(table));
  const std::string by = graph.AddTensor(name + ".shifts", OnnxType::kUInt8, {in_byte}, shifts);
  const std::string modulus =
      graph.AddTensor(name + ".modulus", OnnxType::kUInt8, {1}, std::string(1, static_cast<char>(1 << bits)));
  const std::string bytes = Unsqueeze(Gather(packed, ids, graph), 2, graph);
  const std::string shifted = graph.AddNode("BitShift", {bytes, by}, {{"direction", std::string("RIGHT")}});
  const std::string codes = ReshapeRows(graph.AddNode("Mod", {shifted, modulus}), {table.row_bytes() * in_byte}, graph);
  if (table.row_bytes() * in_byte == table.cols()) return codes;
  return graph.AddNode("Slice", {codes, graph.AddInts({0}), graph.AddInts({table.cols()}), graph.AddInts({1})});
}

std::string AddFloats(const std::string& name, const std::vector<int64_t>& shape, const std::vector<float>& values,
                      OnnxGraph& graph) {
  return graph.AddTensor(name, OnnxType::kFloat, shape, BytesOf(values));
}

std::string AddDequantized(const std::string& name, const quant::QuantizedTable& table, const std::string& ids,
                           OnnxGraph& graph) {
  const bool grouped = table.groups() > 1, has_bias = table.deploy() != nullptr && table.deploy()->has_bias();
  const Parameters parameters = ParametersOf(table);
  const auto gather_parameter = [&](const char* key, const std::vector<float>& values) {
    const std::string all = AddFloats(absl::StrCat(name, ".", key), {table.rows(), table.groups()}, values, graph);
    const std::string rows = Cast(Gather(all, ids, graph), OnnxType::kDouble, graph);
    return grouped ? Unsqueeze(rows, 2, graph) : rows;
  };
  std::string codes = Cast(AddCodes(name, table, ids, graph), OnnxType::kDouble, graph);
  if (grouped) codes = ReshapeRows(codes, {table.groups(), table.deploy()->group}, graph);
  const std::string scale = gather_parameter("scale", parameters.scale);
  const std::string offset = gather_parameter(has_bias ? "bias" : "zero_point", parameters.offset);
  const std::string values = has_bias ? graph.AddNode("Add", {graph.AddNode("Mul", {codes, scale}), offset})
                                      : graph.AddNode("Mul", {graph.AddNode("Sub", {codes, offset}), scale});
  const std::string rounded = Cast(values, OnnxType::kFloat, graph);
  return grouped ? ReshapeRows(rounded, {table.cols()}, graph) : rounded;
}

}  // namespace

std::string AddPortableLookup(const SourceTable& table, const std::string& ids, OnnxGraph& graph) {
  if (table.quantized() != nullptr) return AddDequantized(table.name(), *table.quantized(), ids, graph);
  std::vector<float> values(table.rows() * table.cols());
  table.Read(0, table.rows(), MutableTableView(values.data(), table.rows(), table.cols()));
  return Gather(AddFloats(table.name() + ".weight", {table.rows(), table.cols()}, values, graph), ids, graph);
}

std::string AddQdqLookup(const std::string& name, const quant::QuantizedTable& table, const std::string& ids,
                         OnnxGraph& graph) {
  const bool is_uint4 = table.bits() == 4;
  const OnnxType type = is_uint4 ? OnnxType::kUInt4 : OnnxType::kUInt8;
  // UINT4 runs across rows, as the codes do.
  std::string zero_points;
  for (int64_t row = 0; row < table.rows(); ++row) {
    const char code = static_cast<char>(table.zero_point(row));
    if (is_uint4 && row % 2 == 1) {
      zero_points.back() |= static_cast<char>(code << 4);
    } else {
      zero_points += code;
    }
  }
  const std::string codes =
      graph.AddTensor(name + ".codes", type, {table.rows(), table.cols()}, FlatCodes(table, table.bits()));
  const std::string scale = AddFloats(name + ".scale", {table.rows()}, ParametersOf(table).scale, graph);
  const std::string zero_point = graph.AddTensor(name + ".zero_point", type, {table.rows()}, std::move(zero_points));
  const io::OnnxAttributes by_rows = {{"axis", int64_t{0}}};
  if (is_uint4) return Gather(graph.AddNode("DequantizeLinear", {codes, scale, zero_point}, by_rows), ids, graph);
  return graph.AddNode("DequantizeLinear",
                       {Gather(codes, ids, graph), Gather(scale, ids, graph), Gather(zero_point, ids, graph)}, by_rows);
}

std::string AddBlockLookup(const std::string& name, const quant::QuantizedTable& table, const std::string& ids,
                           OnnxGraph& graph) {
  const std::string codes =
      graph.AddTensor(name + ".codes", OnnxType::kUInt8, {table.rows(), table.row_bytes()}, PackedCodes(table));
  const std::string scale =
      AddFloats(name + ".scale", {table.rows(), table.groups()}, ParametersOf(table).scale, graph);
  const std::string zero_point =
      graph.AddTensor(name + ".zero_point", OnnxType::kUInt8,
                      {table.rows(), quant::kernels::PackedRowBytes(table.groups(), table.bits())},
                      PackedZeroPoints(table, table.bits()));
  return graph.AddNode("GatherBlockQuantized", {codes, ids, scale, zero_point},
                       {{"gather_axis", int64_t{0}},
                        {"quantize_axis", int64_t{1}},
                        {"block_size", table.deploy()->group},
                        {"bits", static_cast<int64_t>(table.bits())}},
                       kMicrosoft);
}

std::string AddPooling(const SourceTable& table, const std::string& ids, const std::string& offsets,
                       const std::string& rows, OnnxGraph& graph) {
  const nn::EmbeddingBagOptions& options = table.options();
  const std::string zero = graph.AddInts({0}), one = graph.AddInts({1});
  const std::string far = graph.AddInts({std::numeric_limits<int64_t>::max()});
  const std::string length = graph.AddNode("Shape", {ids});
  const std::string bounds =
      options.include_last_offset ? offsets : graph.AddNode("Concat", {offsets, length}, {{"axis", int64_t{0}}});
  const std::string begins = graph.AddNode("Slice", {bounds, zero, graph.AddInts({-1}), zero});
  const std::string ends = graph.AddNode("Slice", {bounds, one, far, zero});
  const std::string lengths = graph.AddNode("Sub", {ends, begins});
  const std::string longest = graph.AddNode(
      "ReduceMax", {graph.AddNode("Concat", {lengths, zero}, {{"axis", int64_t{0}}})}, {{"keepdims", int64_t{0}}});

  const std::string bags = graph.AddNode("Shape", {begins});
  const std::string shape = graph.AddNode("Concat", {bags, graph.AddInts({table.cols()})}, {{"axis", int64_t{0}}});
  const std::string no_rows = graph.AddNode("ConstantOfShape", {shape});
  const std::string no_count = graph.AddNode("Mul", {begins, zero});
  const OnnxGraph::LoopBody add_turn = [&](OnnxGraph& turn_graph, const std::string& turn,
                                           const std::vector<std::string>& state) -> std::vector<std::string> {
    const std::string position = turn_graph.AddNode("Add", {begins, turn});
    std::string counts = turn_graph.AddNode("Less", {position, ends});
    const std::string safe = turn_graph.AddNode("Where", {counts, position, zero});
    if (options.padding_idx.has_value()) {
      const std::string id = Gather(ids, safe, turn_graph);
      const std::string is_padding = turn_graph.AddNode("Equal", {id, turn_graph.AddInts({*options.padding_idx})});
      counts = turn_graph.AddNode("And", {counts, turn_graph.AddNode("Not", {is_padding})});
    }
    const std::string row = Gather(rows, safe, turn_graph);
    std::string takes = Unsqueeze(counts, 1, turn_graph), next = row;
    if (options.mode == PoolMode::kMax) {
      const std::string is_first = Unsqueeze(turn_graph.AddNode("Equal", {state[1], zero}), 1, turn_graph);
      const std::string is_larger = turn_graph.AddNode("Greater", {row, state[0]});
      takes = turn_graph.AddNode("And", {takes, turn_graph.AddNode("Or", {is_first, is_larger})});
    } else {
      next = turn_graph.AddNode("Add", {state[0], row});
    }
    return {turn_graph.AddNode("Where", {takes, next, state[0]}),
            turn_graph.AddNode("Add", {state[1], Cast(counts, OnnxType::kInt64, turn_graph)})};
  };
  const std::vector<std::string> pooled =
      graph.AddLoop(longest, {{no_rows, OnnxType::kFloat}, {no_count, OnnxType::kInt64}}, add_turn);
  if (options.mode != PoolMode::kMean) return pooled[0];
  const std::string divisor = Cast(graph.AddNode("Max", {pooled[1], one}), OnnxType::kFloat, graph);
  return graph.AddNode("Div", {pooled[0], Unsqueeze(divisor, 1, graph)});
}

std::string AddRectangleOffsets(const SourceTable& table, const std::string& ids, OnnxGraph& graph) {
  const std::string shape = graph.AddNode("Shape", {ids});
  const auto size = [&](int64_t dim) { return Gather(shape, graph.AddInt(dim), graph); };
  std::string count = size(0);
  if (table.options().include_last_offset) count = graph.AddNode("Add", {count, graph.AddInt(1)});
  return graph.AddNode("Mul", {graph.AddNode("Range", {graph.AddInt(0), count, graph.AddInt(1)}), size(1)});
}

}  // namespace eqat::formats
