#include "train/trainer.h"

#include <cmath>
#include <filesystem>
#include <limits>
#include <map>
#include <string>

#include "absl/strings/str_cat.h"
#include "core/parallel_for.h"
#include "gmock/gmock.h"
#include "model/prepare_qat.h"
#include "tests/train/train_fixture.h"

namespace eqat::train {
namespace {

using ::eqat::testing::SmallModel;
using ::eqat::testing::StatusIs;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr int64_t kRows = 103;  // 7 batches of 16, the last of 7

class TrainerTest : public ::eqat::testing::TrainTest {
 protected:
  TrainerTest() : data_(Data(testing::SampleLines(kRows, 1))) {
    config_.epochs = 4;
    config_.batch_size = 16;
    config_.optimizer.kind = OptimizerKind::kRowWiseAdagrad;
    config_.optimizer.lr = 0.2;
    config_.checkpoint_every_steps = 5;
    config_.log_every_steps = 3;
  }

  Dataset Data(const std::string& lines, const std::string& spec = testing::kSampleSpec) {
    Write("sample.tsv", lines);
    return *Dataset::Read(*ReadDataSpec(Write("spec.json", spec)));
  }
  void Save(const model::Model& model) { EQAT_ASSERT_OK(model::SaveModel(model, PathOf("model"))); }
  void Save(const SmallModel& small) { Save(testing::MakeModel(small)); }
  TrainOptions Options(const std::string& out) {
    TrainOptions options;
    options.model_path = PathOf("model");
    options.out_path = PathOf(out);
    return options;
  }
  absl::StatusOr<TrainResult> TrainTo(const std::string& out) { return Train(Options(out), config_, data_); }
  absl::StatusOr<TrainResult> Resume(const std::string& out) {
    TrainOptions options = Options(out);
    options.resume = true;
    return Train(options, config_, data_);
  }
  // Trains `out` until `steps` steps are done in this process.
  absl::Status TrainAndStop(const std::string& out, int64_t steps, bool resume) {
    TrainOptions options = Options(out);
    options.resume = resume;
    options.stop = [&steps] { return steps-- == 0; };
    return Train(options, config_, data_).status();
  }
  std::map<std::string, std::string> Files(const std::string& directory) {
    std::map<std::string, std::string> files;
    for (const auto& entry : std::filesystem::directory_iterator(PathOf(directory))) {
      const std::string name = entry.path().filename().string();
      files[name] = Read(directory + "/" + name);
    }
    return files;
  }
  void ExpectSameFiles(const std::string& a, const std::string& b) {
    const std::map<std::string, std::string> left = Files(a), right = Files(b);
    ASSERT_EQ(left.size(), right.size());
    for (const auto& [name, content] : left) EXPECT_TRUE(right.at(name) == content) << name;
  }

