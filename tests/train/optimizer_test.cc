#include "train/optimizer.h"

#include <cmath>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/parallel_for.h"
#include "gmock/gmock.h"
#include "tests/golden/optimizer_golden.h"
#include "tests/support/float_bits.h"
#include "tests/train/train_fixture.h"
#include "train/checkpoint.h"

namespace eqat::train {
namespace {

using ::eqat::testing::BitsOf;
using ::eqat::testing::FloatsOf;
using ::eqat::testing::StatusIs;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

absl::StatusOr<OptimizerConfig> Parse(const std::string& text) {
  absl::StatusOr<io::Json> json = io::ParseJson(text, "train.json");
  if (!json.ok()) return json.status();
  return OptimizerFromJson(*json, "train.json", "/optimizer");
}

// Memory for parameters that stand in no model.
struct TestParameter {
  TestParameter(std::string name, int64_t rows, int64_t cols, bool is_table, bool sparse) : values(rows * cols, 0.0f) {
    parameter.name = std::move(name);
    parameter.values = MutableTableView(values.data(), rows, cols);
    parameter.shape = {rows, cols};
    parameter.is_table = is_table;
    parameter.sparse = sparse;
  }
  std::vector<float> values;
  model::Parameter parameter;
};

model::Gradients RowGradient(const std::string& name, std::vector<int64_t> rows, std::vector<float> values,
                             int64_t cols) {
  model::Gradients gradients;
  gradients[name].rows = nn::SparseGrad{std::move(rows), std::move(values), cols};
  return gradients;
}

model::Gradients GoldenGradient(const testing::OptimizerGoldenStep& step, const std::string& name) {
  std::vector<float> values;
  for (const int value : step.values) values.push_back(static_cast<float>(value) / 64.0f);
  return RowGradient(name, step.rows, std::move(values), testing::kOptimizerGoldenCols);
}

std::vector<float> DenseOf(const nn::SparseGrad& grad, int64_t rows) {
  std::vector<float> dense(rows * grad.cols, 0.0f);
  for (size_t i = 0; i < grad.rows.size(); ++i) {
    std::copy_n(grad.values.begin() + i * grad.cols, grad.cols, dense.begin() + grad.rows[i] * grad.cols);
  }
  return dense;
}

// Values stay below 8; a step's roundings are a few 2^-24 of the step, 100 steps keep them within 1e-6.
constexpr float kTorchTolerance = 1e-6f;

TEST(OptimizerGoldenTest, TablesFollowTorch) {
  for (const testing::OptimizerGoldenCase& golden : testing::kOptimizerGoldenCases) {
    SCOPED_TRACE(golden.name);
    EQAT_ASSERT_OK_AND_ASSIGN(const OptimizerConfig config, Parse(golden.json));
    TestParameter table("t.weight", testing::kOptimizerGoldenRows, testing::kOptimizerGoldenCols, true, golden.sparse);
    table.values = FloatsOf(testing::kOptimizerGoldenTable);
    table.parameter.values.data = table.values.data();
    EQAT_ASSERT_OK_AND_ASSIGN(Optimizer optimizer, Optimizer::Create(config, {table.parameter}));
    for (const testing::OptimizerGoldenStep& step : testing::kOptimizerGoldenSteps) {
      EQAT_ASSERT_OK(optimizer.Step(GoldenGradient(step, "t.weight"), config.lr));
    }
    const std::vector<float> expected = FloatsOf(golden.table);
    for (size_t i = 0; i < expected.size(); ++i) {
      EXPECT_NEAR(table.values[i], expected[i], kTorchTolerance * std::max(1.0f, std::abs(expected[i]))) << i;
    }
  }
}

// A parameter that is no table gets the same values as a dense gradient.
TEST(OptimizerGoldenTest, DenseParametersFollowTorch) {
  for (const testing::OptimizerGoldenCase& golden : testing::kOptimizerGoldenCases) {
    EQAT_ASSERT_OK_AND_ASSIGN(const OptimizerConfig config, Parse(golden.json));
    if (golden.sparse || config.kind == OptimizerKind::kRowWiseAdagrad) continue;
    SCOPED_TRACE(golden.name);
    TestParameter dense("fc.weight", testing::kOptimizerGoldenRows, testing::kOptimizerGoldenCols, false, false);
    dense.values = FloatsOf(testing::kOptimizerGoldenTable);
    dense.parameter.values.data = dense.values.data();
    EQAT_ASSERT_OK_AND_ASSIGN(Optimizer optimizer, Optimizer::Create(config, {dense.parameter}));
    for (const testing::OptimizerGoldenStep& step : testing::kOptimizerGoldenSteps) {
      model::Gradients gradients = GoldenGradient(step, "fc.weight");
      model::ParameterGradient& gradient = gradients.at("fc.weight");
      gradient.dense = DenseOf(*gradient.rows, testing::kOptimizerGoldenRows);
      gradient.rows.reset();
      EQAT_ASSERT_OK(optimizer.Step(gradients, config.lr));
    }
    const std::vector<float> expected = FloatsOf(golden.table);
    for (size_t i = 0; i < expected.size(); ++i) {
      EXPECT_NEAR(dense.values[i], expected[i], kTorchTolerance * std::max(1.0f, std::abs(expected[i]))) << i;
    }
  }
}

TEST(OptimizerConfigTest, ReadsEveryKind) {
  EQAT_ASSERT_OK_AND_ASSIGN(const OptimizerConfig sgd, Parse(R"({"type": "SGD", "lr": 0.5, "momentum": 0.9,
      "dampening": 0, "nesterov": true, "weight_decay": 0.1})"));
  EXPECT_EQ(sgd.kind, OptimizerKind::kSgd);
  EXPECT_EQ(sgd.lr, 0.5);
  EXPECT_EQ(sgd.momentum, 0.9);
  EXPECT_TRUE(sgd.nesterov);
  EXPECT_EQ(sgd.weight_decay, 0.1);
  EQAT_ASSERT_OK_AND_ASSIGN(const OptimizerConfig adagrad, Parse(R"({"type": "Adagrad", "lr_decay": 0.25,
      "initial_accumulator_value": 2})"));
  EXPECT_EQ(adagrad.lr, 0.01);
  EXPECT_EQ(adagrad.eps, 1e-10);
  EXPECT_EQ(adagrad.lr_decay, 0.25);
  EXPECT_EQ(adagrad.initial_accumulator_value, 2);
  EQAT_ASSERT_OK_AND_ASSIGN(const OptimizerConfig rowwise, Parse(R"({"type": "RowWiseAdagrad", "lr": 1})"));
  EXPECT_EQ(rowwise.eps, 1e-8);
  EQAT_ASSERT_OK_AND_ASSIGN(const OptimizerConfig adam, Parse(R"({"type": "Adam", "betas": [0.5, 0.75]})"));
  EXPECT_EQ(adam.lr, 1e-3);
  EXPECT_EQ(adam.beta1, 0.5);
  EXPECT_EQ(adam.beta2, 0.75);
  for (const OptimizerConfig& config : {sgd, adagrad, rowwise, adam}) {
    EQAT_ASSERT_OK_AND_ASSIGN(const OptimizerConfig again, Parse(ToJson(config).dump()));
    EXPECT_EQ(ToJson(again), ToJson(config));
  }
}

TEST(OptimizerConfigTest, OneMessagePerError) {
  const std::pair<const char*, const char*> cases[] = {
      {R"({"type": "Sgd", "lr": 1})", "/optimizer/type"},
      {R"({"type": "SGD"})", "lr"},
      {R"({"type": "SGD", "lr": -1})", "/optimizer/lr"},
      {R"({"type": "SGD", "lr": 1, "eps": 1})", "eps"},
      {R"({"type": "SGD", "lr": 1, "momentum": -0.5})", "/optimizer/momentum"},
      {R"({"type": "SGD", "lr": 1, "nesterov": true})", "nesterov: does not fit momentum and dampening"},
      {R"({"type": "SGD", "lr": 1, "nesterov": true, "momentum": 0.9, "dampening": 0.1})", "nesterov: does not fit"},
      {R"({"type": "Adam", "betas": [0.9]})", "betas: is no pair of numbers"},
      {R"({"type": "Adam", "betas": [0.9, 1.0]})", "betas: is out of range (got 1, expected beta2 in [0, 1))"},
      {R"({"type": "Adam", "betas": [-0.1, 0.9]})", "beta1 in [0, 1)"},
      {R"({"type": "Adam", "eps": -1})", "/optimizer/eps"},
      {R"({"type": "RowWiseAdagrad", "weight_decay": 0.1})", "weight_decay"},
      {R"({"type": "RowWiseAdagrad", "lr_decay": 0.1})", "lr_decay"},
      {R"({"type": "SparseAdam", "weight_decay": 0.1})", "weight_decay"},
      {R"({"type": "Adagrad", "initial_accumulator_value": -1})", "/optimizer/initial_accumulator_value"},
  };
  for (const auto& [json, message] : cases) {
    SCOPED_TRACE(json);
    EXPECT_THAT(Parse(json),
                StatusIs(absl::StatusCode::kInvalidArgument, AllOf(HasSubstr("train.json"), HasSubstr(message))));
  }
  OptimizerConfig config;
  config.kind = OptimizerKind::kRowWiseAdagrad;
  config.weight_decay = 0.1;
  EXPECT_THAT(Validate(config), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("optimizer.weight_decay")));
  config = {.kind = OptimizerKind::kAdam, .initial_accumulator_value = 1.0};
  EXPECT_THAT(Validate(config),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("optimizer.initial_accumulator_value")));
  config = {.lr = std::nan("")};
  EXPECT_THAT(Validate(config), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("optimizer.lr")));
}

