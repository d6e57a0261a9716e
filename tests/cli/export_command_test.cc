// eqat export: what it prints, and what is left of the old file when an export does not come to its end.
#include <unistd.h>

#include <chrono>
#include <cmath>
#include <filesystem>

#include "formats/format_list.h"
#include "tests/cli/cli_test.h"

namespace eqat::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

class ExportCommandTest : public CliTest {
 protected:
  // "qat" and "packed": tables "item" [6, 4] in 4 bits and "user" [5, 4] in 8, and a layer.
  ExportCommandTest() {
    WriteQatModel();
    ExpectDone(RunProgram({"convert", Path("qat"), "--out", Path("packed")}));
  }

  std::vector<std::string> ExportOf(const std::string& model, const std::string& format, const std::string& out,
                                    const std::vector<std::string>& more = {}) const {
    std::vector<std::string> arguments = {"export", Path(model), "--format", format, "--out", Path(out)};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return arguments;
  }
  void ExpectRefused(const std::vector<std::string>& arguments, int exit_code,
                     const std::vector<std::string>& parts) const {
    const auto before = Snapshot();
    ExpectError(RunProgram(arguments), exit_code, parts);
    EXPECT_EQ(Snapshot(), before);
  }
  // Names in the folder that a writer left behind.
  int Leftovers() const {
    int count = 0;
    for (const auto& entry : std::filesystem::directory_iterator(Path("."))) {
      count += entry.path().filename().string().rfind(".eqat-", 0) == 0 ? 1 : 0;
    }
    return count;
  }
};

TEST_F(ExportCommandTest, PrintsEachTableAndWhatIsLeftOut) {
  const ProgramResult exact = RunProgram(ExportOf("packed", "gguf", "tables.gguf"));
  ExpectDone(exact);
  for (const char* part : {"item ", "user ", "quint4x2", "F32", "left out: top (not a table)"}) {
    EXPECT_THAT(exact.out, HasSubstr(part));
  }
  const ProgramResult rounded = RunProgram(ExportOf("packed", "torch", "rows", {"--requantize", "--module", "item"}));
  ExpectDone(rounded);
  EXPECT_THAT(rounded.out, HasSubstr("4-bit rows of 6 bytes"));
  EXPECT_THAT(rounded.out, Not(HasSubstr("left out")));
  EXPECT_EQ(ReadTensors("rows").at("item").shape, (std::vector<int64_t>{6, 6}));
}

TEST_F(ExportCommandTest, AQatModelIsConvertedOnTheWay) {
  ExpectDone(RunProgram(ExportOf("qat", "safetensors", "from_qat")));
  ExpectDone(RunProgram(ExportOf("packed", "safetensors", "from_packed")));
  EXPECT_EQ(Read("from_qat"), Read("from_packed"));
}

TEST_F(ExportCommandTest, RefusesWhatItCannotDo) {
  ExpectRefused(ExportOf("packed", "torch", "out"), 1,
                {"item: torch would change values", "--requantize", "\"deploy\""});
  ExpectRefused(ExportOf("packed", "gguf_q8_0", "out", {"--requantize"}), 1, {"item: ", "a multiple of 32"});
  ExpectRefused(ExportOf("packed", "gguf", "out", {"--module", "top"}), 1, {"--module", "top", "item, user"});
  ExpectRefused(ExportOf("packed", "gguf", "out", {"--row-alignment", "16"}), 1, {"--row-alignment", "fbgemm_half"});
  ExpectRefused(ExportOf("packed", "tflite", "out"), 2, {"--format", "tflite"});
  ExpectRefused(ExportOf("packed", "fbgemm_half", "out", {"--row-alignment", "0"}), 2, {"--row-alignment"});
  ExpectRefused(ExportOf("nothing", "gguf", "out"), 1, {"nothing"});
  ExpectRefused(ExportOf("packed", "gguf", "packed/model.json"), 1, {"--out: is also an input"});
  ExpectRefused(ExportOf("packed", "gguf", "packed/model.safetensors"), 1, {"--out: is also an input"});
}

