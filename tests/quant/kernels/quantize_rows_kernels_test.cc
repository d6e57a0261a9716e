#include "quant/kernels/quantize_rows_kernels.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "core/rng.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "quant/kernels/pack_kernels.h"
#include "tests/support/simd_targets.h"
#include "tests/support/special_floats.h"

namespace eqat::quant::kernels {
namespace {

using ::eqat::testing::kFloatInfinity;
using ::eqat::testing::kFloatNaN;

using eqat::testing::ForEachSimdTarget;

constexpr int64_t kGroupedRows = 37;  // groups of 16, 8 and 4 rows, and some that are left over
constexpr int64_t kMaxCols = 130;
constexpr float kLargest = std::numeric_limits<float>::max();
constexpr float kSmallest = std::numeric_limits<float>::denorm_min();

QParamsRule RuleOf(int bits) {
  QParamsRule rule;
  rule.quant_max = (1 << bits) - 1;
  return rule;
}

float UniformFloat(const Rng& rng, uint64_t position) { return static_cast<float>(rng.Uniform(position)); }

// Rows with NaN between them, none aligned to more than a float.
struct FloatRows {
  FloatRows(int64_t rows, int64_t cols)
      : stride(cols + 1 + cols % 3), shift(cols % 4), values(shift + rows * stride, kFloatNaN) {}
  float* Row(int64_t row) { return values.data() + shift + row * stride; }
  TableView View(int64_t rows, int64_t cols) { return TableView(Row(0), rows, cols, stride); }

  int64_t stride;
  int64_t shift;
  std::vector<float> values;
};

// Packed rows with bytes between and around them that must stay as they are; the codes start at any address.
struct PackedBuffer {
  PackedBuffer(int64_t rows, int64_t cols, int bits)
      : code_bytes((PackedRowBytes(cols, bits) + 7) / 4 * 4),
        stride(code_bytes + 12),
        memory((rows * stride + 64) / 4, 0x5A5A5A5A) {
    uint8_t* const bytes = reinterpret_cast<uint8_t*>(memory.data());
    out = {bytes + cols % 4, stride, bytes + code_bytes, stride};
  }