TEST(OptimizerTest, RefusesWhatTorchRefuses) {
  TestParameter sparse("s.weight", 3, 2, true, true);
  TestParameter dense("d.weight", 3, 2, true, false);
  const auto create = [](const char* json, const TestParameter& table) {
    return Optimizer::Create(*Parse(json), {table.parameter}).status();
  };
  const std::tuple<const char*, const TestParameter*, const char*> refused[] = {
      {R"({"type": "Adam"})", &sparse, "s.weight: Adam does not work on the sparse gradient"},
      {R"({"type": "SGD", "lr": 1, "weight_decay": 0.1})", &sparse, "s.weight: weight decay does not work"},
      {R"({"type": "Adagrad", "weight_decay": 0.1})", &sparse, "s.weight: weight decay does not work"},
      {R"({"type": "SparseAdam"})", &dense, "d.weight: SparseAdam does not work on the dense gradient"},
  };
  for (const auto& [json, table, message] : refused) {
    SCOPED_TRACE(json);
    EXPECT_THAT(create(json, *table), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(message)));
    TestParameter frozen = *table;
    frozen.parameter.requires_grad = false;
    EQAT_EXPECT_OK(create(json, frozen));
  }
  EQAT_EXPECT_OK(create(R"({"type": "Adam"})", dense));
  EQAT_EXPECT_OK(create(R"({"type": "SparseAdam"})", sparse));
}

