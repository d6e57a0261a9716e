#include "model/inline_calls.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/model/freeze/freezing.h"
#include "tests/model/small_models.h"
#include "tests/support/status_matchers.h"

namespace eqat::model {
namespace {

using ::eqat::testing::IsOk;
using ::eqat::testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

Node CallNested(std::string name, std::string target, std::vector<std::string> args) {
  return {.name = std::move(name), .op = Op::kCallModule, .target = std::move(target), .args = std::move(args)};
}

// tower(ids, scale) = fc(table(ids)) * scale, called for users and items; the items' table is the users'.
Model TwoTowers() {
  Model model;
  Add(model, "tower",
      GraphModule{{{Input("ids"), Input("scale"), CallModule("row", "table", "ids"), CallModule("fc", "fc", "row"),
                    Call("scaled", Function::kMul, {"fc", "scale"}), Output("scaled")}}});
  Add(model, "tower.table", InterfaceModule{"shared_table"});
  Add(model, "tower.fc", MakeLinear(2, 3));
  Add(model, "shared_table", MakeEmbedding(TableOptions(5, 2)));
  EXPECT_TRUE(
      model
          .SetGraph(
              {{Input("user"), Input("item"), Input("weight"), CallNested("u", "tower", {"user", "weight"}),
                CallNested("i", "tower", {"item", "weight"}), Call("y", Function::kAdd, {"u", "i"}), Output("y")}})
          .ok());
  return model;
}

Feed TowerFeed(const std::vector<int64_t>& users, const std::vector<int64_t>& items) {
  Feed feed;
  feed.lookups["user"] = Indices(users);
  feed.lookups["item"] = Indices(items);
  feed.dense["weight"] = MakeTensor({2, 1}, {0.5f, -2.0f});
  return feed;
}

TEST(InlineCalls, PutsTheNodesOfANestedModelInPlaceOfItsCalls) {
  EXPECT_THAT(LinesOf(TwoTowers().inlined_graph()),
              ElementsAre("user", "item", "weight", "u.row = shared_table(user)", "u.fc = tower.fc(u.row)",
                          "u.scaled = mul(u.fc, weight)", "i.row = shared_table(item)", "i.fc = tower.fc(i.row)",
                          "i.scaled = mul(i.fc, weight)", "y = add(u.scaled, i.scaled)", "output = output(y)"));
}

TEST(InlineCalls, NestedModelsRunAndTrainAsTheSameModelWrittenFlat) {
  Model nested = TwoTowers();
  Model flat;
  Add(flat, "tower.fc", MakeLinear(2, 3));
  Add(flat, "shared_table", MakeEmbedding(TableOptions(5, 2)));
  EQAT_ASSERT_OK(flat.SetGraph(nested.inlined_graph()));
  const std::vector<int64_t> users = {1, 3}, items = {3, 0};
  const Feed feed = TowerFeed(users, items);
  EXPECT_EQ(OutputBits(nested, feed), OutputBits(flat, feed));
  std::shared_ptr<Tape> nested_tape, flat_tape;
  EQAT_ASSERT_OK_AND_ASSIGN(const Tensor output, nested.ForwardTraining(feed, 1, 0, &nested_tape));
  EQAT_ASSERT_OK(flat.ForwardTraining(feed, 1, 0, &flat_tape));
  EQAT_ASSERT_OK_AND_ASSIGN(const Gradients nested_gradients, nested.Backward(*nested_tape, output));
  EQAT_ASSERT_OK_AND_ASSIGN(const Gradients flat_gradients, flat.Backward(*flat_tape, output));
  ASSERT_EQ(nested_gradients.size(), 3);
  EXPECT_EQ(nested_gradients.at("shared_table.weight").rows->rows, (std::vector<int64_t>{0, 1, 3}));
  EXPECT_EQ(nested_gradients.at("shared_table.weight").rows->values,
            flat_gradients.at("shared_table.weight").rows->values);
  EXPECT_EQ(nested_gradients.at("tower.fc.weight").dense, flat_gradients.at("tower.fc.weight").dense);
  std::vector<std::string> names;
  for (const Parameter& parameter : nested.Parameters()) names.push_back(parameter.name);
  EXPECT_THAT(names, ElementsAre("shared_table.weight", "tower.fc.bias", "tower.fc.weight"));
}

TEST(InlineCalls, AModelMayBeNothingButItsInput) {
  Model model;
  Add(model, "same", GraphModule{{{Input("x"), Output("x")}}});
  EQAT_ASSERT_OK(
      model.SetGraph({{Input("x"), CallNested("a", "same", {"x"}), CallNested("b", "same", {"a"}), Output("b")}}));
  EXPECT_THAT(LinesOf(model.inlined_graph()), ElementsAre("x", "output = output(x)"));
}

TEST(InlineCalls, NamesOfNodesStayUnique) {
  Model model;
  Add(model, "m", GraphModule{{{Input("x"), Call("r", Function::kReLU, {"x"}), Output("r")}}});
  EQAT_ASSERT_OK(model.SetGraph({{Input("x"), CallNested("a", "m", {"x"}), Call("a.r", Function::kSigmoid, {"a"}),
                                  CallNested("a.r_1", "m", {"a.r"}), Output("a.r_1")}}));
  EXPECT_THAT(LinesOf(model.inlined_graph()), ElementsAre("x", "a.r_2 = relu(x)", "a.r = sigmoid(a.r_2)",
                                                          "a.r_1.r = relu(a.r)", "output = output(a.r_1.r)"));
}

TEST(InlineCalls, InterfacesMeanTheNearestImplementation) {
  Model model;
  Add(model, "fc", MakeLinear(2, 2, true, 1));
  Add(model, "tower", GraphModule{{{Input("x"), CallModule("h", "layer", "x"), Output("h")}}});
  Add(model, "tower.layer", InterfaceModule{"fc"});
  Add(model, "tower.fc", MakeLinear(2, 2, true, 2));
  Add(model, "other", GraphModule{{{Input("x"), CallModule("h", "layer", "x"), Output("h")}}});
  Add(model, "other.layer", InterfaceModule{"fc"});
  Add(model, "main", InterfaceModule{"tower"});
  EQAT_ASSERT_OK(
      model.SetGraph({{Input("x"), CallNested("a", "main", {"x"}), CallNested("b", "other", {"a"}), Output("b")}}));
  EXPECT_THAT(LinesOf(model.inlined_graph()),
              ElementsAre("x", "a.h = tower.fc(x)", "b.h = fc(a.h)", "output = output(b.h)"));
}

TEST(InlineCalls, RefusesEveryMistakeByName) {
  const auto set_graph = [](const std::vector<std::pair<std::string, Module>>& modules, Graph graph) {
    Model model;
    for (const auto& [name, module] : modules) Add(model, name, *Clone(module));
    return model.SetGraph(std::move(graph));
  };
  const auto nested = [](Graph graph) { return Module(GraphModule{std::move(graph)}); };
  const Graph call = {{Input("x"), CallNested("a", "m", {"x"}), Output("a")}};
  std::vector<std::pair<std::string, Module>> modules;
  const auto is = [](const char* message) { return StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(message)); };

