#include "quant/observer.h"

#include <cmath>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/float_bits.h"
#include "tests/support/special_floats.h"
#include "tests/support/status_matchers.h"

namespace eqat::quant {
namespace {

using eqat::testing::BitsOf;
using ::eqat::testing::kFloatInfinity;
using ::eqat::testing::kFloatNaN;
using eqat::testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

ObserverConfig Config(ObserverKind kind, double averaging_constant = 0.01) {
  ObserverConfig config;
  config.kind = kind;
  config.qscheme = TraitsOf(kind).per_channel ? QScheme::kPerChannelAffine : QScheme::kPerTensorAffine;
  config.averaging_constant = averaging_constant;
  return config;
}

Observer Make(const ObserverConfig& config) {
  absl::StatusOr<Observer> observer = Observer::Create(config);
  EQAT_EXPECT_OK(observer);
  return *std::move(observer);
}

absl::Status Observe(Observer& observer, const std::vector<float>& values, int64_t rows) {
  return observer.Observe(TableView(values.data(), rows, static_cast<int64_t>(values.size()) / rows));
}

TEST(ObserverTest, MinMaxKeepsItsHistory) {
  Observer observer = Make(Config(ObserverKind::kMinMax));
  EXPECT_THAT(observer.min_val(), ElementsAre(kFloatInfinity));
  EXPECT_THAT(observer.max_val(), ElementsAre(-kFloatInfinity));
  EQAT_ASSERT_OK(Observe(observer, {1, 2, 3, -1}, 2));
  EQAT_ASSERT_OK(Observe(observer, {0, 5}, 1));
  EXPECT_THAT(observer.min_val(), ElementsAre(-1.0f));
  EXPECT_THAT(observer.max_val(), ElementsAre(5.0f));
}

TEST(ObserverTest, MovingAverageOfRows) {
  Observer observer = Make(Config(ObserverKind::kMovingAveragePerChannelMinMax));
  EXPECT_THAT(observer.min_val(), IsEmpty());
  EQAT_ASSERT_OK(Observe(observer, {-1, 2, 0.1f, 2}, 2));
  EQAT_ASSERT_OK(Observe(observer, {0.1f, 2, -3, -1}, 2));
  EXPECT_THAT(observer.min_val(), ElementsAre(-0.989000022f, 0.069000006f));
  EXPECT_THAT(observer.max_val(), ElementsAre(2.0f, 1.970000029f));
}

TEST(ObserverTest, AveragingConstantOneHasNoMemory) {
  Observer observer = Make(Config(ObserverKind::kMovingAveragePerChannelMinMax, 1.0));
  EQAT_ASSERT_OK(Observe(observer, {1e8f, 1e8f}, 1));
  EQAT_ASSERT_OK(Observe(observer, {0.123f, 0.456f}, 1));
  EXPECT_THAT(observer.min_val(), ElementsAre(0.123f));
  EXPECT_THAT(observer.max_val(), ElementsAre(0.456f));
}

TEST(ObserverTest, ChannelsMayBeColumns) {
  ObserverConfig config = Config(ObserverKind::kPerChannelMinMax);
  config.ch_axis = 1;
  Observer observer = Make(config);
  EQAT_ASSERT_OK(Observe(observer, {1, 2, 3, 0, 5, -6}, 2));
  EXPECT_THAT(observer.min_val(), ElementsAre(0.0f, 2.0f, -6.0f));
  EXPECT_THAT(observer.max_val(), ElementsAre(1.0f, 5.0f, 3.0f));
}

TEST(ObserverTest, EmptyInputChangesNothing) {
  Observer observer = Make(Config(ObserverKind::kPerChannelMinMax));
  EQAT_ASSERT_OK(observer.Observe(TableView(nullptr, 0, 3)));
  EQAT_ASSERT_OK(observer.Observe(TableView(nullptr, 3, 0)));
  EXPECT_FALSE(observer.observed());
}

TEST(ObserverTest, NeverObservedHasScaleOne) {
  for (const ObserverKind kind : {ObserverKind::kMinMax, ObserverKind::kPerChannelMinMax}) {
    EQAT_ASSERT_OK_AND_ASSIGN(const std::vector<QParams> qparams, Make(Config(kind)).CalculateQParams());
    ASSERT_EQ(qparams.size(), 1);
    EXPECT_EQ(qparams[0].scale, 1.0f);
    EXPECT_EQ(qparams[0].zero_point, 0.0f);
  }
}

TEST(ObserverTest, NaNAndInfinityAreNamedAndChangeNothing) {
  for (const ObserverKind kind : {ObserverKind::kMinMax, ObserverKind::kMovingAveragePerChannelMinMax}) {
    Observer observer = Make(Config(kind));
    EQAT_ASSERT_OK(Observe(observer, {1, 2, 3, 4}, 2));
    const std::vector<float> before = observer.max_val();
    EXPECT_THAT(Observe(observer, {9, 9, 9, kFloatNaN}, 2),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("row 1: ")));
    EXPECT_THAT(Observe(observer, {9, -kFloatInfinity, 9, kFloatNaN}, 2),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("-inf at column 1")));
    EXPECT_EQ(observer.max_val(), before);
  }
}