TEST(OptimizerTest, SaysWhenAStepCostsTheTable) {
  const std::tuple<const char*, bool, bool> cases[] = {
      {R"({"type": "SGD", "lr": 1})", false, false},
      {R"({"type": "SGD", "lr": 1, "momentum": 0.9})", true, true},
      {R"({"type": "SGD", "lr": 1, "weight_decay": 0.1})", false, true},
      {R"({"type": "Adagrad"})", false, false},
      {R"({"type": "Adagrad", "weight_decay": 0.1})", false, true},
      {R"({"type": "RowWiseAdagrad"})", false, false},
      {R"({"type": "Adam"})", false, true},
      {R"({"type": "SparseAdam"})", true, false},
  };
  for (const auto& [json, sparse, expected] : cases) {
    SCOPED_TRACE(json);
    TestParameter table("t.weight", 3, 2, true, sparse);
    TestParameter dense("fc.weight", 3, 2, false, false);
    EQAT_ASSERT_OK_AND_ASSIGN(const Optimizer optimizer,
                              Optimizer::Create(*Parse(json), {table.parameter, dense.parameter}));
    EXPECT_EQ(optimizer.DenseOnTables(), expected);
  }
}

TEST(OptimizerTest, BadGradientsChangeNothing) {
  for (const char* json : {R"({"type": "SGD", "lr": 1, "momentum": 0.9})", R"({"type": "RowWiseAdagrad"})"}) {
    SCOPED_TRACE(json);
    TestParameter dense("a.weight", 2, 2, false, false);
    TestParameter table("b.weight", 3, 2, true, false);
    EQAT_ASSERT_OK_AND_ASSIGN(Optimizer optimizer, Optimizer::Create(*Parse(json), {dense.parameter, table.parameter}));
    const auto state_bits = [&] {
      std::vector<std::vector<uint32_t>> bits;
      for (const Optimizer::StateTensor& tensor : optimizer.State()) bits.push_back(BitsOf(tensor.values));
      return bits;
    };
    const auto state = state_bits();
    const auto refuse = [&](model::Gradients gradients, const char* message) {
      SCOPED_TRACE(message);
      if (!gradients.contains("a.weight")) gradients["a.weight"].dense = {1, 2, 3, 4};
      EXPECT_THAT(optimizer.Step(gradients, 0.1), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(message)));
      EXPECT_EQ(dense.values, std::vector<float>(4, 0.0f));
      EXPECT_EQ(table.values, std::vector<float>(6, 0.0f));
      EXPECT_EQ(state_bits(), state);
    };
    refuse(RowGradient("b.weight", {0, 3}, {1, 1, 1, 1}, 2), "got row 3");
    refuse(RowGradient("b.weight", {1, 1}, {1, 1, 1, 1}, 2), "got row 1");
    refuse(RowGradient("b.weight", {-1}, {1, 1}, 2), "got row -1");
    refuse(RowGradient("b.weight", {1}, {1, 1, 1}, 3), "b.weight: gradient does not fit");
    refuse(RowGradient("b.weight", {1}, {1}, 2), "b.weight: gradient does not fit");
    model::Gradients gradients;
    gradients["b.weight"].dense = {1, 1, 1, 1, 1, 1};
    refuse(gradients, "expected a row-sparse one");
    gradients = RowGradient("b.weight", {1}, {1, 1}, 2);
    gradients["a.weight"].dense = {1, 2, 3};
    refuse(gradients, "a.weight: gradient does not fit the parameter (got 3 values, expected 4)");
    for (const double lr : std::vector<double>{-1.0, std::nan(""), INFINITY}) {
      EXPECT_THAT(optimizer.Step(RowGradient("b.weight", {1}, {1, 1}, 2), lr),
                  StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("learning rate")));
      EXPECT_EQ(state_bits(), state);
    }
  }
}

