// prepare, convert, ptq, to-float and inspect: what they print and write.
#include "io/json_reader.h"
#include "tests/cli/cli_test.h"

namespace eqat::testing {
namespace {

using ::testing::HasSubstr;

class ModelVerbsTest : public CliTest {
 protected:
  ModelVerbsTest() { WriteQatModel(); }

  io::Json Inspect(const std::string& name) const {
    const ProgramResult result = RunProgram({"inspect", Path(name), "--json"});
    ExpectDone(result);
    return io::Json::parse(result.out);
  }
  std::vector<std::string> TypesOf(const std::string& name) const {
    std::vector<std::string> types;
    const io::Json json = Inspect(name);
    for (const io::Json& module : json["modules"]) types.push_back(module["type"]);
    return types;
  }
};

TEST_F(ModelVerbsTest, PrepareReportsEveryModule) {
  const ProgramResult result =
      RunProgram({"prepare", Path("model"), "--qconfig", Path("qconfig.json"), "--out", Path("again")});
  ExpectDone(result);
  EXPECT_EQ(result.out, 1 + R"(
module  type                                 rule                         bits  before  converted  left as it is because
------  -----------------------------------  ---------------------------  ----  ------  ---------  ---------------------
item    nn.EmbeddingBag -> qat.EmbeddingBag  object_type nn.EmbeddingBag     4    96 B       60 B
user    nn.Embedding -> qat.Embedding        module_name user                8    80 B       60 B
top     nn.Linear                            no rule                        32    36 B       36 B  not a table
------  -----------------------------------  ---------------------------  ----  ------  ---------  ---------------------
total   2 of 3 modules changed                                                   212 B      156 B
)");
}

TEST_F(ModelVerbsTest, ConvertGivesPackedTables) {
  const ProgramResult result = RunProgram({"convert", Path("qat"), "--out", Path("small")});
  ExpectDone(result);
  EXPECT_THAT(result.out, HasSubstr("qat.EmbeddingBag -> quantized.EmbeddingBag"));
  EXPECT_THAT(result.out, HasSubstr("2 of 3 modules changed"));
  EXPECT_THAT(TypesOf("small"), ::testing::ElementsAre("quantized.EmbeddingBag", "quantized.Embedding", "nn.Linear"));
  // 6 rows of 2 bytes of codes and 8 of parameters.
  EXPECT_EQ(Inspect("small")["modules"][0]["bytes"], 60);
  EXPECT_EQ(Inspect("small")["modules"][0]["bits"], 4);
}

TEST_F(ModelVerbsTest, PtqGivesPackedTablesAtOnce) {
  const ProgramResult result =
      RunProgram({"ptq", Path("model"), "--qconfig", Path("qconfig.json"), "--out", Path("ptq")});
  ExpectDone(result);
  EXPECT_THAT(result.out, HasSubstr("nn.EmbeddingBag -> quantized.EmbeddingBag"));
  ExpectDone(RunProgram({"convert", Path("qat"), "--out", Path("small")}));
  EXPECT_EQ(ReadTensors("ptq/model.safetensors"), ReadTensors("small/model.safetensors"));
}

TEST_F(ModelVerbsTest, ToFloatGivesTheWeightsBack) {
  ExpectDone(RunProgram({"to-float", Path("qat"), "--out", Path("float")}));
  EXPECT_EQ(ReadTensors("float/model.safetensors"), ReadTensors("model/model.safetensors"));
  for (const auto& [dtype, expected] : std::map<std::string, io::TensorDtype>{
           {"f32", io::TensorDtype::kF32}, {"f16", io::TensorDtype::kF16}, {"bf16", io::TensorDtype::kBF16}}) {
    SCOPED_TRACE(dtype);
    ExpectDone(RunProgram({"to-float", Path("qat"), "--out", Path("float"), "--dtype", dtype}));
    EXPECT_EQ(ReadTensors("float/model.safetensors").at("item.weight").dtype, expected);
    ExpectDone(RunProgram({"inspect", Path("float")}));
  }
}

TEST_F(ModelVerbsTest, AWrongKindOfModelIsAnError) {
  const auto before = Snapshot();
  ExpectError(RunProgram({"convert", Path("model"), "--out", Path("o")}), 1, {"no qat table", "nn.EmbeddingBag"});
  ExpectError(RunProgram({"to-float", Path("model"), "--out", Path("o")}), 1, {"no qat table"});
  ExpectError(RunProgram({"prepare", Path("qat"), "--qconfig", Path("qconfig.json"), "--out", Path("o")}), 1,
              {"matches no module"});
  EXPECT_EQ(Snapshot(), before);
}

TEST_F(ModelVerbsTest, RefusesToReplaceItsInput) {
  const auto before = Snapshot();
  const std::string model = Path("model"), qat = Path("qat"), qconfig = Path("qconfig.json");
  ExpectError(RunProgram({"prepare", model, "--qconfig", qconfig, "--out", model + "/"}), 1,
              {"--out", "also an input"});
  ExpectError(RunProgram({"ptq", model, "--qconfig", qconfig, "--out", model}), 1, {"--out", "also an input"});
  ExpectError(RunProgram({"convert", qat, "--out", qat}), 1, {"--out", "also an input"});
  ExpectError(RunProgram({"to-float", qat, "--out", qat + "/../qat"}), 1, {"--out", "also an input"});
  EXPECT_EQ(Snapshot(), before);
}

// The error is about the result's place although the model is missing as well.
TEST_F(ModelVerbsTest, LooksAtTheResultsPlaceBeforeItWorks) {
  Write("file", "");
  const auto before = Snapshot();
  const std::string absent = Path("absent"), qconfig = Path("qconfig.json"), file = Path("file");
  const std::string below = Path("nowhere/result");
  for (const std::vector<std::string>& command : {std::vector<std::string>{"prepare", absent, "--qconfig", qconfig},
                                                  {"ptq", absent, "--qconfig", qconfig},
                                                  {"convert", absent},
                                                  {"to-float", absent},
                                                  {"freeze", absent},
                                                  {"import", absent}}) {
    SCOPED_TRACE(command[0]);
    std::vector<std::string> arguments = command;
    arguments.insert(arguments.end(), {"--out", file});
    ExpectError(RunProgram(arguments), 1, {file, "is not a directory"});
  }
  ExpectError(RunProgram({"export", absent, "--format", "safetensors", "--out", below}), 1,
              {below, "parent folder does not exist"});
  ExpectError(RunProgram({"eval", absent, "--data", absent, "--predictions", below}), 1,
              {below, "parent folder does not exist"});
  ExpectError(RunProgram({"run", absent, "--inputs", absent, "--outputs", below}), 1,
              {below, "parent folder does not exist"});
  ExpectError(RunProgram({"run", absent, "--inputs", absent, "--outputs", Path("out"), "--save", file}), 1,
              {file, "is not a directory"});
  EXPECT_EQ(Snapshot(), before);
}

TEST_F(ModelVerbsTest, ReplacesAModelAndNothingForeign) {
  ExpectDone(RunProgram({"convert", Path("qat"), "--out", Path("out")}));
  ExpectDone(RunProgram({"to-float", Path("qat"), "--out", Path("out")}));
  EXPECT_THAT(TypesOf("out"), ::testing::ElementsAre("nn.EmbeddingBag", "nn.Embedding", "nn.Linear"));
  Write("out/notes.txt", "mine");
  const auto before = Snapshot();
  ExpectError(RunProgram({"convert", Path("qat"), "--out", Path("out")}), 1, {"out", "notes.txt"});
  ExpectError(RunProgram({"convert", Path("qat"), "--out", Path("qconfig.json")}), 1, {"qconfig.json"});
  EXPECT_EQ(Snapshot(), before);
}

TEST_F(ModelVerbsTest, InspectShowsRows) {
  TestTensors tensors = ReadTensors("model/model.safetensors");
  tensors["user.weight"] = F32({5, 4}, {0, 0, 0, 0, 3, 4, 0, 0, 1, 1, 1, 1, NAN, 0, 0, 0, 0, 0, 0, -2});
  WriteTensors("model/model.safetensors", tensors);
  const io::Json user = Inspect("model")["modules"][1];
  EXPECT_EQ(user["module"], "user");
  EXPECT_EQ(user["padding_idx"], 0);
  EXPECT_EQ(user["shape"], io::Json({5, 4}));
  EXPECT_EQ(user["rows"]["min"], -2);
  EXPECT_EQ(user["rows"]["max"], 4);
  EXPECT_EQ(user["rows"]["constant"], 2);
  EXPECT_EQ(user["rows"]["non_finite"], 1);
  EXPECT_DOUBLE_EQ(user["rows"]["mean_norm"], (0 + 5 + 2 + 2) / 4.0);
  const ProgramResult text = RunProgram({"inspect", Path("model")});
  ExpectDone(text);
  EXPECT_THAT(text.out, HasSubstr("nn.Embedding"));
  EXPECT_THAT(text.out, HasSubstr("3 modules, 212 B, graph of 7 nodes\n"));
}

TEST_F(ModelVerbsTest, InspectShowsRecipes) {
  const io::Json modules = Inspect("qat")["modules"];
  EXPECT_EQ(modules[0]["qconfig"], "default_embedding_qat_qconfig_4bit");
  EXPECT_EQ(modules[0]["bits"], 4);
  EXPECT_EQ(modules[1]["bits"], 8);
  EXPECT_TRUE(modules[2]["qconfig"].is_null());
  EXPECT_FALSE(modules[2].contains("rows"));
}

}  // namespace
}  // namespace eqat::testing
