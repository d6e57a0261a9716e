#include "gmock/gmock.h"
#include "model/freeze/passes.h"
#include "tests/model/freeze/freezing.h"

namespace eqat::model {
namespace {

using ::testing::ElementsAre;

TEST(EliminateCommonSubexpressions, EqualLookupsAndLinearsBecomeOne) {
  Model model;
  Add(model, "item", MakeBag(BagOptions(5, 2)));
  Add(model, "fc", MakeLinear(2, 3));
  EQAT_ASSERT_OK(
      model.SetGraph({{Input("a"), Input("b"), CallModule("e0", "item", "a"), CallModule("e1", "item", "a"),
                       CallModule("e2", "item", "b"), CallModule("h0", "fc", "e0"), CallModule("h1", "fc", "e1"),
                       CallModule("h2", "fc", "e2"), Call("y", Function::kCat, {"h0", "h1", "h2"}, 1), Output("y")}}));
  Workspace workspace = WorkspaceOf(model);
  EXPECT_EQ(*EliminateCommonSubexpressions(workspace), 2);
  EXPECT_THAT(LinesOf(workspace.graph), ElementsAre("a", "b", "e0 = item(a)", "e2 = item(b)", "h0 = fc(e0)",
                                                    "h2 = fc(e2)", "y = cat(h0, h0, h2, dim=1)", "output = output(y)"));
  const std::vector<int64_t> ids = {1, 3}, others = {4, 0};
  Feed feed;
  feed.lookups["a"] = Indices(ids, {2, 1});
  feed.lookups["b"] = Indices(others, {2, 1});
  EXPECT_EQ(OutputBits(ModelOf(workspace), feed), OutputBits(model, feed));
}

TEST(EliminateCommonSubexpressions, TellsApartEverythingThatMatters) {
  Model model;
  Add(model, "fc", MakeLinear(4, 4));
  Add(model, "other", MakeLinear(4, 4));
  EQAT_ASSERT_OK(model.SetGraph(
      {{Input("x"), Input("z"), CallModule("a", "fc", "x"), CallModule("b", "other", "x"), CallModule("c", "fc", "z"),
        Call("d", Function::kSub, {"a", "b"}), Call("e", Function::kSub, {"b", "a"}), SliceOf("f", "a", 0, 2),
        SliceOf("g", "a", 0, 3), SliceOf("h", "a", 1, 3), SliceOf("i", "a", 1, 3, 0), Call("j", Function::kReLU, {"c"}),
        Call("k", Function::kSigmoid, {"c"}), Call("y", Function::kCat, {"d", "e", "f", "g", "h", "j", "k"}, 1),
        Output("y")}}));
  Workspace workspace = WorkspaceOf(model);
  EXPECT_EQ(*EliminateCommonSubexpressions(workspace), 0);
}

// Two renormalizing look-ups change the stored rows twice; dropout draws for every node.
TEST(EliminateCommonSubexpressions, LeavesWhatIsNotPure) {
  Model model;
  nn::EmbeddingOptions options = TableOptions(4, 2);
  options.max_norm = 1.0;
  Add(model, "table", MakeEmbedding(options));
  Add(model, "drop", Dropout{});
  EQAT_ASSERT_OK(model.SetGraph(
      {{Input("a"), CallModule("e0", "table", "a"), CallModule("e1", "table", "a"), CallModule("d0", "drop", "e0"),
        CallModule("d1", "drop", "e0"), Call("y", Function::kCat, {"e0", "e1", "d0", "d1"}, 1), Output("y")}}));
  Workspace workspace = WorkspaceOf(model);
  EXPECT_EQ(*EliminateCommonSubexpressions(workspace), 0);
}

TEST(EliminateCommonSubexpressions, EqualConstantsAreOneBitForBit) {
  Model model;
  Add(model, "c0", Constant({2}, {1.0f, 0.0f}));
  Add(model, "c1", Constant({2}, {1.0f, 0.0f}));
  Add(model, "negative_zero", Constant({2}, {1.0f, -0.0f}));
  Add(model, "row", Constant({1, 2}, {1.0f, 0.0f}));
  Add(model, "kept", Constant({2}, {1.0f, 0.0f}));
  EQAT_ASSERT_OK(
      model.SetGraph({{Input("x"), GetAttr("a", "c0"), GetAttr("b", "c1"), GetAttr("c", "negative_zero"),
                       GetAttr("d", "row"), GetAttr("e", "kept"), Call("f", Function::kAdd, {"x", "a"}),
                       Call("g", Function::kAdd, {"f", "b"}), Call("h", Function::kAdd, {"g", "c"}),
                       Call("i", Function::kAdd, {"h", "d"}), Call("y", Function::kAdd, {"i", "e"}), Output("y")}}));
  Workspace workspace = WorkspaceOf(model, {"kept"});
  EXPECT_EQ(*EliminateCommonSubexpressions(workspace), 1);
  EXPECT_THAT(LinesOf(workspace.graph),
              ElementsAre("x", "a = @c0", "c = @negative_zero", "d = @row", "e = @kept", "f = add(x, a)",
                          "g = add(f, a)", "h = add(g, c)", "i = add(h, d)", "y = add(i, e)", "output = output(y)"));
}

}  // namespace
}  // namespace eqat::model