TEST(OptimizerTest, LeavesFrozenAndAbsentParametersAlone) {
  TestParameter frozen("a.weight", 2, 2, true, false);
  TestParameter absent("b.weight", 2, 2, true, false);
  frozen.parameter.requires_grad = false;
  const char* const json = R"({"type": "SGD", "lr": 1, "momentum": 0.9, "weight_decay": 0.5})";
  absent.values = {1, 2, 3, 4};
  EQAT_ASSERT_OK_AND_ASSIGN(Optimizer optimizer, Optimizer::Create(*Parse(json), {frozen.parameter, absent.parameter}));
  model::Gradients gradients = RowGradient("a.weight", {1}, {1, 1}, 2);
  gradients["tags.per_sample_weights"].dense = {1};
  EQAT_ASSERT_OK(optimizer.Step(gradients, 1.0));
  EXPECT_THAT(frozen.values, ElementsAre(0, 0, 0, 0));
  EXPECT_THAT(absent.values, ElementsAre(1, 2, 3, 4));
}

// A QAT table that is not told of a write before it happens loses what its observer would have seen.
TEST(OptimizerTest, AnnouncesWritesToQatTables) {
  for (const char* json : {R"({"type": "SGD", "lr": 0.5})", R"({"type": "SGD", "lr": 0.5, "momentum": 0.9})",
                           R"({"type": "RowWiseAdagrad", "lr": 0.5})", R"({"type": "Adam", "lr": 0.5})"}) {
    for (const double averaging_constant : {0.0, 0.25, 1.0}) {
      SCOPED_TRACE(absl::StrCat(json, " ", averaging_constant));
      model::Model model = testing::MakeModel({.qat = true, .averaging_constant = averaging_constant});
      EQAT_ASSERT_OK_AND_ASSIGN(Optimizer optimizer, Optimizer::Create(*Parse(json), model.Parameters()));
      auto& table = std::get<qat::Embedding>(*model.FindMutable("user"));
      // The same observer on the whole table, as torch runs it.
      EQAT_ASSERT_OK_AND_ASSIGN(quant::FakeQuantize whole, quant::FakeQuantize::Create(table.qconfig().weight));
      std::vector<float> scratch(testing::kUsers * 6);
      for (int64_t step = 0; step < 12; ++step) {
        const std::vector<int64_t> rows = {step % 7, 7 + step % 5, 20};
        std::vector<float> out(rows.size() * 6);
        const MutableTableView out_view(out.data(), static_cast<int64_t>(rows.size()), 6);
        EQAT_ASSERT_OK(table.Forward(LookupInput{.indices = IndexSpan(rows)}, out_view, nullptr));
        EQAT_ASSERT_OK(
            whole.Forward(table.weight().view(), MutableTableView(scratch.data(), testing::kUsers, 6), nullptr));
        // A gradient may also hold rows of an earlier forward.
        std::vector<int64_t> written = rows;
        written.push_back(30 + step % 2);
        model::Gradients gradients =
            RowGradient("user.weight", written, std::vector<float>(written.size() * 6, 0.125f * (1 + step % 3)), 6);
        EQAT_ASSERT_OK(optimizer.Step(gradients, 0.5));
      }
      EQAT_ASSERT_OK_AND_ASSIGN(const quant::FakeQuantizeState state, table.FakeQuantState());
      EQAT_ASSERT_OK_AND_ASSIGN(const quant::FakeQuantizeState expected, whole.State(nullptr));
      EXPECT_EQ(BitsOf(state.min_val), BitsOf(expected.min_val));
      EXPECT_EQ(BitsOf(state.max_val), BitsOf(expected.max_val));
      EXPECT_EQ(BitsOf(state.scale), BitsOf(expected.scale));
    }
  }
}