  TrainConfig config_;
  Dataset data_;
};

TEST_F(TrainerTest, LearnsAndWritesAModelDirectory) {
  for (const bool qat : {false, true}) {
    SCOPED_TRACE(qat);
    Save(SmallModel{.qat = qat});
    config_.epochs = 20;
    const std::string out = qat ? "qat" : "float";
    std::vector<TrainProgress> reports;
    TrainOptions options = Options(out);
    options.progress = [&](const TrainProgress& progress) { reports.push_back(progress); };
    EQAT_ASSERT_OK_AND_ASSIGN(const TrainResult result, Train(options, config_, data_));
    EXPECT_EQ(result.steps, 20 * 7);
    ASSERT_EQ(reports.size(), 140u);
    EXPECT_EQ(reports.back().step, 140);
    EXPECT_EQ(reports.back().total_steps, 140);
    EXPECT_EQ(reports.back().rows, 20 * kRows);
    EXPECT_EQ(reports.back().loss, result.loss);

    const std::map<std::string, std::string> files = Files(out);
    std::vector<std::string> names;
    for (const auto& [name, content] : files) names.push_back(name);
    EXPECT_THAT(names, ElementsAre("metrics.jsonl", "model.json", "model.safetensors", "optimizer.safetensors",
                                   "trainer.json"));
    EQAT_ASSERT_OK_AND_ASSIGN(const model::Model before, model::LoadModel(PathOf("model")));
    EQAT_ASSERT_OK_AND_ASSIGN(const model::Model after, model::LoadModel(PathOf(out)));
    const LossKind loss = LossKind::kBinaryCrossEntropyWithLogits;
    EQAT_ASSERT_OK_AND_ASSIGN(const Metrics metrics_before, Evaluate(before, data_, loss));
    EQAT_ASSERT_OK_AND_ASSIGN(const Metrics metrics_after, Evaluate(after, data_, loss));
    EXPECT_GT(*metrics_after.auc, 0.95);
    EXPECT_LT(metrics_after.loss, 0.5 * metrics_before.loss);
  }
}

TEST_F(TrainerTest, MetricsHaveALinePerInterval) {
  Save(SmallModel{});
  EQAT_ASSERT_OK_AND_ASSIGN(const TrainResult result, TrainTo("out"));
  const std::string metrics = Read("out/metrics.jsonl");
  std::vector<io::Json> lines;
  for (size_t begin = 0; begin < metrics.size();) {
    const size_t end = metrics.find('\n', begin);
    EQAT_ASSERT_OK_AND_ASSIGN(io::Json line, io::ParseJson(metrics.substr(begin, end - begin), "metrics.jsonl"));
    lines.push_back(std::move(line));
    begin = end + 1;
  }
  ASSERT_EQ(lines.size(), 10u);  // steps 3, 6, ..., 27 and 28
  EXPECT_EQ(lines[0]["step"], 3);
  EXPECT_EQ(lines[8]["step"], 27);
  EXPECT_EQ(lines[9]["step"], 28);
  EXPECT_EQ(lines[9]["epoch"], 4.0);
  EXPECT_EQ(lines[9]["loss"], result.loss);
  EXPECT_EQ(lines[9]["lr"], 0.2);
}

TEST_F(TrainerTest, SameBytesForAnyNumberOfThreads) {
  Save(SmallModel{.qat = true, .batch_norm = true, .dropout = 0.25});
  for (const int threads : {1, 3}) {
    SetNumThreads(threads);
    EQAT_ASSERT_OK(TrainTo(absl::StrCat("out", threads)));
  }
  SetNumThreads(0);
  ExpectSameFiles("out1", "out3");
}

TEST_F(TrainerTest, SeedChangesTheRunAndIsRecorded) {
  Save(SmallModel{});
  EQAT_ASSERT_OK(TrainTo("config_seed"));
  TrainOptions options = Options("option_seed");
  options.seed = 77;
  EQAT_ASSERT_OK(Train(options, config_, data_));
  EXPECT_NE(Read("config_seed/model.safetensors"), Read("option_seed/model.safetensors"));
  config_.seed = 77;
  EQAT_ASSERT_OK(TrainTo("seed_77"));
  ExpectSameFiles("option_seed", "seed_77");
}

struct ResumeCase {
  const char* name;
  SmallModel model;
  const char* optimizer;
  std::optional<SchedulePoint> fake_quant_start;
  std::optional<SchedulePoint> observer_freeze;
};

// Whatever the moment of the stop, and with two stops, the end is the same in every byte of every file.
TEST_F(TrainerTest, ResumedRunsEndInTheSameBytes) {
  const ResumeCase cases[] = {
      {"float", {}, R"({"type": "SGD", "lr": 0.1, "momentum": 0.9})", {}, {}},
      {"float sparse", {.sparse = true}, R"({"type": "SparseAdam", "lr": 0.01})", {}, {}},
      {"memoryless", {.qat = true}, R"({"type": "RowWiseAdagrad", "lr": 0.1})", 0.3, 0.8},
      {"memoryless momentum", {.qat = true}, R"({"type": "SGD", "lr": 0.1, "momentum": 0.9})", {}, 0.8},
      {"moving average", {.qat = true, .averaging_constant = 0.01}, R"({"type": "SGD", "lr": 0.1})", 0.5, {}},
      {"moving average adam", {.qat = true, .averaging_constant = 0.25}, R"({"type": "Adam", "lr": 0.01})", 0.3, 0.8},
      {"min max", {.qat = true, .averaging_constant = 0.0}, R"({"type": "Adagrad", "lr": 0.1})", {}, int64_t{20}},
      {"batch norm and dropout",
       {.qat = true, .batch_norm = true, .dropout = 0.3},
       R"({"type": "SGD", "lr": 0.1, "momentum": 0.9, "nesterov": true})",
       int64_t{9},
       {}},
  };
  config_.lr_schedule = {.kind = LrScheduleKind::kCosine, .warmup_steps = 5, .final_factor = 0.1};
  for (const ResumeCase& c : cases) {
    SCOPED_TRACE(c.name);
    Save(c.model);
    config_.optimizer = *OptimizerFromJson(*io::ParseJson(c.optimizer, ""), "", "");
    config_.fake_quant_start = c.fake_quant_start;
    config_.observer_freeze = c.observer_freeze;
    EQAT_ASSERT_OK(TrainTo("straight"));
    for (const int64_t stop : {0, 1, 8, 9, 14, 22, 27}) {
      SCOPED_TRACE(stop);
      EXPECT_THAT(
          TrainAndStop("stopped", stop, false),
          StatusIs(absl::StatusCode::kCancelled, HasSubstr(absl::StrCat("interrupted at step ", stop, " of 28"))));
      EXPECT_TRUE(Exists("stopped/trainer.json"));
      if (stop <= 22) {
        EXPECT_THAT(TrainAndStop("stopped", 3, true),
                    StatusIs(absl::StatusCode::kCancelled, HasSubstr("interrupted at")));
      }
      EQAT_ASSERT_OK(Resume("stopped"));
      ExpectSameFiles("straight", "stopped");
      std::filesystem::remove_all(PathOf("stopped"));
    }
    std::filesystem::remove_all(PathOf("straight"));
  }
}

// A kill leaves the last periodic checkpoint; the work since then is done again.
TEST_F(TrainerTest, KilledRunGoesOnFromItsLastCheckpoint) {
  Save(SmallModel{.qat = true, .averaging_constant = 0.1});
  EQAT_ASSERT_OK(TrainTo("straight"));
  TrainOptions options = Options("out");
  options.progress = [&](const TrainProgress& progress) {
    if (progress.step != 14) return;
    std::filesystem::copy(PathOf("out"), PathOf("killed"), std::filesystem::copy_options::recursive);
  };
  EQAT_ASSERT_OK(Train(options, config_, data_));
  EXPECT_THAT(Read("killed/trainer.json"), HasSubstr("\"step\": 10,"));
  EQAT_ASSERT_OK(Resume("killed"));
  ExpectSameFiles("straight", "killed");
}

TEST_F(TrainerTest, ResumeOfAFinishedRunReturnsAtOnce) {
  Save(SmallModel{});
  EQAT_ASSERT_OK_AND_ASSIGN(const TrainResult first, TrainTo("out"));
  const auto files = Files("out");
  EQAT_ASSERT_OK_AND_ASSIGN(const TrainResult again, Resume("out"));
  EXPECT_EQ(again.steps, first.steps);
  EXPECT_EQ(again.loss, first.loss);
  EXPECT_EQ(Files("out"), files);
}

TEST_F(TrainerTest, ResumeWithoutACheckpointStartsFromTheBeginning) {
  Save(SmallModel{});
  EQAT_ASSERT_OK(TrainTo("straight"));
  EQAT_ASSERT_OK(Resume("fresh"));
  ExpectSameFiles("straight", "fresh");
}

TEST_F(TrainerTest, TrainsInPlaceAndResumesThere) {
  Save(SmallModel{.qat = true});
  EQAT_ASSERT_OK(TrainTo("straight"));
  EXPECT_THAT(TrainAndStop("model", 11, false), StatusIs(absl::StatusCode::kCancelled, HasSubstr("step 11")));
  EQAT_ASSERT_OK(Resume("model"));
  ExpectSameFiles("straight", "model");
}

TEST_F(TrainerTest, QatScheduleSwitchesFakeQuantAndObservers) {
  Save(SmallModel{.qat = true});
  const auto state = [&](int64_t stop) {
    std::filesystem::remove_all(PathOf("out"));
    const absl::Status status = TrainAndStop("out", stop, false);
    EXPECT_TRUE(status.ok() || absl::IsCancelled(status)) << status;
    const absl::StatusOr<model::Model> model = model::LoadModel(PathOf("out"));
    const quant::FakeQuantize& fake_quantize = std::get<qat::Embedding>(*model->Find("user")).weight_fake_quant();
    return std::make_pair(fake_quantize.fake_quant_enabled(), fake_quantize.observer_enabled());
  };
  config_.fake_quant_start = 0.5;  // step 14
  config_.observer_freeze = int64_t{20};
  EXPECT_EQ(state(14), std::make_pair(false, true));
  EXPECT_EQ(state(15), std::make_pair(true, true));
  EXPECT_EQ(state(20), std::make_pair(true, true));
  EXPECT_EQ(state(21), std::make_pair(true, false));
  EXPECT_EQ(state(1000), std::make_pair(true, false));
  config_.fake_quant_start = 1.0;  // only what is saved at the end
  config_.observer_freeze = 1.0;
  EXPECT_EQ(state(27), std::make_pair(false, true));
  EXPECT_EQ(state(1000), std::make_pair(true, false));
  config_.fake_quant_start = int64_t{29};  // never
  config_.observer_freeze.reset();
  EXPECT_EQ(state(1000), std::make_pair(false, true));
}

TEST_F(TrainerTest, WithoutAScheduleTheModelDecides) {
  model::Model model = testing::MakeModel({.qat = true});
  std::get<qat::Embedding>(*model.FindMutable("user")).DisableFakeQuant();
  Save(model);
  EQAT_ASSERT_OK(TrainTo("out"));
  EQAT_ASSERT_OK_AND_ASSIGN(const model::Model after, model::LoadModel(PathOf("out")));
  EXPECT_FALSE(std::get<qat::Embedding>(*after.Find("user")).weight_fake_quant().fake_quant_enabled());
  EXPECT_TRUE(std::get<qat::EmbeddingBag>(*after.Find("tag")).weight_fake_quant().fake_quant_enabled());
}

TEST_F(TrainerTest, RefusesBeforeAnythingIsWritten) {
  const auto refuse = [&](const char* message) {
    SCOPED_TRACE(message);
    EXPECT_THAT(TrainTo("out"), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(message)));
    EXPECT_FALSE(Exists("out"));
  };
  const TrainConfig good_config = config_;
  Save(SmallModel{.tags = 49});
  refuse("table 'tag' cannot hold");
  Save(SmallModel{.classes = 2});
  refuse("wrong shape of the model's output (got [16, 2]");
  Save(SmallModel{.sparse = true});
  config_.optimizer = {.kind = OptimizerKind::kAdam};
  refuse("tag.weight: Adam does not work on the sparse gradient");
  config_ = good_config;
  Save(SmallModel{});
  config_.fake_quant_start = int64_t{0};
  refuse("the model has no qat modules");
  config_ = good_config;
  config_.epochs = std::numeric_limits<int64_t>::max();
  refuse("too many steps");
  config_ = good_config;
  config_.batch_size = 0;
  refuse("batch_size");
  config_ = good_config;
  Save(SmallModel{.batch_norm = true});
  config_.batch_size = 17;  // 103 = 6 * 17 + 1
  refuse("module 'bn': batch norm cannot train on a batch of one row");
  config_ = good_config;

