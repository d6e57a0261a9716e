// freeze and inspect --graph: what they print, write and refuse.
#include "io/json_reader.h"
#include "tests/cli/cli_test.h"

namespace eqat::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

constexpr char kTowerJson[] = R"({
  "format": "eqat.model", "version": 1,
  "modules": {
    "item": {"type": "nn.EmbeddingBag", "num_embeddings": 6, "embedding_dim": 4, "mode": "sum"},
    "top": {"type": "model.Graph",
      "modules": {
        "0": {"type": "nn.Linear", "in_features": 4, "out_features": 2},
        "1": {"type": "nn.BatchNorm1d", "num_features": 2},
        "2": {"type": "nn.Dropout"}},
      "graph": [
        {"name": "x", "op": "placeholder"},
        {"name": "h", "op": "call_module", "target": "0", "args": ["x"]},
        {"name": "n", "op": "call_module", "target": "1", "args": ["h"]},
        {"name": "d", "op": "call_module", "target": "2", "args": ["n"]},
        {"name": "output", "op": "output", "args": ["d"]}]},
    "scale": {"type": "nn.Parameter", "shape": [2]}
  },
  "graph": [
    {"name": "item_ids", "op": "placeholder"},
    {"name": "e", "op": "call_module", "target": "item", "args": ["item_ids"]},
    {"name": "t", "op": "call_module", "target": "top", "args": ["e"]},
    {"name": "s", "op": "get_attr", "target": "scale"},
    {"name": "y", "op": "call_function", "target": "mul", "args": ["t", "s"]},
    {"name": "output", "op": "output", "args": ["y"]}
  ]
})";

class FreezeCommandTest : public CliTest {
 protected:
  FreezeCommandTest() {
    Write("tower/model.json", kTowerJson);
    std::vector<float> rows(24);
    for (int i = 0; i < 24; ++i) rows[i] = static_cast<float>(i % 7 - 3) / 8;
    WriteTensors("tower/model.safetensors", {{"item.weight", F32({6, 4}, rows)},
                                             {"top.0.weight", F32({2, 4}, {1, 2, 3, 4, -1, 0.5f, 0, 2})},
                                             {"top.0.bias", F32({2}, {0.5f, -1})},
                                             {"top.1.weight", F32({2}, {2, 3})},
                                             {"top.1.bias", F32({2}, {0, 1})},
                                             {"top.1.running_mean", F32({2}, {0.25f, 0})},
                                             {"top.1.running_var", F32({2}, {1, 4})},
                                             {"top.1.num_batches_tracked", I64({}, {5})},
                                             {"scale", F32({2}, {1, -2})}});
    WriteTensors("in", {{"item_ids", I64({3, 2}, {0, 1, 2, 3, 4, 5})}});
  }

  std::vector<float> OutputOf(const std::string& model) const {
    ExpectDone(RunProgram({"run", Path(model), "--inputs", Path("in"), "--outputs", Path("out.safetensors")}));
    return FloatsOf(ReadTensors("out.safetensors").at("output"));
  }
};

TEST_F(FreezeCommandTest, ReportsPassesAndBounds) {
  const ProgramResult result = RunProgram({"freeze", Path("tower"), "--out", Path("frozen")});
  ExpectDone(result);
  EXPECT_EQ(result.out, 1 + R"(
pass                   changes  nodes  after  bytes  after
---------------------  -------  -----  -----  -----  -----
inline-calls                 1      6      8  160 B  160 B
freeze-parameters            1      8      8  160 B  160 B
remove-dropout               1      8      7  160 B  160 B
propagate-constants          0      7      7  160 B  160 B
peephole                     0      7      7  160 B  160 B
common-subexpressions        0      7      7  160 B  160 B
fold-arithmetic              0      7      7  160 B  160 B
fold-batch-norm              1      7      6  160 B  160 B
dead-code                    2      6      6  160 B  144 B
fold-arithmetic              1      6      5  144 B  144 B
dead-code                    2      5      4  144 B  136 B
merge-linears                0      4      4  136 B  136 B
---------------------  -------  -----  -----  -----  -----
total                               6      4  160 B  136 B

pass             node  its values move by at most
---------------  ----  --------------------------
fold-batch-norm  t.h   9.6e-05 * max|x| + 1.2e-05
fold-arithmetic  t.h   4.8e-05 * max|x| + 2.4e-06

x: the values that reach the Linear. Lines of one node add up.
)");
  const io::Json json = io::Json::parse(Read("frozen/model.json"));
  EXPECT_EQ(json["frozen"], true);
  EXPECT_EQ(json["graph"].size(), 4);
  const std::vector<float> before = OutputOf("tower"), after = OutputOf("frozen");
  ASSERT_EQ(before.size(), after.size());
  for (size_t i = 0; i < before.size(); ++i) EXPECT_NEAR(before[i], after[i], 2e-4);
}

