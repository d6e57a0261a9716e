#include "quant/deploy_arithmetic.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/float16.h"
#include "core/rng.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/float_bits.h"

namespace eqat::quant {
namespace {

using ::testing::ElementsAre;

struct Quantized {
  std::vector<float> y;
  std::vector<uint8_t> mask;
  std::vector<int32_t> codes;
  std::vector<QParams> params;
};

std::string NameOf(const DeployTraits& traits) { return absl::StrCat(traits.name, " ", traits.bits, " bits"); }

Quantized MakeQuantized(const DeployTraits& traits, const std::vector<float>& x) {
  Quantized result;
  result.y.resize(x.size());
  result.mask.resize(x.size());
  result.codes.resize(x.size());
  result.params.resize(traits.GroupsOf(static_cast<int64_t>(x.size())));
  EXPECT_TRUE(
      QuantizeDeployedRow(traits, x, {result.y.data(), result.mask.data(), result.codes.data(), result.params.data()}))
      << NameOf(traits);
  return result;
}

bool Fits(const DeployTraits& traits, const std::vector<float>& x) { return QuantizeDeployedRow(traits, x, {}); }

const DeployTraits& Traits(Deploy deploy, Dtype dtype) { return *FindDeploy(deploy, dtype); }

// Rows with everything a table may hold.
std::vector<float> RowOf(uint64_t seed, int64_t cols) {
  const Rng rng(seed, 7);
  std::vector<float> x(cols);
  const float scale = std::pow(10.0f, static_cast<float>(rng.Below(1000, 5)) - 3.0f);
  const float offset = rng.Below(1001, 3) == 0 ? 50.0f * rng.Normal(1002) : 0.0f;
  for (int64_t i = 0; i < cols; ++i) x[i] = scale * rng.Normal(i) + offset;
  switch (rng.Below(1003, 8)) {
    case 0:
      std::fill(x.begin(), x.end(), x[0]);
      break;
    case 1:
      std::fill(x.begin(), x.end(), rng.Below(1004, 2) == 0 ? 0.0f : -0.0f);
      break;
    case 2:
      for (float& value : x) value *= 1e-40f;
      break;
    case 3:
      for (float& value : x) value = std::clamp(value * 1e4f, -60000.0f, 60000.0f);
      break;
    default:
      break;
  }
  return x;
}

// The examples of torch.ops.quantized.embedding_bag_{byte,4bit}_prepack, PyTorch 1.13.0 (Debian 12).
TEST(DeployArithmeticTest, TorchsExamples) {
  const Quantized bytes = MakeQuantized(Traits(Deploy::kTorch, Dtype::kQUInt8), {10, 20});
  EXPECT_THAT(bytes.codes, ElementsAre(0, 255));
  EXPECT_EQ(std::bit_cast<uint32_t>(bytes.params[0].scale), 0x3d20a0a1u);
  EXPECT_EQ(bytes.params[0].zero_point, 10.0f);

  const Quantized nibbles = MakeQuantized(Traits(Deploy::kTorch, Dtype::kQUInt4x2), {0, 1, 2, 15});
  EXPECT_THAT(nibbles.codes, ElementsAre(0, 1, 2, 15));
  EXPECT_EQ(nibbles.params[0].scale, 1.0f);

  // A bias that float16 cannot hold: the range is taken from what it rounds to.
  const Quantized constant = MakeQuantized(Traits(Deploy::kTorch, Dtype::kQUInt4x2), {0.7f, 0.7f});
  EXPECT_THAT(constant.codes, ElementsAre(15, 15));
  EXPECT_EQ(constant.y[0], 0.70000041f);
  EXPECT_EQ(MakeQuantized(Traits(Deploy::kTorch, Dtype::kQUInt8), {0.7f, 0.7f}).y[0], 0.7f);
}

TEST(DeployArithmeticTest, GgufBlocksHaveTheirOwnScales) {
  std::vector<float> x(64, 0.0f);
  x[0] = 127.0f;
  x[32] = -254.0f;
  x[33] = 3.0f;
  const Quantized bytes = MakeQuantized(Traits(Deploy::kGgufQ8_0, Dtype::kQInt8), x);
  EXPECT_EQ(bytes.params[0].scale, 1.0f);
  EXPECT_EQ(bytes.params[1].scale, 2.0f);
  EXPECT_EQ(bytes.codes[0], 127);
  EXPECT_EQ(bytes.codes[32], -127);
  EXPECT_EQ(bytes.codes[33], 2);  // 1.5 to even

  // Q4_0: the largest magnitude gets code 0, whatever its sign; the other end is clipped.
  x[0] = 16.0f;
  x[1] = -16.0f;
  const Quantized nibbles = MakeQuantized(Traits(Deploy::kGgufQ4_0, Dtype::kQUInt4x2), x);
  EXPECT_EQ(nibbles.params[0].scale, -2.0f);
  EXPECT_EQ(nibbles.params[0].zero_point, 8.0f);
  EXPECT_EQ(nibbles.codes[0], 0);
  EXPECT_EQ(nibbles.y[0], 16.0f);
  EXPECT_EQ(nibbles.codes[1], 15);
  EXPECT_EQ(nibbles.y[1], -14.0f);
  EXPECT_EQ(nibbles.mask[0], 1);
  EXPECT_EQ(nibbles.mask[1], 0);
}

TEST(DeployArithmeticTest, OnnxZeroPointsAreCodes) {
  const Quantized row = MakeQuantized(Traits(Deploy::kOnnxQdq, Dtype::kQUInt8), {1.0f, 2.0f, 255.0f});
  EXPECT_EQ(row.params[0].zero_point, 0.0f);  // the range is widened to 0
  EXPECT_EQ(row.params[0].scale, 1.0f);
  EXPECT_THAT(row.codes, ElementsAre(1, 2, 255));
}

// What every format promises, for every width and row.
TEST(DeployArithmeticTest, CodesComeBackAsTheValuesThatWereTrained) {
  for (const DeployTraits& traits : kDeploys) {
    SCOPED_TRACE(NameOf(traits));
    const DtypeTraits& dtype = TraitsOf(DtypeOf(traits));
    for (uint64_t seed = 0; seed < 400; ++seed) {
      SCOPED_TRACE(seed);
      const int64_t cols = 1 + static_cast<int64_t>(Rng(seed, 8).Below(0, 130));
      const std::vector<float> x = RowOf(seed, cols);
      const Quantized row = MakeQuantized(traits, x);
      std::vector<float> again(cols);
      DequantizeDeployedRow(traits, row.codes.data(), row.params.data(), cols, again.data());
      ASSERT_EQ(eqat::testing::BitsOf(again), eqat::testing::BitsOf(row.y));
      for (const QParams& params : row.params) ASSERT_TRUE(AreDeployedParams(traits, params));
      for (int64_t i = 0; i < cols; ++i) {
        const float scale = std::abs(row.params[traits.group == 0 ? 0 : i / traits.group].scale);
        ASSERT_GE(row.codes[i], dtype.quant_min);
        ASSERT_LE(row.codes[i], dtype.quant_max);
        // Half a step where nothing was clipped; the slack is for the roundings of x * (1 / s), of the bias and of y.
        if (row.mask[i] == 0) continue;
        const double slack = 1e-3 * scale + 1e-6 * std::abs(x[i]) + 1e-8;
        ASSERT_LE(std::abs(static_cast<double>(row.y[i]) - x[i]), 0.5 * scale + slack) << i;
      }
    }
  }
}

TEST(DeployArithmeticTest, ValuesMayBeQuantizedInPlace) {
  for (const DeployTraits& traits : kDeploys) {
    std::vector<float> x = RowOf(3, 96);
    const Quantized row = MakeQuantized(traits, x);
    ASSERT_TRUE(QuantizeDeployedRow(traits, x, {.y = x.data()}));
    EXPECT_EQ(eqat::testing::BitsOf(x), eqat::testing::BitsOf(row.y)) << NameOf(traits);
  }
}

TEST(DeployArithmeticTest, WhatDoesNotFitIsRefused) {
  const float inf = std::numeric_limits<float>::infinity(), nan = std::numeric_limits<float>::quiet_NaN();
  const float max = std::numeric_limits<float>::max();
  for (const DeployTraits& traits : kDeploys) {
    SCOPED_TRACE(NameOf(traits));
    for (const float bad : {inf, -inf, nan}) EXPECT_FALSE(Fits(traits, {1.0f, bad, 2.0f}));
    EXPECT_FALSE(Fits(traits, {-max, max}));
    EXPECT_TRUE(Fits(traits, {-1.0f, 60000.0f}));
    // The second group of a row is looked at as the first.
    std::vector<float> row(64, 1.0f);
    row[63] = nan;
    EXPECT_FALSE(Fits(traits, row));
  }
  EXPECT_FALSE(Fits(Traits(Deploy::kTorch, Dtype::kQUInt4x2), {-1e5f, 0.0f}));  // a bias beyond float16
  EXPECT_FALSE(Fits(Traits(Deploy::kTorch, Dtype::kQUInt4x2), {0.0f, 1e6f}));   // a scale beyond it
  EXPECT_TRUE(Fits(Traits(Deploy::kTorch, Dtype::kQUInt8), {-1e30f, 1e30f}));
  EXPECT_FALSE(Fits(Traits(Deploy::kGgufQ8_0, Dtype::kQInt8), {1e7f}));
}

TEST(DeployArithmeticTest, ParametersOfFiles) {
  const DeployTraits& half = Traits(Deploy::kGgufQ4_1, Dtype::kQUInt4x2);
  EXPECT_TRUE(AreDeployedParams(half, {0.5f, -1.0f}));
  EXPECT_FALSE(AreDeployedParams(half, {0.1f, 0.0f}));  // no float16
  EXPECT_FALSE(AreDeployedParams(half, {1.0f, 0.1f}));
  EXPECT_FALSE(AreDeployedParams(half, {std::numeric_limits<float>::infinity(), 0.0f}));
  EXPECT_FALSE(AreDeployedParams(Traits(Deploy::kGgufQ8_0, Dtype::kQInt8), {0.5f, 1.0f}));
  EXPECT_FALSE(AreDeployedParams(Traits(Deploy::kGgufQ4_0, Dtype::kQUInt4x2), {0.5f, 0.0f}));
  const DeployTraits& onnx = Traits(Deploy::kOnnxQdq, Dtype::kQUInt4x2);
  EXPECT_TRUE(AreDeployedParams(onnx, {0.1f, 15.0f}));
  EXPECT_FALSE(AreDeployedParams(onnx, {0.1f, 16.0f}));
  EXPECT_FALSE(AreDeployedParams(onnx, {0.1f, 0.5f}));
  EXPECT_FALSE(AreDeployedParams(Traits(Deploy::kTorch, Dtype::kQUInt8), {-0.1f, 0.5f}));
}

}  // namespace
}  // namespace eqat::quant
