#include "model/shape_inference.h"

#include "core/status_macros.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/model/freeze/freezing.h"
#include "tests/model/small_models.h"
#include "tests/support/status_matchers.h"

namespace eqat::model {
namespace {

using ::eqat::testing::StatusIs;
using ::testing::HasSubstr;

Model Layers() {
  Model model;
  Add(model, "bag", MakeBag(BagOptions(5, 4)));
  Add(model, "user", MakeEmbedding(TableOptions(6, 4)));
  Add(model, "fc", MakeLinear(4, 3));
  Add(model, "norm", MakeBatchNorm(3));
  Add(model, "c", Constant({3}, {1, 2, 3}));
  return model;
}

std::string ShapeText(const Shapes& shapes, const std::string& node) {
  const auto& sizes = shapes.at(node);
  return sizes ? ShapePatternText(*sizes) : "?";
}

absl::StatusOr<Shapes> Infer(std::vector<Node> nodes, Inference inference = Inference::kBothWays) {
  Model model = Layers();
  nodes.push_back(Output(nodes.back().name));
  EQAT_RETURN_IF_ERROR(model.SetGraph({std::move(nodes)}));
  return InferShapes(
      model.inlined_graph(), [&](const std::string& name) { return model.Find(name); }, inference);
}

TEST(InferShapes, FollowsModulesAndFunctions) {
  EQAT_ASSERT_OK_AND_ASSIGN(
      const Shapes shapes,
      Infer({Input("tags"), Input("ids"), Input("x"), GetAttr("k", "c"), CallModule("bag", "bag", "tags"),
             CallModule("user", "user", "ids"), Call("dots", Function::kInteractDot, {"bag", "user"}),
             Call("cat", Function::kCat, {"bag", "user", "dots"}, 1), SliceOf("slice", "cat", 2, -1),
             CallModule("fc", "fc", "bag"), CallModule("norm", "norm", "fc"),
             Call("add", Function::kAdd, {"norm", "k"}), Call("flat", Function::kFlatten, {"x"}, 1),
             Call("all", Function::kCat, {"slice", "add", "flat"}, -1)}));
  EXPECT_EQ(ShapeText(shapes, "tags"), "?");
  EXPECT_EQ(ShapeText(shapes, "ids"), "[?]");  // interact_dot takes matrices
  EXPECT_EQ(ShapeText(shapes, "x"), "?");
  EXPECT_EQ(ShapeText(shapes, "bag"), "[?, 4]");
  EXPECT_EQ(ShapeText(shapes, "user"), "[?, 4]");
  EXPECT_EQ(ShapeText(shapes, "dots"), "[?, 1]");
  EXPECT_EQ(ShapeText(shapes, "cat"), "[?, 9]");
  EXPECT_EQ(ShapeText(shapes, "slice"), "[?, 6]");
  EXPECT_EQ(ShapeText(shapes, "norm"), "[?, 3]");
  EXPECT_EQ(ShapeText(shapes, "k"), "[3]");
  EXPECT_EQ(ShapeText(shapes, "add"), "[?, 3]");
  EXPECT_EQ(ShapeText(shapes, "flat"), "[?, ?]");
  EXPECT_EQ(ShapeText(shapes, "all"), "[?, ?]");
}

TEST(InferShapes, GoesBackOnlyWhenAsked) {
  const std::vector<Node> nodes = {Input("x"), CallModule("fc", "fc", "x"), CallModule("norm", "norm", "fc")};
  EQAT_ASSERT_OK_AND_ASSIGN(const Shapes both, Infer(nodes));
  EXPECT_EQ(ShapeText(both, "x"), "[?, 4]");
  EQAT_ASSERT_OK_AND_ASSIGN(const Shapes forward, Infer(nodes, Inference::kForward));
  EXPECT_EQ(ShapeText(forward, "x"), "?");
  EXPECT_EQ(ShapeText(forward, "fc"), "?");
  EXPECT_EQ(ShapeText(forward, "norm"), "[?, 3]");
}

TEST(InferShapes, BroadcastsAsTheFunctionsDo) {
  EQAT_ASSERT_OK_AND_ASSIGN(const Shapes shapes,
                            Infer({MatrixInput("a", 3),
                                   MatrixInput("b", 1),
                                   {.name = "c", .op = Op::kPlaceholder, .shape = std::vector<int64_t>{2, 5, 1}},
                                   {.name = "d", .op = Op::kPlaceholder, .shape = std::vector<int64_t>{}},
                                   Call("ab", Function::kMul, {"a", "b"}),
                                   Call("ac", Function::kSub, {"a", "c"}),
                                   Call("ad", Function::kDiv, {"d", "a"}),
                                   Call("y", Function::kAdd, {"ac", "ad"})}));
  EXPECT_EQ(ShapeText(shapes, "ab"), "[?, 3]");
  EXPECT_EQ(ShapeText(shapes, "ac"), "[2, 5, 3]");
  EXPECT_EQ(ShapeText(shapes, "ad"), "[?, 3]");
  EXPECT_EQ(ShapeText(shapes, "d"), "[]");
}

TEST(InferShapes, RefusesShapesThatCanNeverFit) {
  const auto is = [](const char* message) { return StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(message)); };
  EXPECT_THAT(
      Infer({Input("ids"), CallModule("e", "bag", "ids"), CallModule("a", "fc", "e"), CallModule("b", "fc", "a")}),
      is("node b: the shape of its input does not fit (got [?, 3], expected [..., 4])"));
  EXPECT_THAT(Infer({Input("x"), CallModule("a", "fc", "x"), CallModule("b", "fc", "a")}),
              is("node b: the shape of its input does not fit (got [..., 3], expected [..., 4])"));
  EXPECT_THAT(Infer({Input("ids"), CallModule("e", "bag", "ids"), CallModule("a", "norm", "e")}),
              is("node a: the shape of its input does not fit (got [?, 4], expected [?, 3])"));
  EXPECT_THAT(
      Infer({Input("ids"), GetAttr("k", "c"), CallModule("e", "bag", "ids"), Call("y", Function::kAdd, {"e", "k"})}),
      is("node y: operands differ in shape (got [?, 4] and [3])"));
  EXPECT_THAT(Infer({Input("ids"), CallModule("e", "bag", "ids"), Call("y", Function::kCat, {"e", "e"}, 2)}),
              is("node y: dimension out of range (got 2 of [?, 4])"));
  EXPECT_THAT(Infer({Input("ids"), CallModule("e", "bag", "ids"), CallModule("h", "fc", "e"),
                     Call("y", Function::kCat, {"e", "h"}, 0)}),
              is("node y: the shape of h does not fit outside dimension 0"));
  EXPECT_THAT(
      Infer({Input("ids"), GetAttr("k", "c"), CallModule("e", "bag", "ids"), Call("y", Function::kCat, {"e", "k"}, 0)}),
      is("node y: the rank of k does not fit (got [3], expected"));
  EXPECT_THAT(Infer({GetAttr("k", "c"), Call("y", Function::kInteractDot, {"k", "k"})}),
              is("node y: feature k is not a matrix (got [3]"));
  EXPECT_THAT(Infer({Input("ids"), CallModule("e", "bag", "ids"), Call("y", Function::kFlatten, {"e"}, 2)}),
              is("node y: dimension out of range (got 2 of [?, 4])"));
  EXPECT_THAT(Infer({Input("ids"), CallModule("e", "bag", "ids"), SliceOf("y", "e", 0, 1, -3)}),
              is("node y: dimension out of range (got -3 of [?, 4])"));
  EXPECT_THAT(
      Infer({{.name = "x", .op = Op::kPlaceholder, .shape = std::vector<int64_t>{2, 5}}, CallModule("y", "fc", "x")}),
      is("node y: the shape of its input does not fit (got [2, 5], expected [..., 4])"));
  // A dense input that must have two ranks at once.
  EXPECT_THAT(Infer({Input("x"), CallModule("a", "fc", "x"), CallModule("b", "norm", "a"),
                     Call("f", Function::kCat, {"x", "x"}, 0), Call("k", Function::kFlatten, {"f"}, 2),
                     Call("y", Function::kCat, {"k", "k"}, 0)}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("")));
}

}  // namespace
}  // namespace eqat::model
