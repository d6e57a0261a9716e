#include "quant/kernels/fake_quantize_kernels.h"

#include <bit>
#include <cmath>
#include <vector>

#include "core/rng.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/float_bits.h"
#include "tests/support/simd_targets.h"
#include "tests/support/special_floats.h"

namespace eqat::quant::kernels {
namespace {

using eqat::testing::BitsOf;
using eqat::testing::ForEachSimdTarget;
using ::eqat::testing::kFloatInfinity;
using ::eqat::testing::kFloatNaN;
using ::testing::ElementsAre;
using ::testing::ElementsAreArray;

constexpr size_t kMaxLength = 130;
constexpr size_t kGuard = 16;  // elements after each output that must stay as they are
constexpr float kSpecial[] = {
    kFloatNaN, kFloatInfinity, -kFloatInfinity, 1e30f,      -1e30f,     0x1p63f, -0x1p63f, 0x1.fffffep62f,
    -0.0f,     0.0f,           1e-45f,          -1e-45f,    0.5f,       1.5f,    2.5f,     -0.5f,
    254.5f,    255.5f,         3.4e38f,         16777217.f, 8388607.5f, -2.5e9f, 2.5e9f,   255.0f};

std::vector<AffineParams> SomeParams() {
  return {{0.0123f, 141.66667f, 0, 255, true}, {0.3f, -13.421f, 0, 15, true},    {1.0f, -0.0f, 0, 255, true},
          {1e-7f, 1e6f, 0, 3, true},           {1e-40f, 0.5f, 0, 255, true},     {1e38f, 1e-20f, 0, 1, true},
          {0.02f, 3.0f, 0, 15, false},         {0.01f, -7.0f, -128, 127, false}, {2.5f, 128.0f, 0, 255, false},
          {3e38f, 0.5f, 0, 255, true}};
}

// Mostly values around ties of the code grid, where a second rounding would show; every fifth is special.
std::vector<float> Values(size_t n, const AffineParams& params, uint64_t stream) {
  const Rng rng(7, stream);
  std::vector<float> values(n);
  for (size_t i = 0; i < n; ++i) {
    if (rng.Below(3 * i, 5) == 0) {
      values[i] = kSpecial[rng.Below(3 * i + 1, std::size(kSpecial))];
      continue;
    }
    const double code = static_cast<double>(rng.Below(3 * i + 1, 600)) / 2 - 20;
    const float value = static_cast<float>((code - params.zero_point) * params.scale);
    const int32_t ulps = static_cast<int32_t>(rng.Below(3 * i + 2, 5)) - 2;
    values[i] = std::bit_cast<float>(std::bit_cast<int32_t>(value) + ulps);
  }
  return values;
}

struct Outputs {
  std::vector<float> y = std::vector<float>(kMaxLength + kGuard + 4, -7.0f);
  std::vector<uint8_t> mask = std::vector<uint8_t>(kMaxLength + kGuard + 4, 0xA5);
  std::vector<int32_t> codes = std::vector<int32_t>(kMaxLength + kGuard + 4, -99);
};

TEST(FakeQuantizeKernelsTest, FakeQuantizeRowEqualsReferenceOnEveryTarget) {
  ForEachSimdTarget([] {
    for (const AffineParams& params : SomeParams()) {
      for (size_t n = 0; n <= kMaxLength; ++n) {
        const size_t shift = n % 4;
        std::vector<float> x(shift, 0.0f);
        const std::vector<float> values = Values(n, params, n);
        x.insert(x.end(), values.begin(), values.end());
        Outputs got;
        Outputs want;
        FakeQuantizeRow(x.data() + shift, n, params, got.y.data() + shift, got.mask.data() + shift,
                        got.codes.data() + shift);
        reference::FakeQuantizeRow(x.data() + shift, n, params, want.y.data() + shift, want.mask.data() + shift,
                                   want.codes.data() + shift);
        ASSERT_EQ(BitsOf(got.y), BitsOf(want.y)) << "n " << n << " scale " << params.scale;
        ASSERT_EQ(got.mask, want.mask) << "n " << n << " scale " << params.scale;
        ASSERT_EQ(got.codes, want.codes) << "n " << n << " scale " << params.scale;
      }
    }
  });
}

TEST(FakeQuantizeKernelsTest, OutputsMayBeNullAndInPlace) {
  ForEachSimdTarget([] {
    const AffineParams params = SomeParams()[0];
    for (const size_t n : {1, 7, 64, 67}) {
      const std::vector<float> x = Values(n, params, 50);
      std::vector<float> want_y(n);
      std::vector<uint8_t> want_mask(n);
      std::vector<int32_t> want_codes(n);
      reference::FakeQuantizeRow(x.data(), n, params, want_y.data(), want_mask.data(), want_codes.data());

      std::vector<float> in_place = x;
      FakeQuantizeRow(in_place.data(), n, params, in_place.data(), nullptr, nullptr);
      EXPECT_EQ(BitsOf(in_place), BitsOf(want_y));
      std::vector<uint8_t> mask(n);
      FakeQuantizeRow(x.data(), n, params, nullptr, mask.data(), nullptr);
      EXPECT_EQ(mask, want_mask);
      std::vector<int32_t> codes(n);
      FakeQuantizeRow(x.data(), n, params, nullptr, nullptr, codes.data());
      EXPECT_EQ(codes, want_codes);
    }
  });
}

// x * inv is just below one half and only the exact sum with z stays below the tie; two roundings reach it.
TEST(FakeQuantizeKernelsTest, SumIsRoundedOnceOnEveryTarget) {
  int differ = 0;
  const AffineParams params = {0.3f, 13.42105f, 0, 255, true};
  const std::vector<float> x = Values(20000, params, 60);
  const float inverse = 1.0f / params.scale;
  for (const float value : x) {
    const float product = value * inverse;
    const float twice = std::nearbyint(product + params.zero_point);
    differ += twice != std::nearbyint(std::fma(value, inverse, params.zero_point)) && std::isfinite(value);
  }
  ASSERT_GT(differ, 10) << "the values do not tell one rounding from two";
  ForEachSimdTarget([&] {
    std::vector<int32_t> got(x.size());
    std::vector<int32_t> want(x.size());
    FakeQuantizeRow(x.data(), x.size(), params, nullptr, nullptr, got.data());
    reference::FakeQuantizeRow(x.data(), x.size(), params, nullptr, nullptr, want.data());
    EXPECT_EQ(got, want);
  });
}

TEST(FakeQuantizeKernelsTest, ValuesBeyondInt64GetTheSmallestCode) {
  const std::vector<float> x = {kFloatNaN, kFloatInfinity, -kFloatInfinity, 0x1p63f,
                                -0x1p63f,  0x1.fffffep62f, -0x1.fffffep62f, 256.f};
  for (const bool float_zero_point : {true, false}) {
    const AffineParams params = {1.0f, 0.0f, 0, 255, float_zero_point};
    std::vector<uint8_t> mask(x.size());
    std::vector<int32_t> codes(x.size());
    FakeQuantizeRow(x.data(), x.size(), params, nullptr, mask.data(), codes.data());
    EXPECT_THAT(codes, ElementsAre(0, 0, 0, 0, 0, 255, 0, 255));
    EXPECT_THAT(mask, ElementsAreArray(std::vector<uint8_t>(x.size(), 0)));
  }
}

TEST(FakeQuantizeKernelsTest, TiesGoToEvenCodes) {
  const std::vector<float> x = {0.5f, 1.5f, 2.5f, 3.5f, 255.5f, 254.5f, -0.5f};
  std::vector<uint8_t> mask(x.size());
  std::vector<int32_t> codes(x.size());
  FakeQuantizeRow(x.data(), x.size(), {1.0f, 0.0f, 0, 255, true}, nullptr, mask.data(), codes.data());
  EXPECT_THAT(codes, ElementsAre(0, 2, 2, 4, 255, 254, 0));
  EXPECT_THAT(mask, ElementsAre(1, 1, 1, 1, 0, 1, 1));
}

TEST(FakeQuantizeKernelsTest, DequantizeRowEqualsReferenceAndFakeQuantize) {
  ForEachSimdTarget([] {
    for (const AffineParams& params : SomeParams()) {
      for (size_t n = 0; n <= kMaxLength; ++n) {
        const std::vector<float> x = Values(n, params, n);
        std::vector<int32_t> codes(n);
        std::vector<float> quantized(n);
        FakeQuantizeRow(x.data(), n, params, quantized.data(), nullptr, codes.data());
        Outputs got;
        Outputs want;
        DequantizeRow(codes.data(), n, params, got.y.data() + n % 4);
        reference::DequantizeRow(codes.data(), n, params, want.y.data() + n % 4);
        ASSERT_EQ(BitsOf(got.y), BitsOf(want.y)) << "n " << n;
        ASSERT_EQ(BitsOf(absl::MakeConstSpan(got.y.data() + n % 4, n)), BitsOf(quantized)) << "n " << n;
      }
    }
  });
}

TEST(FakeQuantizeKernelsTest, DequantizeRowTakesBytesToo) {
  ForEachSimdTarget([] {
    for (const AffineParams& params : SomeParams()) {
      for (size_t n = 0; n <= kMaxLength; ++n) {
        std::vector<int32_t> codes(n);
        std::vector<uint8_t> unsigned_codes(n);
        std::vector<int8_t> signed_codes(n);
        for (size_t i = 0; i < n; ++i) unsigned_codes[i] = static_cast<uint8_t>(Rng(9, n).Bits(i));
        for (size_t i = 0; i < n; ++i) signed_codes[i] = static_cast<int8_t>(unsigned_codes[i]);
        Outputs got;
        Outputs want;
        codes.assign(unsigned_codes.begin(), unsigned_codes.end());
        DequantizeRow(unsigned_codes.data(), n, params, got.y.data() + n % 4);
        reference::DequantizeRow(codes.data(), n, params, want.y.data() + n % 4);
        ASSERT_EQ(BitsOf(got.y), BitsOf(want.y)) << "n " << n;
        codes.assign(signed_codes.begin(), signed_codes.end());
        DequantizeRow(signed_codes.data(), n, params, got.y.data() + n % 4);
        reference::DequantizeRow(codes.data(), n, params, want.y.data() + n % 4);
        ASSERT_EQ(BitsOf(got.y), BitsOf(want.y)) << "n " << n;
      }
    }
  });
}

TEST(FakeQuantizeKernelsTest, RowMinMaxEqualsReference) {
  ForEachSimdTarget([] {
    const Rng rng(11, 1);
    for (size_t n = 1; n <= kMaxLength; ++n) {
      for (uint64_t trial = 0; trial < 8; ++trial) {
        std::vector<float> x(n + 3);
        for (size_t i = 0; i < n; ++i) {
          const uint64_t position = (n * 8 + trial) * 256 + i;
          // Zeros of both signs and few distinct values: which of equal ones is found matters.
          constexpr float kSmall[] = {0.0f, -0.0f, 1.0f, -1.0f};
          const uint64_t kinds = trial % 4 == 0 ? 2 : trial % 4;
          x[i + trial % 4] = trial < 4 ? kSmall[rng.Below(position, kinds + 1)] : rng.Normal(position);
        }
        float got_min, got_max, want_min, want_max;
        bool got_finite, want_finite;
        RowMinMax(x.data() + trial % 4, n, &got_min, &got_max, &got_finite);
        reference::RowMinMax(x.data() + trial % 4, n, &want_min, &want_max, &want_finite);
        ASSERT_TRUE(got_finite && want_finite);
        ASSERT_EQ(BitsOf({got_min, got_max}), BitsOf({want_min, want_max})) << "n " << n << " trial " << trial;
      }
    }
  });
}

TEST(FakeQuantizeKernelsTest, RowMinMaxReportsEveryNonFiniteValue) {
  ForEachSimdTarget([] {
    for (const float bad : {kFloatNaN, -kFloatNaN, kFloatInfinity, -kFloatInfinity}) {
      for (size_t n = 1; n <= 70; ++n) {
        for (size_t position = 0; position < n; ++position) {
          std::vector<float> x(n, 3.4e38f);
          x[position] = bad;
          float min_val, max_val;
          bool finite = true;
          RowMinMax(x.data(), n, &min_val, &max_val, &finite);
          ASSERT_FALSE(finite) << bad << " at " << position << " of " << n;
          reference::RowMinMax(x.data(), n, &min_val, &max_val, &finite);
          ASSERT_FALSE(finite);
        }
      }
    }
  });
}

TEST(FakeQuantizeKernelsTest, RowMinMaxReadsNothingBeyondTheRow) {
  ForEachSimdTarget([] {
    for (size_t n = 1; n <= 40; ++n) {
      std::vector<float> x(n + kGuard, 1e9f);
      for (size_t i = 0; i < n; ++i) x[i] = static_cast<float>(i) + 1.0f;
      x[n] = kFloatNaN;
      float min_val, max_val;
      bool finite = false;
      RowMinMax(x.data(), n, &min_val, &max_val, &finite);
      EXPECT_TRUE(finite);
      EXPECT_EQ(min_val, 1.0f);
      EXPECT_EQ(max_val, static_cast<float>(n));
    }
  });
}

TEST(FakeQuantizeKernelsTest, ApplyMaskIsAProduct) {
  std::vector<float> grad = {1.5f, -2.0f, kFloatInfinity, -3.0f, 0.0f, kFloatInfinity, 9.0f};
  const std::vector<uint8_t> mask = {1, 0, 0, 1, 0, 1, 0};
  ApplyMask(mask.data(), 6, grad.data());
  EXPECT_TRUE(std::isnan(grad[2]));
  grad[2] = 0.0f;
  EXPECT_EQ(BitsOf(grad), BitsOf({1.5f, -0.0f, 0.0f, -3.0f, 0.0f, kFloatInfinity, 9.0f}));
}

}  // namespace
}  // namespace eqat::quant::kernels
