#include "gmock/gmock.h"
#include "model/freeze/passes.h"
#include "tests/model/freeze/freezing.h"

namespace eqat::model {
namespace {

using ::eqat::testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

Model ModelOfConstants() {
  Model model;
  Add(model, "a", Constant({2}, {1.0f, -2.0f}));
  Add(model, "b", Constant({1, 2}, {0.5f, 4.0f}));
  Add(model, "fc", MakeLinear(2, 3));
  Add(model, "norm", MakeBatchNorm(3));
  EXPECT_TRUE(model
                  .SetGraph({{Input("x"), GetAttr("p", "a"), GetAttr("q", "b"), Call("r", Function::kMul, {"p", "q"}),
                              Call("s", Function::kReLU, {"r"}), CallModule("t", "fc", "s"),
                              CallModule("u", "norm", "t"), Call("y", Function::kAdd, {"x", "u"}), Output("y")}})
                  .ok());
  return model;
}

TEST(PropagateConstants, ComputesFunctionsAndLayersOfConstants) {
  const Model model = ModelOfConstants();
  Workspace workspace = WorkspaceOf(model);
  EXPECT_EQ(*PropagateConstants(workspace), 4);
  EXPECT_THAT(LinesOf(workspace.graph), ElementsAre("x", "p = @a", "q = @b", "r = @r", "s = @s", "t = @t", "u = @u",
                                                    "y = add(x, u)", "output = output(y)"));
  Feed feed;
  feed.dense["x"] = MakeRows(3, 1);
  EXPECT_EQ(OutputBits(ModelOf(workspace), feed), OutputBits(model, feed));
  EXPECT_EQ(*PropagateConstants(workspace), 0);
}

TEST(PropagateConstants, StopsAtWhatMayBeReplacedLater) {
  for (const char* preserved : {"a", "fc"}) {
    SCOPED_TRACE(preserved);
    Workspace workspace = WorkspaceOf(ModelOfConstants(), {preserved});
    EXPECT_EQ(*PropagateConstants(workspace), preserved == std::string("a") ? 0 : 2);
  }
}

TEST(PropagateConstants, NewConstantsTakeNoName) {
  Model model;
  Add(model, "a", Constant({}, {2.0f}));
  Add(model, "sum", MakeLinear(1, 1));
  EQAT_ASSERT_OK(model.SetGraph({{Input("x"), GetAttr("p", "a"), Call("sum", Function::kAdd, {"p", "p"}),
                                  CallModule("h", "sum", "x"), Call("y", Function::kMul, {"h", "sum"}), Output("y")}}));
  Workspace workspace = WorkspaceOf(model);
  EXPECT_EQ(*PropagateConstants(workspace), 1);
  EXPECT_THAT(LinesOf(workspace.graph),
              ElementsAre("x", "p = @a", "sum = @sum_1", "h = sum(x)", "y = mul(h, sum)", "output = output(y)"));
}

TEST(PropagateConstants, ConstantsThatDoNotFitAreAnError) {
  Model model;
  Add(model, "a", Constant({2}, {1, 2}));
  Add(model, "b", Constant({3}, {1, 2, 3}));
  EQAT_ASSERT_OK(
      model.SetGraph({{Input("x"), GetAttr("p", "a"), GetAttr("q", "b"), Call("r", Function::kMul, {"p", "q"}),
                       Call("y", Function::kAdd, {"x", "r"}), Output("y")}}));
  Workspace workspace = WorkspaceOf(model);
  EXPECT_THAT(PropagateConstants(workspace),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("node r: mul: operands differ in shape")));
}

}  // namespace
}  // namespace eqat::model
