// freeze_bench: what one row through a whole model costs before and after freezing.
//
//   freeze_bench [MODEL_DIR ...] [--benchmark_...]
//
// Without directories: models as the package-links example makes them, ten tables and a small network with batch norm
// and dropout, in float and prepared for QAT at 8 bits. Names: latency/<model>/<original|exact|frozen>/batch:1, where
// exact is frozen with --optimize-numerics off. Tables are read by indices drawn once, so they are in the cache: what
// is timed is the graph. Outputs are compared before anything is timed: exact bit for bit.
#include <benchmark/benchmark.h>

#include <bit>
#include <cmath>
#include <cstdio>
#include <deque>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "bench/or_die.h"
#include "core/parallel_for.h"
#include "core/rng.h"
#include "model/freeze/freeze.h"
#include "model/model_directory.h"
#include "model/prepare_qat.h"

namespace {

using eqat::bench::OrDie;
using eqat::model::Function;
using eqat::model::Graph;
using eqat::model::Model;
using eqat::model::Op;

constexpr int64_t kIndicesOfABag = 5;
constexpr int64_t kTables = 10, kRows = 4096, kDim = 16, kHidden = 64;

void DieUnless(bool condition, const std::string& what) {
  if (condition) return;
  std::fprintf(stderr, "freeze_bench: %s\n", what.c_str());
  std::exit(1);
}

void Add(Model& model, const std::string& name, eqat::model::Module module) {
  DieUnless(model.AddModule(name, std::move(module)).ok(), "a module does not fit");
}

eqat::nn::BatchNorm1d TrainedBatchNorm() {
  auto norm = OrDie(eqat::nn::BatchNorm1d::Create({.num_features = kHidden}));
  eqat::nn::BatchNorm1dState& state = norm.mutable_state();
  const eqat::Rng rng(3, 0);
  for (int64_t j = 0; j < kHidden; ++j) {
    state.weight[j] = static_cast<float>(0.5 + rng.Uniform(4 * j));
    state.bias[j] = static_cast<float>(rng.Uniform(4 * j + 1) - 0.5);
    state.running_mean[j] = static_cast<float>(rng.Uniform(4 * j + 2) - 0.5);
    state.running_var[j] = static_cast<float>(0.5 + rng.Uniform(4 * j + 3));
  }
  return norm;
}

Model MakeModel() {
  Model model;
  Graph graph;
  std::vector<std::string> rows;
  for (int64_t t = 0; t < kTables; ++t) {
    const std::string name = absl::StrCat("table", t);
    eqat::nn::EmbeddingOptions options;
    options.num_embeddings = kRows;
    options.embedding_dim = kDim;
    Add(model, name, OrDie(eqat::nn::Embedding::Create(options, /*seed=*/t, name)));
    graph.nodes.push_back({.name = name + "_ids", .op = Op::kPlaceholder});
  }
  for (int64_t t = 0; t < kTables; ++t) {
    const std::string name = absl::StrCat("table", t);
    rows.push_back(name + "_row");
    graph.nodes.push_back({.name = rows.back(), .op = Op::kCallModule, .target = name, .args = {name + "_ids"}});
  }
  const auto call = [&](const char* name, const char* target, const char* arg) {
    graph.nodes.push_back({.name = name, .op = Op::kCallModule, .target = target, .args = {arg}});
  };
  graph.nodes.push_back({.name = "dots", .op = Op::kCallFunction, .function = Function::kInteractDot, .args = rows});
  rows.push_back("dots");
  graph.nodes.push_back({.name = "x", .op = Op::kCallFunction, .function = Function::kCat, .args = rows, .int_arg = 1});
  const int64_t width = kTables * kDim + kTables * (kTables - 1) / 2;
  Add(model, "top.0", OrDie(eqat::nn::Linear::Create({.in_features = width, .out_features = kHidden}, 1, "top.0")));
  Add(model, "norm", TrainedBatchNorm());
  Add(model, "top.1", eqat::model::ReLU{});
  Add(model, "drop", eqat::model::Dropout{.p = 0.1});
  Add(model, "top.2", OrDie(eqat::nn::Linear::Create({.in_features = kHidden, .out_features = 1}, 2, "top.2")));
  call("hidden", "top.0", "x");
  call("normal", "norm", "hidden");
  call("active", "top.1", "normal");
  call("kept", "drop", "active");
  call("logit", "top.2", "kept");
  graph.nodes.push_back({.name = "output", .op = Op::kOutput, .args = {"logit"}});
  DieUnless(model.SetGraph(std::move(graph)).ok(), "the graph does not fit");
  return model;
}

Model Prepared(Model model) {
  eqat::quant::QConfigMapping mapping;
  mapping.SetGlobal(eqat::quant::QConfigPreset("default_embedding_qat_qconfig"));
  OrDie(eqat::model::PrepareQat(model, mapping));
  return model;
}

// One row of indices for every table, and of numbers for inputs that declare how many they take.
struct OneRow {
  std::deque<std::vector<int64_t>> indices;
  std::vector<int64_t> offsets = {0};
  eqat::model::Feed feed;