  modules.emplace_back("m", nested({{Input("p"), Input("q"), Call("r", Function::kAdd, {"p", "q"}), Output("r")}}));
  EXPECT_THAT(set_graph(modules, call), is("graph node a: wrong number of arguments for model m (got 1, expected 2)"));

  modules.clear();
  modules.emplace_back("m", nested({{Input("p"), CallNested("r", "m", {"p"}), Output("r")}}));
  EXPECT_THAT(set_graph(modules, call), is("m: graph node r: no module of this name (got m"));

  modules.clear();
  modules.emplace_back("m", nested({{Input("p"), CallNested("r", "again", {"p"}), Output("r")}}));
  modules.emplace_back("m.again", InterfaceModule{"m"});
  EXPECT_THAT(set_graph(modules, call), is("graph node a.r: a model calls itself (got m"));

  modules.clear();
  modules.emplace_back("m", InterfaceModule{"n"});
  EXPECT_THAT(set_graph(modules, call), is("interface m: no module implements it (got n"));
  modules.emplace_back("n", InterfaceModule{"m"});
  EXPECT_THAT(set_graph(modules, call), is("interfaces implement one another in a cycle"));

  modules.clear();
  modules.emplace_back("m", nested({{Input("p"), CallModule("r", "table", "p"), Output("r")}}));
  modules.emplace_back("m.table", MakeEmbedding(TableOptions(3, 2)));
  EXPECT_THAT(
      set_graph(modules, {{Input("x"), Call("v", Function::kReLU, {"x"}), CallNested("a", "m", {"v"}), Output("a")}}),
      is("graph node a.r: a table is called on something other than an input (got v"));
  EXPECT_THAT(set_graph(modules, {{Input("x"), CallNested("a", "m", {"x"}), Call("y", Function::kAdd, {"a", "x"}),
                                   Output("y")}}),
              is("graph node y: an input is used both as indices and as values (got x"));

