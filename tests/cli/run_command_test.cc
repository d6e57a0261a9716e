// eqat run: names and shapes of tensors, what changes in the model, updates, and every error. The arithmetic is
// compared with torch by tests/torch.
#include <numeric>

#include "absl/strings/str_cat.h"
#include "tests/cli/cli_test.h"

namespace eqat::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::Key;
using ::testing::UnorderedElementsAre;

class RunTest : public CliTest {
 protected:
  RunTest() { WriteModel(); }

  // `eqat run MODEL --inputs in --outputs out` and more arguments.
  ProgramResult Run(const std::string& model, const std::vector<std::string>& more = {},
                    const ProgramOptions& options = {}) const {
    std::vector<std::string> arguments = {"run", Path(model), "--inputs", Path("in"), "--outputs", Path("out")};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return RunProgram(arguments, options);
  }
  TestTensors Outputs() const { return ReadTensors("out"); }
  TestTensor ItemWeight(const std::string& model) const {
    return ReadTensors(model + "/model.safetensors")["item.weight"];
  }
};

TEST_F(RunTest, WholeModel) {
  WriteTensors("in", Batch());
  ExpectDone(Run("model"));
  const TestTensors outputs = Outputs();
  EXPECT_THAT(outputs, UnorderedElementsAre(Key("output")));
  EXPECT_THAT(outputs.at("output").shape, ElementsAre(2, 1));
}

TEST_F(RunTest, BackwardOfAWholeModel) {
  TestTensors batch = Batch();
  batch["item_ids.per_sample_weights"] = F32({3}, {1, 2, 3});
  batch["grad_output"] = F32({2, 1}, {1, 2});
  WriteTensors("in", batch);
  ExpectDone(Run("model", {"--train"}));
  const TestTensors outputs = Outputs();
  EXPECT_THAT(outputs, UnorderedElementsAre(Key("output"), Key("grad.item.weight"), Key("grad.user.weight.indices"),
                                            Key("grad.user.weight.values"), Key("grad.top.weight"),
                                            Key("grad.top.bias"), Key("grad.item_ids.per_sample_weights")));
  EXPECT_THAT(outputs.at("grad.item.weight").shape, ElementsAre(6, 4));
  EXPECT_EQ(outputs.at("grad.user.weight.indices"), I64({2}, {3, 4}));
  EXPECT_THAT(outputs.at("grad.user.weight.values").shape, ElementsAre(2, 4));
  EXPECT_THAT(outputs.at("grad.top.weight").shape, ElementsAre(1, 8));
  EXPECT_EQ(outputs.at("grad.top.bias"), F32({1}, {3}));
  EXPECT_THAT(outputs.at("grad.item_ids.per_sample_weights").shape, ElementsAre(3));
}

TEST_F(RunTest, OneModule) {
  WriteTensors("in", {{"input", I32({3}, {1, 2, 1})},
                      {"offsets", I64({3}, {0, 0, 2})},
                      {"per_sample_weights", F32({3}, {1, 1, 1})},
                      {"grad_output", F32({3, 4}, std::vector<float>(12, 1))}});
  ExpectDone(Run("model", {"--module", "item"}));
  const TestTensors outputs = Outputs();
  EXPECT_THAT(outputs, UnorderedElementsAre(Key("output"), Key("grad.weight"), Key("grad.per_sample_weights")));
  const std::vector<float> weight = FloatsOf(ItemWeight("model"));
  std::vector<float> expected(4, 0.0f);
  for (int i = 0; i < 4; ++i) expected.push_back(weight[4 + i] + weight[8 + i]);
  expected.insert(expected.end(), weight.begin() + 4, weight.begin() + 8);
  EXPECT_EQ(outputs.at("output"), F32({3, 4}, expected));
  std::vector<float> grad(24, 0.0f);
  std::fill(grad.begin() + 4, grad.begin() + 8, 2.0f);
  std::fill(grad.begin() + 8, grad.begin() + 12, 1.0f);
  EXPECT_EQ(outputs.at("grad.weight"), F32({6, 4}, grad));
}

