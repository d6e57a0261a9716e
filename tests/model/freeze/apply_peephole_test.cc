#include <cmath>
#include <limits>

#include "gmock/gmock.h"
#include "model/freeze/passes.h"
#include "tests/model/freeze/freezing.h"

namespace eqat::model {
namespace {

using ::eqat::testing::BitsOf;
using ::eqat::testing::FloatsOf;
using ::testing::ElementsAre;

// x [n, 4] -> fc -> h [n, 4], `nodes` that end in y, on inputs with NaN, infinity and both zeros.
struct Pattern {
  Model model;
  Feed feed;

  explicit Pattern(std::vector<Node> nodes, std::optional<Tensor> constant = std::nullopt,
                   std::vector<int64_t> shape = {kAnySize, 4}) {
    Add(model, "fc", MakeLinear(4, 4, false));
    if (constant) Add(model, "c", BufferTensor{*constant});
    Graph graph;
    graph.nodes.push_back({.name = "x", .op = Op::kPlaceholder, .shape = shape});
    graph.nodes.push_back(CallModule("h", "fc", "x"));
    if (constant) graph.nodes.push_back(GetAttr("k", "c"));
    for (Node& node : nodes) graph.nodes.push_back(std::move(node));
    graph.nodes.push_back(Output("y"));
    EQAT_EXPECT_OK(model.SetGraph(std::move(graph)));
    Tensor x = MakeRows(4, 4);
    x.values[0] = std::numeric_limits<float>::infinity();
    x.values[4] = std::numeric_limits<float>::quiet_NaN();
    std::fill(x.values.begin() + 8, x.values.begin() + 12, -0.0f);
    feed.dense["x"] = std::move(x);
  }