TEST(OptimizerTest, RebindTakesTheSameParameters) {
  TestParameter old_table("t.weight", 3, 2, true, false);
  TestParameter new_table("t.weight", 3, 2, true, false);
  EQAT_ASSERT_OK_AND_ASSIGN(Optimizer optimizer,
                            Optimizer::Create(*Parse(R"({"type": "SGD", "lr": 1})"), {old_table.parameter}));
  EQAT_ASSERT_OK(optimizer.Rebind({new_table.parameter}));
  EQAT_ASSERT_OK(optimizer.Step(RowGradient("t.weight", {1}, {1, 2}, 2), 1.0));
  EXPECT_THAT(old_table.values, ElementsAre(0, 0, 0, 0, 0, 0));
  EXPECT_THAT(new_table.values, ElementsAre(0, 0, -1, -2, 0, 0));
  TestParameter other("u.weight", 3, 2, true, false);
  TestParameter larger("t.weight", 4, 2, true, false);
  for (const TestParameter* wrong : {&other, &larger}) {
    EXPECT_THAT(optimizer.Rebind({wrong->parameter}),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("parameters changed")));
  }
  EXPECT_THAT(optimizer.Rebind({}), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("number of trainable")));
}

class OptimizerStateTest : public ::eqat::testing::TrainTest {};

TEST_F(OptimizerStateTest, GoesOnExactlyAfterSaveAndLoad) {
  for (const testing::OptimizerGoldenCase& golden : testing::kOptimizerGoldenCases) {
    SCOPED_TRACE(golden.name);
    EQAT_ASSERT_OK_AND_ASSIGN(const OptimizerConfig config, Parse(golden.json));
    const auto make = [&] {
      TestParameter table("t.weight", testing::kOptimizerGoldenRows, testing::kOptimizerGoldenCols, true,
                          golden.sparse);
      table.values = FloatsOf(testing::kOptimizerGoldenTable);
      table.parameter.values.data = table.values.data();
      return table;
    };
    TestParameter straight = make();
    TestParameter resumed = make();
    EQAT_ASSERT_OK_AND_ASSIGN(Optimizer optimizer, Optimizer::Create(config, {straight.parameter}));
    for (int step = 0; step < 40; ++step) {
      if (step == 17) {
        EQAT_ASSERT_OK(WriteOptimizer(optimizer, PathOf("optimizer.safetensors")));
        resumed.values = straight.values;
        resumed.parameter.values.data = resumed.values.data();
      }
      EQAT_ASSERT_OK(optimizer.Step(GoldenGradient(testing::kOptimizerGoldenSteps[step], "t.weight"), config.lr));
    }
    EQAT_ASSERT_OK_AND_ASSIGN(Optimizer again, Optimizer::Create(config, {resumed.parameter}));
    EQAT_ASSERT_OK_AND_ASSIGN(const io::SafetensorsReader reader,
                              io::SafetensorsReader::Open(PathOf("optimizer.safetensors")));
    EQAT_ASSERT_OK(again.SetState(reader));
    for (int step = 17; step < 40; ++step) {
      EQAT_ASSERT_OK(again.Step(GoldenGradient(testing::kOptimizerGoldenSteps[step], "t.weight"), config.lr));
    }
    EXPECT_EQ(BitsOf(resumed.values), BitsOf(straight.values));
    EQAT_ASSERT_OK(WriteOptimizer(optimizer, PathOf("a")));
    EQAT_ASSERT_OK(WriteOptimizer(again, PathOf("b")));
    EXPECT_EQ(Read("a"), Read("b"));
  }
}

