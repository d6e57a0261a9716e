#include "train/evaluate.h"

#include <cmath>
#include <limits>
#include <string>

#include "gmock/gmock.h"
#include "model/prepare_qat.h"
#include "tests/support/float_bits.h"
#include "tests/train/train_fixture.h"

namespace eqat::train {
namespace {

using ::eqat::testing::BitsOf;
using ::eqat::testing::StatusIs;
using ::testing::HasSubstr;

class EvaluateTest : public ::eqat::testing::TrainTest {
 protected:
  Dataset Data(const std::string& lines) {
    Write("sample.tsv", lines);
    return *Dataset::Read(*ReadDataSpec(Write("spec.json", testing::kSampleSpec)));
  }
};

// More rows than one batch; each row on its own gives the same logit.
TEST_F(EvaluateTest, AgreesWithRowByRow) {
  const Dataset data = Data(testing::SampleLines(5000, 1));
  for (const bool qat : {false, true}) {
    SCOPED_TRACE(qat);
    const model::Model model = testing::MakeModel({.qat = qat});
    int64_t reported = 0;
    EQAT_ASSERT_OK_AND_ASSIGN(const Tensor logits, Predict(model, data, [&](int64_t done, int64_t total) {
                                EXPECT_EQ(total, 5000);
                                reported = done;
                              }));
    EXPECT_EQ(reported, 5000);
    ASSERT_EQ(logits.shape, (std::vector<int64_t>{5000, 1}));
    double loss = 0;
    int64_t right = 0;
    for (int64_t row = 0; row < 5000; ++row) {
      const double x = logits.values[row];
      const double y = data.labels()[row];
      loss += std::max(x, 0.0) - x * y + std::log1p(std::exp(-std::abs(x)));
      right += (x > 0) == (y > 0.5) ? 1 : 0;
      if (row % 97 != 0) continue;
      const Batch batch = data.MakeBatch(std::vector<int64_t>{row});
      EQAT_ASSERT_OK_AND_ASSIGN(const Tensor one, model.Evaluate(FeedOf(batch, BagInputs(model))));
      EXPECT_EQ(BitsOf(one.values), BitsOf(std::vector<float>{logits.values[row]}));
    }
    EQAT_ASSERT_OK_AND_ASSIGN(const Metrics metrics, Evaluate(model, data, LossKind::kBinaryCrossEntropyWithLogits));
    EXPECT_EQ(metrics.rows, 5000);
    EXPECT_NEAR(metrics.loss, loss / 5000, 1e-12);  // 5000 sums in double in another grouping
    EXPECT_EQ(metrics.accuracy, static_cast<double>(right) / 5000);
    EXPECT_EQ(metrics.auc, AreaUnderCurve(logits.values, data.labels()));
    EXPECT_EQ(metrics.skipped_lines, 0);
  }
}

TEST_F(EvaluateTest, ConvertedModelEqualsQatModel) {
  const Dataset data = Data(testing::SampleLines(300, 2));
  model::Model model = testing::MakeModel({.qat = true});
  EQAT_ASSERT_OK_AND_ASSIGN(const Tensor before, Predict(model, data));
  EQAT_ASSERT_OK(model::Convert(model));
  EQAT_ASSERT_OK_AND_ASSIGN(const Tensor after, Predict(model, data));
  EXPECT_EQ(BitsOf(after.values), BitsOf(before.values));
}

TEST_F(EvaluateTest, Classes) {
  const Dataset data = Data(testing::SampleLines(100, 1));
  const model::Model model = testing::MakeModel({.classes = 3});
  EQAT_ASSERT_OK_AND_ASSIGN(const Tensor logits, Predict(model, data));
  int64_t right = 0;
  for (int64_t row = 0; row < 100; ++row) {
    const float* x = logits.values.data() + row * 3;
    right += std::max_element(x, x + 3) - x == static_cast<int64_t>(data.labels()[row]) ? 1 : 0;
  }
  EQAT_ASSERT_OK_AND_ASSIGN(const Metrics metrics, Evaluate(model, data, LossKind::kCrossEntropy));
  EXPECT_EQ(metrics.accuracy, static_cast<double>(right) / 100);
  EXPECT_EQ(metrics.auc, std::nullopt);
  EXPECT_THAT(Evaluate(model, data, LossKind::kBinaryCrossEntropyWithLogits),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("got [100, 3], expected [n, 1] or [n]")));
}

TEST_F(EvaluateTest, Refuses) {
  const model::Model model = testing::MakeModel({});
  EXPECT_THAT(Predict(model, Data("y\tn0\tn1\tuser\ttags\n")),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("data: has no rows")));
  EXPECT_THAT(Evaluate(model, Data("y\tn0\tn1\tuser\ttags\n1\t1\t1\t3\t\n2\t1\t1\t3\t\n"),
                       LossKind::kBinaryCrossEntropyWithLogits),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("label of row 1 is out of range (got 2")));
  EXPECT_THAT(Evaluate(model, Data(testing::SampleLines(4500, 1) + "1\t1\t1\t3\t\n2\t1\t1\t3\t\n"),
                       LossKind::kBinaryCrossEntropyWithLogits),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("label of row 4501 is out of range (got 2")));
  EXPECT_THAT(Predict(testing::MakeModel({.tags = 49}), Data(testing::SampleLines(3, 1))),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("table 'tag' cannot hold")));
}

TEST_F(EvaluateTest, NamesTheRowWithoutResult) {
  model::Model model = testing::MakeModel({});
  std::get<nn::Embedding>(*model.FindMutable("user")).mutable_weight().Row(17)[2] =
      std::numeric_limits<float>::quiet_NaN();
  // The ReLU may hide a NaN from some inputs, a sum does not: rows 0 and 1 look up other users.
  const Dataset data = Data("y\tn0\tn1\tuser\ttags\n1\t1\t1\t3\t\n1\t1\t1\t4\t\n1\t1\t1\t17\t\n");
  EXPECT_THAT(Evaluate(model, data, LossKind::kBinaryCrossEntropyWithLogits),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("output of data row 2 is nan")));
}

}  // namespace
}  // namespace eqat::train