  int64_t code_bytes;
  int64_t stride;
  std::vector<uint32_t> memory;
  MutablePackedRows out;
};

// Kinds of rows by turns: ordinary values; one value; zeros of both signs; denormal; nothing negative, with zeros; far
// from zero for their range, where the clamp begins to matter; nearly the whole range of float32; two values.
void FillRow(int64_t row, const Rng& rng, float* values, int64_t cols) {
  const float size = std::ldexp(1.0f, static_cast<int>(rng.Below(row * 1000 + 999, 40)) - 20);
  const float offset = std::ldexp(1.0f + UniformFloat(rng, row * 1000 + 998), static_cast<int>(12 + row % 14));
  for (int64_t col = 0; col < cols; ++col) {
    const uint64_t position = row * 1000 + col;
    const float normal = rng.Normal(position);
    switch (row % 8) {
      case 0:
        values[col] = normal * size;
        break;
      case 1:
        values[col] = size;
        break;
      case 2:
        values[col] = rng.Below(position, 2) == 0 ? 0.0f : -0.0f;
        break;
      case 3:
        values[col] = static_cast<float>(static_cast<int64_t>(rng.Below(position, 2000)) - 700) * kSmallest;
        break;
      case 4:
        values[col] = rng.Below(position, 3) == 0 ? -0.0f : rng.Below(position, 3) == 1 ? 0.0f : std::abs(normal);
        break;
      case 5:
        values[col] = (row % 16 == 5 ? offset : -offset) + normal;
        break;
      case 6:
        values[col] = UniformFloat(rng, position) * kLargest - kLargest / 2;
        break;
      default:
        values[col] = rng.Below(position, 2) == 0 ? size : 1.5f * size;
    }
  }
}

FloatRows SomeRows(int64_t cols) {
  const Rng rng(5, cols);
  FloatRows rows(kGroupedRows, cols);
  for (int64_t row = 0; row < kGroupedRows; ++row) FillRow(row, rng, rows.Row(row), cols);
  return rows;
}

void ExpectOwnBoundsAsReference(FloatRows& rows, int64_t cols, const QParamsRule& rule, int bits) {
  PackedBuffer got(kGroupedRows, cols, bits);
  PackedBuffer want(kGroupedRows, cols, bits);
  const TableView x = rows.View(kGroupedRows, cols);
  ASSERT_EQ(QuantizeRowsByOwnBounds(x, rule, bits, got.out), kGroupedRows);
  ASSERT_EQ(reference::QuantizeRowsByOwnBounds(x, rule, bits, want.out), kGroupedRows);
  ASSERT_EQ(got.memory, want.memory) << "cols " << cols << " bits " << bits;
}

TEST(QuantizeRowsKernelsTest, OwnBoundsEqualReferenceOnEveryTarget) {
  ForEachSimdTarget([] {
    for (int64_t cols = 1; cols <= kMaxCols; ++cols) {
      FloatRows rows = SomeRows(cols);
      for (int bits = 1; bits <= 8; ++bits) ExpectOwnBoundsAsReference(rows, cols, RuleOf(bits), bits);
    }
  });
}

TEST(QuantizeRowsKernelsTest, OwnBoundsEqualReferenceForOtherRules) {
  std::vector<QParamsRule> rules(6, RuleOf(8));
  rules[0].quant_min = -128;
  rules[0].quant_max = 127;
  rules[1].quant_max = 100;
  rules[2].eps = 1.0f;  // replaces scales of rows whose values differ by many codes
  rules[3].eps = kSmallest;
  rules[4].quant_min = -3;
  rules[4].eps = 1e30f;
  rules[5].eps = 100.0f;  // and then by more than there are codes
  ForEachSimdTarget([&] {
    for (const int64_t cols : {1, 3, 16, 64, 77}) {
      FloatRows rows = SomeRows(cols);
      for (const QParamsRule& rule : rules) ExpectOwnBoundsAsReference(rows, cols, rule, 8);
    }
  });
}

// The largest ratio of offset to range at which codes are not clamped, and beyond: the ends of the rows decide.
TEST(QuantizeRowsKernelsTest, CodesStayInRangeHoweverFarTheRowIsFromZero) {
  constexpr int64_t kCols = 19;
  const Rng rng(6, 1);
  ForEachSimdTarget([&] {
    for (uint64_t trial = 0; trial < 200; ++trial) {
      FloatRows rows(kGroupedRows, kCols);
      for (int64_t row = 0; row < kGroupedRows; ++row) {
        const uint64_t position = (trial * kGroupedRows + row) * 64;
        const float low = std::ldexp(UniformFloat(rng, position) - 0.5f, static_cast<int>(rng.Below(position + 1, 60)));
        const float range = std::ldexp(std::abs(low) + 1e-30f, -static_cast<int>(rng.Below(position + 2, 24)));
        for (int64_t col = 0; col < kCols; ++col) {
          rows.Row(row)[col] =
              low + range * (col < 2 ? static_cast<float>(col) : UniformFloat(rng, position + col + 1));
        }
      }
      for (const int bits : {1, 2, 4, 8}) ExpectOwnBoundsAsReference(rows, kCols, RuleOf(bits), bits);
    }
  });
}

TEST(QuantizeRowsKernelsTest, ReportsTheFirstRowWithoutParameters) {
  constexpr int64_t kCols = 21;
  struct Case {
    float value;
    float other;
  };
  for (const Case& bad : {Case{kFloatNaN, 0.0f}, Case{-kFloatNaN, 0.0f}, Case{kFloatInfinity, 0.0f},
                          Case{-kFloatInfinity, 0.0f}, Case{kLargest, -kLargest}}) {
    ForEachSimdTarget([&] {
      for (int64_t row = 0; row < kGroupedRows; ++row) {
        FloatRows rows = SomeRows(kCols);
        for (const int64_t bad_row : {row, (row + kGroupedRows) / 2, kGroupedRows - 1}) {
          rows.Row(bad_row)[(row * 5) % kCols] = bad.value;
          rows.Row(bad_row)[(row * 5 + 1) % kCols] = bad.other;
        }
        PackedBuffer out(kGroupedRows, kCols, 8);
        ASSERT_EQ(QuantizeRowsByOwnBounds(rows.View(kGroupedRows, kCols), RuleOf(8), 8, out.out), row) << bad.value;
        ASSERT_EQ(reference::QuantizeRowsByOwnBounds(rows.View(kGroupedRows, kCols), RuleOf(8), 8, out.out), row)
            << bad.value;
      }
    });
  }
}

TEST(QuantizeRowsKernelsTest, ReportsAZeroPointThatOverflows) {
  constexpr int64_t kCols = 9;
  QParamsRule rule = RuleOf(8);
  rule.eps = -1.0f;  // keeps the scale 0 of a row of equal values
  FloatRows rows(kGroupedRows, kCols);
  for (int64_t row = 0; row < kGroupedRows; ++row) FillRow(8 * row, Rng(5, 0), rows.Row(row), kCols);
  std::fill_n(rows.Row(20), kCols, 1.0f);
  PackedBuffer out(kGroupedRows, kCols, 8);
  ForEachSimdTarget([&] {
    EXPECT_EQ(QuantizeRowsByOwnBounds(rows.View(kGroupedRows, kCols), rule, 8, out.out), 20);
    EXPECT_EQ(reference::QuantizeRowsByOwnBounds(rows.View(kGroupedRows, kCols), rule, 8, out.out), 20);
  });
}

TEST(QuantizeRowsKernelsTest, NoRowsAreNoFailure) {
  ForEachSimdTarget([] {
    EXPECT_EQ(QuantizeRowsByOwnBounds(TableView(nullptr, 0, 8), RuleOf(8), 8, MutablePackedRows()), 0);
    EXPECT_EQ(QuantizeRowsWithQParams(TableView(nullptr, 0, 8), nullptr, RuleOf(8), 8, MutablePackedRows()), 0);
  });
}

// Parameters that have nothing to do with the rows: most codes are clamped.
TEST(QuantizeRowsKernelsTest, GivenQParamsEqualReferenceOnEveryTarget) {
  constexpr QParams kSome[] = {{0.0123f, 141.66667f}, {0.3f, -13.421f},   {1.0f, -0.0f},
                               {1e-7f, 1e6f},         {1e-40f, 0.5f},     {1e38f, 1e-20f},
                               {0.0f, 0.0f},          {kSmallest, 3e38f}, {3e38f, 7.5f}};
  constexpr float kSpecial[] = {0x1p63f, -0x1p63f, 0x1.fffffep62f, kLargest, -kLargest, kSmallest, 255.5f};
  std::vector<QParams> qparams(kGroupedRows);
  for (int64_t row = 0; row < kGroupedRows; ++row) qparams[row] = kSome[row % std::size(kSome)];
  ForEachSimdTarget([&] {
    for (int64_t cols = 1; cols <= kMaxCols; ++cols) {
      FloatRows rows = SomeRows(cols);
      for (int64_t row = 0; row < kGroupedRows; ++row)
        rows.Row(row)[row % cols] = kSpecial[(row + cols) % std::size(kSpecial)];
      for (int bits = 1; bits <= 9; ++bits) {
        QParamsRule rule = RuleOf(std::min(bits, 8));
        if (bits == 9) rule.quant_min = -128, rule.quant_max = 127;
        PackedBuffer got(kGroupedRows, cols, std::min(bits, 8));
        PackedBuffer want(kGroupedRows, cols, std::min(bits, 8));
        ASSERT_EQ(
            QuantizeRowsWithQParams(rows.View(kGroupedRows, cols), qparams.data(), rule, std::min(bits, 8), got.out),
            kGroupedRows);
        ASSERT_EQ(reference::QuantizeRowsWithQParams(rows.View(kGroupedRows, cols), qparams.data(), rule,
                                                     std::min(bits, 8), want.out),
                  kGroupedRows);
        ASSERT_EQ(got.memory, want.memory) << "cols " << cols << " bits " << bits;
      }
    }
  });
}

TEST(QuantizeRowsKernelsTest, GivenQParamsReportTheFirstRowThatIsNotFinite) {
  const std::vector<QParams> qparams(kGroupedRows);
  for (const int64_t cols : {3, 16, 21, 64}) {
    for (const float bad : {kFloatNaN, -kFloatNaN, kFloatInfinity, -kFloatInfinity}) {
      ForEachSimdTarget([&] {
        for (int64_t row = 0; row < kGroupedRows; ++row) {
          FloatRows rows = SomeRows(cols);
          for (const int64_t bad_row : {row, (row + kGroupedRows) / 2}) rows.Row(bad_row)[row * 5 % cols] = bad;
          const TableView x = rows.View(kGroupedRows, cols);
          PackedBuffer out(kGroupedRows, cols, 4);
          ASSERT_EQ(QuantizeRowsWithQParams(x, qparams.data(), RuleOf(4), 4, out.out), row) << bad;
          ASSERT_EQ(reference::QuantizeRowsWithQParams(x, qparams.data(), RuleOf(4), 4, out.out), row) << bad;
        }
      });
    }
  }
}

// Ties of the code grid: one rounding of the sum, then to even.
TEST(QuantizeRowsKernelsTest, TiesGoToEvenAndTheSumIsRoundedOnce) {
  const float x[] = {0.5f, 1.5f, 2.5f, 3.5f, 255.5f, 254.5f, -0.5f, 7.0f};
  uint8_t codes[8];
  QParams stored;
  const MutablePackedRows out = {codes, 8, reinterpret_cast<uint8_t*>(&stored), 8};
  const QParams one = {1.0f, 0.0f};
  ForEachSimdTarget([&] {
    QuantizeRowsWithQParams(TableView(x, 1, 8), &one, RuleOf(8), 8, out);
    EXPECT_THAT(codes, ::testing::ElementsAre(0, 2, 2, 4, 255, 254, 0, 7));
  });
  // The values whose code depends on that, around the ties of another grid.
  const QParams params = {0.3f, 13.42105f};
  const Rng rng(7, 60);
  const float inverse = 1.0f / params.scale;
  std::vector<float> values;
  for (uint64_t i = 0; values.size() < 64; ++i) {
    const float tie = static_cast<float>((static_cast<double>(rng.Below(2 * i, 500)) / 2 - params.zero_point) * 0.3f);
    const float value =
        std::bit_cast<float>(std::bit_cast<int32_t>(tie) + static_cast<int32_t>(rng.Below(2 * i + 1, 5)) - 2);
    const float product = value * inverse;
    const float once = std::nearbyint(std::fma(value, inverse, params.zero_point));
    if (once != std::nearbyint(product + params.zero_point) && once >= 0.0f) values.push_back(value);
  }
  ForEachSimdTarget([&] {
    uint8_t got[64], want[64];
    QuantizeRowsWithQParams(TableView(values.data(), 1, 64), &params, RuleOf(8), 8, {got, 64, out.params, 8});
    reference::QuantizeRowsWithQParams(TableView(values.data(), 1, 64), &params, RuleOf(8), 8,
                                       {want, 64, out.params, 8});
    EXPECT_EQ(std::memcmp(got, want, 64), 0);
  });
}

}  // namespace
}  // namespace eqat::quant::kernels
