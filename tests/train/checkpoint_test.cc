#include "train/checkpoint.h"

#include <filesystem>
#include <string>

#include "gmock/gmock.h"
#include "tests/train/train_fixture.h"
#include "train/train_config.h"

namespace eqat::train {
namespace {

using ::eqat::testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;

class CheckpointTest : public ::eqat::testing::TrainTest {
 protected:
  CheckpointTest() : model_(testing::MakeModel({})) {
    config_.optimizer.momentum = 0.9;
    identity_.config = ToJson(config_);
    identity_.data_fingerprint = 0xfedcba9876543210ull;
    identity_.data_rows = 100;
    identity_.skipped_lines = 3;
    identity_.model_fingerprint = 7;
    identity_.total_steps = 50;
    progress_.step = 20;
    progress_.loss_sum = 0.1 + 0.2;  // needs 17 digits
    progress_.loss_count = 32;
    progress_.last_loss = 1.0 / 3.0;
    progress_.metrics_lines = 2;
    progress_.metrics = "{\"step\":10}\n{\"step\":20}\n";
  }
  void Save() {
    EQAT_ASSERT_OK_AND_ASSIGN(const Optimizer optimizer, Optimizer::Create(config_.optimizer, model_.Parameters()));
    EQAT_ASSERT_OK(WriteCheckpoint(PathOf("out"), model_, optimizer, identity_, progress_));
  }

  TrainConfig config_;
  model::Model model_;
  RunIdentity identity_;
  RunProgress progress_;
};

TEST_F(CheckpointTest, ReadsBackWhatItWrote) {
  Save();
  EQAT_ASSERT_OK_AND_ASSIGN(const std::optional<Checkpoint> checkpoint, ReadCheckpoint(PathOf("out")));
  ASSERT_TRUE(checkpoint.has_value());
  EQAT_EXPECT_OK(CheckSameRun(PathOf("out"), checkpoint->identity, identity_));
  EXPECT_EQ(checkpoint->identity.skipped_lines, 3);
  EXPECT_EQ(checkpoint->progress.step, 20);
  EXPECT_EQ(checkpoint->progress.loss_sum, progress_.loss_sum);
  EXPECT_EQ(checkpoint->progress.loss_count, 32);
  EXPECT_EQ(checkpoint->progress.last_loss, progress_.last_loss);
  EXPECT_EQ(checkpoint->progress.metrics, progress_.metrics);
  EQAT_EXPECT_OK(ReadOptimizer(PathOf("out"), config_.optimizer, model_));
  const std::string first = Read("out/trainer.json");
  Save();
  EXPECT_EQ(Read("out/trainer.json"), first);
}

TEST_F(CheckpointTest, SeedsAboveInt64) {
  config_.seed = ~uint64_t{0};
  identity_.config = ToJson(config_);
  Save();
  EQAT_ASSERT_OK_AND_ASSIGN(const std::optional<Checkpoint> checkpoint, ReadCheckpoint(PathOf("out")));
  EQAT_EXPECT_OK(CheckSameRun(PathOf("out"), checkpoint->identity, identity_));
}

TEST_F(CheckpointTest, AbsentWithoutTrainerJson) {
  EQAT_ASSERT_OK(model::SaveModel(model_, PathOf("model")));
  EQAT_ASSERT_OK_AND_ASSIGN(const std::optional<Checkpoint> checkpoint, ReadCheckpoint(PathOf("model")));
  EXPECT_FALSE(checkpoint.has_value());
}

TEST_F(CheckpointTest, DamageIsNamed) {
  Save();
  const std::string good = Read("out/trainer.json");
  const std::tuple<const char*, const char*, const char*> cases[] = {
      {"\"eqat.trainer\"", "\"eqat.model\"", "/format"},
      {"\"version\": 1,\n  \"step\"", "\"version\": 2,\n  \"step\"", "/version"},
      {"\"step\": 20", "\"step\": 51", "/step"},
      {"\"step\": 20", "\"step\": 20.0", "/step"},
      {"\"total_steps\": 50", "\"total_steps\": 0", "/total_steps"},
      {"fedcba9876543210", "fedcba987654321", "/data/fingerprint: is no fingerprint"},
      {"fedcba9876543210", "gedcba9876543210", "/data/fingerprint: is no fingerprint"},
      {"\"rows\": 100", "\"rows\": 0", "/data/rows"},
      {"\"count\": 32", "\"count\": -1", "/loss/count"},
      {"\"metrics_lines\": 2", "\"metrics_lines\": 2, \"more\": 1", "more"},
      {"{", "", "trainer.json"},
  };
  for (const auto& [part, replacement, message] : cases) {
    SCOPED_TRACE(message);
    std::string changed = good;
    ASSERT_NE(changed.find(part), std::string::npos) << part;
    changed.replace(changed.find(part), std::string(part).size(), replacement);
    Write("out/trainer.json", changed);
    EXPECT_THAT(ReadCheckpoint(PathOf("out")),
                StatusIs(absl::StatusCode::kInvalidArgument, AllOf(HasSubstr("trainer.json"), HasSubstr(message))));
  }
  Write("out/trainer.json", good);
  Write("out/metrics.jsonl", "{\"step\":10}\n");
  EXPECT_THAT(ReadCheckpoint(PathOf("out")),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("metrics.jsonl: number of lines is not what trainer.json "
                                                              "says (got 1, expected 2)")));
  std::filesystem::remove(PathOf("out/metrics.jsonl"));
  EXPECT_THAT(ReadCheckpoint(PathOf("out")), StatusIs(absl::StatusCode::kNotFound, HasSubstr("metrics.jsonl")));
  std::filesystem::remove(PathOf("out/optimizer.safetensors"));
  EXPECT_THAT(ReadOptimizer(PathOf("out"), config_.optimizer, model_),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("optimizer.safetensors")));
}

