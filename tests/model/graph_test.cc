#include "model/graph.h"

#include <functional>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/model/small_models.h"
#include "tests/support/status_matchers.h"

namespace eqat::model {
namespace {

using ::eqat::testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

const std::map<std::string, std::string> kTypes = {
    {"item", "nn.EmbeddingBag"}, {"user", "qat.Embedding"}, {"fc", "nn.Linear"}};

Graph ValidGraph() {
  return {{Input("item_ids"), Input("user_ids"), Input("dense"), CallModule("e0", "item", "item_ids"),
           CallModule("e1", "user", "user_ids"), Call("x", Function::kCat, {"e0", "e1", "dense"}, 1),
           CallModule("y", "fc", "x"), Call("z", Function::kReLU, {"y"}), Output("z")}};
}

TEST(Graph, AcceptsAWholeModelAndListsItsInputs) {
  EQAT_EXPECT_OK(Validate(ValidGraph(), kTypes));
  EXPECT_THAT(ValidGraph().Placeholders(), ElementsAre("item_ids", "user_ids", "dense"));
}

TEST(Graph, RefusesEveryKindOfMistakeByName) {
  struct Case {
    const char* name;
    std::function<void(Graph&)> damage;
    const char* message;
  };
  const Case cases[] = {
      {"empty", [](Graph& g) { g.nodes.clear(); }, "graph: it has no nodes"},
      {"no output", [](Graph& g) { g.nodes.pop_back(); }, "graph node z: the last node is not the output"},
      {"two outputs",
       [](Graph& g) { g.nodes.insert(g.nodes.begin() + 8, {.name = "o", .op = Op::kOutput, .args = {"z"}}); },
       "graph node o: an output before the last node"},
      {"name taken", [](Graph& g) { g.nodes[4].name = "e0"; }, "graph node e0: name is taken"},
      {"bad name", [](Graph& g) { g.nodes[4].name = "a b"; }, "(got a b, expected letters"},
      {"unknown argument", [](Graph& g) { g.nodes[5].args[1] = "e9"; },
       "graph node x: an argument is not an earlier node (got e9"},
      {"later argument", [](Graph& g) { g.nodes[5].args[1] = "y"; },
       "graph node x: an argument is not an earlier node (got y"},
      {"unknown module", [](Graph& g) { g.nodes[6].target = "fd"; },
       "graph node y: no module of this name (got fd, expected fc, item, user)"},
      {"table on a value", [](Graph& g) { g.nodes[6].target = "item"; },
       "graph node y: a table is called on something other than an input (got x"},
      {"indices as values", [](Graph& g) { g.nodes[5].args[0] = "item_ids"; },
       "graph node x: an input is used both as indices and as values (got item_ids"},
      {"values as indices", [](Graph& g) { g.nodes.insert(g.nodes.begin() + 8, CallModule("e2", "item", "dense")); },
       "graph node e2: an input is used both as indices and as values (got dense"},
      {"arguments of a placeholder", [](Graph& g) { g.nodes[1].args = {"item_ids"}; },
       "graph node user_ids: wrong number of arguments (got 1, expected 0)"},
      {"arguments of a module", [](Graph& g) { g.nodes[6].args.push_back("e0"); },
       "graph node y: wrong number of arguments (got 2, expected 1)"},
      {"arguments of a function", [](Graph& g) { g.nodes[7].function = Function::kAdd; },
       "graph node z: wrong number of arguments (got 1, expected 2)"},
      {"empty list", [](Graph& g) { g.nodes[5].args.clear(); },
       "graph node x: wrong number of arguments (got 0, expected at least 1)"},
      {"arguments of the output", [](Graph& g) { g.nodes[8].args.push_back("x"); },
       "graph node output: wrong number of arguments (got 2, expected 1)"},
      {"name of an input's offsets", [](Graph& g) { g.nodes[2].name = g.nodes[5].args[2] = "item_ids.offsets"; },
       "graph node item_ids.offsets: name belongs to the jagged input (got item_ids"},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    Graph graph = ValidGraph();
    c.damage(graph);
    EXPECT_THAT(Validate(graph, kTypes), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(c.message)));
  }
}

TEST(Graph, TraitsStandInTheOrderOfTheirFunctions) {
  for (const FunctionTraits& traits : kFunctions) EXPECT_EQ(&TraitsOf(traits.function), &traits) << traits.name;
}

}  // namespace
}  // namespace eqat::model
