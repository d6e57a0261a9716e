#include "gmock/gmock.h"
#include "model/freeze/passes.h"
#include "tests/model/freeze/freezing.h"

namespace eqat::model {
namespace {

using ::testing::ElementsAre;

// torch: test_linear_concat.
TEST(MergeLinears, SeveralOnOneInputBecomeOneWithSlices) {
  for (const bool biases : {true, false}) {
    Model model;
    Add(model, "a", MakeLinear(3, 2, biases, 1));
    Add(model, "b", MakeLinear(3, 4, false, 2));
    Add(model, "c", MakeLinear(3, 5, biases, 3));
    EQAT_ASSERT_OK(model.SetGraph(
        {{Input("x"), CallModule("p", "a", "x"), Call("r", Function::kReLU, {"p"}), CallModule("q", "b", "x"),
          CallModule("s", "c", "x"), Call("y", Function::kCat, {"r", "q", "s"}, -1), Output("y")}}));
    Workspace workspace = WorkspaceOf(model);
    EXPECT_EQ(*MergeLinears(workspace), 3);
    EXPECT_THAT(LinesOf(workspace.graph),
                ElementsAre("x", "p_merged = a_merged(x)", "p = slice(p_merged, dim=-1, 0:2)", "r = relu(p)",
                            "q = slice(p_merged, dim=-1, 2:6)", "s = slice(p_merged, dim=-1, 6:11)",
                            "y = cat(r, q, s, dim=-1)", "output = output(y)"));
    EXPECT_EQ(std::get<nn::Linear>(*workspace.Find("a_merged")).options(),
              (nn::LinearOptions{.in_features = 3, .out_features = 11, .bias = biases}));
    ASSERT_EQ(workspace.bounds.size(), 3);
    Feed feed;
    feed.dense["x"] = MakeRows(3, 7);
    ExpectWithin(workspace.bounds[0], feed.dense["x"], *model.Evaluate(feed), *ModelOf(workspace).Evaluate(feed));
    EXPECT_EQ(*MergeLinears(workspace), 0);
  }
}

// torch: test_linear_concat_different_input.
TEST(MergeLinears, LeavesDifferentInputsSharedModulesAndPreservedOnes) {
  Model model;
  Add(model, "a", MakeLinear(3, 3, true, 1));
  Add(model, "b", MakeLinear(3, 4, true, 2));
  Add(model, "shared", MakeLinear(3, 4, true, 3));
  EQAT_ASSERT_OK(
      model.SetGraph({{Input("x"), CallModule("p", "a", "x"), CallModule("q", "b", "p"), CallModule("s", "shared", "x"),
                       CallModule("t", "shared", "p"), Call("y", Function::kCat, {"q", "s", "t"}, -1), Output("y")}}));
  Workspace workspace = WorkspaceOf(model);
  EXPECT_EQ(*MergeLinears(workspace), 0);

  Model pair;
  Add(pair, "a", MakeLinear(3, 3, true, 1));
  Add(pair, "b", MakeLinear(3, 4, true, 2));
  EQAT_ASSERT_OK(pair.SetGraph({{Input("x"), CallModule("p", "a", "x"), CallModule("q", "b", "x"),
                                 Call("y", Function::kCat, {"p", "q"}, -1), Output("y")}}));
  Workspace preserved = WorkspaceOf(pair, {"a"});
  EXPECT_EQ(*MergeLinears(preserved), 0);
}

// torch: test_linear_multiple_blocks.
TEST(MergeLinears, GroupsBehindOneAnother) {
  Model model;
  for (const char* name : {"a", "b", "c", "d"}) Add(model, name, MakeLinear(3, 3, true, name[0]));
  EQAT_ASSERT_OK(
      model.SetGraph({{Input("x"), CallModule("p", "a", "x"), CallModule("q", "b", "x"), CallModule("s", "c", "p"),
                       CallModule("t", "d", "p"), Call("y", Function::kCat, {"q", "s", "t"}, -1), Output("y")}}));
  Workspace workspace = WorkspaceOf(model);
  EXPECT_EQ(*MergeLinears(workspace), 4);
  EXPECT_THAT(
      LinesOf(workspace.graph),
      ElementsAre("x", "p_merged = a_merged(x)", "p = slice(p_merged, dim=-1, 0:3)", "q = slice(p_merged, dim=-1, 3:6)",
                  "s_merged = c_merged(p)", "s = slice(s_merged, dim=-1, 0:3)", "t = slice(s_merged, dim=-1, 3:6)",
                  "y = cat(q, s, t, dim=-1)", "output = output(y)"));
  Feed feed;
  feed.dense["x"] = MakeRows(3);
  EQAT_EXPECT_OK(ModelOf(workspace).Evaluate(feed));
}

TEST(MergeLinears, NewNamesAreFree) {
  Model model;
  Add(model, "a", MakeLinear(3, 3, true, 1));
  Add(model, "b", MakeLinear(3, 3, true, 2));
  Add(model, "a_merged", ReLU());
  EQAT_ASSERT_OK(
      model.SetGraph({{Input("p_merged"), CallModule("p", "a", "p_merged"), CallModule("q", "b", "p_merged"),
                       CallModule("r", "a_merged", "q"), Call("y", Function::kAdd, {"p", "r"}), Output("y")}}));
  Workspace workspace = WorkspaceOf(model);
  EXPECT_EQ(*MergeLinears(workspace), 2);
  EXPECT_EQ(LinesOf(workspace.graph)[1], "p_merged_1 = a_merged_1(p_merged)");
}

}  // namespace
}  // namespace eqat::model
