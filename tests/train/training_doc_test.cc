// Every JSON in docs/training.md is what the page says it is: it loads.
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "tests/train/train_fixture.h"
#include "train/checkpoint.h"
#include "train/data_spec.h"
#include "train/train_config.h"

namespace eqat::train {
namespace {

using TrainingDocTest = ::eqat::testing::TrainTest;

std::vector<std::string> JsonBlocks(const std::string& text) {
  const std::string open = "```json\n";
  std::vector<std::string> blocks;
  for (size_t begin = 0; (begin = text.find(open, begin)) != std::string::npos;) {
    begin += open.size();
    blocks.push_back(text.substr(begin, text.find("```", begin) - begin));
  }
  return blocks;
}

TEST_F(TrainingDocTest, EveryJsonLoads) {
  std::ifstream file(std::string(EQAT_TEST_DATA) + "/../docs/training.md");
  std::ostringstream text;
  text << file.rdbuf();
  int specs = 0, configs = 0, optimizers = 0, checkpoints = 0;
  for (const std::string& block : JsonBlocks(text.str())) {
    SCOPED_TRACE(block);
    EQAT_ASSERT_OK_AND_ASSIGN(const io::Json json, io::ParseJson(block, "docs/training.md"));
    if (json.contains("files")) {
      ++specs;
      EQAT_EXPECT_OK(ReadDataSpec(Write("spec.json", block)));
    } else if (json.contains("type")) {
      ++optimizers;
      EQAT_EXPECT_OK(OptimizerFromJson(json, "docs/training.md", ""));
    } else if (json.contains("format")) {
      ++checkpoints;
      std::string metrics;
      for (int64_t line = 0; line < json.at("metrics_lines"); ++line) metrics += "{}\n";
      Write("metrics.jsonl", metrics);
      Write("trainer.json", block);
      EQAT_EXPECT_OK(ReadCheckpoint(PathOf("")));
    } else {
      ++configs;
      EQAT_EXPECT_OK(ReadTrainConfig(Write("train.json", block)));
    }
  }
  EXPECT_GE(specs, 1);
  EXPECT_GE(configs, 1);
  EXPECT_EQ(optimizers, 5);
  EXPECT_EQ(checkpoints, 1);
}

}  // namespace
}  // namespace eqat::train