  modules.clear();
  modules.emplace_back("m", nested({{Input("p"), Output("q")}}));
  EXPECT_THAT(set_graph(modules, call), is("m: graph node output: an argument is not an earlier node (got q"));
}

// Models m0 to m`depth`, each of which calls the one before it `times` times; m0 gives back its input.
Model Chain(int depth, int times) {
  Model model;
  Add(model, "m0", GraphModule{{{Input("x"), Output("x")}}});
  for (int i = 1; i <= depth; ++i) {
    const std::string name = absl::StrCat("m", i);
    GraphModule caller;
    caller.graph.nodes.push_back(Input("x"));
    std::string value = "x";
    for (int k = 0; k < times; ++k) {
      const std::string call = absl::StrCat("call", k);
      caller.graph.nodes.push_back(CallNested(call, "inner", {value}));
      value = call;
    }
    caller.graph.nodes.push_back(Output(value));
    Add(model, name, std::move(caller));
    Add(model, name + ".inner", InterfaceModule{absl::StrCat("m", i - 1)});
  }
  return model;
}

Graph CallOf(const std::string& name) { return {{Input("x"), CallNested("a", name, {"x"}), Output("a")}}; }

// 2^40 calls from 40 models that call the one before twice, with not one node in them.
TEST(InlineCalls, RefusesToGrowWithoutBound) {
  EXPECT_THAT(Chain(40, 2).SetGraph(CallOf("m40")),
              StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("at most 1000000")));
}

TEST(InlineCalls, RefusesToDescendWithoutBound) {
  EXPECT_THAT(Chain(255, 1).SetGraph(CallOf("m255")), IsOk());
  for (const int depth : {256, 30'000}) {
    EXPECT_THAT(Chain(depth, 1).SetGraph(CallOf(absl::StrCat("m", depth))),
                StatusIs(absl::StatusCode::kResourceExhausted,
                         HasSubstr("models call one another too deeply (expected at most 256)")));
  }
}

TEST(InlineCalls, RefusesLongChainsOfInterfaces) {
  Model model;
  Add(model, "i0", ReLU{});
  for (int i = 1; i <= 257; ++i) Add(model, absl::StrCat("i", i), InterfaceModule{absl::StrCat("i", i - 1)});
  EXPECT_THAT(model.SetGraph(CallOf("i256")), IsOk());
  EXPECT_THAT(model.SetGraph(CallOf("i257")),
              StatusIs(absl::StatusCode::kResourceExhausted,
                       HasSubstr("interfaces implement one another too deeply (got i1, expected at most 256)")));
}

}  // namespace
}  // namespace eqat::model