  model::Model quantized = testing::MakeModel({.qat = true});
  EQAT_ASSERT_OK(model::Convert(quantized));
  Save(quantized);
  refuse("module 'user': a quantized table cannot be trained");

  Save(SmallModel{});
  data_ = Data("y\tn0\tn1\tuser\ttags\n");
  refuse("data: has no rows");
  std::string lines = testing::SampleLines(100, 1) + "2\t0\t0\t1\t\n";
  data_ = Data(lines);
  refuse("label of row 100 is out of range (got 2");
}

TEST_F(TrainerTest, RefusesAnOutputItMustNotReplace) {
  Save(SmallModel{});
  EQAT_ASSERT_OK(TrainTo("out"));
  const auto files = Files("out");
  EXPECT_THAT(TrainTo("out"),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("holds a training run already (got step 28 of 28"), HasSubstr("--resume"))));
  EXPECT_EQ(Files("out"), files);
  std::filesystem::create_directory(PathOf("foreign"));
  Write("foreign/notes.txt", "mine");
  EXPECT_THAT(TrainTo("foreign"), StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("notes.txt")));
  EXPECT_EQ(Read("foreign/notes.txt"), "mine");
  Write("file", "mine");
  EXPECT_THAT(TrainTo("file"), StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("is not a directory")));
  EXPECT_EQ(TrainTo("missing/out").status().code(), absl::StatusCode::kNotFound);
}

