#include "train/train_config.h"

#include <cmath>
#include <string>

#include "gmock/gmock.h"
#include "tests/train/train_fixture.h"

namespace eqat::train {
namespace {

using ::eqat::testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;
using TrainConfigTest = ::eqat::testing::TrainTest;

TEST_F(TrainConfigTest, ReadsEveryField) {
  EQAT_ASSERT_OK_AND_ASSIGN(const TrainConfig config, ReadTrainConfig(Write("train.json", R"({
    "version": 1, "loss": "cross_entropy", "epochs": 3, "batch_size": 7, "seed": 9, "shuffle": false,
    "optimizer": {"type": "Adagrad", "lr": 0.25},
    "lr_schedule": {"type": "cosine", "warmup_steps": 4, "final_factor": 0.5},
    "qat": {"fake_quant_start": 0.5, "observer_freeze": 90},
    "checkpoint_every_steps": 0, "log_every_steps": 5})")));
  EXPECT_EQ(config.loss, LossKind::kCrossEntropy);
  EXPECT_EQ(config.epochs, 3);
  EXPECT_EQ(config.batch_size, 7);
  EXPECT_EQ(config.seed, 9u);
  EXPECT_FALSE(config.shuffle);
  EXPECT_EQ(config.optimizer.kind, OptimizerKind::kAdagrad);
  EXPECT_EQ(config.lr_schedule.kind, LrScheduleKind::kCosine);
  EXPECT_EQ(config.lr_schedule.warmup_steps, 4);
  EXPECT_EQ(config.lr_schedule.final_factor, 0.5);
  EXPECT_EQ(config.fake_quant_start, SchedulePoint(0.5));
  EXPECT_EQ(config.observer_freeze, SchedulePoint(int64_t{90}));
  EXPECT_EQ(config.checkpoint_every_steps, 0);
  EXPECT_EQ(config.log_every_steps, 5);
}

TEST_F(TrainConfigTest, JsonRoundTrip) {
  const char* const configs[] = {
      R"({"version": 1, "optimizer": {"type": "SGD", "lr": 0.1}})",
      R"({"version": 1, "optimizer": {"type": "Adam"}, "lr_schedule": {"type": "constant", "warmup_steps": 3}})",
      R"({"version": 1, "optimizer": {"type": "Adam"}, "lr_schedule": {"type": "linear", "final_factor": 0.1}})",
      R"({"version": 1, "optimizer": {"type": "Adam"}, "lr_schedule": {"type": "step", "step_size": 3, "gamma": 0.3},
          "qat": {"fake_quant_start": 1.0, "observer_freeze": 1}})"};
  for (const char* text : configs) {
    SCOPED_TRACE(text);
    EQAT_ASSERT_OK_AND_ASSIGN(const TrainConfig config, ReadTrainConfig(Write("a.json", text)));
    EQAT_EXPECT_OK(Validate(config));
    EQAT_ASSERT_OK_AND_ASSIGN(const TrainConfig again, ReadTrainConfig(Write("b.json", ToJson(config).dump())));
    EXPECT_EQ(ToJson(again).dump(), ToJson(config).dump());
    EXPECT_EQ(again.fake_quant_start, config.fake_quant_start);
    EXPECT_EQ(again.observer_freeze, config.observer_freeze);
  }
}

TEST_F(TrainConfigTest, OneMessagePerError) {
  const auto with = [](const std::string& member) {
    return R"({"version": 1, "optimizer": {"type": "SGD", "lr": 0.1}, )" + member + "}";
  };
  const std::pair<std::string, const char*> cases[] = {
      {R"({"version": 1})", "optimizer"},
      {R"({"optimizer": {"type": "SGD", "lr": 0.1}})", "version"},
      {with(R"("loss": "mse")"), "/loss"},
      {with(R"("epochs": 0)"), "/epochs"},
      {with(R"("batch_size": 0)"), "/batch_size"},
      {with(R"("batch_size": 4294967296)"), "/batch_size"},
      {with(R"("seed": -1)"), "/seed"},
      {with(R"("shuffle": 1)"), "/shuffle"},
      {with(R"("lr_schedule": {"type": "warm"})"), "/lr_schedule/type"},
      {with(R"("lr_schedule": {"type": "constant", "final_factor": 1})"), "final_factor"},
      {with(R"("lr_schedule": {"type": "linear", "step_size": 1})"), "step_size"},
      {with(R"("lr_schedule": {"type": "linear", "warmup_steps": -1})"), "/lr_schedule/warmup_steps"},
      {with(R"("lr_schedule": {"type": "step"})"), "step_size"},
      {with(R"("lr_schedule": {"type": "step", "step_size": 0})"), "/lr_schedule/step_size"},
      {with(R"("lr_schedule": {"type": "step", "step_size": 1, "gamma": 0})"), "/lr_schedule/gamma"},
      {with(R"("qat": {})"), "/qat: is empty"},
      {with(R"("qat": {"fake_quant_start": 1.5})"), "/qat/fake_quant_start: is no point of a run (got 1.5"},
      {with(R"("qat": {"fake_quant_start": -1})"), "/qat/fake_quant_start"},
      {with(R"("qat": {"observer_freeze": "end"})"), "/qat/observer_freeze: is no point of a run"},
      {with(R"("checkpoint_every_steps": -1)"), "/checkpoint_every_steps"},
      {with(R"("log_every_steps": -1)"), "/log_every_steps"},
      {with(R"("epoch": 1)"), "epoch"},
  };
  for (const auto& [json, message] : cases) {
    SCOPED_TRACE(json);
    EXPECT_THAT(ReadTrainConfig(Write("train.json", json)),
                StatusIs(absl::StatusCode::kInvalidArgument, AllOf(HasSubstr("train.json"), HasSubstr(message))));
  }
}

TEST_F(TrainConfigTest, ValidateFindsWhatCodeSetsWrong) {
  const auto message = [](auto change) {
    TrainConfig config;
    change(config);
    const absl::Status status = Validate(config);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    return std::string(status.message());
  };
  EXPECT_THAT(message([](TrainConfig& c) { c.epochs = 0; }), HasSubstr("epochs"));
  EXPECT_THAT(message([](TrainConfig& c) { c.batch_size = 0; }), HasSubstr("batch_size"));
  EXPECT_THAT(message([](TrainConfig& c) { c.fake_quant_start = -0.5; }), HasSubstr("fake_quant_start"));
  EXPECT_THAT(message([](TrainConfig& c) { c.observer_freeze = int64_t{-1}; }), HasSubstr("observer_freeze"));
  EXPECT_THAT(message([](TrainConfig& c) { c.lr_schedule.kind = LrScheduleKind::kStep; }), HasSubstr("step_size"));
  EXPECT_THAT(message([](TrainConfig& c) { c.lr_schedule.final_factor = NAN; }), HasSubstr("final_factor"));
  EXPECT_THAT(message([](TrainConfig& c) { c.optimizer.lr = -1; }), HasSubstr("optimizer.lr"));
}

TEST(StepOfTest, FractionsAndSteps) {
  EXPECT_EQ(StepOf(int64_t{7}, 5), 7);
  EXPECT_EQ(StepOf(0.0, 5), 0);
  EXPECT_EQ(StepOf(0.5, 5), 2);
  EXPECT_EQ(StepOf(1.0, 5), 5);
}

TEST(LrFactorTest, Schedules) {
  LrSchedule schedule;
  for (const int64_t step : {0, 5, 99}) EXPECT_EQ(LrFactor(schedule, step, 100), 1.0);
  schedule = {.kind = LrScheduleKind::kLinear, .warmup_steps = 4, .final_factor = 0.5};
  EXPECT_EQ(LrFactor(schedule, 0, 15), 0.25);
  EXPECT_EQ(LrFactor(schedule, 3, 15), 1.0);
  EXPECT_EQ(LrFactor(schedule, 4, 15), 1.0);
  EXPECT_EQ(LrFactor(schedule, 9, 15), 0.75);
  EXPECT_EQ(LrFactor(schedule, 14, 15), 0.5);
  EXPECT_EQ(LrFactor(schedule, 4, 5), 0.5);  // the one step after the warm-up is the last
  schedule = {.kind = LrScheduleKind::kCosine, .final_factor = 0.2};
  EXPECT_EQ(LrFactor(schedule, 0, 11), 1.0);
  EXPECT_DOUBLE_EQ(LrFactor(schedule, 5, 11), 0.6);
  EXPECT_DOUBLE_EQ(LrFactor(schedule, 10, 11), 0.2);
  schedule = {.kind = LrScheduleKind::kStep, .step_size = 10, .gamma = 0.5};
  EXPECT_EQ(LrFactor(schedule, 9, 100), 1.0);
  EXPECT_EQ(LrFactor(schedule, 10, 100), 0.5);
  EXPECT_EQ(LrFactor(schedule, 35, 100), 0.125);
}

}  // namespace
}  // namespace eqat::train
