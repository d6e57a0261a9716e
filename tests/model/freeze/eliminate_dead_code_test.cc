#include "gmock/gmock.h"
#include "model/freeze/passes.h"
#include "tests/model/freeze/freezing.h"

namespace eqat::model {
namespace {

using ::testing::ElementsAre;

Model ModelWithDeadParts() {
  Model model;
  Add(model, "fc", MakeLinear(2, 3));
  Add(model, "unread", MakeLinear(2, 4));
  Add(model, "uncalled", MakeLinear(7, 9));
  Add(model, "table", MakeEmbedding(TableOptions(4, 2)));
  EXPECT_TRUE(model
                  .SetGraph({{Input("x"), Input("ids"), CallModule("a", "unread", "x"), CallModule("e", "table", "ids"),
                              Call("b", Function::kReLU, {"a"}), CallModule("y", "fc", "x"), Output("y")}})
                  .ok());
  return model;
}

TEST(EliminateDeadCode, DropsWhatTheOutputDoesNotNeedButInputs) {
  const Model model = ModelWithDeadParts();
  Workspace workspace = WorkspaceOf(model);
  EXPECT_EQ(*EliminateDeadCode(workspace), 6);  // three nodes and three modules
  EXPECT_THAT(LinesOf(workspace.graph), ElementsAre("x", "ids", "y = fc(x)", "output = output(y)"));
  EXPECT_THAT(NamesOf(workspace), ElementsAre("fc"));
  EXPECT_EQ(*EliminateDeadCode(workspace), 0);
}

TEST(EliminateDeadCode, AnInputThatNothingReadsTakesWhatItTookBefore) {
  const Model model = ModelWithDeadParts();
  Workspace workspace = WorkspaceOf(model);
  EQAT_ASSERT_OK(EliminateDeadCode(workspace));
  const std::vector<int64_t> ids = {1, 3};
  Feed feed;
  feed.dense["x"] = MakeRows(2);
  feed.lookups["ids"] = Indices(ids);
  EXPECT_EQ(OutputBits(ModelOf(workspace), feed), OutputBits(model, feed));
  feed.lookups.clear();
  feed.dense["ids"] = MakeRows(2);
  EQAT_EXPECT_OK(ModelOf(workspace).Evaluate(feed));
}

TEST(EliminateDeadCode, KeepsPreservedModules) {
  Workspace workspace = WorkspaceOf(ModelWithDeadParts(), {"uncalled"});
  EXPECT_EQ(*EliminateDeadCode(workspace), 5);
  EXPECT_THAT(NamesOf(workspace), ElementsAre("fc", "uncalled"));
}

}  // namespace
}  // namespace eqat::model
