// model.json of nested models, interfaces, tensors, slices, declared shapes and frozen models.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "io/safetensors.h"
#include "model/model_directory.h"
#include "model/prepare_qat.h"
#include "tests/model/freeze/freezing.h"
#include "tests/model/small_models.h"
#include "tests/support/status_matchers.h"

namespace eqat::model {
namespace {

using ::eqat::testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class NestedModelDirectory : public ModelDirectoryFixture {};

// A model in a model in a model, which shares a table with the outermost.
Model Nested() {
  Model model;
  Add(model, "table", MakeEmbedding(TableOptions(4, 3)));
  Add(model, "outer",
      GraphModule{{{Input("ids"), CallModule("h", "inner", "ids"), SliceOf("s", "h", -2, kToTheEnd),
                    GetAttr("k", "shift"), Call("y", Function::kSub, {"s", "k"}), Output("y")}}});
  Add(model, "outer.inner",
      GraphModule{{{Input("ids"), CallModule("e", "table", "ids"), CallModule("y", "fc", "e"), Output("y")}}});
  Add(model, "outer.inner.table", InterfaceModule{"table"});
  Add(model, "outer.inner.fc", MakeLinear(3, 3));
  Add(model, "outer.shift", ParameterTensor{MakeTensor({2}, {0.5f, -1}), false});
  Add(model, "scale", ParameterTensor{MakeTensor({}, {3})});
  Add(model, "mean", Constant({1, 2}, {0.25f, 8}));
  EXPECT_TRUE(model
                  .SetGraph({{{.name = "ids", .op = Op::kPlaceholder, .shape = std::vector<int64_t>{kAnySize}},
                              {.name = "x", .op = Op::kPlaceholder, .shape = std::vector<int64_t>{kAnySize, 2}},
                              CallModule("n", "outer", "ids"),
                              GetAttr("m", "mean"),
                              GetAttr("k", "scale"),
                              Call("a", Function::kAdd, {"n", "x"}),
                              Call("b", Function::kSub, {"a", "m"}),
                              Call("c", Function::kDiv, {"b", "k"}),
                              SliceOf("d", "c", 1, 3, -1),
                              SliceOf("y", "d", 0, kToTheEnd, 0),
                              Output("y")}})
                  .ok());
  return model;
}

Feed NestedFeed(const std::vector<int64_t>& ids) {
  Feed feed;
  feed.lookups["ids"] = Indices(ids);
  feed.dense["x"] = MakeRows(2, static_cast<int64_t>(ids.size()));
  return feed;
}

TEST_F(NestedModelDirectory, KeepsEverythingAndTheBytes) {
  Model model = Nested();
  model.Train();
  EQAT_ASSERT_OK(SaveModel(model, Path("first")));
  EQAT_ASSERT_OK_AND_ASSIGN(const Model loaded, LoadModel(Path("first")));
  EQAT_ASSERT_OK(SaveModel(loaded, Path("second")));
  for (const char* file : {"model.json", "model.safetensors"}) {
    EXPECT_EQ(ReadText(Path("first/") + file), ReadText(Path("second/") + file));
  }
  EXPECT_EQ(loaded.module_names(), model.module_names());
  EXPECT_EQ(*loaded.graph(), *model.graph());
  EXPECT_EQ(loaded.inlined_graph(), model.inlined_graph());
  EXPECT_TRUE(loaded.training());
  EXPECT_FALSE(std::get<ParameterTensor>(*loaded.Find("outer.shift")).requires_grad);
  EXPECT_TRUE(std::get<ParameterTensor>(*loaded.Find("scale")).requires_grad);
  const std::vector<int64_t> ids = {1, 3, 0};
  EXPECT_EQ(OutputBits(loaded, NestedFeed(ids)), OutputBits(model, NestedFeed(ids)));
}

TEST_F(NestedModelDirectory, TablesInNestedModelsArePreparedAndConverted) {
  Model model;
  Add(model, "tower", GraphModule{{{Input("ids"), CallModule("e", "table", "ids"), Output("e")}}});
  Add(model, "tower.table", MakeEmbedding(TableOptions(4, 3)));
  EQAT_ASSERT_OK(model.SetGraph({{Input("ids"), CallModule("y", "tower", "ids"), Output("y")}}));
  quant::QConfigMapping mapping;
  EQAT_ASSERT_OK(mapping.SetModuleNameRegex("tower\\..*", Preset("default_embedding_qat_qconfig_4bit")));
  EQAT_ASSERT_OK_AND_ASSIGN(const ChangeReport report, PrepareQat(model, mapping));
  EXPECT_EQ(TypeName(*model.Find("tower.table")), "qat.Embedding");
  EXPECT_EQ(report[0].reason, "not a table");
  const std::vector<int64_t> ids = {1, 3};
  Feed feed;
  feed.lookups["ids"] = Indices(ids);
  const std::vector<uint32_t> before = OutputBits(model, feed);
  EQAT_ASSERT_OK(Convert(model));
  EXPECT_EQ(OutputBits(model, feed), before);
}

TEST_F(NestedModelDirectory, DeclaredShapesAreWhatAnInputTakes) {
  const Model model = Nested();
  const std::vector<int64_t> ids = {1, 3};
  Feed feed = NestedFeed(ids);
  feed.dense["x"] = Tensor({2, 3});
  EXPECT_THAT(model.Evaluate(feed),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("x: the input has the wrong shape (got [2, 3], expected [?, 2])")));
  feed = NestedFeed(ids);
  feed.lookups["ids"] = Indices(ids, {2, 1});
  EXPECT_THAT(model.Evaluate(feed),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("ids: the input has the wrong shape (got [2, 1], expected [?])")));
}

