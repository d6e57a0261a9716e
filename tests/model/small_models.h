// Small models for the tests of this folder.
#ifndef EQAT_TESTS_MODEL_SMALL_MODELS_H_
#define EQAT_TESTS_MODEL_SMALL_MODELS_H_

#include <cmath>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "core/table.h"
#include "gtest/gtest.h"
#include "model/model.h"
#include "quant/types/qconfig.h"

namespace eqat::model {

// Values that differ in every element and are exact in 16-bit formats where they need to be: multiples of 1/8.
inline Table MakeTable(int64_t rows, int64_t cols, int64_t salt = 0) {
  Table table = *Table::Zeros(rows, cols);
  for (int64_t i = 0; i < rows * cols; ++i) table.data()[i] = static_cast<float>((i * 37 + salt * 11) % 41 - 20) / 8.0f;
  return table;
}

inline nn::EmbeddingOptions TableOptions(int64_t rows, int64_t cols) {
  nn::EmbeddingOptions options;
  options.num_embeddings = rows;
  options.embedding_dim = cols;
  return options;
}

inline nn::EmbeddingBagOptions BagOptions(int64_t rows, int64_t cols, PoolMode mode = PoolMode::kMean) {
  nn::EmbeddingBagOptions options;
  options.num_embeddings = rows;
  options.embedding_dim = cols;
  options.mode = mode;
  return options;
}

inline nn::Embedding MakeEmbedding(const nn::EmbeddingOptions& options, int64_t salt = 0) {
  return *nn::Embedding::FromWeight(MakeTable(options.num_embeddings, options.embedding_dim, salt), options);
}

inline nn::EmbeddingBag MakeBag(const nn::EmbeddingBagOptions& options, int64_t salt = 0) {
  return *nn::EmbeddingBag::FromWeight(MakeTable(options.num_embeddings, options.embedding_dim, salt), options);
}

inline quant::QConfig Preset(const std::string& name) { return *quant::QConfigPreset(name); }

inline qat::EmbeddingBag MakeQatBag(const nn::EmbeddingBagOptions& options, const quant::QConfig& qconfig,
                                    int64_t salt = 0) {
  nn::EmbeddingBag module = MakeBag(options, salt);
  module.set_qconfig(qconfig);
  return *qat::EmbeddingBag::FromFloat(std::move(module));
}

inline qat::Embedding MakeQatEmbedding(const nn::EmbeddingOptions& options, const quant::QConfig& qconfig,
                                       int64_t salt = 0) {
  nn::Embedding module = MakeEmbedding(options, salt);
  module.set_qconfig(qconfig);
  return *qat::Embedding::FromFloat(std::move(module));
}

inline nn::Linear MakeLinear(int64_t in, int64_t out, bool bias = true, int64_t salt = 0) {
  std::vector<float> biases;
  for (int64_t i = 0; bias && i < out; ++i) biases.push_back(0.25f * static_cast<float>(i - 1));
  return *nn::Linear::FromWeight(MakeTable(out, in, salt), std::move(biases),
                                 {.in_features = in, .out_features = out, .bias = bias});
}

inline void Add(Model& model, const std::string& name, Module module) {
  ASSERT_TRUE(model.AddModule(name, std::move(module)).ok()) << name;
}

inline Node Input(std::string name) { return {.name = std::move(name), .op = Op::kPlaceholder}; }
inline Node CallModule(std::string name, std::string target, std::string arg) {
  return {.name = std::move(name), .op = Op::kCallModule, .target = std::move(target), .args = {std::move(arg)}};
}
inline Node Call(std::string name, Function function, std::vector<std::string> args, int64_t int_arg = 0) {
  return {.name = std::move(name),
          .op = Op::kCallFunction,
          .function = function,
          .args = std::move(args),
          .int_arg = int_arg};
}
inline Node Output(std::string arg) { return {.name = "output", .op = Op::kOutput, .args = {std::move(arg)}}; }

inline Tensor MakeTensor(std::vector<int64_t> shape, const std::vector<float>& values) {
  Tensor tensor(std::move(shape));
  EXPECT_EQ(tensor.values.size(), values.size());
  tensor.values = values;
  return tensor;
}

inline LookupInput Indices(const std::vector<int64_t>& indices, std::vector<int64_t> shape = {}) {
  LookupInput input;
  input.indices = indices;
  input.shape = std::move(shape);
  return input;
}

inline LookupInput Jagged(const std::vector<int64_t>& indices, const std::vector<int64_t>& offsets) {
  LookupInput input;
  input.indices = indices;
  input.offsets = IndexSpan(offsets);
  return input;
}

// A folder of its own under the test's temporary folder, empty at the start of the test and removed at its end.
class ModelDirectoryFixture : public ::testing::Test {
 protected:
  ModelDirectoryFixture() {
    const auto* info = ::testing::UnitTest::GetInstance()->current_test_info();
    root_ = std::filesystem::path(::testing::TempDir()) /
            (std::string("eqat-") + info->test_suite_name() + "-" + info->name());
    std::filesystem::remove_all(root_);
    std::filesystem::create_directories(root_);
  }
  ~ModelDirectoryFixture() override { std::filesystem::remove_all(root_); }

  std::string Path(const std::string& name) const { return (root_ / name).string(); }

  std::filesystem::path root_;
};

inline std::string ReadText(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  EXPECT_TRUE(file.good()) << path;
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

inline void WriteText(const std::filesystem::path& path, const std::string& text) {
  std::filesystem::create_directories(path.parent_path());
  std::ofstream(path, std::ios::binary) << text;
}

}  // namespace eqat::model

#endif  // EQAT_TESTS_MODEL_SMALL_MODELS_H_
