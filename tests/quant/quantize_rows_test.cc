#include "quant/quantize_rows.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "core/parallel_for.h"
#include "core/rng.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "quant/kernels/pack_kernels.h"
#include "quant/types/qconfig.h"
#include "tests/support/special_floats.h"

namespace eqat::quant {
namespace {

using ::eqat::testing::kFloatInfinity;
using ::eqat::testing::kFloatNaN;
using ::testing::HasSubstr;

constexpr int64_t kBlockedRows = 1100;  // several blocks
constexpr int64_t kBlockedCols = 67;

WeightConfig ConfigOf(Dtype dtype, double averaging_constant) {
  WeightConfig config;
  config.observer.kind = ObserverKind::kMovingAveragePerChannelMinMax;
  config.observer.dtype = dtype;
  config.observer.qscheme = QScheme::kPerChannelAffineFloatQParams;
  config.observer.averaging_constant = averaging_constant;
  return config;
}

std::vector<float> RandomValues(int64_t n, uint64_t stream) {
  const Rng rng(9, stream);
  std::vector<float> values(n);
  for (int64_t i = 0; i < n; ++i) values[i] = rng.Normal(i) * (1.0f + static_cast<float>(i % 7));
  return values;
}

struct Packed {
  Packed(int64_t rows, int64_t cols, Dtype dtype)
      : code_stride(kernels::PackedRowBytes(cols, TraitsOf(dtype).bits)),
        codes(rows * code_stride, 0xA5),
        qparams(rows) {}
  MutablePackedRows out() {
    return {codes.data(), code_stride, reinterpret_cast<uint8_t*>(qparams.data()), sizeof(QParams)};
  }

