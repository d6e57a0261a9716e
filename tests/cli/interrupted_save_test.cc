// Saves that do not come to their end: killed, out of space, into places that cannot be written.
#include <chrono>

#include "tests/cli/cli_test.h"

namespace eqat::testing {
namespace {

using std::chrono::microseconds;

class InterruptedSaveTest : public CliTest {
 protected:
  // A QAT model "big" with a table of 2 MB, whose conversion ("small") and to-float ("float") differ.
  InterruptedSaveTest() {
    Write("big/model.json", R"({"format": "eqat.model", "version": 1, "modules": {
      "item": {"type": "nn.Embedding", "num_embeddings": 16384, "embedding_dim": 32}}})");
    std::vector<float> values(16384 * 32);
    for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i % 977) - 488;
    WriteTensors("big/model.safetensors", {{"item.weight", F32({16384, 32}, values)}});
    Write("qconfig.json", R"({"version": 1, "global": "default_embedding_qat_qconfig"})");
    ExpectDone(RunProgram({"prepare", Path("big"), "--qconfig", Path("qconfig.json"), "--out", Path("qat")}));
  }

  // Content of the two files of a model directory.
  std::string Content(const std::string& name) const {
    return Read(name + "/model.json") + Read(name + "/model.safetensors");
  }
  int Leftovers() const {
    int count = 0;
    for (const auto& entry : std::filesystem::directory_iterator(Path("."))) {
      count += entry.path().filename().string().rfind(".eqat-", 0) == 0 ? 1 : 0;
    }
    return count;
  }
};

TEST_F(InterruptedSaveTest, KillLeavesTheOldContentOrTheNew) {
  ExpectDone(RunProgram({"convert", Path("qat"), "--out", Path("small")}));
  const auto begin = std::chrono::steady_clock::now();
  ExpectDone(RunProgram({"to-float", Path("qat"), "--out", Path("float")}));
  const auto whole_run = std::chrono::duration_cast<microseconds>(std::chrono::steady_clock::now() - begin);
  const std::string old_content = Content("small"), new_content = Content("float");
  ASSERT_NE(old_content, new_content);

  constexpr int kKills = 24;
  int killed = 0;
  for (int i = 0; i < kKills; ++i) {
    SCOPED_TRACE(i);
    ExpectDone(RunProgram({"convert", Path("qat"), "--out", Path("target")}));
    ASSERT_EQ(Content("target"), old_content);
    ProgramOptions options;
    options.kill_after = whole_run * (i + 1) / kKills;
    killed += RunProgram({"to-float", Path("qat"), "--out", Path("target")}, options).signal != 0 ? 1 : 0;
    const ProgramResult inspected = RunProgram({"inspect", Path("target")});
    ExpectDone(inspected);
    const std::string content = Content("target");
    EXPECT_TRUE(content == old_content || content == new_content);
  }
  EXPECT_GT(killed, 0);
  ExpectDone(RunProgram({"to-float", Path("qat"), "--out", Path("target")}));
  EXPECT_EQ(Content("target"), new_content);
  EXPECT_EQ(Leftovers(), 0);
}

TEST_F(InterruptedSaveTest, AFullDiskLosesNothing) {
  ExpectDone(RunProgram({"convert", Path("qat"), "--out", Path("small")}));
  WriteTensors("in", {{"input", I64({2}, {1, 2})}});
  const auto before = Snapshot();
  ProgramOptions full;
  full.file_size_limit = 100000;
  ExpectError(RunProgram({"to-float", Path("qat"), "--out", Path("small")}, full), 1,
              {Path("small/model.safetensors: "), "File too large"});
  ExpectError(RunProgram({"to-float", Path("qat"), "--out", Path("new")}, full), 1,
              {Path("new/model.safetensors: "), "File too large"});
  ExpectError(RunProgram({"run", Path("qat"), "--module", "item", "--inputs", Path("in"), "--outputs", Path("out"),
                          "--save", Path("small")},
                         full),
              1, {Path("small/model.safetensors: "), "File too large"});
  full.file_size_limit = 100;
  ExpectError(
      RunProgram({"run", Path("qat"), "--module", "item", "--inputs", Path("in"), "--outputs", Path("out")}, full), 1,
      {"File too large"});
  EXPECT_EQ(Snapshot(), before);
}

TEST_F(InterruptedSaveTest, PlacesThatCannotBeWritten) {
  WriteTensors("in", {{"input", I64({2}, {1, 2})}});
  Write("file", "a file");
  const auto before = Snapshot();
  const std::vector<std::string> run = {"run", Path("qat"), "--module", "item", "--inputs", Path("in"), "--outputs"};
  for (const std::string& place :
       {Path("file/below"), Path("missing/below"), std::string("/proc/eqat"), std::string("/")}) {
    SCOPED_TRACE(place);
    ExpectError(RunProgram({"convert", Path("qat"), "--out", place}), 1, {});
    std::vector<std::string> arguments = run;
    arguments.push_back(place);
    ExpectError(RunProgram(arguments), 1, {});
    arguments.back() = Path("out");
    arguments.insert(arguments.end(), {"--save", place});
    ExpectError(RunProgram(arguments), 1, {});
  }
  // A directory in place of a file and the other way round.
  std::vector<std::string> arguments = run;
  arguments.push_back(Path("big"));
  ExpectError(RunProgram(arguments), 1, {"big"});
  ExpectError(RunProgram({"convert", Path("qat"), "--out", Path("file")}), 1, {"file"});
  EXPECT_EQ(Snapshot(), before);
}

}  // namespace
}  // namespace eqat::testing