TEST_F(TrainerTest, RefusesToResumeAnotherRun) {
  Save(SmallModel{});
  EXPECT_THAT(TrainAndStop("out", 6, false), StatusIs(absl::StatusCode::kCancelled, HasSubstr("step 6")));
  const auto files = Files("out");
  const auto refuse = [&](const char* message) {
    EXPECT_THAT(Resume("out"), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(message)));
    EXPECT_EQ(Files("out"), files);
  };
  const TrainConfig config = config_;
  config_.optimizer.lr = 0.3;
  refuse("out/trainer.json: checkpoint of a run with another config: optimizer");
  config_ = config;
  config_.epochs = 5;
  refuse("another config: epochs (got 5, expected 4)");
  config_ = config;
  config_.observer_freeze = 0.5;
  refuse("another config: qat");
  config_ = config;
  data_ = Data(testing::SampleLines(kRows, 2));
  refuse("checkpoint of a run on other data");
  data_ = Data(testing::SampleLines(kRows, 1));
  Save(SmallModel{.dropout = 0.5});
  refuse("started from another model");
  Save(SmallModel{});
  EQAT_EXPECT_OK(Resume("out"));
}

TEST_F(TrainerTest, StopsWhereTheLossIsNotFinite) {
  model::Model model = testing::MakeModel({});
  auto& table = std::get<nn::Embedding>(*model.FindMutable("user"));
  table.mutable_weight().Row(39)[0] = std::numeric_limits<float>::infinity();
  Save(model);
  std::string lines = testing::SampleLines(160, 1);
  // User 39 comes in the last batch alone.
  for (size_t at = 0; (at = lines.find("\t39\t", at)) != std::string::npos;) lines.replace(at, 4, "\t38\t");
  data_ = Data(lines + "1\t0\t0\t39\t\n");
  config_.epochs = 1;
  config_.shuffle = false;
  EXPECT_THAT(TrainTo("out"),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       AllOf(HasSubstr("step 11: training: loss is "), HasSubstr("user.weight row 39 is not finite"))));
  EXPECT_THAT(Read("out/trainer.json"), HasSubstr("\"step\": 10,"));
}

