#include "model/freeze/freeze.h"

#include <filesystem>

#include "gmock/gmock.h"
#include "model/model_directory.h"
#include "tests/model/freeze/freezing.h"

namespace eqat::model {
namespace {

using ::eqat::testing::StatusIs;
using ::testing::Contains;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

// Tables, dropout, batch norm, a nested model used twice, unread parts.
struct WholeModel {
  std::vector<int64_t> tags = {3, 1, 1, 4, 0, 2}, offsets = {0, 2, 5}, ids = {2, 0, 4};
  Model model;
  Feed feed;

  WholeModel() {
    Add(model, "tags", MakeQatBag(BagOptions(5, 4), Preset("default_embedding_qat_qconfig_4bit")));
    Add(model, "user", MakeEmbedding(TableOptions(6, 4), 1));
    Add(model, "unread", MakeLinear(9, 9));
    Add(model, "top",
        GraphModule{{{Input("x"), CallModule("h", "0", "x"), CallModule("n", "1", "h"), CallModule("r", "2", "n"),
                      CallModule("d", "3", "r"), Output("d")}}});
    Add(model, "top.0", MakeLinear(4, 4));
    Add(model, "top.1", MakeBatchNorm(4));
    Add(model, "top.2", ReLU());
    Add(model, "top.3", Dropout{.p = 0.25});
    Add(model, "scale", ParameterTensor{MakeTensor({2}, {0.5f, 3.0f})});
    Add(model, "last", MakeLinear(8, 2, true, 3));
    const auto call = [](std::string name, std::string arg) {
      return CallModule(std::move(name), "top", std::move(arg));
    };
    EQAT_EXPECT_OK(model.SetGraph(
        {{Input("tag_ids"), Input("ids"), GetAttr("s", "scale"), CallModule("a", "tags", "tag_ids"),
          CallModule("b", "user", "ids"), call("t", "a"), call("u", "b"), Call("x", Function::kCat, {"t", "u"}, 1),
          CallModule("logits", "last", "x"), Call("y", Function::kMul, {"logits", "s"}), Output("y")}}));
    feed.lookups["tag_ids"] = Jagged(tags, offsets);
    feed.lookups["ids"] = Indices(ids);
  }
};

std::vector<std::string> TypesOf(const Model& model) {
  std::vector<std::string> types;
  for (const std::string& name : model.module_names()) types.emplace_back(TypeName(*model.Find(name)));
  return types;
}

TEST(Freeze, LeavesTheSmallestGraphThatComputesTheSame) {
  const WholeModel whole;
  EQAT_ASSERT_OK_AND_ASSIGN(const FrozenModel frozen, Freeze(whole.model));
  EXPECT_THAT(LinesOf(*frozen.model.graph()),
              ElementsAre("tag_ids", "ids", "a = tags(tag_ids)", "b = user(ids)", "t.h = top.0(a)", "t.r = relu(t.h)",
                          "u.h = top.0(b)", "u.r = relu(u.h)", "x = cat(t.r, u.r, dim=1)", "logits = last(x)",
                          "output = output(logits)"));
  EXPECT_THAT(frozen.model.module_names(), ElementsAre("tags", "user", "top.0", "last"));
  EXPECT_THAT(TypesOf(frozen.model), ElementsAre("quantized.EmbeddingBag", "nn.Embedding", "nn.Linear", "nn.Linear"));
  EXPECT_TRUE(frozen.model.frozen());
  EXPECT_EQ(frozen.report.bounds.size(), 2);
  EQAT_ASSERT_OK_AND_ASSIGN(const Tensor before, whole.model.Evaluate(whole.feed));
  EQAT_ASSERT_OK_AND_ASSIGN(const Tensor after, frozen.model.Evaluate(whole.feed));
  ASSERT_EQ(before.shape, after.shape);
  // Weights below 2.5, 4 and 8 terms, outputs below 1000: far below 2^-24 * 1000 * (8 + 16) * 8.
  for (int64_t i = 0; i < before.size(); ++i) EXPECT_NEAR(before.values[i], after.values[i], 0.012);
}

// torch: test_optimize_freeze_module.
TEST(Freeze, WithoutNumericsEveryBitStays) {
  const WholeModel whole;
  for (const FrozenTables tables : {FrozenTables::kPacked, FrozenTables::kFloat}) {
    EQAT_ASSERT_OK_AND_ASSIGN(const FrozenModel frozen,
                              Freeze(whole.model, {.optimize_numerics = false, .tables = tables}));
    EXPECT_EQ(OutputBits(frozen.model, whole.feed), OutputBits(whole.model, whole.feed));
    EXPECT_TRUE(frozen.report.bounds.empty());
    EXPECT_THAT(TypesOf(frozen.model), Contains("nn.BatchNorm1d"));
    EXPECT_THAT(TypesOf(frozen.model), Not(Contains("nn.Dropout")));
    EXPECT_THAT(TypesOf(frozen.model), Not(Contains(HasSubstr("qat."))));
  }
}

TEST(Freeze, TheGivenModelIsNotChangedNorShared) {
  WholeModel whole;
  const std::vector<uint32_t> before = OutputBits(whole.model, whole.feed);
  const std::vector<std::string> types = TypesOf(whole.model);
  EQAT_ASSERT_OK_AND_ASSIGN(FrozenModel frozen, Freeze(whole.model, {.preserve = {"last", "user"}}));
  EXPECT_EQ(OutputBits(whole.model, whole.feed), before);
  EXPECT_EQ(TypesOf(whole.model), types);
  EXPECT_FALSE(whole.model.frozen());
  // torch's constants alias the original's weights.
  const std::vector<uint32_t> of_frozen = OutputBits(frozen.model, whole.feed);
  for (const Parameter& parameter : whole.model.Parameters()) parameter.values.data[0] += 1;
  EXPECT_EQ(OutputBits(frozen.model, whole.feed), of_frozen);
  for (const Parameter& parameter : frozen.model.Parameters()) parameter.values.data[0] += 1;
  EXPECT_NE(OutputBits(frozen.model, whole.feed), of_frozen);
}

TEST(Freeze, AConsumedModelGivesTheSame) {
  const WholeModel whole;
  WholeModel consumed;
  EQAT_ASSERT_OK_AND_ASSIGN(const FrozenModel a, Freeze(whole.model));
  EQAT_ASSERT_OK_AND_ASSIGN(const FrozenModel b, Freeze(std::move(consumed.model)));
  EXPECT_EQ(*a.model.graph(), *b.model.graph());
  EXPECT_EQ(OutputBits(a.model, whole.feed), OutputBits(b.model, whole.feed));
}

// torch: test_freeze_module_with_preserve*; a preserved module stays named and can be replaced.
TEST(Freeze, PreservedModulesCanBeReplaced) {
  for (const std::string name : {"last", "last.weight", "top.1", "top.0", "scale", "user", "tags"}) {
    SCOPED_TRACE(name);
    WholeModel whole;
    EQAT_ASSERT_OK_AND_ASSIGN(FrozenModel frozen,
                              Freeze(whole.model, {.preserve = {name}, .optimize_numerics = false}));
    const std::string module = name == "last.weight" ? "last" : name;
    EXPECT_THAT(frozen.model.preserved(), ElementsAre(module));
    for (Model* model : {&whole.model, &frozen.model}) {
      for (const Parameter& parameter : model->Parameters()) {
        if (parameter.name.rfind(module, 0) != 0) continue;
        EXPECT_TRUE(parameter.requires_grad);
        parameter.WillModifyAllRows();
        for (int64_t i = 0; i < parameter.values.rows * parameter.values.cols; ++i) parameter.values.data[i] *= 1.5f;
      }
    }
    EXPECT_EQ(OutputBits(frozen.model, whole.feed), OutputBits(whole.model, whole.feed));
  }
}

TEST(Freeze, PreservedModulesBlockTheFoldsThatNeedThem) {
  const WholeModel whole;
  EQAT_ASSERT_OK_AND_ASSIGN(const FrozenModel norm, Freeze(whole.model, {.preserve = {"top.1"}}));
  EXPECT_THAT(norm.model.module_names(), ElementsAre("tags", "user", "top.0", "top.1", "last"));
  EQAT_ASSERT_OK_AND_ASSIGN(const FrozenModel scale, Freeze(whole.model, {.preserve = {"scale"}}));
  EXPECT_THAT(scale.model.module_names(), ElementsAre("tags", "user", "top.0", "scale", "last"));
  EQAT_ASSERT_OK_AND_ASSIGN(const FrozenModel unread, Freeze(whole.model, {.preserve = {"unread"}}));
  EXPECT_THAT(unread.model.module_names(), ElementsAre("tags", "user", "unread", "top.0", "last"));
}

TEST(Freeze, ANestedModelsNamePreservesWhatIsInIt) {
  const WholeModel whole;
  EQAT_ASSERT_OK_AND_ASSIGN(const FrozenModel frozen, Freeze(whole.model, {.preserve = {"top"}}));
  EXPECT_THAT(frozen.model.preserved(), ElementsAre("top.0", "top.1", "top.2", "top.3"));
  EXPECT_THAT(LinesOf(*frozen.model.graph()), Contains("t.d = top.3(t.r)"));
}

// torch: submodule sharing and interfaces. Two towers with a table of their own name each, which is one table.
TEST(Freeze, WhatIsSharedStaysShared) {
  Model model;
  Add(model, "words", MakeBag(BagOptions(5, 4)));
  for (const char* tower : {"query", "title"}) {
    Add(model, tower,
        GraphModule{{{Input("ids"), CallModule("e", "table", "ids"), CallModule("h", "fc", "e"), Output("h")}}});
    Add(model, absl::StrCat(tower, ".table"), InterfaceModule{"words"});
    Add(model, absl::StrCat(tower, ".fc"), MakeLinear(4, 3, true, tower[0]));
  }
  EQAT_ASSERT_OK(model.SetGraph({{Input("a"), Input("b"), CallModule("q", "query", "a"), CallModule("t", "title", "b"),
                                  CallModule("r", "title", "a"), Call("s", Function::kSub, {"q", "t"}),
                                  Call("y", Function::kMul, {"s", "r"}), Output("y")}}));
  EQAT_ASSERT_OK_AND_ASSIGN(const FrozenModel frozen, Freeze(model, {.optimize_numerics = false}));
  EXPECT_THAT(LinesOf(*frozen.model.graph()),
              ElementsAre("a", "b", "q.e = words(a)", "q.h = query.fc(q.e)", "t.e = words(b)", "t.h = title.fc(t.e)",
                          "r.h = title.fc(q.e)", "s = sub(q.h, t.h)", "y = mul(s, r.h)", "output = output(y)"));
  EXPECT_THAT(frozen.model.module_names(), ElementsAre("words", "query.fc", "title.fc"));
  const std::vector<int64_t> a = {1, 3, 0, 2}, b = {4, 4, 1, 0};
  Feed feed;
  feed.lookups["a"] = Indices(a, {2, 2});
  feed.lookups["b"] = Indices(b, {2, 2});
  EXPECT_EQ(OutputBits(frozen.model, feed), OutputBits(model, feed));
}

// torch: test_bn_not_broadcast_with_linear. Sizes that differ never fit here.
TEST(Freeze, ABatchNormOfAnotherSizeIsAnError) {
  Model model;
  Add(model, "fc", MakeLinear(3, 4));
  Add(model, "norm", MakeBatchNorm(1));
  EQAT_ASSERT_OK(model.SetGraph({{Input("x"), CallModule("h", "fc", "x"), CallModule("y", "norm", "h"), Output("y")}}));
  EXPECT_THAT(Freeze(model), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("node y")));
}

TEST(Freeze, ConstantsHaveNoGradient) {
  const WholeModel whole;
  EQAT_ASSERT_OK_AND_ASSIGN(FrozenModel frozen, Freeze(whole.model, {.preserve = {"last"}}));
  std::shared_ptr<Tape> tape;
  EQAT_ASSERT_OK_AND_ASSIGN(const Tensor output, frozen.model.ForwardEvaluation(whole.feed, &tape));
  EQAT_ASSERT_OK_AND_ASSIGN(const Gradients gradients, frozen.model.Backward(*tape, output));
  EXPECT_THAT(gradients, ElementsAre(::testing::Key("last.bias"), ::testing::Key("last.weight")));
  EXPECT_THAT(frozen.model.ForwardTraining(whole.feed, 0, 0, nullptr),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("no training mode")));
}