TEST_F(RunTest, ShapesOfAnEmbedding) {
  const struct {
    TestTensor input;
    std::vector<int64_t> output_shape;
  } kCases[] = {{I64({2}, {1, 2}), {2, 4}},
                {I64({2, 1}, {1, 2}), {2, 1, 4}},
                {I64({}, {3}), {4}},
                {I64({0}, {}), {0, 4}},
                {I32({1, 2, 1}, {0, 4}), {1, 2, 1, 4}}};
  for (const auto& test : kCases) {
    SCOPED_TRACE(::testing::PrintToString(test.output_shape));
    const int64_t size =
        std::accumulate(test.output_shape.begin(), test.output_shape.end(), int64_t{1}, std::multiplies<int64_t>());
    WriteTensors("in", {{"input", test.input}, {"grad_output", F32(test.output_shape, std::vector<float>(size, 1))}});
    ExpectDone(Run("model", {"--module", "user"}));
    EXPECT_EQ(Outputs().at("output").shape, test.output_shape);
  }
}

TEST_F(RunTest, OneModuleThatIsNoTable) {
  WriteTensors("in", {{"input", F32({1, 8}, {0, 0, 0, 0, 0, 0, 0, 0})}, {"grad_output", F32({1, 1}, {2})}});
  ExpectDone(Run("model", {"--module", "top"}));
  const TestTensors outputs = Outputs();
  EXPECT_EQ(outputs.at("output"), F32({1, 1}, {0.25f}));
  EXPECT_EQ(outputs.at("grad.bias"), F32({1}, {2}));
  EXPECT_THAT(outputs.at("grad.weight").shape, ElementsAre(1, 8));
}

TEST_F(RunTest, FrozenTablesHaveNoGradient) {
  std::string json = kModelJson;
  json.replace(json.find("\"mode\": \"sum\""), 13, "\"mode\": \"sum\", \"requires_grad\": false");
  Write("model/model.json", json);
  TestTensors batch = Batch();
  batch["grad_output"] = F32({2, 1}, {1, 2});
  batch["item_ids.per_sample_weights"] = F32({3}, {1, 2, 3});
  WriteTensors("in", batch);
  Write("sgd.json", R"({"type": "SGD", "lr": 1})");
  ExpectDone(Run("model", {"--optimizer", Path("sgd.json"), "--save", Path("after")}));
  EXPECT_EQ(Outputs().count("grad.item.weight"), 0);
  EXPECT_EQ(Outputs().count("grad.item_ids.per_sample_weights"), 1);
  EXPECT_EQ(ItemWeight("after"), ItemWeight("model"));
}

TEST_F(RunTest, ReadsTensorsThatTheFileDoesNotAlign) {
  // The 8-byte length and 1 + 8k bytes of header leave the data at an odd address.
  std::string header =
      R"({"input":{"dtype":"I64","shape":[2],"data_offsets":[0,16]},"offsets":{"dtype":"I32","shape":[1],"data_offsets":[16,20]},)"
      R"("per_sample_weights":{"dtype":"F32","shape":[2],"data_offsets":[20,28]}})";
  while (header.size() % 8 != 1) header += ' ';
  const uint64_t length = header.size();
  std::string content(reinterpret_cast<const char*>(&length), 8);
  const std::string data = absl::StrCat(I64({2}, {1, 2}).bytes, I32({1}, {0}).bytes, F32({2}, {2, 0}).bytes);
  Write("in", content + header + data);
  ExpectDone(Run("model", {"--module", "item"}));
  const std::vector<float> weight = FloatsOf(ItemWeight("model"));
  EXPECT_EQ(Outputs().at("output"), F32({1, 4}, {2 * weight[4], 2 * weight[5], 2 * weight[6], 2 * weight[7]}));
}

TEST_F(RunTest, WithoutTrainNothingIsObserved) {
  WriteQatModel();
  WriteTensors("in", Batch());
  ExpectDone(Run("qat", {"--save", Path("after")}));
  EXPECT_EQ(Read("after/model.safetensors"), Read("qat/model.safetensors"));
  EXPECT_EQ(Read("after/model.json"), Read("qat/model.json"));
  EXPECT_FALSE(Exists("after/optimizer.safetensors"));

  ExpectDone(Run("qat", {"--train", "--save", Path("observed")}));
  TestTensors observed = ReadTensors("observed/model.safetensors");
  EXPECT_THAT(observed["item.weight_fake_quant.scale"].shape, ElementsAre(6));
  EXPECT_THAT(observed["user.weight_fake_quant.activation_post_process.min_val"].shape, ElementsAre(5));
  EXPECT_EQ(observed["item.weight"], ItemWeight("qat"));
}

