#include "model/model.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>

#include "core/parallel_for.h"
#include "float_modules/activation.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/model/small_models.h"
#include "tests/support/status_matchers.h"

namespace eqat::model {
namespace {

using ::eqat::testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::Eq;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Key;
using ::testing::Pointwise;

constexpr int64_t kDim = 3;

// Every kind of node between two inputs of indices, one of them used twice, and dense values.
struct WholeModel {
  std::vector<int64_t> item_ids = {3, 1, 1, 4, 0, 2};
  std::vector<int64_t> item_offsets = {0, 2, 2, 5};
  std::vector<float> item_weights = {0.5f, -1.0f, 2.0f, 0.25f, 1.5f, 1.0f};
  std::vector<int64_t> user_ids = {2, 0, 2, 5};
  Model model;
  Feed feed;

  WholeModel() {
    Add(model, "item", MakeBag(BagOptions(5, kDim, PoolMode::kSum), 1));
    Add(model, "item_mean", MakeBag(BagOptions(5, kDim, PoolMode::kSum), 2));
    Add(model, "user", MakeEmbedding(TableOptions(6, kDim), 3));
    Add(model, "fc", MakeLinear(2, kDim, true, 4));
    Add(model, "norm", *nn::BatchNorm1d::Create({.num_features = kDim}));
    Add(model, "drop", Dropout{.p = 0.3});
    Add(model, "gate", Sigmoid());
    Add(model, "last", MakeLinear(4 * kDim + 3, 2, false, 5));
    const absl::Status status = model.SetGraph({{
        Input("item_ids"),
        Input("user_ids"),
        Input("dense"),
        CallModule("item", "item", "item_ids"),
        CallModule("mean", "item_mean", "item_ids"),
        CallModule("user", "user", "user_ids"),
        CallModule("user_again", "user", "user_ids"),
        CallModule("fc", "fc", "dense"),
        CallModule("norm", "norm", "fc"),
        CallModule("gate", "gate", "norm"),
        Call("gated", Function::kMul, {"user", "gate"}),
        Call("column", Function::kInteractDot, {"gate", "user"}),
        Call("scaled", Function::kMul, {"column", "gated"}),
        Call("sum", Function::kAdd, {"scaled", "column"}),
        Call("twice", Function::kAdd, {"user_again", "user_again"}),
        Call("soft", Function::kSigmoid, {"twice"}),
        Call("dots", Function::kInteractDot, {"item", "mean", "soft"}),
        Call("x", Function::kCat, {"item", "mean", "sum", "soft", "dots"}, -1),
        CallModule("drop", "drop", "x"),
        CallModule("last", "last", "drop"),
        Call("flat", Function::kFlatten, {"last"}, 0),
        Output("flat"),
    }});
    EQAT_EXPECT_OK(status);
    feed.lookups["item_ids"] = Jagged(item_ids, item_offsets);
    feed.lookups["item_ids"].per_sample_weights = item_weights;
    feed.lookups["user_ids"] = Indices(user_ids);
    feed.dense["dense"] = MakeTensor({4, 2}, {0.5f, -1.0f, 0.25f, 2.0f, -0.75f, 0.0f, 1.5f, 1.0f});
  }
};

std::vector<float> DenseGradient(const Gradients& gradients, const Parameter& parameter) {
  const auto it = gradients.find(parameter.name);
  if (it == gradients.end()) return std::vector<float>(parameter.values.rows * parameter.values.cols, 0.0f);
  if (!it->second.rows) return it->second.dense;
  const Table dense = *nn::ToDense(*it->second.rows, parameter.values.rows);
  return std::vector<float>(dense.data(), dense.data() + dense.rows() * dense.cols());
}

// sum(output * weight) with different weights, in double.
double WeightedSum(const Tensor& output, const Tensor& weight) {
  double sum = 0;
  for (int64_t i = 0; i < output.size(); ++i) sum += static_cast<double>(output.values[i]) * weight.values[i];
  return sum;
}

Tensor OutputWeight(const std::vector<int64_t>& shape) {
  Tensor weight(shape);
  for (int64_t i = 0; i < weight.size(); ++i) weight.values[i] = 0.5f - 0.375f * static_cast<float>(i % 4);
  return weight;
}

// Central differences of step h: their own error is h^2 times a third derivative of order 1, and the rounding of
// float32 outputs of order 10 divided by h; with h = 2^-7 both are below 5e-4, and gradients are of order 1.
constexpr float kStep = 1.0f / 128;
constexpr double kGradientTolerance = 4e-3;

void CheckGradient(const char* what, absl::Span<float> values, absl::Span<const float> gradient,
                   const std::function<double()>& loss) {
  ASSERT_EQ(values.size(), gradient.size()) << what;
  for (size_t i = 0; i < values.size(); ++i) {
    const float value = values[i];
    values[i] = value + kStep;
    const double above = loss();
    values[i] = value - kStep;
    const double below = loss();
    values[i] = value;
    EXPECT_NEAR(gradient[i], (above - below) / (2 * kStep), kGradientTolerance) << what << "[" << i << "]";
  }
}

TEST(Model, GradientsAreThoseOfFiniteDifferences) {
  for (const bool training : {true, false}) {
    SCOPED_TRACE(training ? "training" : "evaluation");
    WholeModel whole;
    const auto forward = [&](std::shared_ptr<Tape>* tape) {
      return training ? whole.model.ForwardTraining(whole.feed, 1, 2, tape)
                      : whole.model.ForwardEvaluation(whole.feed, tape);
    };
    std::shared_ptr<Tape> tape;
    EQAT_ASSERT_OK_AND_ASSIGN(const Tensor output, forward(&tape));
    const Tensor weight = OutputWeight(output.shape);
    EQAT_ASSERT_OK_AND_ASSIGN(const Gradients gradients, whole.model.Backward(*tape, weight));
    const auto loss = [&] { return WeightedSum(*forward(nullptr), weight); };
    for (const Parameter& parameter : whole.model.Parameters()) {
      CheckGradient(parameter.name.c_str(),
                    absl::MakeSpan(parameter.values.data, parameter.values.rows * parameter.values.cols),
                    DenseGradient(gradients, parameter), loss);
    }
    CheckGradient("item_ids.per_sample_weights", absl::MakeSpan(whole.item_weights),
                  gradients.at("item_ids.per_sample_weights").dense, loss);
  }
}

TEST(Model, TablesHaveRowSparseGradientsAndOthersDenseOnes) {
  WholeModel whole;
  std::shared_ptr<Tape> tape;
  EQAT_ASSERT_OK_AND_ASSIGN(const Tensor output, whole.model.ForwardTraining(whole.feed, 1, 2, &tape));
  EQAT_ASSERT_OK_AND_ASSIGN(const Gradients gradients, whole.model.Backward(*tape, OutputWeight(output.shape)));
  EXPECT_THAT(gradients, ElementsAre(Key("fc.bias"), Key("fc.weight"), Key("item.weight"),
                                     Key("item_ids.per_sample_weights"), Key("item_mean.weight"), Key("last.weight"),
                                     Key("norm.bias"), Key("norm.weight"), Key("user.weight")));
  EXPECT_THAT(gradients.at("user.weight").rows->rows, ElementsAre(0, 2, 5));
  EXPECT_THAT(gradients.at("user.weight").dense, IsEmpty());
  EXPECT_FALSE(gradients.at("fc.weight").rows.has_value());
}

TEST(Model, EmbeddingKeepsTheShapeOfItsIndices) {
  Model model;
  Add(model, "user", MakeEmbedding(TableOptions(6, 2)));
  EQAT_ASSERT_OK(model.SetGraph({{Input("ids"), CallModule("e", "user", "ids"), Output("e")}}));
  const std::vector<int64_t> ids = {5, 1, 0, 1, 1, 2};
  const Table table = MakeTable(6, 2);
  struct Case {
    std::vector<int64_t> shape, expected;
  };
  for (const Case& c : {Case{{}, {6, 2}}, Case{{6}, {6, 2}}, Case{{2, 3}, {2, 3, 2}}, Case{{1, 6, 1}, {1, 6, 1, 2}}}) {
    Feed feed;
    feed.lookups["ids"] = Indices(ids, c.shape);
    EQAT_ASSERT_OK_AND_ASSIGN(const Tensor output, model.Evaluate(feed));
    EXPECT_EQ(output.shape, c.expected);
    for (int64_t i = 0; i < 6; ++i) {
      EXPECT_EQ(output.values[2 * i], table.Row(ids[i])[0]);
      EXPECT_EQ(output.values[2 * i + 1], table.Row(ids[i])[1]);
    }
  }
}

TEST(Model, TakesEmptyBatches) {
  Model model;
  Add(model, "item", MakeBag(BagOptions(6, 2)));
  Add(model, "fc", MakeLinear(2, 3));
  EQAT_ASSERT_OK(
      model.SetGraph({{Input("ids"), CallModule("e", "item", "ids"), CallModule("y", "fc", "e"), Output("y")}}));
  const std::vector<int64_t> none;
  Feed feed;
  feed.lookups["ids"] = Jagged(none, none);
  std::shared_ptr<Tape> tape;
  EQAT_ASSERT_OK_AND_ASSIGN(const Tensor output, model.ForwardTraining(feed, 0, 0, &tape));
  EXPECT_THAT(output.shape, ElementsAre(0, 3));
  EQAT_ASSERT_OK_AND_ASSIGN(const Gradients gradients, model.Backward(*tape, output));
  EXPECT_THAT(gradients.at("item.weight").rows->rows, IsEmpty());
  EXPECT_THAT(gradients.at("fc.bias").dense, ElementsAre(0, 0, 0));
}

// A model whose output is one dropout of its input.
Model DropoutModel(const std::vector<std::string>& nodes) {
  Model model;
  Add(model, "drop", Dropout{.p = 0.5});
  Graph graph{{Input("x")}};
  for (const std::string& node : nodes) graph.nodes.push_back(CallModule(node, "drop", "x"));
  graph.nodes.push_back(Call("all", Function::kCat, nodes, 1));
  graph.nodes.push_back(Output("all"));
  EQAT_EXPECT_OK(model.SetGraph(std::move(graph)));
  return model;
}

TEST(Model, DropoutIsAFunctionOfSeedStepAndNode) {
  Model model = DropoutModel({"a", "b"});
  Feed feed;
  feed.dense["x"] = MakeTensor({1, 64}, std::vector<float>(64, 1.0f));
  const auto masks = [&](uint64_t seed, uint64_t step) {
    return model.ForwardTraining(feed, seed, step, nullptr)->values;
  };
  const std::vector<float> first = masks(1, 1);
  EXPECT_EQ(first, masks(1, 1));
  EXPECT_NE(first, masks(1, 2));
  EXPECT_NE(first, masks(2, 1));
  EXPECT_FALSE(std::equal(first.begin(), first.begin() + 64, first.begin() + 64)) << "two nodes share a mask";
  EXPECT_THAT(model.Evaluate(feed)->values, ::testing::Each(Eq(1.0f)));
  EXPECT_THAT(model.ForwardEvaluation(feed, nullptr)->values, ::testing::Each(Eq(1.0f)));
}

TEST(Model, ResultsDoNotDependOnTheNumberOfThreads) {
  const auto run = [](int threads) {
    SetNumThreads(threads);
    WholeModel whole;
    std::shared_ptr<Tape> tape;
    const Tensor output = *whole.model.ForwardTraining(whole.feed, 1, 2, &tape);
    const Gradients gradients = *whole.model.Backward(*tape, OutputWeight(output.shape));
    std::vector<float> all = output.values;
    for (const Parameter& parameter : whole.model.Parameters()) {
      const std::vector<float> gradient = DenseGradient(gradients, parameter);
      all.insert(all.end(), gradient.begin(), gradient.end());
    }
    return all;
  };
  const std::vector<float> one = run(1);
  EXPECT_EQ(one, run(3));
  SetNumThreads(0);
}

// Each call of a table may move its observer, and shortens rows that are too long: the second call sees what the first
// did. Other tables run beside it.
TEST(Model, ATableTakesItsCallsInTheOrderOfTheNodes) {
  nn::EmbeddingOptions options = TableOptions(6, kDim);
  options.max_norm = 1.0;
  quant::QConfig qconfig = Preset("default_embedding_qat_qconfig");
  qconfig.weight.observer.averaging_constant = 0.5;
  const std::vector<int64_t> first = {0, 3, 5}, second = {5, 1, 0};
  qat::Embedding alone = MakeQatEmbedding(options, qconfig);
  std::vector<float> expected;
  for (const std::vector<int64_t>& ids : {first, second}) {
    std::vector<float> values(3 * kDim);
    EQAT_ASSERT_OK(alone.Forward(Indices(ids), MutableTableView(values.data(), 3, kDim), nullptr));
    expected.insert(expected.end(), values.begin(), values.end());
  }
  EQAT_ASSERT_OK_AND_ASSIGN(const quant::FakeQuantizeState expected_state, alone.FakeQuantState());

  for (const int threads : {1, 2, 5}) {
    SCOPED_TRACE(threads);
    SetNumThreads(threads);
    for (int repetition = 0; repetition < 20; ++repetition) {
      Model model;
      Graph graph{
          {Input("second"), Input("first"), CallModule("a", "table", "first"), CallModule("b", "table", "second")}};
      Add(model, "table", MakeQatEmbedding(options, qconfig));
      for (const char* name : {"u", "v", "w"}) {
        Add(model, name, MakeQatEmbedding(options, qconfig, 1));
        graph.nodes.push_back(CallModule(std::string("of_") + name, name, "first"));
      }
      graph.nodes.push_back(Call("x", Function::kCat, {"a", "b"}));
      graph.nodes.push_back(Output("x"));
      EQAT_ASSERT_OK(model.SetGraph(std::move(graph)));
      Feed feed;
      feed.lookups["first"] = Indices(first);
      feed.lookups["second"] = Indices(second);
      EQAT_ASSERT_OK_AND_ASSIGN(const Tensor output, model.ForwardTraining(feed, 0, 0, nullptr));
      ASSERT_THAT(output.values, Pointwise(Eq(), expected));
      const auto state = std::get<qat::Embedding>(*model.Find("table")).FakeQuantState();
      ASSERT_TRUE(state.ok());
      ASSERT_EQ(state->min_val, expected_state.min_val);
      ASSERT_EQ(state->max_val, expected_state.max_val);
    }
  }
  SetNumThreads(0);
}

TEST(Model, OfSeveralTablesTheFirstNodesErrorIsReported) {
  Model model;
  Graph graph{{Input("good"), Input("bad")}};
  std::vector<std::string> nodes;
  for (const char* name : {"z", "y", "x", "w"}) {
    Add(model, name, MakeEmbedding(TableOptions(6, kDim)));
    nodes.push_back(std::string("of_") + name);
    graph.nodes.push_back(CallModule(nodes.back(), name, nodes.size() == 1 ? "good" : "bad"));
  }
  graph.nodes.push_back(Call("sum", Function::kCat, nodes));
  graph.nodes.push_back(Output("sum"));
  EQAT_ASSERT_OK(model.SetGraph(std::move(graph)));
  const std::vector<int64_t> good(100, 1), bad(100, 6);
  Feed feed;
  feed.lookups["good"] = Indices(good);
  feed.lookups["bad"] = Indices(bad);
  for (const int threads : {1, 2, 5}) {
    SetNumThreads(threads);
    for (int repetition = 0; repetition < 50; ++repetition) {
      ASSERT_THAT(model.Evaluate(feed), StatusIs(absl::StatusCode::kOutOfRange, HasSubstr("node of_y: y: ")));
    }
  }
  SetNumThreads(0);
}

TEST(Model, EvaluateChangesNothingAndTheOthersWhatTheySay) {
  Model model;
  nn::EmbeddingBagOptions options = BagOptions(4, 3);
  options.max_norm = 1.0;
  Add(model, "item", MakeBag(options));
  Add(model, "tags", MakeQatBag(BagOptions(4, 3), Preset("default_embedding_qat_qconfig")));
  Add(model, "norm", *nn::BatchNorm1d::Create({.num_features = 3}));
  EQAT_ASSERT_OK(
      model.SetGraph({{Input("a"), Input("b"), CallModule("e0", "item", "a"), CallModule("e1", "tags", "b"),
                       Call("s", Function::kAdd, {"e0", "e1"}), CallModule("y", "norm", "s"), Output("y")}}));
  const std::vector<int64_t> ids = {1, 3};
  Feed feed;
  feed.lookups["a"] = feed.lookups["b"] = Indices(ids, {2, 1});
  const auto item_row = [&] { return std::get<nn::EmbeddingBag>(*model.Find("item")).weight().Row(1)[0]; };
  const auto observed = [&] {
    return !std::get<qat::EmbeddingBag>(*model.Find("tags")).FakeQuantState()->min_val.empty();
  };
  const auto batches = [&] { return std::get<nn::BatchNorm1d>(*model.Find("norm")).state().num_batches_tracked; };
  const float before = item_row();
  EQAT_ASSERT_OK_AND_ASSIGN(const Tensor evaluated, model.Evaluate(feed));
  EXPECT_EQ(item_row(), before);
  EQAT_ASSERT_OK_AND_ASSIGN(const Tensor forward, model.ForwardEvaluation(feed, nullptr));
  EXPECT_EQ(forward.values, evaluated.values);
  EXPECT_NE(item_row(), before);
  EXPECT_FALSE(observed());
  EXPECT_EQ(batches(), 0);
  EQAT_ASSERT_OK(model.ForwardTraining(feed, 0, 0, nullptr));
  EXPECT_TRUE(observed());
  EXPECT_EQ(batches(), 1);
}

TEST(Model, FrozenAndQuantizedTablesHaveNoGradient) {
  Model model;
  nn::EmbeddingBagOptions frozen = BagOptions(4, 3, PoolMode::kSum);
  frozen.requires_grad = false;
  Add(model, "frozen", MakeBag(frozen));
  Add(model, "packed", *MakeQatBag(BagOptions(4, 3), Preset("default_embedding_qat_qconfig_4bit")).Convert());
  EQAT_ASSERT_OK(
      model.SetGraph({{Input("a"), Input("b"), CallModule("e0", "frozen", "a"), CallModule("e1", "packed", "b"),
                       Call("s", Function::kAdd, {"e0", "e1"}), Output("s")}}));
  const std::vector<int64_t> ids = {1, 3};
  const std::vector<float> weights = {2.0f, 1.0f};
  Feed feed;
  feed.lookups["a"] = feed.lookups["b"] = Indices(ids, {2, 1});
  feed.lookups["a"].per_sample_weights = weights;
  std::shared_ptr<Tape> tape;
  EQAT_ASSERT_OK_AND_ASSIGN(const Tensor output, model.ForwardTraining(feed, 0, 0, &tape));
  EQAT_ASSERT_OK_AND_ASSIGN(const Gradients gradients, model.Backward(*tape, output));
  EXPECT_THAT(gradients, ElementsAre(Key("a.per_sample_weights")));
}

TEST(Model, ParametersComeByNameWithWhatOptimizersAsk) {
  Model model;
  nn::EmbeddingOptions user = TableOptions(4, 2);
  user.sparse = true;
  user.requires_grad = false;
  Add(model, "user", MakeEmbedding(user));
  Add(model, "top.10", MakeLinear(2, 3));
  Add(model, "norm", *nn::BatchNorm1d::Create({.num_features = 2}));
  Add(model, "plain_norm", *nn::BatchNorm1d::Create({.num_features = 2, .affine = false}));
  Add(model, "tags", MakeQatBag(BagOptions(5, 2), Preset("default_embedding_qat_qconfig")));
  Add(model, "packed", *MakeQatBag(BagOptions(5, 2), Preset("default_embedding_qat_qconfig")).Convert());
  const std::vector<Parameter> parameters = model.Parameters();
  std::vector<std::string> names;
  for (const Parameter& parameter : parameters) names.push_back(parameter.name);
  ASSERT_THAT(names,
              ElementsAre("norm.bias", "norm.weight", "tags.weight", "top.10.bias", "top.10.weight", "user.weight"));
  EXPECT_THAT(parameters[0].shape, ElementsAre(2));
  EXPECT_EQ(parameters[0].values.rows, 1);
  EXPECT_THAT(parameters[4].shape, ElementsAre(3, 2));
  EXPECT_EQ(parameters[4].values.data, std::get<nn::Linear>(*model.Find("top.10")).weight().data());
  EXPECT_TRUE(parameters[2].is_table && parameters[2].requires_grad && !parameters[2].sparse);
  EXPECT_TRUE(parameters[5].is_table && !parameters[5].requires_grad && parameters[5].sparse);
  EXPECT_FALSE(parameters[4].is_table);
}

TEST(Model, AnnouncedWritesLeaveTheBoundsOfTheLastForward) {
  for (const bool all_rows : {false, true}) {
    Model model;
    Add(model, "tags", MakeQatBag(BagOptions(3, 2), Preset("default_embedding_qat_qconfig")));
    EQAT_ASSERT_OK(model.SetGraph({{Input("ids"), CallModule("e", "tags", "ids"), Output("e")}}));
    const std::vector<int64_t> ids = {1};
    Feed feed;
    feed.lookups["ids"] = Indices(ids, {1, 1});
    EQAT_ASSERT_OK(model.ForwardTraining(feed, 0, 0, nullptr));
    const auto bounds = [&] { return std::get<qat::EmbeddingBag>(*model.Find("tags")).FakeQuantState()->max_val; };
    const std::vector<float> before = bounds();
    const std::vector<int64_t> rows = {1, 2};
    Parameter parameter = model.Parameters().front();
    all_rows ? parameter.WillModifyAllRows() : parameter.WillModifyRows(rows);
    parameter.values.Row(1)[0] = 100.0f;
    parameter.values.Row(2)[0] = 200.0f;
    EXPECT_EQ(bounds(), before);
  }
}

TEST(Model, RefusesFeedsByName) {
  struct Case {
    const char* name;
    std::function<void(WholeModel&)> damage;
    absl::StatusCode code;
    const char* message;
  };
  constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
  static const std::vector<int64_t> three = {2, 0, 5};
  static const std::vector<int64_t> outside = {2, 0, 6, 1};
  const Case cases[] = {
      {"missing", [](WholeModel& w) { w.feed.dense.clear(); }, kInvalid, "dense: input is missing"},
      {"missing indices", [](WholeModel& w) { w.feed.lookups.erase("user_ids"); }, kInvalid,
       "user_ids: input is missing"},
      {"unknown",
       [](WholeModel& w) {
         w.feed.dense["dence"] = Tensor({4, 2});
       },
       kInvalid, "dence: the model has no such input (expected item_ids, user_ids, dense)"},
      {"unknown indices", [](WholeModel& w) { w.feed.lookups["ids"] = w.feed.lookups["user_ids"]; }, kInvalid,
       "ids: the model has no such input"},
      {"dense for indices",
       [](WholeModel& w) {
         w.feed.lookups.erase("user_ids");
         w.feed.dense["user_ids"] = Tensor({4});
       },
       kInvalid, "user_ids: input of a table (got dense values, expected indices)"},
      {"indices for dense",
       [](WholeModel& w) {
         w.feed.dense.clear();
         w.feed.lookups["dense"] = w.feed.lookups["user_ids"];
       },
       kInvalid, "dense: input of no table (got indices, expected dense values)"},
      {"shape",
       [](WholeModel& w) {
         w.feed.dense["dense"].shape = {4, 3};
       },
       kInvalid, "dense: number of values does not match the shape (got 8, expected 12 for [4, 3])"},
      {"negative shape",
       [](WholeModel& w) {
         w.feed.dense["dense"].shape = {-4, -2};
       },
       kInvalid, "dense: shape is not allowed (got [-4, -2])"},
      {"rows differ", [](WholeModel& w) { w.feed.lookups["user_ids"] = Indices(three); }, kInvalid,
       "node gated: gate: number of rows differs (got 4, expected 3 as user)"},
      {"index outside", [](WholeModel& w) { w.feed.lookups["user_ids"] = Indices(outside); },
       absl::StatusCode::kOutOfRange, "node user: user: "},
      {"width",
       [](WholeModel& w) {
         w.feed.dense["dense"] = Tensor({4, 1});
       },
       kInvalid, "node fc: "},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    WholeModel whole;
    c.damage(whole);
    EXPECT_THAT(whole.model.Evaluate(whole.feed), StatusIs(c.code, HasSubstr(c.message)));
    EXPECT_THAT(whole.model.ForwardTraining(whole.feed, 0, 0, nullptr), StatusIs(c.code, HasSubstr(c.message)));
  }
}

TEST(Model, RefusesWrongUse) {
  Model model;
  Add(model, "a", ReLU());
  EXPECT_THAT(model.AddModule("a", ReLU()), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("taken (got a)")));
  for (const char* name : {"", "a b", "a/b", "\xc3\xa4"}) {
    EXPECT_THAT(model.AddModule(name, ReLU()),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("name is not allowed")));
  }
  EXPECT_THAT(model.module_names(), ElementsAre("a"));
  EXPECT_EQ(model.Find("b"), nullptr);
  EXPECT_THAT(model.Evaluate({}), StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("no graph")));
  EXPECT_THAT(model.SetGraph({}), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("no nodes")));
  EXPECT_FALSE(model.graph().has_value());
}