  // The nodes behind h once the pass has nothing left to do and dead code is gone.
  std::vector<std::string> Optimized() {
    Workspace workspace = WorkspaceOf(model);
    int64_t rounds = 0;
    for (absl::StatusOr<int64_t> changes = 1; *changes > 0 && rounds < 10; ++rounds) {
      changes = ApplyPeephole(workspace);
      EQAT_EXPECT_OK(changes);
    }
    EXPECT_LT(rounds, 10);
    EQAT_EXPECT_OK(EliminateDeadCode(workspace));
    EXPECT_EQ(OutputBits(ModelOf(workspace), feed), OutputBits(model, feed));
    std::vector<std::string> lines = LinesOf(workspace.graph);
    std::erase_if(lines, [](const std::string& line) { return line == "x" || line == "h = fc(x)"; });
    return lines;
  }
};

TEST(ApplyPeephole, ReluOfWhatIsNotNegative) {
  EXPECT_THAT(Pattern({Call("a", Function::kReLU, {"h"}), Call("y", Function::kReLU, {"a"})}).Optimized(),
              ElementsAre("a = relu(h)", "output = output(a)"));
  EXPECT_THAT(Pattern({Call("a", Function::kSigmoid, {"h"}), Call("y", Function::kReLU, {"a"})}).Optimized(),
              ElementsAre("a = sigmoid(h)", "output = output(a)"));
  EXPECT_THAT(Pattern({Call("a", Function::kReLU, {"h"}), Call("y", Function::kSigmoid, {"a"})}).Optimized(),
              ElementsAre("a = relu(h)", "y = sigmoid(a)", "output = output(y)"));
}

TEST(ApplyPeephole, CatOfOne) {
  EXPECT_THAT(Pattern({Call("y", Function::kCat, {"h"}, 1)}).Optimized(), ElementsAre("output = output(h)"));
  EXPECT_THAT(Pattern({Call("y", Function::kCat, {"h"}, -2)}).Optimized(), ElementsAre("output = output(h)"));
  EXPECT_THAT(Pattern({Call("y", Function::kCat, {"h", "h"}, 1)}).Optimized(),
              ElementsAre("y = cat(h, h, dim=1)", "output = output(y)"));
}

// Without a known rank the dimension could be wrong, which must stay an error.
TEST(ApplyPeephole, LeavesWhatDependsOnAnUnknownRank) {
  Model model;
  EQAT_ASSERT_OK(model.SetGraph({{Input("x"), Call("a", Function::kCat, {"x"}, 1), SliceOf("b", "a", 0, kToTheEnd),
                                  Call("y", Function::kFlatten, {"b"}, 1), Output("y")}}));
  Workspace workspace = WorkspaceOf(model);
  EXPECT_EQ(*ApplyPeephole(workspace), 0);
  Feed feed;
  feed.dense["x"] = MakeTensor({2}, {1, 2});
  EXPECT_FALSE(ModelOf(workspace).Evaluate(feed).ok());
}

TEST(ApplyPeephole, FlattenOfFlat) {
  EXPECT_THAT(Pattern({Call("y", Function::kFlatten, {"h"}, 1)}).Optimized(), ElementsAre("output = output(h)"));
  EXPECT_THAT(Pattern({Call("y", Function::kFlatten, {"h"}, -1)}).Optimized(), ElementsAre("output = output(h)"));
  EXPECT_THAT(Pattern({Call("a", Function::kFlatten, {"h"}), Call("y", Function::kFlatten, {"a"})}).Optimized(),
              ElementsAre("a = flatten(h, start_dim=0)", "output = output(a)"));
  EXPECT_THAT(Pattern({Call("y", Function::kFlatten, {"h"})}).Optimized(),
              ElementsAre("y = flatten(h, start_dim=0)", "output = output(y)"));
}

TEST(ApplyPeephole, FlattenOfFlattenStartsAtTheEarlier) {
  Model model;
  EQAT_ASSERT_OK(model.SetGraph(
      {{Input("x"), Call("a", Function::kFlatten, {"x"}, 1), Call("y", Function::kFlatten, {"a"}, 0), Output("y")}}));
  Workspace workspace = WorkspaceOf(model);
  EXPECT_EQ(*ApplyPeephole(workspace), 1);
  EXPECT_EQ(LinesOf(workspace.graph)[2], "y = flatten(x, start_dim=0)");
}

TEST(ApplyPeephole, NeutralConstantsGoWhereEveryBitStays) {
  const Tensor zero = MakeTensor({}, {0.0f}), negative_zero = MakeTensor({}, {-0.0f}),
               one = MakeTensor({4}, {1, 1, 1, 1});
  const auto combine = [](Function function, const Tensor& constant) {
    return Pattern({Call("y", function, {"h", "k"})}, constant).Optimized();
  };
  const auto gone = ElementsAre("output = output(h)");
  EXPECT_THAT(combine(Function::kSub, zero), gone);
  EXPECT_THAT(combine(Function::kAdd, negative_zero), gone);
  EXPECT_THAT(combine(Function::kMul, one), gone);
  EXPECT_THAT(combine(Function::kDiv, one), gone);
  EXPECT_THAT(Pattern({Call("y", Function::kMul, {"k", "h"})}, one).Optimized(), gone);
  EXPECT_THAT(Pattern({Call("y", Function::kAdd, {"k", "h"})}, negative_zero).Optimized(), gone);
}

// h may be -0, and -0 + 0 is 0.
TEST(ApplyPeephole, AddingZeroStaysWhereANegativeZeroMayCome) {
  const Tensor zero = MakeTensor({}, {0.0f}), negative_zero = MakeTensor({}, {-0.0f});
  EXPECT_THAT(Pattern({Call("y", Function::kAdd, {"h", "k"})}, zero).Optimized(),
              ElementsAre("k = @c", "y = add(h, k)", "output = output(y)"));
  EXPECT_THAT(Pattern({Call("y", Function::kSub, {"h", "k"})}, negative_zero).Optimized(),
              ElementsAre("k = @c", "y = sub(h, k)", "output = output(y)"));
  const auto gone = ElementsAre("a = relu(h)", "output = output(a)");
  EXPECT_THAT(Pattern({Call("a", Function::kReLU, {"h"}), Call("y", Function::kAdd, {"a", "k"})}, zero).Optimized(),
              gone);
  EXPECT_THAT(
      Pattern({Call("a", Function::kReLU, {"h"}), Call("y", Function::kSub, {"a", "k"})}, negative_zero).Optimized(),
      gone);
}

TEST(ApplyPeephole, OtherConstantsAndOrdersStay) {
  EXPECT_EQ(Pattern({Call("y", Function::kMul, {"h", "k"})}, MakeTensor({4}, {1, 1, 1, 2})).Optimized().size(), 3);
  EXPECT_EQ(Pattern({Call("y", Function::kSub, {"k", "h"})}, MakeTensor({}, {0})).Optimized().size(), 3);
  EXPECT_EQ(Pattern({Call("y", Function::kDiv, {"k", "h"})}, MakeTensor({}, {1})).Optimized().size(), 3);
  EXPECT_EQ(Pattern({Call("y", Function::kMul, {"h", "k"})}, MakeTensor({}, {std::nanf("")})).Optimized().size(), 3);
}

// A constant that makes the result larger is not neutral.
TEST(ApplyPeephole, ConstantsThatRepeatTheOtherOperandStay) {
  Pattern pattern({SliceOf("a", "h", 0, 1), Call("y", Function::kMul, {"a", "k"})}, MakeTensor({4}, {1, 1, 1, 1}));
  EXPECT_THAT(pattern.Optimized(),
              ElementsAre("k = @c", "a = slice(h, dim=1, 0:1)", "y = mul(a, k)", "output = output(y)"));
  Pattern deeper({Call("y", Function::kMul, {"h", "k"})}, MakeTensor({1, 1, 4}, {1, 1, 1, 1}));
  EXPECT_EQ(deeper.Optimized().size(), 3);
}

// An input may hold a signaling NaN, which arithmetic makes quiet and a copy does not.
TEST(ApplyPeephole, ArithmeticOnCopiesOfInputsStays) {
  Pattern pattern({Call("a", Function::kReLU, {"x"}), Call("y", Function::kMul, {"a", "k"})}, MakeTensor({}, {1.0f}));
  pattern.feed.dense["x"].values[5] = FloatsOf(std::vector<uint32_t>{0x7f800001u})[0];
  EXPECT_THAT(pattern.Optimized(), ElementsAre("k = @c", "a = relu(x)", "y = mul(a, k)", "output = output(y)"));
}

TEST(ApplyPeephole, SlicesOfSlicesAndWholeSlices) {
  EXPECT_THAT(Pattern({SliceOf("y", "h", 0, 4)}).Optimized(), ElementsAre("output = output(h)"));
  EXPECT_THAT(Pattern({SliceOf("y", "h", -9, 9, -1)}).Optimized(), ElementsAre("output = output(h)"));
  EXPECT_THAT(Pattern({SliceOf("y", "h", 0, kToTheEnd, 0)}).Optimized(), ElementsAre("output = output(h)"));
  EXPECT_THAT(Pattern({SliceOf("y", "h", 1, kToTheEnd, 0)}).Optimized(),
              ElementsAre("y = slice(h, dim=0, 1:)", "output = output(y)"));
  EXPECT_THAT(Pattern({SliceOf("a", "h", 1, kToTheEnd), SliceOf("y", "a", 1, -1)}).Optimized(),
              ElementsAre("y = slice(h, dim=1, 2:3)", "output = output(y)"));
  EXPECT_THAT(Pattern({SliceOf("a", "h", 1, 4), SliceOf("y", "a", 0, 2, 0)}).Optimized(),
              ElementsAre("a = slice(h, dim=1, 1:4)", "y = slice(a, dim=0, 0:2)", "output = output(y)"));
  EXPECT_THAT(Pattern({SliceOf("a", "h", 1, 3, 0), SliceOf("y", "a", 1, 9, 0)}).Optimized(),
              ElementsAre("y = slice(h, dim=0, 2:3)", "output = output(y)"));
}

TEST(ApplyPeephole, CatOfAdjacentSlices) {
  EXPECT_THAT(Pattern({SliceOf("a", "h", 0, 1), SliceOf("b", "h", 1, 3), SliceOf("c", "h", 3, 4),
                       Call("y", Function::kCat, {"a", "b", "c"}, 1)})
                  .Optimized(),
              ElementsAre("output = output(h)"));
  EXPECT_THAT(
      Pattern({SliceOf("a", "h", 0, 1), SliceOf("b", "h", 1, 3), Call("y", Function::kCat, {"a", "b", "h"}, -1)})
          .Optimized(),
      ElementsAre("y_slice = slice(h, dim=1, 0:3)", "y = cat(y_slice, h, dim=-1)", "output = output(y)"));
  // Not adjacent, in the wrong order, of another dimension.
  EXPECT_EQ(Pattern({SliceOf("a", "h", 0, 1), SliceOf("b", "h", 2, 3), Call("y", Function::kCat, {"a", "b"}, 1)})
                .Optimized()
                .size(),
            4);
  EXPECT_EQ(Pattern({SliceOf("a", "h", 0, 1), SliceOf("b", "h", 1, 3), Call("y", Function::kCat, {"b", "a"}, 1)})
                .Optimized()
                .size(),
            4);
  EXPECT_EQ(Pattern({SliceOf("a", "h", 0, 2), SliceOf("b", "h", 2, 4), Call("y", Function::kCat, {"a", "b"}, 0)})
                .Optimized()
                .size(),
            4);
}

}  // namespace
}  // namespace eqat::model