TEST_F(RunTest, MaxNormRenormalizesStoredRowsWithoutTrain) {
  std::string json = kModelJson;
  json.replace(json.find("\"mode\": \"sum\""), 13, "\"mode\": \"sum\", \"max_norm\": 0.001");
  Write("model/model.json", json);
  WriteTensors("in", {{"input", I64({1, 2}, {1, 2})}});
  ExpectDone(Run("model", {"--module", "item", "--save", Path("after")}));
  const std::vector<float> before = FloatsOf(ItemWeight("model")), after = FloatsOf(ItemWeight("after"));
  for (size_t i = 0; i < before.size(); ++i) {
    const bool looked_up = i / 4 == 1 || i / 4 == 2;
    EXPECT_EQ(before[i] != after[i], looked_up) << i;
  }
}

TEST_F(RunTest, QuantizedModelsServeOnly) {
  WriteQatModel();
  ExpectDone(RunProgram({"convert", Path("qat"), "--out", Path("small")}));
  WriteTensors("in", Batch());
  ExpectDone(Run("qat"));
  const std::string of_qat = Read("out");
  ExpectDone(Run("small"));
  EXPECT_EQ(Read("out"), of_qat);

  const auto before = Snapshot();
  ExpectError(Run("small", {"--train"}), 1, {"item", "a quantized module cannot be trained", "--train"});
  EXPECT_EQ(Snapshot(), before);
  TestTensors batch = Batch();
  batch["grad_output"] = F32({2, 1}, {1, 2});
  WriteTensors("in", batch);
  ExpectError(Run("small"), 1, {"item", "a quantized module cannot be trained", "grad_output"});
  WriteTensors("in", {{"input", I64({1}, {1})}, {"grad_output", F32({1, 4}, {1, 1, 1, 1})}});
  ExpectError(Run("small", {"--module", "user"}), 1, {"user", "quantized.Embedding with grad_output"});
}

TEST_F(RunTest, ResultsDoNotDependOnThreads) {
  WriteQatModel();
  TestTensors batch = Batch();
  batch["grad_output"] = F32({2, 1}, {1, 2});
  WriteTensors("in", batch);
  ExpectDone(Run("qat", {"--train", "--threads", "1", "--save", Path("a")}));
  const std::string one = Read("out");
  ExpectDone(Run("qat", {"--train", "--threads", "7", "--save", Path("b")}));
  EXPECT_EQ(Read("out"), one);
  EXPECT_EQ(Read("a/model.safetensors"), Read("b/model.safetensors"));
}

class UpdateTest : public RunTest {
 protected:
  UpdateTest() {
    Write("sgd.json", R"({"type": "SGD", "lr": 0.5})");
    Write("momentum.json", R"({"type": "SGD", "lr": 0.5, "momentum": 0.5})");
    Write("adagrad.json", R"({"type": "Adagrad", "lr": 0.5})");
    Write("adam.json", R"({"type": "Adam", "lr": 0.5})");
    WriteTensors("in", {{"input", I64({1, 1}, {1})}, {"grad_output", F32({1, 4}, {1, 1, 1, 1})}});
  }
  // Weight of row 1, column 0 of `item` after one update from `model` to `next`.
  float Step(const std::string& model, const std::string& optimizer, const std::string& next) const {
    ExpectDone(Run(model, {"--module", "item", "--optimizer", Path(optimizer), "--save", Path(next)}));
    return FloatsOf(ItemWeight(next))[4];
  }
};

TEST_F(UpdateTest, Sgd) {
  const float before = FloatsOf(ItemWeight("model"))[4];
  EXPECT_EQ(Step("model", "sgd.json", "after"), before - 0.5f);
  EXPECT_EQ(FloatsOf(ItemWeight("after"))[0], FloatsOf(ItemWeight("model"))[0]);
}

TEST_F(UpdateTest, StateGoesOn) {
  const float w0 = FloatsOf(ItemWeight("model"))[4];
  const float w1 = Step("model", "momentum.json", "a");
  const float w2 = Step("a", "momentum.json", "b");
  EXPECT_FLOAT_EQ(w0 - w1, 0.5f);
  EXPECT_FLOAT_EQ(w1 - w2, 0.75f);  // 0.5 * (1 + 0.5 * 1)
  EXPECT_EQ(FloatsOf(ReadTensors("b/optimizer.safetensors").at("item.weight.step"))[0], 2);
}

TEST_F(UpdateTest, InPlace) {
  Step("model", "momentum.json", "model");
  Step("model", "momentum.json", "model");
  EXPECT_EQ(FloatsOf(ReadTensors("model/optimizer.safetensors").at("item.weight.step"))[0], 2);
}