  explicit OneRow(const Model& model) {
    const eqat::Rng rng(7, 0);
    uint64_t draw = 0;
    for (const eqat::model::Node& node : model.inlined_graph().nodes) {
      if (node.op != Op::kCallModule || eqat::model::AsLookup(*model.Find(node.target)) == nullptr) continue;
      if (feed.lookups.count(node.args[0]) > 0) continue;
      const eqat::model::Module& table = *model.Find(node.target);
      const bool is_bag = eqat::model::IsBag(table);
      const auto bound = static_cast<double>(eqat::model::AsLookup(table)->num_embeddings());
      std::vector<int64_t>& drawn = indices.emplace_back();
      for (int64_t i = 0; i < (is_bag ? kIndicesOfABag : 1); ++i) {
        drawn.push_back(static_cast<int64_t>(rng.Uniform(draw++) * bound));
      }
      eqat::LookupInput& input = feed.lookups[node.args[0]];
      input.indices = drawn;
      if (is_bag) input.offsets = eqat::IndexSpan(offsets);
    }
    for (const eqat::model::Node& node : model.graph()->nodes) {
      if (node.op != Op::kPlaceholder || feed.lookups.count(node.name) > 0) continue;
      DieUnless(node.shape.has_value(), absl::StrCat("input ", node.name, " declares no shape"));
      std::vector<int64_t> shape = *node.shape;
      for (int64_t& size : shape) size = size == eqat::model::kAnySize ? 1 : size;
      eqat::Tensor& values = feed.dense[node.name] = eqat::Tensor(shape);
      for (float& value : values.values) value = static_cast<float>(rng.Uniform(draw++) - 0.5);
    }
  }
};

struct Subject {
  std::string name;
  Model model;
  std::shared_ptr<const OneRow> row;
};

void CheckOutputs(const eqat::Tensor& expected, const eqat::Tensor& output, bool exactly, const std::string& name) {
  DieUnless(expected.shape == output.shape, name + ": another shape");
  for (int64_t i = 0; i < output.size(); ++i) {
    const float a = expected.values[i], b = output.values[i];
    const bool same = std::bit_cast<uint32_t>(a) == std::bit_cast<uint32_t>(b);
    // Far above the bounds that freezing derives for such models, far below what a wrong fold gives.
    DieUnless(same || (!exactly && std::abs(a - b) <= 1e-4f * (1 + std::abs(a))), name + ": another output");
  }
}

void AddSubjects(const std::string& name, Model model, std::deque<Subject>& subjects) {
  auto exact = OrDie(eqat::model::Freeze(model, {.optimize_numerics = false}));
  auto frozen = OrDie(eqat::model::Freeze(model));
  const auto row = std::make_shared<const OneRow>(frozen.model);
  const eqat::Tensor expected = OrDie(model.Evaluate(row->feed));
  CheckOutputs(expected, OrDie(exact.model.Evaluate(row->feed)), true, name + "/exact");
  CheckOutputs(expected, OrDie(frozen.model.Evaluate(row->feed)), false, name + "/frozen");
  subjects.push_back({absl::StrCat("latency/", name, "/original/batch:1"), std::move(model), row});
  subjects.push_back({absl::StrCat("latency/", name, "/exact/batch:1"), std::move(exact.model), row});
  subjects.push_back({absl::StrCat("latency/", name, "/frozen/batch:1"), std::move(frozen.model), row});
}

void Time(benchmark::State& state, const Subject& subject) {
  for (auto _ : state) {
    const eqat::Tensor output = OrDie(subject.model.Evaluate(subject.row->feed));
    benchmark::DoNotOptimize(output.values.data());
  }
  state.counters["nodes"] = static_cast<double>(subject.model.inlined_graph().nodes.size());
}

}  // namespace

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  eqat::SetNumThreads(1);
  std::deque<Subject> subjects;
  for (int i = 1; i < argc; ++i) {
    const std::string name = std::filesystem::path(argv[i]).lexically_normal().filename().string();
    AddSubjects(name, OrDie(eqat::model::LoadModel(argv[i])), subjects);
  }
  if (argc == 1) {
    AddSubjects("float", MakeModel(), subjects);
    AddSubjects("qat8", Prepared(MakeModel()), subjects);
  }
  for (const Subject& subject : subjects) {
    benchmark::RegisterBenchmark(subject.name.c_str(), [&subject](benchmark::State& state) { Time(state, subject); });
  }
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
}