TEST(Freeze, InputsTakeNothingThatTheOriginalRefused) {
  Model model;
  Add(model, "fc", MakeLinear(4, 4));
  Add(model, "norm", MakeBatchNorm(4));
  EQAT_ASSERT_OK(model.SetGraph({{Input("x"), CallModule("h", "fc", "x"), CallModule("y", "norm", "h"), Output("y")}}));
  EQAT_ASSERT_OK_AND_ASSIGN(const FrozenModel frozen, Freeze(model));
  EXPECT_THAT(LinesOf(*frozen.model.graph()), ElementsAre("x", "h = fc(x)", "output = output(h)"));
  Feed feed;
  feed.dense["x"] = MakeRows(4);
  EQAT_EXPECT_OK(frozen.model.Evaluate(feed));
  // torch's fold computes something else for three dimensions.
  feed.dense["x"].shape = {3, 1, 4};
  EXPECT_THAT(model.Evaluate(feed), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("wrong shape")));
  EXPECT_THAT(frozen.model.Evaluate(feed), StatusIs(absl::StatusCode::kInvalidArgument,
                                                    HasSubstr("x: the input has the wrong shape (got [3, 1, 4]")));
}

TEST(Freeze, FoldsBeforeItMerges) {
  Model model;
  Add(model, "a", MakeLinear(3, 2, true, 1));
  Add(model, "b", MakeLinear(3, 4, true, 2));
  Add(model, "norm_a", MakeBatchNorm(2));
  Add(model, "norm_b", MakeBatchNorm(4));
  EQAT_ASSERT_OK(model.SetGraph(
      {{MatrixInput("x", 3), CallModule("p", "a", "x"), CallModule("q", "b", "x"), CallModule("r", "norm_a", "p"),
        CallModule("s", "norm_b", "q"), Call("y", Function::kCat, {"r", "s"}, 1), Output("y")}}));
  EQAT_ASSERT_OK_AND_ASSIGN(const FrozenModel frozen, Freeze(model));
  // The slices of the merged one stand side by side.
  EXPECT_THAT(LinesOf(*frozen.model.graph()), ElementsAre("x", "p_merged = a_merged(x)", "output = output(p_merged)"));
}