TEST_F(NestedModelDirectory, RefusesMistakesByPointer) {
  EQAT_ASSERT_OK(SaveModel(Nested(), Path("good")));
  const std::string good = ReadText(Path("good/model.json"));
  struct Case {
    const char* name;
    std::vector<std::pair<std::string, std::string>> replacements;
    const char* message;
  };
  const Case cases[] = {
      {"nested without graph",
       {{"\"graph\": [\n            {\n              \"name\": \"ids\"", "\"grap\": [{\n\"name\": \"ids\""}},
       "/modules/outer/modules/inner"},
      {"unknown function inside", {{"\"target\": \"sub\"", "\"target\": \"pow\""}}, "/modules/outer/graph/4/target"},
      {"unknown key of a slice", {{"\"start\": -2", "\"begin\": -2"}}, "/modules/outer/graph/2/kwargs"},
      {"shape of a tensor",
       {{"\"shape\": [\n            2\n", "\"shape\": [\n            -2\n"}},
       "/modules/outer/modules/shift/shape: not a shape"},
      {"null in the shape of a tensor",
       {{"\"shape\": [\n        1,", "\"shape\": [\n        null,"}},
       "/modules/mean/shape: not a shape"},
      {"shape of an input",
       {{"\"shape\": [\n        null,\n        2", "\"shape\": [\n        null,\n        \"b\""}},
       "/graph/1/shape: not a shape"},
      {"another shape than the tensor's",
       {{"\"shape\": [\n        1,", "\"shape\": [\n        2,"}},
       "mean: wrong shape (got [1, 2], expected [2, 2])"},
      {"name of an implementation",
       {{"\"implementation\": \"table\"", "\"implementation\": \"a b\""}},
       "/modules/outer/modules/inner/modules/table/implementation: not a module's name"},
      {"no implementation",
       {{"\"implementation\": \"table\"", "\"implementation\": \"tables\""}},
       "interface outer.inner.table: no module implements it (got tables"},
      {"name inside a nested model",
       {{"\"scale\": {", "\"outer.scale\": {"}},
       "/modules/outer.scale: the name lies in a nested model beside it"},
      {"a tensor called",
       {{"\"target\": \"outer\"", "\"target\": \"scale\""}},
       "graph node n: a tensor cannot be called (got scale"},
      {"a table read",
       {{"\"target\": \"mean\"", "\"target\": \"table\""}},
       "graph node m: not a tensor (got table (nn.Embedding)"},
      {"training", {{"\"version\": 1,", "\"version\": 1,\n\"training\": 1,"}}, "/training"},
      {"preserved without frozen", {{"\"version\": 1,", "\"version\": 1,\n\"preserved\": [\"mean\"],"}}, "preserved"},
      {"preserved unknown",
       {{"\"version\": 1,", "\"version\": 1,\n\"frozen\": true, \"preserved\": [\"men\"],"}},
       "/preserved: no module of this name (got men)"},
      {"preserved no name",
       {{"\"version\": 1,", "\"version\": 1,\n\"frozen\": true, \"preserved\": [3],"}},
       "/preserved: not a list of names"},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    for (const auto& [from, to] : c.replacements) ASSERT_NE(good.find(from), std::string::npos) << from << "\n" << good;
    WriteText(Path("bad/model.json"), absl::StrReplaceAll(good, c.replacements));
    WriteText(Path("bad/model.safetensors"), ReadText(Path("good/model.safetensors")));
    EXPECT_THAT(LoadModel(Path("bad")), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(c.message)));
  }
}