TEST_F(FreezeCommandTest, WithoutNumericsOutputsAreTheSame) {
  const ProgramResult result =
      RunProgram({"freeze", Path("tower"), "--out", Path("frozen"), "--optimize-numerics", "off"});
  ExpectDone(result);
  EXPECT_THAT(result.out, HasSubstr("Every output keeps every bit."));
  EXPECT_THAT(result.out, Not(HasSubstr("fold-")));
  EXPECT_EQ(OutputOf("frozen"), OutputOf("tower"));
}

TEST_F(FreezeCommandTest, QatTablesBecomePackedOrFloat) {
  WriteQatModel();
  WriteTensors("in", Batch());
  for (const auto& [tables, type] :
       std::map<std::string, std::string>{{"packed", "quantized.EmbeddingBag"}, {"float", "nn.EmbeddingBag"}}) {
    ExpectDone(RunProgram({"freeze", Path("qat"), "--out", Path("frozen"), "--tables", tables}));
    EXPECT_EQ(io::Json::parse(Read("frozen/model.json"))["modules"]["item"]["type"], type);
    EXPECT_EQ(OutputOf("frozen"), OutputOf("qat"));
  }
}

TEST_F(FreezeCommandTest, PreservesByNameAndFreezesAgainToTheSameBytes) {
  ExpectDone(RunProgram(
      {"freeze", Path("tower"), "--out", Path("once"), "--preserve", "top.1.weight", "--preserve", "scale"}));
  EXPECT_EQ(io::Json::parse(Read("once/model.json"))["preserved"], io::Json({"scale", "top.1"}));
  const ProgramResult again = RunProgram({"freeze", Path("once"), "--out", Path("twice")});
  ExpectDone(again);
  EXPECT_EQ(Read("once/model.json"), Read("twice/model.json"));
  EXPECT_EQ(Read("once/model.safetensors"), Read("twice/model.safetensors"));
}