TEST(ObserverTest, NumberOfChannelsMustStay) {
  Observer observer = Make(Config(ObserverKind::kPerChannelMinMax));
  EQAT_ASSERT_OK(Observe(observer, {1, 2, 3, 4}, 2));
  EXPECT_THAT(Observe(observer, {1, 2, 3, 4}, 4),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("number of channels has changed")));
  EXPECT_THAT(observer.min_val(), ElementsAre(1.0f, 3.0f));
}

TEST(ObserverTest, OverflowOfTheMovingAverageIsAnError) {
  Observer observer = Make(Config(ObserverKind::kMovingAveragePerChannelMinMax, 0.5));
  EQAT_ASSERT_OK(Observe(observer, {-3e38f}, 1));
  EXPECT_THAT(Observe(observer, {3e38f}, 1),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("channel 0: moving average of the bounds overflows float32 "
                                 "(got inf to inf, expected finite bounds)")));
  EXPECT_THAT(observer.min_val(), ElementsAre(-3e38f));
}

TEST(ObserverTest, OverflowingRangeHasNoQParams) {
  Observer observer = Make(Config(ObserverKind::kPerChannelMinMax));
  EQAT_ASSERT_OK(Observe(observer, {0, 1, -3e38f, 3e38f}, 2));
  EXPECT_THAT(observer.CalculateQParams(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("channel 1: range of values overflows float32")));
}

TEST(ObserverTest, NoopAndPlaceholderObserveNothing) {
  for (const ObserverKind kind : {ObserverKind::kNoop, ObserverKind::kPlaceholder}) {
    Observer observer = Make(Config(kind));
    EQAT_ASSERT_OK(Observe(observer, {1, kFloatNaN}, 1));
    EXPECT_THAT(observer.min_val(), IsEmpty());
    EXPECT_THAT(observer.CalculateQParams(),
                StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr(TraitsOf(kind).name)));
  }
}

TEST(ObserverTest, ResetForgetsTheHistory) {
  Observer observer = Make(Config(ObserverKind::kMinMax));
  EQAT_ASSERT_OK(Observe(observer, {-9, 9}, 1));
  observer.ResetMinMaxVals();
  EXPECT_FALSE(observer.observed());
  EQAT_ASSERT_OK(Observe(observer, {1, 2}, 1));
  EXPECT_THAT(observer.min_val(), ElementsAre(1.0f));
}

TEST(ObserverTest, PrintsAsTorch) {
  Observer per_tensor = Make(Config(ObserverKind::kMinMax));
  EXPECT_EQ(per_tensor.ToString(), "MinMaxObserver(min_val=inf, max_val=-inf)");
  EQAT_ASSERT_OK(Observe(per_tensor, {-1.5f, 2}, 1));
  EXPECT_EQ(per_tensor.ToString(), "MinMaxObserver(min_val=-1.5, max_val=2.0)");
  Observer per_channel = Make(Config(ObserverKind::kPerChannelMinMax));
  EXPECT_EQ(per_channel.ToString(), "PerChannelMinMaxObserver(min_val=tensor([]), max_val=tensor([]))");
  EQAT_ASSERT_OK(Observe(per_channel, {-1.5f, 2, 0.25f, 1}, 2));
  EXPECT_EQ(per_channel.ToString(),
            "PerChannelMinMaxObserver(min_val=tensor([-1.5000,  0.2500]), max_val=tensor([2., 1.]))");
}

TEST(ObserverTest, InvalidConfigIsRefused) {
  ObserverConfig config = Config(ObserverKind::kMinMax);
  config.qscheme = QScheme::kPerChannelAffine;
  EXPECT_THAT(Observer::Create(config), StatusIs(absl::StatusCode::kInvalidArgument, ::testing::_));
}

}  // namespace
}  // namespace eqat::quant
