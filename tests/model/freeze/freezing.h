// What the tests of this folder share: a model as passes see it, graphs as lines of text, outputs as bits.
#ifndef EQAT_TESTS_MODEL_FREEZE_FREEZING_H_
#define EQAT_TESTS_MODEL_FREEZE_FREEZING_H_

#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "gtest/gtest.h"
#include "model/freeze/workspace.h"
#include "tests/model/small_models.h"
#include "tests/support/float_bits.h"
#include "tests/support/status_matchers.h"

namespace eqat::model {

// A clone of `model`, calls inlined.
inline Workspace WorkspaceOf(const Model& model, std::set<std::string> preserved = {}) {
  Workspace workspace;
  Model clone = *model.Clone();
  workspace.graph = clone.inlined_graph();
  workspace.order = clone.module_names();
  for (const std::string& name : workspace.order) {
    workspace.modules.emplace(name, std::move(*clone.FindMutable(name)));
  }
  workspace.preserved = std::move(preserved);
  return workspace;
}

// The model that a workspace holds.
inline Model ModelOf(const Workspace& workspace) {
  Model model;
  for (const std::string& name : workspace.order) {
    const Module* const module = workspace.Find(name);
    if (module == nullptr) continue;
    EQAT_EXPECT_OK(model.AddModule(name, *Clone(*module)));
  }
  EQAT_EXPECT_OK(model.SetGraph(workspace.graph));
  return model;
}

// "h = fc(x)", "y = cat(a, b)", "c = @offset"; kwargs follow as "dim=1" or "1: 2:4".
inline std::string LineOf(const Node& node) {
  std::string what = node.target;
  std::string kwargs;
  if (node.op == Op::kPlaceholder) return node.name;
  if (node.op == Op::kGetAttr) return absl::StrCat(node.name, " = @", node.target);
  if (node.op == Op::kOutput) what = "output";
  if (node.op == Op::kCallFunction) {
    const FunctionTraits& traits = TraitsOf(node.function);
    what = traits.name;
    if (traits.int_kwarg != nullptr) absl::StrAppend(&kwargs, ", ", traits.int_kwarg, "=", node.int_arg);
    if (traits.takes_range) {
      absl::StrAppend(&kwargs, ", ", node.start, ":", node.end == kToTheEnd ? "" : absl::StrCat(node.end));
    }
  }
  return absl::StrCat(node.name, " = ", what, "(", absl::StrJoin(node.args, ", "), kwargs, ")");
}

inline std::vector<std::string> LinesOf(const Graph& graph) {
  std::vector<std::string> lines;
  for (const Node& node : graph.nodes) lines.push_back(LineOf(node));
  return lines;
}

inline std::vector<std::string> NamesOf(const Workspace& workspace) {
  std::vector<std::string> names;
  for (const auto& [name, module] : workspace.modules) names.push_back(name);
  return names;
}

inline std::vector<uint32_t> OutputBits(const Model& model, const Feed& feed) {
  const absl::StatusOr<Tensor> output = model.Evaluate(feed);
  EQAT_EXPECT_OK(output);
  return output.ok() ? eqat::testing::BitsOf(output->values) : std::vector<uint32_t>();
}

inline Node GetAttr(std::string name, std::string target) {
  return {.name = std::move(name), .op = Op::kGetAttr, .target = std::move(target)};
}

inline Node SliceOf(std::string name, std::string arg, int64_t start, int64_t end, int64_t dim = 1) {
  return {.name = std::move(name),
          .op = Op::kCallFunction,
          .function = Function::kSlice,
          .args = {std::move(arg)},
          .int_arg = dim,
          .start = start,
          .end = end};
}

inline Node MatrixInput(std::string name, int64_t columns) {
  return {.name = std::move(name), .op = Op::kPlaceholder, .shape = std::vector<int64_t>{kAnySize, columns}};
}

inline BufferTensor Constant(std::vector<int64_t> shape, const std::vector<float>& values) {
  return {MakeTensor(std::move(shape), values)};
}

inline nn::BatchNorm1d MakeBatchNorm(int64_t features, nn::BatchNorm1dOptions options = {}) {
  options.num_features = features;
  nn::BatchNorm1d batch_norm = *nn::BatchNorm1d::Create(options);
  nn::BatchNorm1dState& state = batch_norm.mutable_state();
  for (size_t j = 0; j < state.weight.size(); ++j) {
    state.weight[j] = 0.75f + 0.5f * static_cast<float>(j % 3);
    state.bias[j] = 0.125f * static_cast<float>(j % 5) - 0.25f;
  }
  for (size_t j = 0; j < state.running_mean.size(); ++j) {
    state.running_mean[j] = 0.5f - 0.25f * static_cast<float>(j % 4);
    state.running_var[j] = 0.5f + static_cast<float>(j % 3);
  }
  return batch_norm;
}

// 3 rows that differ.
inline Tensor MakeRows(int64_t columns, int64_t rows = 3) {
  Tensor tensor({rows, columns});
  for (int64_t i = 0; i < tensor.size(); ++i) tensor.values[i] = static_cast<float>((i * 29) % 23 - 11) / 4.0f;
  return tensor;
}

// |a - b| <= slope * max|x| + offset for every element.
inline void ExpectWithin(const FoldBound& bound, const Tensor& x, const Tensor& a, const Tensor& b) {
  ASSERT_EQ(a.shape, b.shape);
  double largest = 0;
  for (const float value : x.values) largest = std::max(largest, std::abs(double{value}));
  for (int64_t i = 0; i < a.size(); ++i) {
    EXPECT_LE(std::abs(double{a.values[i]} - b.values[i]), bound.slope * largest + bound.offset) << i;
  }
}

}  // namespace eqat::model

#endif  // EQAT_TESTS_MODEL_FREEZE_FREEZING_H_
