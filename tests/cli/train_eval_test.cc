// train and eval: from data to numbers, and what a signal leaves behind.
#include <csignal>

#include "absl/strings/str_cat.h"
#include "io/json_reader.h"
#include "tests/cli/cli_test.h"

namespace eqat::testing {
namespace {

using ::testing::HasSubstr;

class TrainEvalTest : public CliTest {
 protected:
  TrainEvalTest() {
    WriteQatModel();
    WriteData(200);
  }
  std::vector<std::string> TrainArguments(const std::string& model) const {
    return {"train",    Path(model),        "--data", Path("data.json"),
            "--config", Path("train.json"), "--out",  Path("trained")};
  }
  io::Json Eval(const std::string& model) const {
    const ProgramResult result = RunProgram({"eval", Path(model), "--data", Path("data.json"), "--json"});
    ExpectDone(result);
    return io::Json::parse(result.out);
  }
};

TEST_F(TrainEvalTest, TrainingLearnsAndConversionKeepsTheNumbers) {
  const ProgramResult trained = RunProgram(TrainArguments("qat"));
  ExpectDone(trained);
  EXPECT_THAT(trained.out, HasSubstr("75 steps, loss "));
  const io::Json before = Eval("qat"), after = Eval("trained");
  EXPECT_LT(after["loss"], before["loss"]);
  EXPECT_EQ(after["rows"], 200);
  EXPECT_EQ(after["skipped_lines"], 0);
  EXPECT_GT(after["auc"], 0.5);
  ExpectDone(RunProgram({"convert", Path("trained"), "--out", Path("small")}));
  EXPECT_EQ(Eval("small"), after);
}

// The same modules inside a model within the model, by the names that they have there.
TEST_F(TrainEvalTest, NestedModelsTrainToTheBitsOfTheFlatOne) {
  ExpectDone(RunProgram(TrainArguments("qat")));
  Write("nested/model.json", R"({
    "format": "eqat.model", "version": 1,
    "modules": {"tower": {"type": "model.Graph",
      "modules": {
        "item": {"type": "nn.EmbeddingBag", "num_embeddings": 6, "embedding_dim": 4, "mode": "sum"},
        "user": {"type": "nn.Embedding", "num_embeddings": 5, "embedding_dim": 4, "padding_idx": 0, "sparse": true},
        "top": {"type": "nn.Linear", "in_features": 8, "out_features": 1}},
      "graph": [
        {"name": "items", "op": "placeholder"},
        {"name": "users", "op": "placeholder"},
        {"name": "e0", "op": "call_module", "target": "item", "args": ["items"]},
        {"name": "e1", "op": "call_module", "target": "user", "args": ["users"]},
        {"name": "x", "op": "call_function", "target": "cat", "args": [["e0", "e1"]], "kwargs": {"dim": 1}},
        {"name": "y", "op": "call_module", "target": "top", "args": ["x"]},
        {"name": "output", "op": "output", "args": ["y"]}]}},
    "graph": [
      {"name": "item_ids", "op": "placeholder"},
      {"name": "user_ids", "op": "placeholder"},
      {"name": "score", "op": "call_module", "target": "tower", "args": ["item_ids", "user_ids"]},
      {"name": "output", "op": "output", "args": ["score"]}]})");
  TestTensors weights;
  for (const auto& [name, tensor] : ReadTensors("model/model.safetensors")) weights["tower." + name] = tensor;
  WriteTensors("nested/model.safetensors", weights);
  Write("nested_qconfig.json", R"({"version": 1,
    "object_type": {"nn.EmbeddingBag": "default_embedding_qat_qconfig_4bit"},
    "module_name": {"tower.user": "default_embedding_qat_qconfig"}})");
  ExpectDone(
      RunProgram({"prepare", Path("nested"), "--qconfig", Path("nested_qconfig.json"), "--out", Path("nested_qat")}));
  std::vector<std::string> arguments = TrainArguments("nested_qat");
  arguments.back() = Path("nested_trained");
  ExpectDone(RunProgram(arguments));
  TestTensors expected;
  for (const auto& [name, tensor] : ReadTensors("trained/model.safetensors")) expected["tower." + name] = tensor;
  EXPECT_EQ(ReadTensors("nested_trained/model.safetensors"), expected);

  ExpectDone(RunProgram({"convert", Path("nested_trained"), "--out", Path("nested_small")}));
  EXPECT_EQ(Eval("nested_small"), Eval("trained"));
}

TEST_F(TrainEvalTest, EvalPrintsATable) {
  const ProgramResult result = RunProgram({"eval", Path("model"), "--data", Path("data.json")});
  ExpectDone(result);
  EXPECT_THAT(result.out, ::testing::MatchesRegex("rows +loss +accuracy +AUC +skipped lines\n[- ]+\n +200 +[0-9.]+ "
                                                  "+[0-9.]+ +[0-9.]+ +0\n"));
}

TEST_F(TrainEvalTest, SeedReplacesTheConfigs) {
  ExpectDone(RunProgram(TrainArguments("model")));
  const std::string of_config = Read("trained/model.safetensors");
  std::vector<std::string> arguments = TrainArguments("model");
  arguments.back() = Path("other");
  arguments.insert(arguments.end(), {"--seed", "99"});
  ExpectDone(RunProgram(arguments));
  EXPECT_NE(Read("other/model.safetensors"), of_config);
}