TEST_F(CheckpointTest, SaysWhatDiffers) {
  const auto message = [&](auto change) {
    RunIdentity now = identity_;
    change(now);
    const absl::Status status = CheckSameRun("out", identity_, now);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    return std::string(status.message());
  };
  EXPECT_THAT(message([](RunIdentity& now) { now.config["epochs"] = 9; }),
              HasSubstr("out/trainer.json: checkpoint of a run with another config: epochs (got 9, expected 1)"));
  EXPECT_THAT(message([](RunIdentity& now) { now.config["qat"]["observer_freeze"] = 1; }),
              HasSubstr("another config: qat (got {\"observer_freeze\":1}, expected nothing)"));
  EXPECT_THAT(message([](RunIdentity& now) { now.config.erase("loss"); }),
              HasSubstr("another config: loss (got nothing"));
  EXPECT_THAT(message([](RunIdentity& now) { now.data_fingerprint ^= 1; }), HasSubstr("other data"));
  EXPECT_THAT(message([](RunIdentity& now) { now.model_fingerprint ^= 1; }), HasSubstr("another model"));
}

TEST_F(CheckpointTest, ModelFingerprintSeesBothFiles) {
  EQAT_ASSERT_OK(model::SaveModel(model_, PathOf("model")));
  EQAT_ASSERT_OK_AND_ASSIGN(const uint64_t first, ModelFingerprint(PathOf("model")));
  EQAT_ASSERT_OK_AND_ASSIGN(const uint64_t again, ModelFingerprint(PathOf("model")));
  EXPECT_EQ(again, first);
  for (const char* name : {"model/model.json", "model/model.safetensors"}) {
    const std::string content = Read(name);
    std::string changed = content;
    changed.back() ^= 1;
    Write(name, changed);
    EQAT_ASSERT_OK_AND_ASSIGN(const uint64_t other, ModelFingerprint(PathOf("model")));
    EXPECT_NE(other, first) << name;
    Write(name, content);
  }
  std::filesystem::remove(PathOf("model/model.json"));
  EXPECT_THAT(ModelFingerprint(PathOf("model")), StatusIs(absl::StatusCode::kNotFound, HasSubstr("model.json")));
}

}  // namespace
}  // namespace eqat::train
