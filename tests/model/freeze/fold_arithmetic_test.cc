#include "gmock/gmock.h"
#include "model/freeze/passes.h"
#include "tests/model/freeze/freezing.h"

namespace eqat::model {
namespace {

using ::testing::ElementsAre;

constexpr Function kArithmetic[] = {Function::kAdd, Function::kSub, Function::kMul, Function::kDiv};

Model LinearAndConstant(Function function, const Tensor& constant, bool linear_first, bool bias = true,
                        Node input = MatrixInput("x", 3)) {
  Model model;
  Add(model, "fc", MakeLinear(3, 4, bias));
  Add(model, "c", BufferTensor{constant});
  const std::vector<std::string> args =
      linear_first ? std::vector<std::string>{"h", "k"} : std::vector<std::string>{"k", "h"};
  EXPECT_TRUE(model
                  .SetGraph({{std::move(input), GetAttr("k", "c"), CallModule("h", "fc", "x"),
                              Call("y", function, args), Output("y")}})
                  .ok());
  return model;
}

// torch: test_conv_add_folding, test_conv_mul_folding, for Linear.
TEST(FoldArithmetic, StaysWithinItsBound) {
  const Tensor constants[] = {MakeTensor({}, {0.75f}), MakeTensor({1}, {-3.0f}), MakeTensor({4}, {0.5f, -2, 3, 0.1f}),
                              MakeTensor({1, 4}, {7, 1, -1, 0.25f}), MakeTensor({1, 1}, {0.3f})};
  for (const Function function : kArithmetic) {
    for (const Tensor& constant : constants) {
      for (const bool linear_first : {true, false}) {
        for (const bool bias : {true, false}) {
          SCOPED_TRACE(::testing::Message() << TraitsOf(function).name << " " << ShapeText(constant.shape) << " first "
                                            << linear_first << " bias " << bias);
          const Model model = LinearAndConstant(function, constant, linear_first, bias);
          Workspace workspace = WorkspaceOf(model);
          const bool folds = function != Function::kDiv || linear_first;
          ASSERT_EQ(*FoldArithmetic(workspace), folds ? 1 : 0);
          if (!folds) continue;
          EXPECT_THAT(LinesOf(workspace.graph), ElementsAre("x", "k = @c", "h = fc(x)", "output = output(h)"));
          const bool moves_bias = function == Function::kAdd || function == Function::kSub;
          EXPECT_EQ(std::get<nn::Linear>(*workspace.Find("fc")).options().bias, bias || moves_bias);
          ASSERT_EQ(workspace.bounds.size(), 1);
          Feed feed;
          feed.dense["x"] = MakeRows(3, 20);
          EQAT_ASSERT_OK_AND_ASSIGN(const Tensor before, model.Evaluate(feed));
          EQAT_ASSERT_OK_AND_ASSIGN(const Tensor after, ModelOf(workspace).Evaluate(feed));
          ExpectWithin(workspace.bounds[0], feed.dense["x"], before, after);
        }
      }
    }
  }
}

// A constant that is repeated along more than columns, or that makes the result larger, belongs in no weight.
TEST(FoldArithmetic, NeedsOneValueAColumn) {
  const Tensor constants[] = {MakeTensor({3, 1}, {1, 2, 3}), MakeTensor({3, 4}, std::vector<float>(12, 2.0f)),
                              MakeTensor({1, 1, 4}, {1, 2, 3, 4})};
  for (const Function function : kArithmetic) {
    for (const Tensor& constant : constants) {
      Workspace workspace = WorkspaceOf(LinearAndConstant(function, constant, true));
      EXPECT_EQ(*FoldArithmetic(workspace), 0) << ShapeText(constant.shape);
    }
  }
  Model narrow;
  Add(narrow, "fc", MakeLinear(3, 1));
  Add(narrow, "c", Constant({4}, {1, 2, 3, 4}));
  EQAT_ASSERT_OK(narrow.SetGraph({{MatrixInput("x", 3), GetAttr("k", "c"), CallModule("h", "fc", "x"),
                                   Call("y", Function::kAdd, {"h", "k"}), Output("y")}}));
  Workspace workspace = WorkspaceOf(narrow);
  EXPECT_EQ(*FoldArithmetic(workspace), 0);
}

TEST(FoldArithmetic, AVectorFitsValuesOfAnyRank) {
  Workspace vector =
      WorkspaceOf(LinearAndConstant(Function::kMul, MakeTensor({4}, {1, 2, 3, 4}), true, true, Input("x")));
  EXPECT_EQ(*FoldArithmetic(vector), 1);
  // A matrix would turn one dimension into two.
  Workspace matrix =
      WorkspaceOf(LinearAndConstant(Function::kMul, MakeTensor({1, 4}, {1, 2, 3, 4}), true, true, Input("x")));
  EXPECT_EQ(*FoldArithmetic(matrix), 0);
}

TEST(FoldArithmetic, NeedsTheOnlyReaderAndConstants) {
  Model model;
  Add(model, "fc", MakeLinear(3, 4));
  Add(model, "c", Constant({4}, {1, 2, 3, 4}));
  EQAT_ASSERT_OK(
      model.SetGraph({{MatrixInput("x", 3), GetAttr("k", "c"), CallModule("h", "fc", "x"),
                       Call("a", Function::kMul, {"h", "k"}), Call("y", Function::kAdd, {"a", "h"}), Output("y")}}));
  Workspace two_readers = WorkspaceOf(model);
  EXPECT_EQ(*FoldArithmetic(two_readers), 0);
  for (const char* preserved : {"fc", "c"}) {
    Workspace workspace =
        WorkspaceOf(LinearAndConstant(Function::kAdd, MakeTensor({4}, {1, 2, 3, 4}), true), {preserved});
    EXPECT_EQ(*FoldArithmetic(workspace), 0) << preserved;
  }
  Model squared;
  Add(squared, "fc", MakeLinear(3, 4));
  EQAT_ASSERT_OK(squared.SetGraph(
      {{MatrixInput("x", 3), CallModule("h", "fc", "x"), Call("y", Function::kMul, {"h", "h"}), Output("y")}}));
  Workspace workspace = WorkspaceOf(squared);
  EXPECT_EQ(*FoldArithmetic(workspace), 0);
}

TEST(FoldArithmetic, LeavesWhatIsNotFinite) {
  Workspace division = WorkspaceOf(LinearAndConstant(Function::kDiv, MakeTensor({}, {0.0f}), true));
  EXPECT_EQ(*FoldArithmetic(division), 0);
  Workspace infinity = WorkspaceOf(LinearAndConstant(Function::kAdd, MakeTensor({}, {INFINITY}), true));
  EXPECT_EQ(*FoldArithmetic(infinity), 0);
}

TEST(FoldArithmetic, AChainFoldsOneByOne) {
  Model model;
  Add(model, "fc", MakeLinear(3, 4));
  Add(model, "c", Constant({4}, {1, 2, 3, 4}));
  EQAT_ASSERT_OK(
      model.SetGraph({{MatrixInput("x", 3), GetAttr("k", "c"), CallModule("h", "fc", "x"),
                       Call("a", Function::kMul, {"h", "k"}), Call("y", Function::kSub, {"k", "a"}), Output("y")}}));
  Workspace workspace = WorkspaceOf(model);
  EXPECT_EQ(*FoldArithmetic(workspace), 1);
  EXPECT_EQ(*FoldArithmetic(workspace), 1);
  EXPECT_EQ(*FoldArithmetic(workspace), 0);
  EXPECT_EQ(workspace.bounds.size(), 2);
  Feed feed;
  feed.dense["x"] = MakeRows(3);
  FoldBound sum = workspace.bounds[0];
  sum.slope += workspace.bounds[1].slope;
  sum.offset += workspace.bounds[1].offset;
  ExpectWithin(sum, feed.dense["x"], *model.Evaluate(feed), *ModelOf(workspace).Evaluate(feed));
}

}  // namespace
}  // namespace eqat::model
