#include "gmock/gmock.h"
#include "model/freeze/passes.h"
#include "tests/model/freeze/freezing.h"

namespace eqat::model {
namespace {

using ::testing::ElementsAre;

Model DropoutModel() {
  Model model;
  Add(model, "fc", MakeLinear(2, 3));
  Add(model, "drop", Dropout{.p = 0.5});
  EXPECT_TRUE(model
                  .SetGraph({{Input("x"), CallModule("h", "fc", "x"), CallModule("d", "drop", "h"),
                              CallModule("e", "drop", "d"), Call("y", Function::kReLU, {"e"}), Output("y")}})
                  .ok());
  return model;
}

// torch: test_freeze_remove_dropout.
TEST(RemoveDropout, LeavesNoneAndKeepsEveryBit) {
  const Model model = DropoutModel();
  Workspace workspace = WorkspaceOf(model);
  EXPECT_EQ(*RemoveDropout(workspace), 2);
  EXPECT_THAT(LinesOf(workspace.graph), ElementsAre("x", "h = fc(x)", "y = relu(h)", "output = output(y)"));
  Feed feed;
  feed.dense["x"] = MakeRows(2);
  EXPECT_EQ(OutputBits(ModelOf(workspace), feed), OutputBits(model, feed));
  EXPECT_EQ(*RemoveDropout(workspace), 0);
}

TEST(RemoveDropout, LeavesAPreservedOne) {
  Workspace workspace = WorkspaceOf(DropoutModel(), {"drop"});
  EXPECT_EQ(*RemoveDropout(workspace), 0);
  EXPECT_EQ(workspace.graph.nodes.size(), 6);
}

TEST(RemoveDropout, TheOutputMayBecomeAnInput) {
  Model model;
  Add(model, "drop", Dropout{});
  EQAT_ASSERT_OK(model.SetGraph({{Input("x"), CallModule("d", "drop", "x"), Output("d")}}));
  Workspace workspace = WorkspaceOf(model);
  EXPECT_EQ(*RemoveDropout(workspace), 1);
  EXPECT_THAT(LinesOf(workspace.graph), ElementsAre("x", "output = output(x)"));
  Feed feed;
  feed.dense["x"] = MakeRows(2);
  EXPECT_EQ(OutputBits(ModelOf(workspace), feed), eqat::testing::BitsOf(feed.dense["x"].values));
}

}  // namespace
}  // namespace eqat::model