// A step that leaves the range of float32 is found at the next use of the rows it moved.
TEST_F(TrainerTest, StopsWhenTrainingDiverges) {
  for (const bool qat : {false, true}) {
    SCOPED_TRACE(qat);
    Save(SmallModel{.qat = qat});
    config_.optimizer = {.kind = OptimizerKind::kSgd, .lr = 1e38};
    const absl::StatusOr<TrainResult> result = TrainTo("out");
    ASSERT_FALSE(result.ok());
    EXPECT_THAT(std::string(result.status().message()), ::testing::StartsWith("step "));
  }
}

TEST_F(TrainerTest, RefusesAModelWithNothingToTrain) {
  model::Model model;
  nn::EmbeddingBagOptions options;
  options.num_embeddings = testing::kTags;
  options.embedding_dim = 1;
  options.requires_grad = false;
  EQAT_ASSERT_OK(model.AddModule("tag", model::Module(*nn::EmbeddingBag::Create(options, 1, "tag"))));
  model::Graph graph;
  graph.nodes = {{.name = "tag_ids", .op = model::Op::kPlaceholder},
                 {.name = "e", .op = model::Op::kCallModule, .target = "tag", .args = {"tag_ids"}},
                 {.name = "output", .op = model::Op::kOutput, .args = {"e"}}};
  EQAT_ASSERT_OK(model.SetGraph(graph));
  Save(model);
  data_ = Data(testing::SampleLines(20, 1), R"({
    "version": 1, "files": ["sample.tsv"], "label": {"column": "y"},
    "categorical": [{"input": "tag_ids", "column": "tags", "encoding": "integer", "buckets": 50,
                     "multi_valued": true}]})");
  EXPECT_THAT(TrainTo("out"), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("has no parameter to train")));
}

}  // namespace
}  // namespace eqat::train
