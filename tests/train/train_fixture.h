// What the tests of this folder share: a folder of files, a small data set and a small model for it.
#ifndef EQAT_TESTS_TRAIN_TRAIN_FIXTURE_H_
#define EQAT_TESTS_TRAIN_TRAIN_FIXTURE_H_

#include <unistd.h>
#include <zlib.h>

#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/rng.h"
#include "gtest/gtest.h"
#include "model/model.h"
#include "model/model_directory.h"
#include "tests/support/qat_modules.h"
#include "tests/support/status_matchers.h"
#include "train/data_spec.h"
#include "train/dataset.h"

namespace eqat::testing {

// A folder of its own for each test, removed afterwards.
class TrainTest : public ::testing::Test {
 protected:
  TrainTest() {
    // In memory where there is such a place: every checkpoint is synced, and there are hundreds.
    const std::filesystem::path memory = "/dev/shm";
    const bool in_memory = std::filesystem::is_directory(memory) && access(memory.c_str(), W_OK) == 0;
    std::string pattern =
        ((in_memory ? memory : std::filesystem::temp_directory_path()) / "eqat-train-XXXXXX").string();
    folder_ = mkdtemp(pattern.data());
  }
  ~TrainTest() override { std::filesystem::remove_all(folder_); }

  std::string PathOf(const std::string& name) const { return (folder_ / name).string(); }
  std::string Write(const std::string& name, const std::string& content) const {
    std::ofstream(PathOf(name), std::ios::binary) << content;
    return PathOf(name);
  }
  std::string WriteGzip(const std::string& name, const std::string& content) const {
    gzFile file = gzopen(PathOf(name).c_str(), "wb");
    gzwrite(file, content.data(), static_cast<unsigned>(content.size()));
    gzclose(file);
    return PathOf(name);
  }
  std::string Read(const std::string& name) const {
    std::ifstream file(PathOf(name), std::ios::binary);
    std::ostringstream content;
    content << file.rdbuf();
    return content.str();
  }
  bool Exists(const std::string& name) const { return std::filesystem::exists(PathOf(name)); }

 private:
  std::filesystem::path folder_;
};

inline constexpr int64_t kUsers = 40;
inline constexpr int64_t kTags = 50;

// Lines "y n0 n1 user tags" with a header; the label follows from the user.
inline std::string SampleLines(int64_t rows, uint64_t seed) {
  const Rng rng(seed, 0);
  std::string lines = "y\tn0\tn1\tuser\ttags\n";
  for (int64_t row = 0; row < rows; ++row) {
    const uint64_t at = static_cast<uint64_t>(row) * 16;
    const uint64_t user = rng.Below(at, kUsers);
    const bool label = rng.Uniform(at + 1) < (user % 2 == 0 ? 0.9 : 0.1);
    std::string tags;
    for (uint64_t tag = 0; tag < rng.Below(at + 2, 4); ++tag) {
      absl::StrAppend(&tags, tag == 0 ? "" : ",", rng.Below(at + 3 + tag, kTags));
    }
    absl::StrAppend(&lines, label ? 1 : 0, "\t", rng.Uniform(at + 8) - 0.5, "\t", rng.Uniform(at + 9) * 3, "\t", user,
                    "\t", tags, "\n");
  }
  return lines;
}

inline constexpr char kSampleSpec[] = R"({
  "version": 1, "files": ["sample.tsv"], "label": {"column": "y"},
  "dense": [{"input": "numbers", "columns": ["n0", "n1"]}],
  "categorical": [
    {"input": "user_ids", "column": "user", "encoding": "integer", "buckets": 40},
    {"input": "tag_ids", "column": "tags", "encoding": "integer", "buckets": 50, "multi_valued": true}]
})";

// What distinguishes one small model from another.
struct SmallModel {
  bool qat = false;
  double averaging_constant = 1.0;  // 0: min/max observer
  bool sparse = false;
  bool batch_norm = false;
  double dropout = 0;
  int64_t classes = 1;
  int64_t tags = kTags;
  bool include_last_offset = false;
};

namespace internal {

template <typename Family>
model::Module TableModule(const SmallModel& small, const std::string& name, int64_t rows,
                          typename Family::Options options) {
  options.num_embeddings = rows;
  options.embedding_dim = 6;
  options.sparse = small.sparse;
  auto table = Family::Float::Create(options, 7, name);
  if (!small.qat) return model::Module(*std::move(table));
  table->set_qconfig(QConfigOf(RowObserver(quant::Dtype::kQUInt4x2, small.averaging_constant)));
  return model::Module(*Family::Qat::FromFloat(*std::move(table)));
}

}  // namespace internal

// user_ids -> Embedding, tag_ids -> EmbeddingBag, numbers; cat, Linear (BatchNorm1d, Dropout), ReLU, Linear.
inline model::Model MakeModel(const SmallModel& small) {
  model::Model model;
  const auto add = [&](const std::string& name, model::Module&& module) {
    ASSERT_THAT(model.AddModule(name, std::move(module)), IsOk());
  };
  nn::EmbeddingBagOptions bag;
  bag.mode = PoolMode::kMean;
  bag.include_last_offset = small.include_last_offset;
  add("user", internal::TableModule<EmbeddingFamily>(small, "user", kUsers, {}));
  add("tag", internal::TableModule<EmbeddingBagFamily>(small, "tag", small.tags, bag));
  add("fc1", model::Module(*nn::Linear::Create({.in_features = 14, .out_features = 8}, 1, "fc1")));
  add("fc2", model::Module(*nn::Linear::Create({.in_features = 8, .out_features = small.classes}, 2, "fc2")));

  using model::Op;
  model::Graph graph;
  const auto node = [&](const std::string& name, Op op, const std::string& target, std::vector<std::string> args) {
    model::Node made;
    made.name = name;
    made.op = op;
    made.target = target;
    made.args = std::move(args);
    graph.nodes.push_back(std::move(made));
    return name;
  };
  for (const char* input : {"user_ids", "tag_ids", "numbers"}) node(input, Op::kPlaceholder, "", {});
  node("e0", Op::kCallModule, "user", {"user_ids"});
  node("e1", Op::kCallModule, "tag", {"tag_ids"});
  node("x", Op::kCallFunction, "", {"e0", "e1", "numbers"});
  graph.nodes.back().function = model::Function::kCat;
  graph.nodes.back().int_arg = 1;
  std::string last = node("h", Op::kCallModule, "fc1", {"x"});
  if (small.batch_norm) {
    add("bn", model::Module(*nn::BatchNorm1d::Create({.num_features = 8}, "bn")));
    last = node("normal", Op::kCallModule, "bn", {last});
  }
  if (small.dropout > 0) {
    add("drop", model::Module(model::Dropout{small.dropout}));
    last = node("dropped", Op::kCallModule, "drop", {last});
  }
  node("a", Op::kCallFunction, "", {last});
  graph.nodes.back().function = model::Function::kReLU;
  node("logits", Op::kCallModule, "fc2", {"a"});
  node("output", Op::kOutput, "", {"logits"});
  EXPECT_THAT(model.SetGraph(std::move(graph)), IsOk());
  return model;
}

}  // namespace eqat::testing

#endif  // EQAT_TESTS_TRAIN_TRAIN_FIXTURE_H_