TEST_F(TrainEvalTest, EvalWritesPredictions) {
  ExpectDone(RunProgram({"eval", Path("model"), "--data", Path("data.json"), "--predictions", Path("logits")}));
  EXPECT_THAT(ReadTensors("logits").at("predictions").shape, ::testing::ElementsAre(200, 1));
}

TEST_F(TrainEvalTest, RefusesItsInputAsOutput) {
  const auto before = Snapshot();
  for (const char* input : {"data.json", "model/model.json"}) {
    ExpectError(RunProgram({"eval", Path("model"), "--data", Path("data.json"), "--predictions", Path(input)}), 1,
                {"--predictions", "also an input"});
  }
  std::vector<std::string> arguments = TrainArguments("model");
  arguments.back() = Path("model");
  ExpectError(RunProgram(arguments), 1, {"--out", "also an input"});
  EXPECT_EQ(Snapshot(), before);
}

// Data may take long to read, so what is wrong with the paths is said first: here there is no data.
TEST_F(TrainEvalTest, ChecksModelAndOutBeforeItReadsData) {
  const auto train = [this](const std::string& model, const std::string& out, const std::string& data) {
    return RunProgram({"train", Path(model), "--data", Path(data), "--config", Path("train.json"), "--out", Path(out)});
  };
  ExpectError(train("absent_model", "trained", "absent_data"), 1, {"absent_model"});
  ExpectError(train("qat", "data.tsv", "absent_data"), 1, {"data.tsv", "is not a directory"});
  ExpectDone(train("qat", "trained", "data.json"));
  const auto before = Snapshot();
  ExpectError(train("qat", "trained", "absent_data"), 1, {"holds a training run already", "--resume"});
  ExpectError(train("qat", "trained_too", "absent_data"), 1, {"absent_data"});
  EXPECT_EQ(Snapshot(), before);
}

#ifndef __SANITIZE_ADDRESS__
// Wherever memory runs out, in whichever thread: the program says so, and leaves no result.
TEST_F(TrainEvalTest, TooLittleMemoryIsAnError) {
  WriteData(400000);  // several blocks of lines for each thread
  Write("train.json", R"({"version": 1, "batch_size": 65536, "optimizer": {"type": "SGD", "lr": 0.1}})");
  int failures = 0;
  for (uint64_t megabytes = 16;; megabytes += 4) {
    SCOPED_TRACE(absl::StrCat(megabytes, " MB"));
    ASSERT_LT(megabytes, 4096u);
    ProgramOptions options;
    options.memory_limit = megabytes << 20;
    if (failures == 0 && RunProgram({"--version"}, options).exit_code != 0) continue;  // not even its libraries fit
    const ProgramResult result = RunProgram(TrainArguments("qat"), options);
    if (result.exit_code == 0) break;
    ExpectError(result, 1, {"memory"});
    EXPECT_FALSE(Exists("trained"));
    ++failures;
  }
  EXPECT_GT(failures, 0);
}
#endif

class InterruptedTrainingTest : public TrainEvalTest {
 protected:
  InterruptedTrainingTest() {
    Write("train.json",
          R"({"version": 1, "epochs": 1000000, "batch_size": 2, "checkpoint_every_steps": 0, "log_every_steps": 0,
              "optimizer": {"type": "SGD", "lr": 0.001}})");
  }
  // Step at which a run stopped by `signal_number` says it was.
  int64_t InterruptedStep(const std::vector<std::string>& arguments, int signal_number) const {
    std::vector<std::string> with_progress = arguments;
    with_progress.push_back("--progress");
    RunningProgram running(with_progress);
    EXPECT_TRUE(running.WaitForError("training"));
    running.Signal(signal_number);
    const ProgramResult result = running.Wait();
    EXPECT_EQ(result.exit_code, 1);
    const std::string last_line = result.error.substr(result.error.rfind('\n', result.error.size() - 2) + 1);
    EXPECT_THAT(last_line, ::testing::StartsWith("eqat: error: "));
    EXPECT_THAT(last_line, HasSubstr("; continue with --resume\n"));
    const std::string mark = "interrupted at step ";
    const size_t at = last_line.find(mark);
    EXPECT_NE(at, std::string::npos) << last_line;
    return at == std::string::npos ? -1 : std::atoll(last_line.c_str() + at + mark.size());
  }
};

TEST_F(InterruptedTrainingTest, SavesACheckpointThatResumes) {
  std::vector<std::string> arguments = TrainArguments("qat");
  const int64_t first = InterruptedStep(arguments, SIGINT);
  EXPECT_GT(first, 0);
  ExpectDone(RunProgram({"inspect", Path("trained")}));
  EXPECT_TRUE(Exists("trained/optimizer.safetensors"));
  arguments.push_back("--resume");
  EXPECT_GT(InterruptedStep(arguments, SIGTERM), first);
}

TEST_F(InterruptedTrainingTest, KillLeavesTheFolderWithoutAResult) {
  RunningProgram running([this] {
    std::vector<std::string> arguments = TrainArguments("qat");
    arguments.push_back("--progress");
    return arguments;
  }());
  ASSERT_TRUE(running.WaitForError("training"));
  running.Signal(SIGKILL);
  EXPECT_EQ(running.Wait().signal, SIGKILL);
  EXPECT_FALSE(Exists("trained"));
}

}  // namespace
}  // namespace eqat::testing