TEST_F(ExportCommandTest, PlacesThatCannotBeWritten) {
  Write("file", "a file");
  std::filesystem::create_directories(Path("folder"));
  for (const std::string& format : formats::WritableFormats()) {
    SCOPED_TRACE(format);
    if (format == "torch_state_dict" || format.rfind("gguf_q", 0) == 0 || format == "onnx_block") continue;
    for (const char* place : {"file/below", "missing/below", "folder"}) {
      ExpectRefused(ExportOf("packed", format, place, {"--requantize", "--module", "item"}), 1, {place});
    }
  }
  std::filesystem::permissions(Path("folder"), std::filesystem::perms::owner_read | std::filesystem::perms::owner_exec);
  if (access(Path("folder").c_str(), W_OK) != 0) {  // root may write anywhere
    ExpectRefused(ExportOf("packed", "gguf", "folder/out"), 1, {"folder/out"});
  }
  std::filesystem::permissions(Path("folder"), std::filesystem::perms::owner_all);
}

TEST_F(ExportCommandTest, AFullDiskLosesNothing) {
  Write("out", "old");
  const auto before = Snapshot();
  ProgramOptions full;
  full.file_size_limit = 100;
  for (const char* format : {"safetensors", "torch", "fbgemm_half", "gguf", "gguf_f16", "onnx", "onnx_qdq"}) {
    SCOPED_TRACE(format);
    ExpectError(RunProgram(ExportOf("packed", format, "out", {"--requantize"}), full), 1, {"File too large"});
    EXPECT_EQ(Snapshot(), before);
  }
  ExpectError(RunProgram(ExportOf("qat", "torch_state_dict", "out"), full), 1, {"File too large"});
  EXPECT_EQ(Snapshot(), before);
}

TEST_F(ExportCommandTest, AKillLeavesTheOldFileOrTheNew) {
  using std::chrono::microseconds;
  Write("big/model.json", R"({"format": "eqat.model", "version": 1, "modules": {
    "item": {"type": "nn.Embedding", "num_embeddings": 16384, "embedding_dim": 32}}})");
  std::vector<float> values(16384 * 32);
  for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i % 977) - 488;
  WriteTensors("big/model.safetensors", {{"item.weight", F32({16384, 32}, values)}});
  const auto begin = std::chrono::steady_clock::now();
  ExpectDone(RunProgram(ExportOf("big", "gguf_f32", "new")));
  const auto whole_run = std::chrono::duration_cast<microseconds>(std::chrono::steady_clock::now() - begin);
  const std::string new_content = Read("new"), old_content = "old";

  constexpr int kKills = 20;
  int killed = 0;
  for (int i = 0; i < kKills; ++i) {
    SCOPED_TRACE(i);
    Write("target", old_content);
    ProgramOptions options;
    options.kill_after = whole_run * (i + 1) / kKills;
    killed += RunProgram(ExportOf("big", "gguf_f32", "target"), options).signal != 0 ? 1 : 0;
    const std::string content = Read("target");
    EXPECT_TRUE(content == old_content || content == new_content);
  }
  EXPECT_GT(killed, 0);
  ExpectDone(RunProgram(ExportOf("big", "gguf_f32", "target")));
  EXPECT_EQ(Read("target"), new_content);
  EXPECT_EQ(Leftovers(), 0);
}

TEST_F(ExportCommandTest, RowsThatCannotBeHeldAreNamed) {
  TestTensors tensors = ReadTensors("model/model.safetensors");
  std::vector<float> values = FloatsOf(tensors["item.weight"]);
  values[2 * 4 + 1] = 1e6f;
  tensors["item.weight"] = F32({6, 4}, values);
  WriteTensors("model/model.safetensors", tensors);
  ExpectRefused(ExportOf("model", "gguf_f16", "out", {"--requantize"}), 1, {"item: row 2", "1e+06", "65504"});
  values[2 * 4 + 1] = NAN;
  tensors["item.weight"] = F32({6, 4}, values);
  WriteTensors("model/model.safetensors", tensors);
  ExpectRefused(ExportOf("model", "gguf_f16", "out", {"--requantize"}), 1, {"item: row 2", "nan"});
}

}  // namespace
}  // namespace eqat::testing