TEST_F(UpdateTest, StateOfAnotherKindBeginsAfresh) {
  const float w1 = Step("model", "adagrad.json", "a");
  const float w2 = Step("a", "momentum.json", "b");
  EXPECT_FLOAT_EQ(w1 - w2, 0.5f);
  EXPECT_THAT(ReadTensors("b/optimizer.safetensors"),
              UnorderedElementsAre(Key("item.weight.momentum_buffer"), Key("item.weight.step")));
}

TEST_F(UpdateTest, StateOfOtherModulesIsKept) {
  Step("model", "momentum.json", "a");
  WriteTensors("in", {{"input", I64({1}, {1})}, {"grad_output", F32({1, 4}, {1, 1, 1, 1})}});
  ExpectDone(Run("a", {"--module", "user", "--optimizer", Path("adagrad.json"), "--save", Path("b")}));
  const TestTensors state = ReadTensors("b/optimizer.safetensors");
  EXPECT_THAT(state, UnorderedElementsAre(Key("item.weight.momentum_buffer"), Key("item.weight.step"),
                                          Key("user.weight.sum"), Key("user.weight.step")));
  EXPECT_EQ(state.at("item.weight.momentum_buffer"),
            ReadTensors("a/optimizer.safetensors").at("item.weight.momentum_buffer"));
}

TEST_F(UpdateTest, WholeModelAfterOneModuleKeepsBoth) {
  Step("model", "momentum.json", "a");
  TestTensors batch = Batch();
  batch["grad_output"] = F32({2, 1}, {1, 2});
  WriteTensors("in", batch);
  // The state of item alone is not the state of the whole model: begins afresh.
  ExpectDone(Run("a", {"--optimizer", Path("momentum.json"), "--save", Path("b")}));
  EXPECT_EQ(FloatsOf(ReadTensors("b/optimizer.safetensors").at("item.weight.step"))[0], 1);
}

TEST_F(UpdateTest, OtherModulesDoNotStandInTheWay) {
  // Adam refuses sparse gradients, which `user` would have.
  ExpectDone(Run("model", {"--module", "item", "--optimizer", Path("adam.json")}));
  TestTensors batch = Batch();
  batch["grad_output"] = F32({2, 1}, {1, 2});
  WriteTensors("in", batch);
  ExpectError(Run("model", {"--optimizer", Path("adam.json")}), 1, {"user.weight", "Adam"});
}

TEST_F(UpdateTest, NeedsAGradient) {
  WriteTensors("in", {{"input", I64({1, 1}, {1})}});
  const auto before = Snapshot();
  ExpectError(Run("model", {"--module", "item", "--optimizer", Path("sgd.json"), "--save", Path("after")}), 1,
              {"in", "--optimizer needs gradients", "grad_output"});
  EXPECT_EQ(Snapshot(), before);
}

TEST_F(UpdateTest, BrokenStateIsAnError) {
  Step("model", "momentum.json", "a");
  Write("a/optimizer.safetensors", "broken");
  const auto before = Snapshot();
  ExpectError(Run("a", {"--module", "item", "--optimizer", Path("momentum.json"), "--save", Path("a")}), 1,
              {"optimizer.safetensors"});
  EXPECT_EQ(Snapshot(), before);
}

TEST_F(RunTest, RefusesPathsThatWouldDestroyAnInput) {
  WriteTensors("in", Batch());
  const std::string in = Path("in"), model = Path("model");
  std::filesystem::create_hard_link(in, Path("link"));
  Write("sgd.json", "{}");
  const auto before = Snapshot();
  const struct {
    std::vector<std::string> arguments;
    std::string part;
  } kCases[] = {
      {{"--inputs", in, "--outputs", in}, "is also an input"},
      {{"--inputs", in, "--outputs", Path("link")}, "is also an input"},
      {{"--inputs", in, "--outputs", model + "/model.safetensors"}, "is also an input"},
      {{"--inputs", in, "--outputs", Path("sgd.json"), "--optimizer", Path("sgd.json")}, "is also an input"},
      {{"--inputs", in, "--outputs", model + "/out", "--save", model}, "lies in the directory that --save replaces"},
  };
  for (const auto& test : kCases) {
    SCOPED_TRACE(::testing::PrintToString(test.arguments));
    std::vector<std::string> arguments = {"run", model};
    arguments.insert(arguments.end(), test.arguments.begin(), test.arguments.end());
    ExpectError(RunProgram(arguments), 1, {"--outputs", test.part});
  }
  EXPECT_EQ(Snapshot(), before);
}

}  // namespace
}  // namespace eqat::testing
