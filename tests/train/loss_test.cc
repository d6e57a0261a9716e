#include "train/loss.h"

#include <cmath>
#include <limits>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"

namespace eqat::train {
namespace {

using ::eqat::testing::StatusIs;
using ::testing::HasSubstr;

Tensor Logits(std::vector<int64_t> shape, std::vector<float> values) {
  Tensor tensor(std::move(shape));
  tensor.values = std::move(values);
  return tensor;
}

// torch.nn.BCEWithLogitsLoss(reduction="sum") and CrossEntropyLoss(reduction="sum") of torch 1.13 in float64; gradients
// divided by the number of rows.
TEST(LossTest, BinaryCrossEntropyMatchesTorch) {
  EQAT_ASSERT_OK_AND_ASSIGN(const LossResult result,
                            BinaryCrossEntropyWithLogits(Logits({4, 1}, {0.5f, -1.25f, 3.0f, 0.0f}),
                                                         std::vector<float>{1.0f, 0.0f, 0.25f, 1.0f}));
  EXPECT_EQ(result.count, 4);
  EXPECT_DOUBLE_EQ(result.sum, 3.717740597659167);
  const std::vector<float> grad = {-0.0943851672f, 0.0556750347f, 0.175643532f, -0.125f};
  EXPECT_THAT(result.grad.shape, ::testing::ElementsAre(4, 1));
  for (size_t i = 0; i < grad.size(); ++i) EXPECT_FLOAT_EQ(result.grad.values[i], grad[i]) << i;
}

TEST(LossTest, BinaryCrossEntropyStaysFiniteFarOut) {
  EQAT_ASSERT_OK_AND_ASSIGN(const LossResult result,
                            BinaryCrossEntropyWithLogits(Logits({4}, {1000.0f, -1000.0f, 1000.0f, -1000.0f}),
                                                         std::vector<float>{1.0f, 0.0f, 0.0f, 1.0f}));
  EXPECT_EQ(result.sum, 2000.0);
  EXPECT_THAT(result.grad.values, ::testing::ElementsAre(0.0f, 0.0f, 0.25f, -0.25f));
}

TEST(LossTest, CrossEntropyMatchesTorch) {
  EQAT_ASSERT_OK_AND_ASSIGN(
      const LossResult result,
      CrossEntropy(Logits({2, 3}, {0.5f, -1.25f, 3.0f, 200.0f, 0.0f, 199.0f}), std::vector<float>{1.0f, 2.0f}));
  EXPECT_EQ(result.count, 2);
  EXPECT_DOUBLE_EQ(result.sum, 5.655247468110192);
  const std::vector<float> grad = {0.0374356073f, -0.493494667f, 0.45605906f, 0.365529289f, 0.0f, -0.365529289f};
  for (size_t i = 0; i < grad.size(); ++i) EXPECT_FLOAT_EQ(result.grad.values[i], grad[i]) << i;
}

TEST(LossTest, NaNIsNotHidden) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  EQAT_ASSERT_OK_AND_ASSIGN(const LossResult binary,
                            BinaryCrossEntropyWithLogits(Logits({1}, {nan}), std::vector<float>{1.0f}));
  EXPECT_TRUE(std::isnan(binary.sum));
  for (int position = 0; position < 3; ++position) {
    SCOPED_TRACE(position);
    Tensor logits = Logits({1, 3}, {1.0f, 2.0f, 3.0f});
    logits.values[position] = nan;
    EQAT_ASSERT_OK_AND_ASSIGN(const LossResult classes, CrossEntropy(logits, std::vector<float>{0.0f}));
    EXPECT_TRUE(std::isnan(classes.sum));
  }
}

TEST(LossTest, RefusesWhatDoesNotFit) {
  const std::vector<float> two = {0.0f, 1.0f};
  const Tensor column = Logits({2, 1}, {0.0f, 0.0f});
  EXPECT_THAT(BinaryCrossEntropyWithLogits(Logits({1, 2}, {0, 0}), two),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("shape of the model's output (got [1, 2]")));
  EXPECT_THAT(CrossEntropy(Logits({2}, {0, 0}), two),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("expected [n, classes]")));
  EXPECT_THAT(BinaryCrossEntropyWithLogits(column, std::vector<float>{1.0f}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("number of labels")));
  const float nan = std::numeric_limits<float>::quiet_NaN();
  for (const float label : {-0.5f, 1.5f, nan}) {
    SCOPED_TRACE(label);
    EXPECT_THAT(BinaryCrossEntropyWithLogits(column, std::vector<float>{0.0f, label}),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("label of row 1 is out of range")));
  }
  for (const float label : {-1.0f, 0.5f, 2.0f, nan}) {
    SCOPED_TRACE(label);
    EXPECT_THAT(CrossEntropy(Logits({1, 2}, {0, 0}), std::vector<float>{label}),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("whole number in [0, 2)")));
  }
}

}  // namespace
}  // namespace eqat::train