TEST_F(OptimizerStateTest, NamesAndShapes) {
  TestParameter table("t.weight", 3, 2, true, false);
  TestParameter bias("fc.bias", 1, 4, false, false);
  bias.parameter.shape = {4};
  EQAT_ASSERT_OK_AND_ASSIGN(const Optimizer optimizer,
                            Optimizer::Create(*Parse(R"({"type": "RowWiseAdagrad", "initial_accumulator_value": 0.5})"),
                                              {bias.parameter, table.parameter}));
  const std::vector<Optimizer::StateTensor> state = optimizer.State();
  ASSERT_EQ(state.size(), 4u);
  EXPECT_EQ(state[0].name, "fc.bias.sum");
  EXPECT_THAT(state[0].shape, ElementsAre(4));
  EXPECT_EQ(state[1].name, "fc.bias.step");
  EXPECT_TRUE(state[1].shape.empty());
  EXPECT_EQ(state[2].name, "t.weight.sum");
  EXPECT_THAT(state[2].shape, ElementsAre(3));
  EXPECT_THAT(state[2].values, ElementsAre(0.5f, 0.5f, 0.5f));
}

TEST_F(OptimizerStateTest, RefusesOtherState) {
  TestParameter table("t.weight", 3, 2, true, false);
  TestParameter taller("t.weight", 4, 2, true, false);
  TestParameter other("u.weight", 3, 2, true, false);
  const OptimizerConfig momentum = *Parse(R"({"type": "SGD", "lr": 1, "momentum": 0.9})");
  const OptimizerConfig plain = *Parse(R"({"type": "SGD", "lr": 1})");
  const auto set = [&](const OptimizerConfig& saved, std::vector<model::Parameter> parameters) {
    EXPECT_THAT(WriteOptimizer(*Optimizer::Create(saved, std::move(parameters)), PathOf("s")), testing::IsOk());
    return Optimizer::Create(momentum, {table.parameter})->SetState(*io::SafetensorsReader::Open(PathOf("s")));
  };
  EQAT_EXPECT_OK(set(momentum, {table.parameter}));
  EXPECT_THAT(set(plain, {table.parameter}), StatusIs(absl::StatusCode::kInvalidArgument,
                                                      HasSubstr("lacks a tensor (expected t.weight.momentum_buffer")));
  EXPECT_THAT(set(momentum, {other.parameter}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("lacks a tensor (expected t.weight.step")));
  EXPECT_THAT(set(momentum, {taller.parameter}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("got F32 [4, 2], expected F32 [3, 2]")));
  EXPECT_THAT(set(momentum, {table.parameter, other.parameter}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("tensors of another optimizer")));
  for (const float step : std::vector<float>{-1.0f, 0.5f, 3e9f, NAN}) {
    const std::vector<float> values(6, 0.0f);
    EQAT_ASSERT_OK(io::WriteSafetensors(
        PathOf("s"),
        {{"t.weight.step", io::TensorDtype::kF32, {}, io::AsBytes(absl::MakeConstSpan(&step, 1))},
         {"t.weight.momentum_buffer", io::TensorDtype::kF32, {3, 2}, io::AsBytes(absl::MakeConstSpan(values))}},
        {}));
    EXPECT_THAT(Optimizer::Create(momentum, {table.parameter})->SetState(*io::SafetensorsReader::Open(PathOf("s"))),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("t.weight.step: is no number of steps")));
  }
}

