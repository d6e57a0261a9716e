#include "quant/choose_qparams.h"

#include <cmath>
#include <limits>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/float_bits.h"
#include "tests/support/status_matchers.h"

namespace eqat::quant {
namespace {

using eqat::testing::BitsOf;

ObserverConfig ObserverConfigOf(QScheme qscheme, Dtype dtype) {
  ObserverConfig config;
  config.kind = TraitsOf(qscheme).per_channel ? ObserverKind::kPerChannelMinMax : ObserverKind::kMinMax;
  config.qscheme = qscheme;
  config.dtype = dtype;
  return config;
}

QParams Choose(float min_val, float max_val, const ObserverConfig& config) {
  const absl::StatusOr<QParamsRule> rule = MakeQParamsRule(config);
  EQAT_EXPECT_OK(rule);
  return ChooseQParams(min_val, max_val, *rule);
}

void ExpectQParams(const QParams& got, float scale, float zero_point) {
  EXPECT_EQ(BitsOf({got.scale, got.zero_point}), BitsOf({scale, zero_point}));
}

TEST(ChooseQParamsTest, FloatZeroPointKeepsTheRangeAsItIs) {
  const ObserverConfig config = ObserverConfigOf(QScheme::kPerChannelAffineFloatQParams, Dtype::kQUInt8);
  ExpectQParams(Choose(-1.0f, 2.0f, config), 0.0117647061f, 85.0f);
  ExpectQParams(Choose(0.1f, 2.0f, config), 0.00745098013f, -13.4210529f);
  ExpectQParams(Choose(-3.0f, -1.0f, config), 0.00784313772f, 382.49997f);
  ExpectQParams(Choose(-1e30f, 1e30f, config), 7.84313765e27f, 127.499992f);
}

TEST(ChooseQParamsTest, FloatZeroPointOfNarrowRangesTakesScaleOne) {
  const ObserverConfig config = ObserverConfigOf(QScheme::kPerChannelAffineFloatQParams, Dtype::kQUInt8);
  ExpectQParams(Choose(0.0f, 0.0f, config), 1.0f, -0.0f);
  ExpectQParams(Choose(0.7f, 0.7f, config), 1.0f, -0.7f);
  ExpectQParams(Choose(0.0f, 3e-8f, config), 1.0f, -0.0f);
  // Strict: a scale of exactly eps is not kept.
  ExpectQParams(Choose(0.0f, 255 * 0x1p-23f, config), 1.0f, -0.0f);
}

TEST(ChooseQParamsTest, AffineIncludesZero) {
  const ObserverConfig config = ObserverConfigOf(QScheme::kPerChannelAffine, Dtype::kQUInt8);
  ExpectQParams(Choose(-1.0f, 2.0f, config), 0.0117647061f, 85.0f);
  ExpectQParams(Choose(0.1f, 2.0f, config), 0.00784313772f, 0.0f);
  ExpectQParams(Choose(-3.0f, -1.0f, config), 0.0117647061f, 255.0f);
  ExpectQParams(Choose(0.0f, 0.0f, config), 0x1p-23f, 0.0f);
  ExpectQParams(Choose(-1.0f, 2.0f, ObserverConfigOf(QScheme::kPerTensorAffine, Dtype::kQInt8)), 0.0117647061f, -43.0f);
}

TEST(ChooseQParamsTest, SymmetricTakesTheLargerSide) {
  const ObserverConfig config = ObserverConfigOf(QScheme::kPerChannelSymmetric, Dtype::kQInt8);
  ExpectQParams(Choose(-1.0f, 2.0f, config), 0.0156862754f, 0.0f);
  ExpectQParams(Choose(-3.0f, -1.0f, config), 0.0235294122f, 0.0f);
  ExpectQParams(Choose(-3e38f, 1e38f, config), 2.35294110e36f, 0.0f);
}

TEST(ChooseQParamsTest, SymmetricZeroPointOfUnsignedCodes) {
  ObserverConfig config = ObserverConfigOf(QScheme::kPerChannelSymmetric, Dtype::kQUInt8);
  EXPECT_EQ(Choose(-1.0f, 1.0f, config).zero_point, 128.0f);
  config.quant_min = 0;
  config.quant_max = 254;
  EXPECT_EQ(Choose(-1.0f, 1.0f, config).zero_point, 127.0f);
  // As torch, which centres quint8 alone.
  EXPECT_EQ(Choose(-1.0f, 1.0f, ObserverConfigOf(QScheme::kPerChannelSymmetric, Dtype::kQUInt4x2)).zero_point, 0.0f);
  EXPECT_EQ(Choose(-1.0f, 1.0f, ObserverConfigOf(QScheme::kPerChannelSymmetric, Dtype::kUInt4)).zero_point, 8.0f);
}

TEST(ChooseQParamsTest, EpsIsTheSmallestScale) {
  ObserverConfig config = ObserverConfigOf(QScheme::kPerTensorAffine, Dtype::kQUInt8);
  config.eps = 0.5;
  EXPECT_EQ(Choose(0.0f, 1.0f, config).scale, 0.5f);
}

TEST(ChooseQParamsTest, OverflowingRangeGivesAnInfiniteScale) {
  EXPECT_TRUE(std::isinf(
      Choose(-3e38f, 1e38f, ObserverConfigOf(QScheme::kPerChannelAffineFloatQParams, Dtype::kQUInt8)).scale));
}

TEST(ChooseQParamsTest, InconsistentCodeRangeIsAnError) {
  ObserverConfig config = ObserverConfigOf(QScheme::kPerTensorAffine, Dtype::kQUInt8);
  config.quant_min = 5;
  config.quant_max = 5;
  EXPECT_THAT(MakeQParamsRule(config), eqat::testing::StatusIs(absl::StatusCode::kInvalidArgument, ::testing::_));
}

}  // namespace
}  // namespace eqat::quant
