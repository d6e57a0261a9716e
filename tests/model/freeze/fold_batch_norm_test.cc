#include "gmock/gmock.h"
#include "model/freeze/passes.h"
#include "tests/model/freeze/freezing.h"

namespace eqat::model {
namespace {

using ::testing::ElementsAre;

struct Sizes {
  int64_t in = 3, out = 4;
  bool bias = true;
  nn::BatchNorm1dOptions norm = {};
};

Model LinearAndNorm(const Sizes& sizes, Node input) {
  Model model;
  Add(model, "fc", MakeLinear(sizes.in, sizes.out, sizes.bias));
  Add(model, "norm", MakeBatchNorm(sizes.out, sizes.norm));
  EXPECT_TRUE(
      model.SetGraph({{std::move(input), CallModule("h", "fc", "x"), CallModule("y", "norm", "h"), Output("y")}}).ok());
  return model;
}

// torch: test_linear_bn_folding.
TEST(FoldBatchNorm, StaysWithinItsBoundForSizesBiasAndAffine) {
  for (const int64_t in : {1, 3, 200, 500}) {
    for (const int64_t out : {1, 4, 33}) {
      for (const bool bias : {true, false}) {
        for (const bool affine : {true, false}) {
          SCOPED_TRACE(::testing::Message() << in << " -> " << out << " bias " << bias << " affine " << affine);
          const Model model = LinearAndNorm({in, out, bias, {.affine = affine}}, MatrixInput("x", in));
          Workspace workspace = WorkspaceOf(model);
          ASSERT_EQ(*FoldBatchNorm(workspace), 1);
          EXPECT_THAT(LinesOf(workspace.graph), ElementsAre("x", "h = fc(x)", "output = output(h)"));
          EXPECT_TRUE(std::get<nn::Linear>(*workspace.Find("fc")).options().bias);
          ASSERT_EQ(workspace.bounds.size(), 1);
          EXPECT_EQ(workspace.bounds[0].pass, "fold-batch-norm");
          EXPECT_EQ(workspace.bounds[0].node, "h");
          Feed feed;
          feed.dense["x"] = MakeRows(in, 40);
          EQAT_ASSERT_OK_AND_ASSIGN(const Tensor before, model.Evaluate(feed));
          EQAT_ASSERT_OK_AND_ASSIGN(const Tensor after, ModelOf(workspace).Evaluate(feed));
          ExpectWithin(workspace.bounds[0], feed.dense["x"], before, after);
          EXPECT_EQ(*FoldBatchNorm(workspace), 0);
        }
      }
    }
  }
}

// The bound is of the size of what it bounds: some thousand times the error would say nothing.
TEST(FoldBatchNorm, BoundIsNotFarAboveTheRoundingOfTheResult) {
  const Model model = LinearAndNorm({64, 8}, MatrixInput("x", 64));
  Workspace workspace = WorkspaceOf(model);
  ASSERT_EQ(*FoldBatchNorm(workspace), 1);
  // 2 * (64 + 16.5) roundings of 2^-24 on rows of at most 64 * 2.5 * 1.8 in weight.
  EXPECT_GT(workspace.bounds[0].slope, 0);
  EXPECT_LT(workspace.bounds[0].slope, 2 * 81 * 6e-8 * 64 * 2.5 * 1.8);
}

TEST(FoldBatchNorm, NeedsRunningStatistics) {
  Workspace workspace = WorkspaceOf(LinearAndNorm({3, 4, true, {.track_running_stats = false}}, MatrixInput("x", 3)));
  EXPECT_EQ(*FoldBatchNorm(workspace), 0);
}

// On values of three dimensions a Linear works on the last, a batch norm on the second: torch folds all the same.
TEST(FoldBatchNorm, NeedsAMatrix) {
  Workspace unknown = WorkspaceOf(LinearAndNorm({4, 4}, Input("x")));
  EXPECT_EQ(*FoldBatchNorm(unknown), 0);
}

// torch's fold takes the unfolded value away from other readers.
TEST(FoldBatchNorm, NeedsTheOnlyReader) {
  Model model;
  Add(model, "fc", MakeLinear(3, 4));
  Add(model, "norm", MakeBatchNorm(4));
  EQAT_ASSERT_OK(model.SetGraph({{MatrixInput("x", 3), CallModule("h", "fc", "x"), CallModule("n", "norm", "h"),
                                  Call("y", Function::kAdd, {"h", "n"}), Output("y")}}));
  Workspace workspace = WorkspaceOf(model);
  EXPECT_EQ(*FoldBatchNorm(workspace), 0);
}

TEST(FoldBatchNorm, NeedsTheSameNormBehindEveryCallOfALinear) {
  Model model;
  Add(model, "fc", MakeLinear(3, 4));
  Add(model, "norm", MakeBatchNorm(4));
  Add(model, "other", MakeBatchNorm(4, {.eps = 0.5}));
  const auto graph = [](const std::string& second) {
    return Graph{{MatrixInput("x", 3), MatrixInput("z", 3), CallModule("h", "fc", "x"), CallModule("g", "fc", "z"),
                  CallModule("a", "norm", "h"), CallModule("b", second, "g"), Call("y", Function::kSub, {"a", "b"}),
                  Output("y")}};
  };
  EQAT_ASSERT_OK(model.SetGraph(graph("other")));
  Workspace different = WorkspaceOf(model);
  EXPECT_EQ(*FoldBatchNorm(different), 0);
  EQAT_ASSERT_OK(model.SetGraph(graph("norm")));
  Workspace same = WorkspaceOf(model);
  EXPECT_EQ(*FoldBatchNorm(same), 2);
  EXPECT_EQ(same.bounds.size(), 1);
  EXPECT_THAT(LinesOf(same.graph),
              ElementsAre("x", "z", "h = fc(x)", "g = fc(z)", "y = sub(h, g)", "output = output(y)"));
}

TEST(FoldBatchNorm, OneOfTwoCallsWithoutANormBlocksIt) {
  Model model;
  Add(model, "fc", MakeLinear(3, 4));
  Add(model, "norm", MakeBatchNorm(4));
  EQAT_ASSERT_OK(
      model.SetGraph({{MatrixInput("x", 3), MatrixInput("z", 3), CallModule("h", "fc", "x"), CallModule("g", "fc", "z"),
                       CallModule("a", "norm", "h"), Call("y", Function::kSub, {"a", "g"}), Output("y")}}));
  Workspace workspace = WorkspaceOf(model);
  EXPECT_EQ(*FoldBatchNorm(workspace), 0);
}

TEST(FoldBatchNorm, NeedsConstants) {
  for (const char* preserved : {"fc", "norm"}) {
    Workspace workspace = WorkspaceOf(LinearAndNorm({}, MatrixInput("x", 3)), {preserved});
    EXPECT_EQ(*FoldBatchNorm(workspace), 0) << preserved;
  }
}

// The other order is no fold of this pass.
TEST(FoldBatchNorm, LeavesANormBeforeALinear) {
  Model model;
  Add(model, "fc", MakeLinear(3, 4));
  Add(model, "norm", MakeBatchNorm(3));
  EQAT_ASSERT_OK(
      model.SetGraph({{MatrixInput("x", 3), CallModule("h", "norm", "x"), CallModule("y", "fc", "h"), Output("y")}}));
  Workspace workspace = WorkspaceOf(model);
  EXPECT_EQ(*FoldBatchNorm(workspace), 0);
}

TEST(FoldBatchNorm, LeavesWeightsThatWouldOverflow) {
  Model model = LinearAndNorm({}, MatrixInput("x", 3));
  std::get<nn::BatchNorm1d>(*model.FindMutable("norm")).mutable_state().weight[1] = 3e38f;
  std::get<nn::Linear>(*model.FindMutable("fc")).mutable_weight().Row(1)[0] = 100;
  Workspace workspace = WorkspaceOf(model);
  EXPECT_EQ(*FoldBatchNorm(workspace), 0);
  EXPECT_TRUE(workspace.bounds.empty());
}

}  // namespace
}  // namespace eqat::model