TEST(OptimizerTest, ThreadsDoNotMatter) {
  constexpr int64_t kRows = 3000;
  constexpr int64_t kCols = 17;
  for (const char* json : {R"({"type": "RowWiseAdagrad", "lr": 0.5})", R"({"type": "Adam", "lr": 0.5})"}) {
    SCOPED_TRACE(json);
    std::vector<std::vector<uint32_t>> results;
    for (const int threads : {1, 2, 5}) {
      SetNumThreads(threads);
      TestParameter table("t.weight", kRows, kCols, true, false);
      EQAT_ASSERT_OK_AND_ASSIGN(Optimizer optimizer, Optimizer::Create(*Parse(json), {table.parameter}));
      for (uint64_t step = 0; step < 3; ++step) {
        const Rng rng(step, 1);
        std::vector<int64_t> rows;
        std::vector<float> values;
        for (int64_t row = static_cast<int64_t>(step); row < kRows; row += 2) {
          rows.push_back(row);
          for (int64_t c = 0; c < kCols; ++c) values.push_back(rng.Normal(static_cast<uint64_t>(row * kCols + c)));
        }
        EQAT_ASSERT_OK(optimizer.Step(RowGradient("t.weight", rows, values, kCols), 0.5));
      }
      results.push_back(BitsOf(table.values));
    }
    SetNumThreads(0);
    EXPECT_EQ(results[1], results[0]);
    EXPECT_EQ(results[2], results[0]);
  }
}

TEST(OptimizerTest, ParametersSideBySideAreUpdatedAsAlone) {
  struct Shape {
    const char* name;
    int64_t rows, cols;
    bool is_table;
  };
  constexpr Shape kShapes[] = {{"a.weight", 40, 5, true},  {"b.weight", 3000, 8, true}, {"c.weight", 64, 205, false},
                               {"d.weight", 100, 4, true}, {"e.bias", 1, 64, false},    {"f.weight", 7, 16, true}};
  const OptimizerConfig config = *Parse(R"({"type": "Adagrad", "lr": 0.5})");
  const auto gradient_of = [](const Shape& shape, uint64_t step) {
    const Rng rng(step, StreamOf(shape.name));
    const int64_t rows = shape.is_table ? (shape.rows + 1) / 2 : shape.rows;
    std::vector<float> values(rows * shape.cols);
    for (size_t i = 0; i < values.size(); ++i) values[i] = rng.Normal(i);
    if (shape.is_table) {
      std::vector<int64_t> listed(rows);
      for (int64_t i = 0; i < rows; ++i) listed[i] = 2 * i;
      return RowGradient(shape.name, listed, values, shape.cols);
    }
    model::Gradients gradients;
    gradients[shape.name].dense = std::move(values);
    return gradients;
  };
  const auto train = [&](absl::Span<const Shape> shapes) {
    std::vector<TestParameter> parameters;
    std::vector<model::Parameter> views;
    for (const Shape& shape : shapes) {
      parameters.emplace_back(shape.name, shape.rows, shape.cols, shape.is_table, true);
      views.push_back(parameters.back().parameter);
    }
    Optimizer optimizer = *Optimizer::Create(config, views);
    for (uint64_t step = 0; step < 3; ++step) {
      model::Gradients gradients;
      for (const Shape& shape : shapes) gradients.merge(gradient_of(shape, step));
      EXPECT_TRUE(optimizer.Step(gradients, 0.5).ok());
    }
    std::vector<std::vector<uint32_t>> bits;
    for (const TestParameter& parameter : parameters) bits.push_back(BitsOf(parameter.values));
    return bits;
  };
  SetNumThreads(1);
  std::vector<std::vector<uint32_t>> alone;
  for (const Shape& shape : kShapes) alone.push_back(train({&shape, 1}).front());
  for (const int threads : {1, 2, 5}) {
    SetNumThreads(threads);
    EXPECT_EQ(train(kShapes), alone) << threads << " threads";
  }
  SetNumThreads(0);
}

}  // namespace
}  // namespace eqat::train
