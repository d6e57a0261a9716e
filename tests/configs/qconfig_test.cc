#include "quant/types/qconfig.h"

#include <cmath>
#include <limits>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"

namespace eqat::quant {
namespace {

using absl::StatusCode;
using eqat::testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;

ObserverConfig ConfigOf(Dtype dtype) {
  ObserverConfig config;
  config.kind = ObserverKind::kPerChannelMinMax;
  config.dtype = dtype;
  config.qscheme = QScheme::kPerChannelAffine;
  return config;
}

ObserverConfig ConfigOf(Dtype dtype, std::optional<int32_t> quant_min, std::optional<int32_t> quant_max) {
  ObserverConfig config = ConfigOf(dtype);
  config.quant_min = quant_min;
  config.quant_max = quant_max;
  return config;
}

std::pair<int32_t, int32_t> RangeOf(const ObserverConfig& config) {
  const absl::StatusOr<CodeRange> range = CodeRangeOf(config);
  EXPECT_TRUE(range.ok()) << range.status();
  return {range->quant_min, range->quant_max};
}

TEST(DtypeTraits, AreInTheOrderOfTheEnumAndSpanTheirBits) {
  for (size_t i = 0; i < std::size(kDtypes); ++i) {
    const DtypeTraits& traits = kDtypes[i];
    SCOPED_TRACE(traits.name);
    EXPECT_EQ(static_cast<size_t>(traits.dtype), i);
    EXPECT_EQ(traits.quant_max - traits.quant_min + 1, 1 << traits.bits);
    EXPECT_EQ(DtypeFromName(traits.name), traits.dtype);
  }
  EXPECT_EQ(DtypeFromName("int3"), std::nullopt);
}

TEST(QSchemeTraits, AreInTheOrderOfTheEnum) {
  for (size_t i = 0; i < std::size(kQSchemes); ++i) {
    EXPECT_EQ(static_cast<size_t>(kQSchemes[i].qscheme), i);
    EXPECT_EQ(QSchemeFromName(kQSchemes[i].name), kQSchemes[i].qscheme);
  }
  EXPECT_EQ(QSchemeFromName("per_row"), std::nullopt);
}

TEST(ObserverKindTraits, AreInTheOrderOfTheEnum) {
  for (size_t i = 0; i < std::size(kObserverKinds); ++i) EXPECT_EQ(static_cast<size_t>(kObserverKinds[i].kind), i);
}

TEST(CodeRangeOf, IsTheDtypesOwn) {
  for (const DtypeTraits& traits : kDtypes) {
    SCOPED_TRACE(traits.name);
    EXPECT_EQ(RangeOf(ConfigOf(traits.dtype)), std::pair(traits.quant_min, traits.quant_max));
  }
}

TEST(CodeRangeOf, TakesCustomBounds) {
  EXPECT_EQ(RangeOf(ConfigOf(Dtype::kQUInt8, 0, 100)), std::pair(0, 100));
  EXPECT_EQ(RangeOf(ConfigOf(Dtype::kQInt8, -8, 7)), std::pair(-8, 7));
  EXPECT_EQ(RangeOf(ConfigOf(Dtype::kQInt8, -1, 0)), std::pair(-1, 0));
}

TEST(CodeRangeOf, ReducesEightBitRangesByFloorDivision) {
  const auto reduced = [](ObserverConfig config) {
    config.reduce_range = true;
    return RangeOf(config);
  };
  EXPECT_EQ(reduced(ConfigOf(Dtype::kQUInt8)), std::pair(0, 127));
  EXPECT_EQ(reduced(ConfigOf(Dtype::kUInt8)), std::pair(0, 127));
  EXPECT_EQ(reduced(ConfigOf(Dtype::kQInt8)), std::pair(-64, 63));
  EXPECT_EQ(reduced(ConfigOf(Dtype::kQInt8, -3, 3)), std::pair(-2, 1));
  EXPECT_EQ(reduced(ConfigOf(Dtype::kQUInt8, 0, 255)), std::pair(0, 127));
  EXPECT_EQ(reduced(ConfigOf(Dtype::kQUInt4x2)), std::pair(0, 15));  // other widths stay
  EXPECT_EQ(reduced(ConfigOf(Dtype::kUInt1)), std::pair(0, 1));
}

TEST(CodeRangeOf, RefusesRangesThatCannotBe) {
  ObserverConfig reduced = ConfigOf(Dtype::kQUInt8, 0, 1);
  reduced.reduce_range = true;
  const std::pair<ObserverConfig, const char*> cases[] = {
      {ConfigOf(Dtype::kQUInt8, 0, std::nullopt), "needs both bounds (got quant_min alone"},
      {ConfigOf(Dtype::kQUInt8, std::nullopt, 255), "needs both bounds (got quant_max alone"},
      {ConfigOf(Dtype::kQUInt8, 0, 0), "code range is empty (got 0..0"},
      {ConfigOf(Dtype::kQUInt8, 5, 1), "code range is empty (got 5..1"},
      {ConfigOf(Dtype::kQUInt8, 1, 10), "code range must include 0 (got 1..10"},
      {ConfigOf(Dtype::kQInt8, -10, -1), "code range must include 0 (got -10..-1"},
      {ConfigOf(Dtype::kQUInt8, 0, 600), "code range does not fit quint8 (got 0..600, expected within 0..255)"},
      {ConfigOf(Dtype::kQUInt4x2, 0, 255), "code range does not fit quint4x2"},
      {ConfigOf(Dtype::kQInt8, -129, 127), "code range does not fit qint8"},
      {ConfigOf(Dtype::kQInt8, INT32_MIN, INT32_MAX), "got -2147483648..2147483647"},
      {reduced, "code range is empty after reduce_range (got 0..1"},
  };
  for (const auto& [config, message] : cases) {
    SCOPED_TRACE(message);
    EXPECT_THAT(CodeRangeOf(config), StatusIs(StatusCode::kInvalidArgument, HasSubstr(message)));
    EXPECT_THAT(Validate(config), StatusIs(StatusCode::kInvalidArgument, HasSubstr(message)));
  }
}

TEST(Validate, WantsObserverAndSchemeOfOneGranularity) {
  for (const ObserverKindTraits& kind : kObserverKinds) {
    if (!kind.computes_qparams) continue;
    for (const QSchemeTraits& scheme : kQSchemes) {
      SCOPED_TRACE(absl::StrCat(kind.name, " ", scheme.name));
      ObserverConfig config;
      config.kind = kind.kind;
      config.qscheme = scheme.qscheme;
      if (kind.per_channel == scheme.per_channel) {
        EQAT_EXPECT_OK(Validate(config));
      } else {
        EXPECT_THAT(Validate(config), StatusIs(StatusCode::kInvalidArgument,
                                               AllOf(HasSubstr(absl::StrCat("qscheme: does not suit ", kind.name)),
                                                     HasSubstr(absl::StrCat("got ", scheme.name)))));
      }
    }
  }
}

TEST(Validate, RefusesReducedSymmetricUnsignedCodes) {
  for (const DtypeTraits& dtype : kDtypes) {
    SCOPED_TRACE(dtype.name);
    ObserverConfig config = ConfigOf(dtype.dtype);
    config.qscheme = QScheme::kPerChannelSymmetric;
    EQAT_EXPECT_OK(Validate(config));
    config.reduce_range = true;
    if (dtype.bits == 8 && dtype.quant_min == 0) {
      EXPECT_THAT(Validate(config), StatusIs(StatusCode::kInvalidArgument,
                                             HasSubstr("cannot reduce the range of symmetric quantization")));
    } else {
      EQAT_EXPECT_OK(Validate(config));
    }
  }
}

TEST(Validate, ChecksNumbers) {
  constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  ObserverConfig config;
  for (const double eps : {0.0, -1e-7, 1e-39, 1e39, kInfinity, kNan}) {
    config.eps = eps;
    EXPECT_THAT(Validate(config), StatusIs(StatusCode::kInvalidArgument, HasSubstr("eps: is out of range"))) << eps;
  }
  for (const double eps : {1e-38 * 2, 1e-7, 1.0, 1e38}) {
    config.eps = eps;
    EQAT_EXPECT_OK(Validate(config));
  }
  config = ObserverConfig();
  for (const double constant : {0.0, -0.1, 1.0000001, kInfinity, kNan}) {
    config.averaging_constant = constant;
    EXPECT_THAT(Validate(config),
                StatusIs(StatusCode::kInvalidArgument, HasSubstr("averaging_constant: is out of range")))
        << constant;
  }
  config.averaging_constant = 1.0;
  EQAT_EXPECT_OK(Validate(config));
  config = ConfigOf(Dtype::kQUInt8);
  for (const int axis : {-1, 2}) {
    config.ch_axis = axis;
    EXPECT_THAT(Validate(config), StatusIs(StatusCode::kInvalidArgument, HasSubstr("ch_axis: is out of range")));
  }
  config.ch_axis = 1;
  EQAT_EXPECT_OK(Validate(config));
}

TEST(Validate, RefusesWeightsWithoutARange) {
  for (const ObserverKindTraits& kind : kObserverKinds) {
    if (kind.computes_qparams) continue;
    WeightConfig config;
    config.observer.kind = kind.kind;
    EQAT_EXPECT_OK(Validate(config.observer));  // an activation may do without
    EXPECT_THAT(Validate(config), StatusIs(StatusCode::kInvalidArgument,
                                           HasSubstr(absl::StrCat("observer: finds no range (got ", kind.name))));
  }
}

TEST(QConfigPresets, AreTorchs) {
  const struct {
    const char* name;
    bool fake_quantize;
    ObserverKind activation;
    ObserverKind observer;
    Dtype dtype;
    double averaging_constant;
  } cases[] = {
      {"default_embedding_qat_qconfig", true, ObserverKind::kNoop, ObserverKind::kMovingAveragePerChannelMinMax,
       Dtype::kQUInt8, 1.0},
      {"default_embedding_qat_qconfig_4bit", true, ObserverKind::kNoop, ObserverKind::kMovingAveragePerChannelMinMax,
       Dtype::kQUInt4x2, 1.0},
      {"default_embedding_qat_qconfig_2bit", true, ObserverKind::kNoop, ObserverKind::kMovingAveragePerChannelMinMax,
       Dtype::kQUInt2x4, 1.0},
      {"float_qparams_weight_only_qconfig", false, ObserverKind::kPlaceholder, ObserverKind::kPerChannelMinMax,
       Dtype::kQUInt8, 0.01},
      {"float_qparams_weight_only_qconfig_4bit", false, ObserverKind::kPlaceholder, ObserverKind::kPerChannelMinMax,
       Dtype::kQUInt4x2, 0.01},
      {"float_qparams_weight_only_qconfig_2bit", false, ObserverKind::kPlaceholder, ObserverKind::kPerChannelMinMax,
       Dtype::kQUInt2x4, 0.01},
  };
  ASSERT_EQ(QConfigPresets().size(), std::size(cases));
  for (const auto& expected : cases) {
    SCOPED_TRACE(expected.name);
    const std::optional<QConfig> preset = QConfigPreset(expected.name);
    ASSERT_TRUE(preset.has_value());
    EXPECT_EQ(preset->name, expected.name);
    EXPECT_EQ(preset->activation, expected.activation);
    EXPECT_EQ(preset->weight.fake_quantize, expected.fake_quantize);
    const ObserverConfig& observer = preset->weight.observer;
    EXPECT_EQ(observer.kind, expected.observer);
    EXPECT_EQ(observer.dtype, expected.dtype);
    EXPECT_EQ(observer.qscheme, QScheme::kPerChannelAffineFloatQParams);
    EXPECT_EQ(observer.averaging_constant, expected.averaging_constant);
    EXPECT_EQ(observer.ch_axis, 0);
    EXPECT_EQ(observer.eps, std::ldexp(1.0, -23));
    EXPECT_FALSE(observer.reduce_range);
    EXPECT_EQ(RangeOf(observer), std::pair(0, TraitsOf(expected.dtype).quant_max));
    EQAT_EXPECT_OK(Validate(preset->weight));
  }
  EXPECT_EQ(QConfigPreset("default_qat_qconfig"), std::nullopt);
}

TEST(QConfig, EqualityIsThatOfTheRecipe) {
  const QConfig preset = *QConfigPreset("default_embedding_qat_qconfig");
  QConfig copy = preset;
  copy.name.clear();
  EXPECT_EQ(copy, preset);
  copy.weight.observer.averaging_constant = 0.5;
  EXPECT_FALSE(copy == preset);
}

}  // namespace
}  // namespace eqat::quant
