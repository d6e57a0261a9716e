// Makes the float model of the package-links task, untrained: ten tables of dimension 16, the pairwise dot products of
// their outputs, a 64-unit layer (a small DLRM, Naumov et al. 2019), and saves it as a model directory.
//
//   make_model DATA_DIR OUT_DIR [SEED [CONFIG]]      DATA_DIR: output of make_rows.py, for the sizes of the
//   vocabularies
//
// CONFIG (regularized.json) adds batch norm behind the hidden layer and dropout before the last one.
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <iostream>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/numbers.h"
#include "core/rng.h"
#include "core/status_macros.h"
#include "io/file.h"
#include "io/json_reader.h"
#include "model/model.h"
#include "model/model_directory.h"

namespace {

constexpr int64_t kDim = 16;
constexpr int64_t kHidden = 64;
constexpr float kInitialSpread = 0.05f;  // standard deviation of fresh rows

struct Config {
  bool batch_norm = false;
  double dropout = 0;
};

absl::StatusOr<Config> ReadConfig(const std::string& path) {
  Config config;
  if (path.empty()) return config;
  EQAT_ASSIGN_OR_RETURN(const eqat::io::Json json, eqat::io::ReadJsonFile(path));
  EQAT_ASSIGN_OR_RETURN(auto reader, eqat::io::ObjectReader::Of(json, path, ""));
  EQAT_ASSIGN_OR_RETURN(const std::optional<bool> batch_norm, reader.OptionalBool("batch_norm"));
  EQAT_ASSIGN_OR_RETURN(const std::optional<double> dropout,
                        reader.OptionalDouble("dropout", {.minimum = 0, .maximum = 1}));
  EQAT_RETURN_IF_ERROR(reader.Finish());
  return Config{batch_norm.value_or(false), dropout.value_or(0)};
}

struct TableSpec {
  std::string name;
  int64_t rows;
  bool bag;
};

absl::StatusOr<int64_t> CountLines(const std::string& path) {
  EQAT_ASSIGN_OR_RETURN(const std::string text, eqat::io::ReadFile(path));
  int64_t lines = 0;
  for (const char c : text) lines += c == '\n';
  return lines;
}

absl::StatusOr<eqat::Table> FreshWeight(const TableSpec& spec, uint64_t seed) {
  EQAT_ASSIGN_OR_RETURN(eqat::Table weight, eqat::Table::Zeros(spec.rows, kDim));
  eqat::FillNormal(eqat::Rng(seed, eqat::StreamOf(spec.name)), weight.mutable_view());
  for (int64_t i = 0; i < spec.rows * kDim; ++i) weight.data()[i] *= kInitialSpread;
  return weight;
}

absl::Status AddTable(const TableSpec& spec, uint64_t seed, eqat::model::Model& model) {
  EQAT_ASSIGN_OR_RETURN(eqat::Table weight, FreshWeight(spec, seed));
  if (spec.bag) {
    eqat::nn::EmbeddingBagOptions options;
    options.num_embeddings = spec.rows;
    options.embedding_dim = kDim;
    options.sparse = true;
    EQAT_ASSIGN_OR_RETURN(auto bag, eqat::nn::EmbeddingBag::FromWeight(std::move(weight), options, spec.name));
    return model.AddModule(spec.name, std::move(bag));
  }
  eqat::nn::EmbeddingOptions options;
  options.num_embeddings = spec.rows;
  options.embedding_dim = kDim;
  options.sparse = true;
  EQAT_ASSIGN_OR_RETURN(auto embedding, eqat::nn::Embedding::FromWeight(std::move(weight), options, spec.name));
  return model.AddModule(spec.name, std::move(embedding));
}

absl::Status AddLinear(const std::string& name, int64_t in_features, int64_t out_features, uint64_t seed,
                       eqat::model::Model& model) {
  EQAT_ASSIGN_OR_RETURN(
      auto linear, eqat::nn::Linear::Create({.in_features = in_features, .out_features = out_features}, seed, name));
  return model.AddModule(name, std::move(linear));
}

eqat::model::Graph MakeGraph(const std::vector<TableSpec>& tables, const Config& config) {
  using eqat::model::Function;
  using eqat::model::Op;
  eqat::model::Graph graph;
  std::vector<std::string> features;
  for (const TableSpec& table : tables) {
    graph.nodes.push_back({.name = table.name + "_ids", .op = Op::kPlaceholder});
  }
  for (const TableSpec& table : tables) {
    features.push_back(table.name + "_row");
    graph.nodes.push_back(
        {.name = features.back(), .op = Op::kCallModule, .target = table.name, .args = {table.name + "_ids"}});
  }
  graph.nodes.push_back(
      {.name = "dots", .op = Op::kCallFunction, .function = Function::kInteractDot, .args = features});
  std::vector<std::string> all = features;
  all.push_back("dots");
  graph.nodes.push_back({.name = "x", .op = Op::kCallFunction, .function = Function::kCat, .args = all, .int_arg = 1});
  const auto call = [&graph](const std::string& name, const std::string& target) {
    graph.nodes.push_back({.name = name, .op = Op::kCallModule, .target = target, .args = {graph.nodes.back().name}});
  };
  call("hidden", "top.0");
  if (config.batch_norm) call("normal", "top.norm");
  call("active", "top.1");
  if (config.dropout > 0) call("kept", "top.drop");
  call("logit", "top.2");
  graph.nodes.push_back({.name = "output", .op = Op::kOutput, .args = {"logit"}});
  return graph;
}

absl::Status MakeModel(const std::string& data, const std::string& out, uint64_t seed, const std::string& config_path) {
  EQAT_ASSIGN_OR_RETURN(const Config config, ReadConfig(config_path));
  EQAT_ASSIGN_OR_RETURN(const int64_t sections, CountLines(data + "/sections.txt"));
  EQAT_ASSIGN_OR_RETURN(const int64_t candidates, CountLines(data + "/candidates.txt"));
  EQAT_ASSIGN_OR_RETURN(const int64_t tags, CountLines(data + "/tags.txt"));
  // Hashed fields have the bucket counts of the data spec.
  const std::vector<TableSpec> tables = {
      {"section", sections, false},     {"prefix", 4096, false},
      {"suffix", 4096, false},          {"first", 8192, false},
      {"candidate", candidates, false}, {"candidate_section", sections, false},
      {"candidate_first", 4096, false}, {"candidate_suffix", 4096, false},
      {"basket", candidates, true},     {"tags", tags, true},
  };
  eqat::model::Model model;
  for (const TableSpec& table : tables) EQAT_RETURN_IF_ERROR(AddTable(table, seed, model));
  const int64_t fields = static_cast<int64_t>(tables.size());
  EQAT_RETURN_IF_ERROR(AddLinear("top.0", fields * kDim + fields * (fields - 1) / 2, kHidden, seed, model));
  if (config.batch_norm) {
    EQAT_ASSIGN_OR_RETURN(auto norm, eqat::nn::BatchNorm1d::Create({.num_features = kHidden}, "top.norm"));
    EQAT_RETURN_IF_ERROR(model.AddModule("top.norm", std::move(norm)));
  }
  EQAT_RETURN_IF_ERROR(model.AddModule("top.1", eqat::model::ReLU{}));
  if (config.dropout > 0) {
    EQAT_RETURN_IF_ERROR(model.AddModule("top.drop", eqat::model::Dropout{.p = config.dropout}));
  }
  EQAT_RETURN_IF_ERROR(AddLinear("top.2", kHidden, 1, seed, model));
  EQAT_RETURN_IF_ERROR(model.SetGraph(MakeGraph(tables, config)));
  return eqat::model::SaveModel(model, out);
}

}  // namespace

int main(int argc, char** argv) {
  uint64_t seed = 1;
  if (argc < 3 || argc > 5 || (argc >= 4 && !absl::SimpleAtoi(argv[3], &seed))) {
    std::cerr << "usage: make_model DATA_DIR OUT_DIR [SEED [CONFIG]]\n";
    return 2;
  }
  const absl::Status status = MakeModel(argv[1], argv[2], seed, argc == 5 ? argv[4] : "");
  if (!status.ok()) {
    std::cerr << "make_model: error: " << status.message() << "\n";
    return 1;
  }
  std::cout << argv[2] << ": float model, untrained\n";
  return EXIT_SUCCESS;
}