TEST(Freeze, ReportsEveryRunOfEveryPass) {
  const WholeModel whole;
  std::vector<std::string> seen;
  EQAT_ASSERT_OK_AND_ASSIGN(
      const FrozenModel frozen,
      Freeze(whole.model, {.after_pass = [&](const std::string& pass, const Graph&) { seen.push_back(pass); }}));
  ASSERT_EQ(seen.size(), frozen.report.runs.size());
  for (size_t i = 0; i < seen.size(); ++i) {
    const PassRun& run = frozen.report.runs[i];
    EXPECT_EQ(run.pass, seen[i]);
    if (i == 0) continue;
    EXPECT_EQ(run.nodes_before, frozen.report.runs[i - 1].nodes_after);
    EXPECT_EQ(run.bytes_before, frozen.report.runs[i - 1].bytes_after);
    EXPECT_TRUE(run.changes > 0 || run.nodes_before == run.nodes_after);
  }
  std::vector<std::string> first;
  for (const std::string& pass : seen) {
    if (std::find(first.begin(), first.end(), pass) == first.end()) first.push_back(pass);
  }
  EXPECT_EQ(first, FreezePasses());
  EXPECT_EQ(frozen.report.runs.back().nodes_after, frozen.model.graph()->nodes.size());
}

TEST(Freeze, RefusesWithWhatToDo) {
  WholeModel whole;
  EXPECT_THAT(Freeze(whole.model, {.preserve = {"zzz"}}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("preserve: no module or tensor of this name (got zzz, expected one of tags, user")));
  EXPECT_THAT(Freeze(whole.model, {.preserve = {"last.wait"}}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("(got last.wait")));
  whole.model.Train();
  EXPECT_THAT(
      Freeze(whole.model),
      StatusIs(absl::StatusCode::kFailedPrecondition,
               HasSubstr("only a model in evaluation mode can be frozen (got training mode, expected evaluation "
                         "mode: call Eval()")));
  whole.model.Eval();
  EQAT_EXPECT_OK(Freeze(whole.model));
  Model tables;
  Add(tables, "user", MakeEmbedding(TableOptions(6, 4)));
  EXPECT_THAT(Freeze(tables), StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("no graph to freeze")));
  Model mismatch;
  Add(mismatch, "a", MakeLinear(3, 2));
  EQAT_ASSERT_OK(mismatch.SetGraph({{Input("x"), CallModule("p", "a", "x"), CallModule("y", "a", "p"), Output("y")}}));
  EXPECT_THAT(Freeze(mismatch), StatusIs(absl::StatusCode::kInvalidArgument,
                                         HasSubstr("node y: the shape of its input does not fit (got [..., 2]")));
}