TEST_F(FreezeCommandTest, DumpsTheGraphAfterAPass) {
  const ProgramResult result =
      RunProgram({"freeze", Path("tower"), "--out", Path("frozen"), "--dump-after", "inline-calls"});
  ExpectDone(result);
  EXPECT_THAT(result.out, HasSubstr(1 + R"(
after inline-calls:
node      op              arguments  shape
--------  --------------  ---------  -----
item_ids  placeholder
e         call item       item_ids
t.h       call top.0      e
t.n       call top.1      t.h
t.d       call top.2      t.n
s         get_attr scale
y         mul             t.d, s
output    output          y
)"));
}

TEST_F(FreezeCommandTest, RefusesWithOneLineAndWritesNothing) {
  std::string training = kTowerJson;
  training.replace(training.find("\"modules\""), 0, "\"training\": true, ");
  Write("training/model.json", training);
  Write("training/model.safetensors", Read("tower/model.safetensors"));
  std::string cyclic = kTowerJson;
  cyclic.replace(cyclic.find("[\"e\"]"), 5, "[\"y\"]");
  Write("cyclic/model.json", cyclic);
  Write("cyclic/model.safetensors", Read("tower/model.safetensors"));
  std::string unknown = kTowerJson;
  unknown.replace(unknown.find("\"mul\""), 5, "\"pow\"");
  Write("unknown/model.json", unknown);
  Write("unknown/model.safetensors", Read("tower/model.safetensors"));
  std::string dangling = kTowerJson;
  dangling.replace(dangling.find("\"target\": \"top\""), 15, "\"target\": \"tip\"");
  Write("dangling/model.json", dangling);
  Write("dangling/model.safetensors", Read("tower/model.safetensors"));
  std::string mismatch = kTowerJson;
  mismatch.replace(mismatch.find("\"args\": [\"t\", \"s\"]"), 18, "\"args\": [\"e\", \"s\"]");
  Write("mismatch/model.json", mismatch);
  Write("mismatch/model.safetensors", Read("tower/model.safetensors"));
  const auto before = Snapshot();
  const auto refuse = [&](const std::string& model, std::vector<std::string> flags, int code,
                          const std::vector<std::string>& parts) {
    SCOPED_TRACE(model);
    std::vector<std::string> command = {"freeze", Path(model), "--out", Path("o")};
    command.insert(command.end(), flags.begin(), flags.end());
    ExpectError(RunProgram(command), code, parts);
  };
  refuse("training", {}, 1, {"training mode", "take \"training\" out of model.json"});
  refuse("tower", {"--preserve", "zzz"}, 1, {"no module or tensor of this name", "zzz"});
  refuse("cyclic", {}, 1, {"graph node t", "not an earlier node", "y"});
  refuse("unknown", {}, 1, {"/graph/4/target", "pow"});
  refuse("dangling", {}, 1, {"graph node t", "no module of this name", "tip"});
  refuse("mismatch", {}, 1, {"node y", "operands differ in shape", "[?, 4] and [2]"});
  refuse("tower", {"--dump-after", "nothing"}, 2, {"--dump-after", "nothing"});
  refuse("tower", {"--optimize-numerics", "maybe"}, 2, {"--optimize-numerics", "maybe"});
  refuse("nowhere", {}, 1, {"nowhere"});
  ExpectError(RunProgram({"freeze", Path("tower"), "--out", Path("tower")}), 1, {"--out", "also an input"});
  EXPECT_EQ(Snapshot(), before);
}

TEST_F(FreezeCommandTest, AModelInTheMiddleOfItsTrainingIsRefused) {
  WriteModel();
  WriteData(40);
  ExpectDone(RunProgram(
      {"train", Path("model"), "--data", Path("data.json"), "--config", Path("train.json"), "--out", Path("trained")}));
  ExpectDone(RunProgram({"freeze", Path("trained"), "--out", Path("frozen")}));
  io::Json trainer = io::Json::parse(Read("trained/trainer.json"));
  ASSERT_TRUE(trainer.contains("step")) << trainer.dump();
  trainer["step"] = trainer["step"].get<int64_t>() - 1;
  Write("trained/trainer.json", io::JsonText(trainer));
  const auto before = Snapshot();
  ExpectError(RunProgram({"freeze", Path("trained"), "--out", Path("o")}), 1,
              {"in the middle of its training", "eqat train --resume"});
  EXPECT_EQ(Snapshot(), before);
}

TEST_F(FreezeCommandTest, AFrozenModelIsNotTrained) {
  WriteModel();
  WriteData(40);
  ExpectDone(RunProgram({"freeze", Path("model"), "--out", Path("frozen")}));
  ExpectError(RunProgram({"train", Path("frozen"), "--data", Path("data.json"), "--config", Path("train.json"), "--out",
                          Path("o")}),
              1, {"it is frozen", "the model that it was frozen from"});
  EXPECT_FALSE(Exists("o"));
}

TEST_F(FreezeCommandTest, InspectShowsTheGraph) {
  const ProgramResult text = RunProgram({"inspect", Path("tower"), "--graph"});
  ExpectDone(text);
  EXPECT_EQ(text.out, 1 + R"(
node      op                          arguments  shape
--------  --------------------------  ---------  ------
item_ids  placeholder
e         nn.EmbeddingBag item 6 x 4  item_ids   [?, 4]
t         model.Graph top             e
s         get_attr scale                         [2]
y         mul                         t, s       [?, 2]
output    output                      y          [?, 2]

model.Graph top

node    op                  arguments  shape
------  ------------------  ---------  -----
x       placeholder
h       nn.Linear 0 4 -> 2  x
n       nn.BatchNorm1d 1 2  h
d       nn.Dropout 2 p=0.5  n
output  output              d
)");
  const ProgramResult dot = RunProgram({"inspect", Path("tower"), "--graph=dot"});
  ExpectDone(dot);
  EXPECT_THAT(dot.out, HasSubstr("digraph model {"));
  EXPECT_THAT(dot.out, HasSubstr("n1 [label=\"e\\nnn.EmbeddingBag item 6 x 4\\n[?, 4]\""));
  EXPECT_THAT(dot.out, HasSubstr("n2 -> n4;\n  n3 -> n4;\n"));
  const ProgramResult svg = RunProgram({"inspect", Path("tower"), "--graph=svg"});
  ExpectDone(svg);
  EXPECT_THAT(svg.out, ::testing::StartsWith("<svg xmlns="));
  EXPECT_THAT(svg.out, ::testing::EndsWith("</svg>\n"));
  EXPECT_THAT(svg.out, HasSubstr(">nn.EmbeddingBag item 6 x 4</text>"));
}

TEST_F(FreezeCommandTest, InspectSaysWhereThereIsNoGraph) {
  ExpectError(RunProgram({"inspect", Path("in"), "--graph"}), 1, {"--graph", "a tensor file has no graph"});
  std::string tables = kTowerJson;
  tables.erase(tables.find("  \"graph\": [\n    {\"name\": \"item_ids\"") - 2);
  Write("tower/model.json", tables + "\n}");
  ExpectError(RunProgram({"inspect", Path("tower"), "--graph"}), 1, {"the model has no graph"});
  ExpectError(RunProgram({"inspect", Path("tower"), "--graph=png"}), 2, {"--graph", "png"});
  ExpectError(RunProgram({"inspect", Path("tower"), "--graph", "--json"}), 2, {"--graph", "--json"});
}

TEST_F(FreezeCommandTest, RunCallsNestedModulesAlone) {
  WriteTensors("rows", {{"x", F32({2, 4}, {1, 0, 0, 0, 0, 1, 0, 0})}, {"grad_output", F32({2, 2}, {1, 0, 0, 1})}});
  Write("sgd.json", R"({"type": "SGD", "lr": 0.5})");
  ExpectDone(RunProgram({"run", Path("tower"), "--inputs", Path("rows"), "--outputs", Path("o.safetensors"), "--module",
                         "top", "--optimizer", Path("sgd.json"), "--save", Path("saved")}));
  const TestTensors outputs = ReadTensors("o.safetensors");
  EXPECT_EQ(outputs.at("output").shape, (std::vector<int64_t>{2, 2}));
  const std::vector<float> before = FloatsOf(ReadTensors("tower/model.safetensors").at("top.0.bias"));
  const std::vector<float> gradient = FloatsOf(outputs.at("grad.0.bias"));
  EXPECT_EQ(FloatsOf(ReadTensors("saved/model.safetensors").at("top.0.bias")),
            (std::vector<float>{before[0] - 0.5f * gradient[0], before[1] - 0.5f * gradient[1]}));
  EXPECT_EQ(io::Json::parse(Read("saved/model.json")), io::Json::parse(kTowerJson));
  ExpectError(RunProgram({"run", Path("tower"), "--inputs", Path("rows"), "--outputs", Path("o"), "--module", "scale"}),
              1, {"a tensor cannot be called", "scale"});
}

}  // namespace
}  // namespace eqat::testing
