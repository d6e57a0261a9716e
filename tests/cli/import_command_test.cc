// eqat import as users run it: what it prints, what it refuses, what is left when it does not come to its end, and how
// much memory it takes.
#include <chrono>
#include <filesystem>

#include "absl/strings/str_cat.h"
#include "cli/byte_size.h"
#include "tests/cli/cli_test.h"

namespace eqat::testing {
namespace {

using std::chrono::microseconds;
using ::testing::HasSubstr;

class ImportCommandTest : public CliTest {
 protected:
  ImportCommandTest() {
    WriteTensors("tables", {{"item.weight", F32({3, 2}, {1, 2, 3, 4, 5, 6})}, {"bias", F32({2}, {1, 2})}});
    Write("q.json", R"({"version": 1, "global": "default_embedding_qat_qconfig_4bit"})");
  }
  std::vector<std::string> Arguments(const std::string& file, const std::vector<std::string>& more = {}) const {
    std::vector<std::string> arguments = {"import", Path(file), "--out", Path("out")};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return arguments;
  }
  // A table of zeros that takes no space on the disk.
  void WriteSparseTable(const std::string& name, int64_t rows, int64_t cols) const {
    const std::string header = absl::StrCat(R"({"item.weight":{"dtype":"F32","shape":[)", rows, ",", cols,
                                            R"(],"data_offsets":[0,)", 4 * rows * cols, "]}}");
    const uint64_t length = header.size();
    Write(name, std::string(reinterpret_cast<const char*>(&length), sizeof(length)) + header);
    std::filesystem::resize_file(Path(name), 8 + header.size() + 4 * rows * cols);
  }
};

TEST_F(ImportCommandTest, SaysWhatItDid) {
  const ProgramResult result = RunProgram(Arguments("tables"));
  ExpectDone(result);
  EXPECT_EQ(result.out,
            "format: safetensors\n"
            "table        dtype  module  rows  dim  bits  bytes\n"
            "-----------  -----  ------  ----  ---  ----  -----\n"
            "item.weight  F32    item       3    2    32   24 B\n"
            "left in the file: 1 tensor\n");
  EXPECT_EQ(
      Read("out/model.json"),
      "{\n  \"format\": \"eqat.model\",\n  \"version\": 1,\n  \"modules\": {\n    \"item\": {\n"
      "      \"type\": \"nn.Embedding\",\n      \"num_embeddings\": 3,\n      \"embedding_dim\": 2\n    }\n  }\n}\n");
  EXPECT_EQ(ReadTensors("out/model.safetensors"), (TestTensors{{"item.weight", F32({3, 2}, {1, 2, 3, 4, 5, 6})}}));
  const ProgramResult quantized = RunProgram(Arguments("tables", {"--qconfig", Path("q.json"), "--progress"}));
  EXPECT_THAT(quantized.out, HasSubstr("item.weight  F32    item       3    2     4   27 B"));
  EXPECT_THAT(quantized.error, HasSubstr("importing"));
  ExpectDone(RunProgram({"inspect", Path("out")}));
}

TEST_F(ImportCommandTest, RefusesWhatItDoesNotUnderstand) {
  const struct {
    std::vector<std::string> more;
    int exit_code;
    std::string part;
  } kCases[] = {
      {{"--format", "hdf5"}, 2, "--format"},
      {{"--type", "nn.Linear"}, 2, "--type"},
      {{"--mode", "median"}, 2, "--mode"},
      {{"--memory-limit", "8M"}, 2, "8M is no size of at least 32M"},
      {{"--memory-limit", "lots"}, 2, "lots is no size"},
      {{"--padding-idx", "x"}, 2, "--padding-idx"},
      {{"--mode", "sum"}, 1, "--mode: is for bags alone (got sum, expected --type nn.EmbeddingBag)"},
      {{"--table", "thing"}, 1, "tables: holds no table thing"},
      {{"--format", "npy"}, 1, "tables: byte 0: magic: is no NumPy array"},
      {{"--qconfig", Path("missing.json")}, 1, "missing.json"},
      {{"--padding-idx", "3"}, 1, "padding_idx"},
  };
  const auto before = Snapshot();
  for (const auto& test : kCases) {
    SCOPED_TRACE(test.part);
    ExpectError(RunProgram(Arguments("tables", test.more)), test.exit_code, {test.part});
  }
  ExpectError(RunProgram(Arguments("missing")), 1, {"missing: cannot open"});
  ExpectError(RunProgram({"import", Path("tables"), "--out", Path("tables")}), 1, {"--out", "tables"});
  EXPECT_EQ(Snapshot(), before);
}

TEST_F(ImportCommandTest, KillLeavesTheOldContentOrTheNew) {
  WriteSparseTable("large", 1 << 18, 16);
  const auto begin = std::chrono::steady_clock::now();
  ExpectDone(RunProgram(Arguments("large")));
  const auto whole_run = std::chrono::duration_cast<microseconds>(std::chrono::steady_clock::now() - begin);
  const std::string new_content = Read("out/model.safetensors");
  constexpr int kKills = 12;
  int killed = 0;
  for (int i = 0; i < kKills; ++i) {
    SCOPED_TRACE(i);
    ExpectDone(RunProgram(Arguments("tables")));
    const std::string old_content = Read("out/model.safetensors");
    ProgramOptions options;
    options.kill_after = whole_run * (i + 1) / kKills;
    killed += RunProgram(Arguments("large"), options).signal != 0 ? 1 : 0;
    ExpectDone(RunProgram({"inspect", Path("out")}));
    const std::string content = Read("out/model.safetensors");
    EXPECT_TRUE(content == old_content || content == new_content);
  }
  EXPECT_GT(killed, 0);
}

TEST_F(ImportCommandTest, AFullDiskLosesNothing) {
  ExpectDone(RunProgram(Arguments("tables")));
  WriteSparseTable("large", 1 << 14, 16);
  const auto before = Snapshot();
  ProgramOptions full;
  full.file_size_limit = 100000;
  ExpectError(RunProgram(Arguments("large"), full), 1, {"File too large"});
  ExpectError(RunProgram(Arguments("large", {"--qconfig", Path("q.json")}), full), 1, {"File too large"});
  for (const std::string& place : {Path("tables/below"), Path("missing/below"), std::string("/proc/eqat")}) {
    ExpectError(RunProgram({"import", Path("tables"), "--out", place}), 1, {});
  }
  EXPECT_EQ(Snapshot(), before);
}

TEST_F(ImportCommandTest, MemoryStaysInItsLimit) {
#if defined(__SANITIZE_ADDRESS__)  // whose own memory counts too
  constexpr int64_t kRows = 1 << 18, kPeak = int64_t{512} << 20;
#else
  constexpr int64_t kRows = 1 << 20, kPeak = int64_t{40} << 20;
#endif
  WriteSparseTable("large", kRows, 64);  // 256 MiB; a quarter of it under sanitizers
  for (const std::vector<std::string>& quantized : {std::vector<std::string>(), {"--qconfig", Path("q.json")}}) {
    std::vector<std::string> more = {"--memory-limit", "32M"};
    more.insert(more.end(), quantized.begin(), quantized.end());
    const ProgramResult result = RunProgram(Arguments("large", more));
    ExpectDone(result);
    EXPECT_LT(result.peak_bytes, kPeak);
  }
}

TEST(ByteSizeTest, ReadsUnits) {
  EXPECT_EQ(cli::ParseByteSize("17"), 17);
  EXPECT_EQ(cli::ParseByteSize("3k"), 3 << 10);
  EXPECT_EQ(cli::ParseByteSize("3M"), 3 << 20);
  EXPECT_EQ(cli::ParseByteSize("2G"), int64_t{2} << 30);
  EXPECT_EQ(cli::ParseByteSize("1T"), int64_t{1} << 40);
  for (const char* bad : {"", "M", "-1M", "+1M", " 1M", "1 M", "1.5M", "1MB", "9999999999T", "99999999999999999999"}) {
    EXPECT_EQ(cli::ParseByteSize(bad), std::nullopt) << bad;
  }
}

}  // namespace
}  // namespace eqat::testing