TEST(Model, BackwardChecksTapeAndShape) {
  WholeModel whole;
  std::shared_ptr<Tape> tape;
  EQAT_ASSERT_OK_AND_ASSIGN(const Tensor output, whole.model.ForwardTraining(whole.feed, 0, 0, &tape));
  EXPECT_THAT(
      whole.model.Backward(*tape, Tensor({3})),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("grad_output: wrong shape (got [3], expected [8])")));
  Model moved = std::move(whole.model);
  EQAT_EXPECT_OK(moved.Backward(*tape, output));
  moved.Replace("last", MakeLinear(4 * kDim + 3, 2, false));
  EXPECT_THAT(moved.Backward(*tape, output),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("have changed")));
}

TEST(Model, OutputsThatNoMemoryHoldsAreAnError) {
  Model model;
  Add(model, "wide",
      *nn::EmbeddingBag::FromWeight(*Table::Zeros(0, int64_t{1} << 60), BagOptions(0, int64_t{1} << 60)));
  EQAT_ASSERT_OK(model.SetGraph({{Input("ids"), CallModule("e", "wide", "ids"), Output("e")}}));
  const std::vector<int64_t> none;
  for (const int64_t bags : {1, 1000}) {
    const std::vector<int64_t> offsets(bags, 0);
    Feed feed;
    feed.lookups["ids"] = Jagged(none, offsets);
    EXPECT_THAT(model.Evaluate(feed), StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("")));
  }
}

}  // namespace
}  // namespace eqat::model