TEST(Freeze, ATableThatCannotBeConvertedIsAnError) {
  WholeModel whole;
  std::get<qat::EmbeddingBag>(*whole.model.FindMutable("tags")).mutable_weight().Row(2)[1] = NAN;
  EXPECT_THAT(Freeze(whole.model), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("row 2")));
}

class FreezeDirectory : public ModelDirectoryFixture {};

TEST_F(FreezeDirectory, FreezingAFrozenModelChangesNoByte) {
  const WholeModel whole;
  const FreezeOptions options[] = {{},
                                   {.preserve = {"top.1", "scale"}},
                                   {.optimize_numerics = false},
                                   {.tables = FrozenTables::kFloat},
                                   {.preserve = {"top", "tags", "unread"}}};
  for (const FreezeOptions& each : options) {
    EQAT_ASSERT_OK_AND_ASSIGN(const FrozenModel once, Freeze(whole.model, each));
    EQAT_ASSERT_OK(SaveModel(once.model, Path("once")));
    EQAT_ASSERT_OK_AND_ASSIGN(Model loaded, LoadModel(Path("once")));
    EXPECT_EQ(OutputBits(loaded, whole.feed), OutputBits(once.model, whole.feed));
    FreezeOptions again = each;
    again.preserve.clear();
    EQAT_ASSERT_OK_AND_ASSIGN(const FrozenModel twice, Freeze(std::move(loaded), again));
    EQAT_ASSERT_OK(SaveModel(twice.model, Path("twice")));
    for (const char* file : {"model.json", "model.safetensors"}) {
      EXPECT_EQ(ReadText(Path("once/") + file), ReadText(Path("twice/") + file)) << file;
    }
    for (const PassRun& run : twice.report.runs) EXPECT_EQ(run.changes, 0) << run.pass;
  }
}

}  // namespace
}  // namespace eqat::model
