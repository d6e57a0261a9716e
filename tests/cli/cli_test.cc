#include "tests/cli/cli_test.h"

#include <fstream>
#include <sstream>

#include "absl/strings/str_cat.h"
#include "core/rng.h"
#include "tests/support/status_matchers.h"

namespace eqat::testing {

namespace fs = std::filesystem;

const char kModelJson[] = R"({
  "format": "eqat.model", "version": 1,
  "modules": {
    "item": {"type": "nn.EmbeddingBag", "num_embeddings": 6, "embedding_dim": 4, "mode": "sum"},
    "user": {"type": "nn.Embedding", "num_embeddings": 5, "embedding_dim": 4, "padding_idx": 0, "sparse": true},
    "top": {"type": "nn.Linear", "in_features": 8, "out_features": 1}
  },
  "graph": [
    {"name": "item_ids", "op": "placeholder"},
    {"name": "user_ids", "op": "placeholder"},
    {"name": "e0", "op": "call_module", "target": "item", "args": ["item_ids"]},
    {"name": "e1", "op": "call_module", "target": "user", "args": ["user_ids"]},
    {"name": "x", "op": "call_function", "target": "cat", "args": [["e0", "e1"]], "kwargs": {"dim": 1}},
    {"name": "y", "op": "call_module", "target": "top", "args": ["x"]},
    {"name": "output", "op": "output", "args": ["y"]}
  ]
})";

TestTensor F32(std::vector<int64_t> shape, const std::vector<float>& values) {
  return MakeTensor(io::TensorDtype::kF32, std::move(shape), values);
}
TestTensor I64(std::vector<int64_t> shape, const std::vector<int64_t>& values) {
  return MakeTensor(io::TensorDtype::kI64, std::move(shape), values);
}
TestTensor I32(std::vector<int64_t> shape, const std::vector<int32_t>& values) {
  return MakeTensor(io::TensorDtype::kI32, std::move(shape), values);
}

std::vector<float> FloatsOf(const TestTensor& tensor) {
  EXPECT_EQ(tensor.dtype, io::TensorDtype::kF32);
  std::vector<float> values(tensor.bytes.size() / sizeof(float));
  if (!values.empty()) std::memcpy(values.data(), tensor.bytes.data(), tensor.bytes.size());
  return values;
}

std::vector<int64_t> IntegersOf(const TestTensor& tensor) {
  EXPECT_EQ(tensor.dtype, io::TensorDtype::kI64);
  std::vector<int64_t> values(tensor.bytes.size() / sizeof(int64_t));
  if (!values.empty()) std::memcpy(values.data(), tensor.bytes.data(), tensor.bytes.size());
  return values;
}

CliTest::CliTest() {
  std::string pattern = (fs::temp_directory_path() / "eqat-cli-XXXXXX").string();
  folder_ = mkdtemp(pattern.data());
}

CliTest::~CliTest() { fs::remove_all(folder_); }

void CliTest::Write(const std::string& name, const std::string& content) const {
  fs::create_directories(fs::path(Path(name)).parent_path());
  std::ofstream(Path(name), std::ios::binary) << content;
}

std::string CliTest::Read(const std::string& name) const {
  std::ifstream file(Path(name), std::ios::binary);
  std::ostringstream content;
  content << file.rdbuf();
  return content.str();
}

void CliTest::WriteTensors(const std::string& name, const TestTensors& tensors) const {
  fs::create_directories(fs::path(Path(name)).parent_path());
  std::vector<io::TensorToWrite> to_write;
  for (const auto& [tensor_name, tensor] : tensors) {
    to_write.push_back(
        {tensor_name, tensor.dtype, tensor.shape, absl::MakeConstSpan(tensor.bytes.data(), tensor.bytes.size())});
  }
  EQAT_ASSERT_OK(io::WriteSafetensors(Path(name), std::move(to_write), {}));
}