TEST_F(NestedModelDirectory, TheDocumentsExampleRuns) {
  const std::string page = ReadText(EQAT_TEST_DATA "/../docs/model_directory.md");
  const size_t marker = page.find("<!-- example: nested model.json -->");
  ASSERT_NE(marker, std::string::npos);
  const size_t begin = page.find('\n', page.find("```", marker)) + 1;
  WriteText(Path("m/model.json"), page.substr(begin, page.find("```", begin) - begin));
  const std::vector<float> words(5000 * 16, 0.25f), weight(8 * 16, 0.5f), bias(8, 1.0f);
  EQAT_ASSERT_OK(io::WriteSafetensors(
      Path("m/model.safetensors"),
      {{"words.weight", io::TensorDtype::kF32, {5000, 16}, io::AsBytes(absl::MakeConstSpan(words))},
       {"tower.fc.weight", io::TensorDtype::kF32, {8, 16}, io::AsBytes(absl::MakeConstSpan(weight))},
       {"tower.fc.bias", io::TensorDtype::kF32, {8}, io::AsBytes(absl::MakeConstSpan(bias))}},
      {}));
  EQAT_ASSERT_OK_AND_ASSIGN(const Model model, LoadModel(Path("m")));
  const std::vector<int64_t> ids = {1, 2, 3, 4};
  Feed feed;
  feed.lookups["query"] = feed.lookups["title"] = Indices(ids, {2, 2});
  // Eight columns of 16 * 0.25 * 0.5 + 1 = 3.
  EXPECT_THAT(model.Evaluate(feed)->values, ElementsAre(72, 72));
}

TEST_F(NestedModelDirectory, TensorNamesAreUnique) {
  Model model;
  Add(model, "fc", MakeLinear(2, 2));
  EXPECT_THAT(
      model.AddModule("fc.weight", ParameterTensor{}),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("a tensor's name lies in module fc (got fc.weight")));
  Add(model, "a.weight", BufferTensor{});
  EXPECT_THAT(
      model.AddModule("a", MakeLinear(2, 2)),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("a module's name is part of tensor a.weight (got a")));
  Add(model, "a", GraphModule{});
}

// Gradients of sub, div, slice and get_attr, against finite differences.
TEST_F(NestedModelDirectory, GradientsOfTheNewFunctions) {
  Model model;
  Add(model, "c", ParameterTensor{MakeTensor({4}, {0.5f, -1, 2, 1.5f})});
  Add(model, "d", ParameterTensor{MakeTensor({}, {0.75f})});
  Add(model, "fixed", Constant({2}, {2, 3}));
  EQAT_ASSERT_OK(model.SetGraph(
      {{Input("x"), GetAttr("c", "c"), GetAttr("d", "d"), GetAttr("f", "fixed"), Call("s", Function::kSub, {"x", "c"}),
        Call("q", Function::kDiv, {"s", "c"}), Call("r", Function::kDiv, {"d", "c"}),
        Call("t", Function::kAdd, {"q", "r"}), SliceOf("u", "t", 1, 3), Call("v", Function::kSub, {"f", "u"}),
        Call("y", Function::kMul, {"v", "d"}), Output("y")}}));
  Feed feed;
  feed.dense["x"] = MakeRows(4);
  std::shared_ptr<Tape> tape;
  EQAT_ASSERT_OK_AND_ASSIGN(const Tensor output, model.ForwardEvaluation(feed, &tape));
  Tensor grad(output.shape);
  for (int64_t i = 0; i < grad.size(); ++i) grad.values[i] = 0.5f - 0.25f * static_cast<float>(i % 4);
  EQAT_ASSERT_OK_AND_ASSIGN(const Gradients gradients, model.Backward(*tape, grad));
  EXPECT_THAT(gradients, ElementsAre(::testing::Key("c"), ::testing::Key("d")));
  const auto loss = [&] {
    const Tensor y = *model.Evaluate(feed);
    double sum = 0;
    for (int64_t i = 0; i < y.size(); ++i) sum += double{y.values[i]} * grad.values[i];
    return sum;
  };
  for (const Parameter& parameter : model.Parameters()) {
    const std::vector<float>& gradient = gradients.at(parameter.name).dense;
    ASSERT_EQ(gradient.size(), parameter.values.cols);
    for (size_t i = 0; i < gradient.size(); ++i) {
      // Second derivatives of 1 / c are below 100 here: a step of 2^-10 errs by 1e-4, rounding by 2^-24 * 10 / 2^-10.
      constexpr float kStep = 1.0f / 1024;
      float& value = parameter.values.data[i];
      const float before = value;
      value = before + kStep;
      const double above = loss();
      value = before - kStep;
      const double below = loss();
      value = before;
      EXPECT_NEAR(gradient[i], (above - below) / (2 * kStep), 2e-3) << parameter.name << "[" << i << "]";
    }
  }
}

}  // namespace
}  // namespace eqat::model