  int64_t code_stride;
  std::vector<uint8_t> codes;
  std::vector<QParams> qparams;
};

// By the long way.
void ExpectAsEvaluated(const FakeQuantize& fake_quantize, TableView table, int64_t begin, TableView content,
                       const Packed& got) {
  std::vector<int64_t> rows(content.rows);
  std::iota(rows.begin(), rows.end(), begin);
  std::vector<int32_t> codes(content.rows * content.cols);
  Packed want(content.rows, content.cols, fake_quantize.config().observer.dtype);
  ASSERT_TRUE(
      fake_quantize.EvaluateContent(table, rows, content, MutableTableView(), codes.data(), want.qparams.data()).ok());
  for (int64_t i = 0; i < content.rows; ++i) {
    kernels::PackRow(codes.data() + i * content.cols, content.cols,
                     TraitsOf(fake_quantize.config().observer.dtype).bits, want.out().Codes(i));
    ASSERT_EQ(got.qparams[i].scale, want.qparams[i].scale) << "row " << i;
    ASSERT_EQ(got.qparams[i].zero_point, want.qparams[i].zero_point) << "row " << i;
  }
  ASSERT_EQ(got.codes, want.codes);
}

TEST(QuantizeRowsTest, GivesWhatEvaluationGives) {
  const std::vector<float> first = RandomValues(kBlockedRows * kBlockedCols, 1);
  const std::vector<float> second = RandomValues(kBlockedRows * kBlockedCols, 2);
  const TableView table(second.data(), kBlockedRows, kBlockedCols);
  for (const double constant : {1.0, 0.25}) {
    for (const Dtype dtype : {Dtype::kQUInt8, Dtype::kQUInt4x2, Dtype::kQUInt2x4, Dtype::kQInt8, Dtype::kUInt3}) {
      for (const bool frozen : {false, true}) {
        SCOPED_TRACE(::testing::Message() << TraitsOf(dtype).name << " " << constant << " frozen " << frozen);
        FakeQuantize fake_quantize = *FakeQuantize::Create(ConfigOf(dtype, constant));
        // Bounds of other values: with a history, or frozen, most codes of the second are clamped.
        const TableView before(first.data(), kBlockedRows, kBlockedCols);
        const std::vector<int64_t> rows = {0, 5, kBlockedRows - 1};
        std::vector<float> y(rows.size() * kBlockedCols);
        ASSERT_TRUE(fake_quantize.ForwardRows(before, rows, MutableTableView(y.data(), 3, kBlockedCols), nullptr).ok());
        ASSERT_TRUE(!frozen || fake_quantize.DisableObserver(&before).ok());
        Packed all(kBlockedRows, kBlockedCols, dtype);
        ASSERT_TRUE(QuantizeRows(fake_quantize, table, 0, kBlockedRows, all.out()).ok());
        ExpectAsEvaluated(fake_quantize, table, 0, table, all);

        constexpr int64_t kBegin = 300, kEnd = 1017;
        const TableView content(before.Row(40), kEnd - kBegin, kBlockedCols);
        Packed some(kEnd - kBegin, kBlockedCols, dtype);
        ASSERT_TRUE(QuantizeContent(fake_quantize, table, kBegin, content, some.out()).ok());
        ExpectAsEvaluated(fake_quantize, table, kBegin, content, some);
      }
    }
  }
}

TEST(QuantizeRowsTest, FollowsStrides) {
  const std::vector<float> values = RandomValues(40 * 20, 3);
  const TableView table(values.data(), 40, 13, 20);
  const FakeQuantize fake_quantize = *FakeQuantize::Create(ConfigOf(Dtype::kQUInt4x2, 1.0));
  Packed dense(40, 13, Dtype::kQUInt4x2);
  ASSERT_TRUE(QuantizeRows(fake_quantize, table, 0, 40, dense.out()).ok());
  ExpectAsEvaluated(fake_quantize, table, 0, table, dense);
  std::vector<uint32_t> memory(40 * 6 + 2, 0xA5A5A5A5);
  uint8_t* const bytes = reinterpret_cast<uint8_t*>(memory.data());
  ASSERT_TRUE(QuantizeRows(fake_quantize, table, 0, 40, {bytes + 1, 24, bytes + 12, 24}).ok());
  for (int64_t row = 0; row < 40; ++row) {
    EXPECT_TRUE(std::equal(bytes + 24 * row + 1, bytes + 24 * row + 8, dense.codes.begin() + 7 * row));
    EXPECT_EQ(reinterpret_cast<const QParams*>(bytes + 24 * row + 12)->scale, dense.qparams[row].scale);
    for (const int at : {0, 8, 11, 20, 23}) EXPECT_EQ(bytes[24 * row + at], 0xA5) << "row " << row << " byte " << at;
  }
}

TEST(QuantizeRowsTest, NamesTheFirstBadRowForAnyNumberOfThreads) {
  struct Case {
    double constant;
    bool frozen;
    float value;
    const char* message;
  };
  const float largest = std::numeric_limits<float>::max();
  for (const Case& bad : {Case{1.0, false, kFloatNaN, "row 618: holds a value that is not finite"},
                          Case{1.0, false, kFloatInfinity, "inf at column 7"},
                          Case{1.0, false, largest, "row 618: range of values overflows float32"},
                          Case{0.5, false, kFloatNaN, "row 618: holds a value that is not finite"},
                          Case{0.5, false, largest, "row 618: range of values overflows float32"},
                          Case{0.5, true, kFloatInfinity, "row 618: holds a value that is not finite"}}) {
    FakeQuantize fake_quantize = *FakeQuantize::Create(ConfigOf(Dtype::kQUInt8, bad.constant));
    if (bad.frozen) {
      const std::vector<float> good = RandomValues(kBlockedRows * kBlockedCols, 6);
      std::vector<float> y(good.size());
      const TableView before(good.data(), kBlockedRows, kBlockedCols);
      ASSERT_TRUE(fake_quantize.Forward(before, MutableTableView(y.data(), kBlockedRows, kBlockedCols), nullptr).ok());
      ASSERT_TRUE(fake_quantize.DisableObserver(&before).ok());
    }
    std::vector<float> values = RandomValues(kBlockedRows * kBlockedCols, 4);
    for (const int64_t row : {618, 619, 700, 1099}) {
      values[row * kBlockedCols + 8] = -largest;
      values[row * kBlockedCols + 7] = bad.value;
    }
    const TableView table(values.data(), kBlockedRows, kBlockedCols);
    for (const int threads : {1, 2, 5}) {
      SetNumThreads(threads);
      Packed packed(kBlockedRows, kBlockedCols, Dtype::kQUInt8);
      const absl::Status status = QuantizeRows(fake_quantize, table, 0, kBlockedRows, packed.out());
      EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
      EXPECT_THAT(std::string(status.message()), HasSubstr(bad.message));
      EXPECT_THAT(std::string(status.message()), HasSubstr("row 618:"));
      EXPECT_TRUE(QuantizeRows(fake_quantize, table, 0, 618, packed.out()).ok());
      EXPECT_THAT(std::string(QuantizeRows(fake_quantize, table, 619, 800, packed.out()).message()),
                  HasSubstr("row 619:"));
    }
    SetNumThreads(0);
  }
}

TEST(QuantizeRowsTest, RefusesWhatHasNoParameters) {
  const std::vector<float> values = RandomValues(12, 5);
  const TableView table(values.data(), 3, 4);
  Packed packed(3, 4, Dtype::kQUInt8);
  FakeQuantize never_observed = *FakeQuantize::Create(ConfigOf(Dtype::kQUInt8, 1.0));
  ASSERT_TRUE(never_observed.DisableObserver(&table).ok());
  EXPECT_EQ(QuantizeRows(never_observed, table, 0, 3, packed.out()).code(), absl::StatusCode::kFailedPrecondition);

  FakeQuantize observed = *FakeQuantize::Create(ConfigOf(Dtype::kQUInt8, 1.0));
  std::vector<float> y(12);
  ASSERT_TRUE(observed.Forward(table, MutableTableView(y.data(), 3, 4), nullptr).ok());
  EXPECT_THAT(std::string(QuantizeRows(observed, TableView(values.data(), 2, 4), 0, 2, packed.out()).message()),
              HasSubstr("number of rows has changed"));

  WeightConfig integers = ConfigOf(Dtype::kQUInt8, 1.0);
  integers.observer.qscheme = QScheme::kPerChannelAffine;
  const absl::Status status = QuantizeRows(*FakeQuantize::Create(integers), table, 0, 3, packed.out());
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("got per_channel_affine, expected per_channel_affine_float"));
}

TEST(QuantizeRowsTest, RowsWithoutColumnsGetTheParametersOfNothing) {
  const FakeQuantize fake_quantize = *FakeQuantize::Create(ConfigOf(Dtype::kQUInt8, 1.0));
  std::vector<QParams> qparams(3, {5.0f, 6.0f});
  const MutablePackedRows packed = {nullptr, 0, reinterpret_cast<uint8_t*>(qparams.data()), sizeof(QParams)};
  ASSERT_TRUE(QuantizeRows(fake_quantize, TableView(nullptr, 3, 0), 0, 3, packed).ok());
  for (const QParams& row : qparams) {
    EXPECT_EQ(row.scale, 1.0f);
    EXPECT_EQ(row.zero_point, 0.0f);
  }
}

}  // namespace
}  // namespace eqat::quant