TestTensors CliTest::ReadTensors(const std::string& name) const {
  TestTensors tensors;
  const absl::StatusOr<io::SafetensorsReader> reader = io::SafetensorsReader::Open(Path(name));
  EXPECT_THAT(reader, IsOk());
  if (!reader.ok()) return tensors;
  for (const io::TensorInfo& info : reader->tensors()) {
    const absl::Span<const char> bytes = reader->Bytes(info);
    tensors[info.name] = {info.dtype, info.shape, std::string(bytes.data(), bytes.size())};
  }
  return tensors;
}

std::map<std::string, std::string> CliTest::Snapshot() const {
  std::map<std::string, std::string> files;
  for (const fs::directory_entry& entry : fs::recursive_directory_iterator(folder_)) {
    const std::string name = entry.path().lexically_relative(folder_).string();
    if (entry.is_directory()) {
      files[name + "/"] = "";
    } else {
      files[name] = Read(name);
    }
  }
  return files;
}

void CliTest::WriteModel() const {
  const auto table = [](uint64_t stream, int64_t rows, int64_t cols) {
    const Rng rng(1, stream);
    std::vector<float> values(rows * cols);
    for (size_t i = 0; i < values.size(); ++i) values[i] = rng.Normal(i);
    return F32({rows, cols}, values);
  };
  Write("model/model.json", kModelJson);
  WriteTensors("model/model.safetensors", {{"item.weight", table(0, 6, 4)},
                                           {"user.weight", table(1, 5, 4)},
                                           {"top.weight", table(2, 1, 8)},
                                           {"top.bias", F32({1}, {0.25f})}});
}

void CliTest::WriteQatModel() const {
  WriteModel();
  Write("qconfig.json", R"({"version": 1,
    "object_type": {"nn.EmbeddingBag": "default_embedding_qat_qconfig_4bit"},
    "module_name": {"user": "default_embedding_qat_qconfig"}})");
  ExpectDone(RunProgram({"prepare", Path("model"), "--qconfig", Path("qconfig.json"), "--out", Path("qat")}));
}

void CliTest::WriteData(int rows) const {
  std::string lines = "y\titems\tuser\n";
  const Rng rng(2, 0);
  for (int row = 0; row < rows; ++row) {
    const uint64_t at = static_cast<uint64_t>(row) * 8;
    const uint64_t user = rng.Below(at, 5);
    absl::StrAppend(&lines, user % 2, "\t", rng.Below(at + 1, 6), ",", rng.Below(at + 2, 6), "\t", user, "\n");
  }
  Write("data.tsv", lines);
  Write("data.json", R"({"version": 1, "files": ["data.tsv"], "label": {"column": "y"}, "categorical": [
    {"input": "item_ids", "column": "items", "encoding": "integer", "buckets": 6, "multi_valued": true},
    {"input": "user_ids", "column": "user", "encoding": "integer", "buckets": 5}]})");
  Write("train.json", R"({"version": 1, "epochs": 3, "batch_size": 8, "optimizer": {"type": "SGD", "lr": 0.1}})");
}

TestTensors CliTest::Batch() const {
  return {{"item_ids", I64({3}, {1, 2, 1})}, {"item_ids.offsets", I64({2}, {0, 2})}, {"user_ids", I32({2}, {3, 4})}};
}

void ExpectError(const ProgramResult& result, int exit_code, const std::vector<std::string>& parts) {
  EXPECT_EQ(result.exit_code, exit_code) << result.error;
  EXPECT_EQ(result.signal, 0);
  EXPECT_EQ(result.out, "");
  EXPECT_THAT(result.error, ::testing::StartsWith("eqat: error: "));
  EXPECT_EQ(std::count(result.error.begin(), result.error.end(), '\n'), 1) << result.error;
  EXPECT_THAT(result.error, ::testing::EndsWith("\n"));
  for (const std::string& part : parts) EXPECT_THAT(result.error, ::testing::HasSubstr(part));
}

void ExpectDone(const ProgramResult& result) {
  EXPECT_EQ(result.exit_code, 0) << result.error;
  EXPECT_EQ(result.error, "");
}

}  // namespace eqat::testing
