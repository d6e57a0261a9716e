// What the tests of this folder share: a folder of files for each test, small models and data, and the shape of an
// error.
#ifndef EQAT_TESTS_CLI_CLI_TEST_H_
#define EQAT_TESTS_CLI_CLI_TEST_H_

#include <cstring>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "io/safetensors.h"
#include "tests/cli/program_runner.h"

namespace eqat::testing {

// A tensor that owns its bytes.
struct TestTensor {
  io::TensorDtype dtype = io::TensorDtype::kF32;
  std::vector<int64_t> shape;
  std::string bytes;

  bool operator==(const TestTensor&) const = default;
};
using TestTensors = std::map<std::string, TestTensor>;

template <typename T>
TestTensor MakeTensor(io::TensorDtype dtype, std::vector<int64_t> shape, const std::vector<T>& values) {
  TestTensor tensor{dtype, std::move(shape), std::string(values.size() * sizeof(T), '\0')};
  if (!values.empty()) std::memcpy(tensor.bytes.data(), values.data(), tensor.bytes.size());
  return tensor;
}
TestTensor F32(std::vector<int64_t> shape, const std::vector<float>& values);
TestTensor I64(std::vector<int64_t> shape, const std::vector<int64_t>& values);
TestTensor I32(std::vector<int64_t> shape, const std::vector<int32_t>& values);
std::vector<float> FloatsOf(const TestTensor& tensor);
std::vector<int64_t> IntegersOf(const TestTensor& tensor);

class CliTest : public ::testing::Test {
 protected:
  CliTest();
  ~CliTest() override;

  std::string Path(const std::string& name) const { return (folder_ / name).string(); }
  void Write(const std::string& name, const std::string& content) const;
  std::string Read(const std::string& name) const;
  bool Exists(const std::string& name) const { return std::filesystem::exists(Path(name)); }
  void WriteTensors(const std::string& name, const TestTensors& tensors) const;
  TestTensors ReadTensors(const std::string& name) const;
  // Content of every file below the folder, by relative path; directories end in "/".
  std::map<std::string, std::string> Snapshot() const;

  // "model": tables item (nn.EmbeddingBag [6, 4], sum), user (nn.Embedding [5, 4], padding_idx 0, sparse) and top
  // (nn.Linear 8 -> 1), called as top(cat(item(item_ids), user(user_ids))).
  void WriteModel() const;
  // "qat": the model with item in 4 bits and user in 8, by "qconfig.json".
  void WriteQatModel() const;
  // "data.json" with "data.tsv" of `rows` rows for the model, and "train.json".
  void WriteData(int rows) const;
  // "in": a batch of two rows for the model, without grad_output.
  TestTensors Batch() const;

 private:
  std::filesystem::path folder_;
};

extern const char kModelJson[];

// The program ended with `exit_code` and one line on standard error that holds each of `parts`.
void ExpectError(const ProgramResult& result, int exit_code, const std::vector<std::string>& parts);
void ExpectDone(const ProgramResult& result);

}  // namespace eqat::testing

#endif  // EQAT_TESTS_CLI_CLI_TEST_H_
