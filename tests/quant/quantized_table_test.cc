#include "quant/quantized_table.h"

#include <memory>
#include <numeric>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/error.h"
#include "core/rng.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "quant/kernels/fake_quantize_kernels.h"
#include "quant/kernels/pack_kernels.h"
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

int32_t CodeAt(Dtype dtype, int64_t row, int64_t col) {
  const DtypeTraits& traits = TraitsOf(dtype);
  const uint64_t range = static_cast<uint64_t>(traits.quant_max - traits.quant_min) + 1;
  return traits.quant_min + static_cast<int32_t>(Rng(5, row).Below(col, range));
}

QParams QParamsAt(int64_t row) { return {0.01f * static_cast<float>(row + 1), 3.7f * static_cast<float>(row) - 20.0f}; }

absl::StatusOr<QuantizedTable> BuildTable(int64_t rows, int64_t cols, Dtype dtype) {
  return QuantizedTable::Build(rows, cols, dtype, [=](int64_t begin, int64_t end, int32_t* codes, QParams* qparams) {
    for (int64_t row = begin; row < end; ++row) {
      qparams[row - begin] = QParamsAt(row);
      for (int64_t col = 0; col < cols; ++col) codes[(row - begin) * cols + col] = CodeAt(dtype, row, col);
    }
    return absl::OkStatus();
  });
}

TEST(QuantizedTableTest, BuildKeepsEveryCodeOfEveryDtype) {
  constexpr int64_t kRows = 5000;  // several blocks
  for (const DtypeTraits& dtype : kDtypes) {
    SCOPED_TRACE(dtype.name);
    constexpr int64_t kCols = 11;
    EQAT_ASSERT_OK_AND_ASSIGN(const QuantizedTable table, BuildTable(kRows, kCols, dtype.dtype));
    EXPECT_EQ(table.rows(), kRows);
    EXPECT_EQ(table.cols(), kCols);
    EXPECT_EQ(table.row_bytes(), (kCols * dtype.bits + 7) / 8);
    EXPECT_EQ(table.bytes(), kRows * (table.row_bytes() + 8));
    std::vector<int32_t> codes(kCols);
    for (int64_t row = 0; row < kRows; ++row) {
      table.UnpackRow(row, codes.data());
      for (int64_t col = 0; col < kCols; ++col) ASSERT_EQ(codes[col], CodeAt(dtype.dtype, row, col)) << row;
      ASSERT_EQ(table.scale(row), QParamsAt(row).scale);
      ASSERT_EQ(table.zero_point(row), QParamsAt(row).zero_point);
    }
  }
}

TEST(QuantizedTableTest, DequantizesAsFakeQuantize) {
  // Wider than a piece of codes, and neither a multiple of a vector nor of a byte.
  for (const int64_t cols : {1, 64, 517}) {
    for (const DtypeTraits& dtype : kDtypes) {
      SCOPED_TRACE(dtype.name);
      EQAT_ASSERT_OK_AND_ASSIGN(const QuantizedTable table, BuildTable(40, cols, dtype.dtype));
      const std::vector<int64_t> rows = {39, 0, 7, 7, 20};
      std::vector<float> y(rows.size() * (cols + 3), -7.0f);
      table.DequantizeRows(rows, MutableTableView(y.data(), rows.size(), cols, cols + 3));
      std::vector<float> want(y.size(), -7.0f);
      for (size_t i = 0; i < rows.size(); ++i) {
        std::vector<int32_t> codes(cols);
        table.UnpackRow(rows[i], codes.data());
        const QParams qparams = QParamsAt(rows[i]);
        kernels::AffineParams params;
        params.scale = qparams.scale;
        params.zero_point = qparams.zero_point;
        kernels::reference::DequantizeRow(codes.data(), cols, params, want.data() + i * (cols + 3));
      }
      EXPECT_EQ(BitsOf(y), BitsOf(want));
    }
  }
}

TEST(QuantizedTableTest, SmallTablesOfFewBitsHoldTheirValues) {
  for (const DtypeTraits& dtype : kDtypes) {
    SCOPED_TRACE(dtype.name);
    EQAT_ASSERT_OK_AND_ASSIGN(const QuantizedTable table, BuildTable(4096, 2, dtype.dtype));
    const float* const values = table.packed_rows().values;
    ASSERT_EQ(values != nullptr, dtype.bits <= 4);
    if (values == nullptr) continue;
    for (int64_t i = 0; i < 4096 * PackedRows::kValues; ++i) {
      const QParams qparams = QParamsAt(i / PackedRows::kValues);
      const int64_t code = i % (1 << dtype.bits);
      ASSERT_EQ(values[i], static_cast<float>((static_cast<double>(code) - qparams.zero_point) * qparams.scale)) << i;
    }
  }
  EQAT_ASSERT_OK_AND_ASSIGN(const QuantizedTable larger, BuildTable(4097, 2, Dtype::kQUInt4x2));
  EXPECT_EQ(larger.packed_rows().values, nullptr);
  const auto memory = std::make_shared<std::vector<uint8_t>>(std::vector<uint8_t>{1, 2});
  EQAT_ASSERT_OK_AND_ASSIGN(const QuantizedTable in_place,
                            QuantizedTable::FromPacked(2, 1, Dtype::kQUInt4x2, *memory, memory, {1, 2}, {0, 1}));
  ASSERT_NE(in_place.packed_rows().values, nullptr);
  EXPECT_EQ(in_place.packed_rows().values[PackedRows::kValues], -2.0f);
}

TEST(QuantizedTableTest, BuildReturnsTheErrorOfTheLowestRows) {
  const auto result =
      QuantizedTable::Build(100000, 64, Dtype::kQUInt8, [](int64_t begin, int64_t end, int32_t*, QParams*) {
        if (end <= 50000) return absl::OkStatus();
        return InvalidArgument(absl::StrCat("row ", std::max<int64_t>(begin, 50000)), "bad");
      });
  EXPECT_THAT(result, StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("row 50000: bad")));
}

TEST(QuantizedTableTest, BuildRefusesBadParameters) {
  const auto result = QuantizedTable::Build(3, 2, Dtype::kQUInt8, [](int64_t begin, int64_t end, int32_t*, QParams* q) {
    for (int64_t row = begin; row < end; ++row) q[row - begin] = {row == 2 ? -1.0f : 1.0f, 0.0f};
    return absl::OkStatus();
  });
  EXPECT_THAT(result, StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("row 2: bad scale")));
}

TEST(QuantizedTableTest, OwnRowsHoldCodesThenParameters) {
  for (const DtypeTraits& dtype : kDtypes) {
    SCOPED_TRACE(dtype.name);
    EQAT_ASSERT_OK_AND_ASSIGN(const QuantizedTable table, BuildTable(3, 11, dtype.dtype));
    const PackedRows& packed = table.packed_rows();
    EXPECT_EQ(packed.rows, 3);
    EXPECT_EQ(packed.cols, 11);
    EXPECT_EQ(packed.bits, dtype.bits);
    EXPECT_EQ(packed.is_signed, dtype.dtype == Dtype::kQInt8);
    EXPECT_EQ(packed.params - packed.codes, (table.row_bytes() + 3) / 4 * 4);
    EXPECT_EQ(packed.code_stride, packed.params - packed.codes + 8);
    EXPECT_EQ(packed.param_stride, packed.code_stride);
  }
}

absl::Status FillNibbles(int64_t begin, int64_t end, const MutablePackedRows& packed) {
  for (int64_t row = begin; row < end; ++row) {
    packed.Codes(row - begin)[0] = static_cast<uint8_t>(row);
    packed.Codes(row - begin)[1] = 0x0f;
    packed.Params(row - begin) = QParamsAt(row);
  }
  return absl::OkStatus();
}

TEST(QuantizedTableTest, BuildPackedKeepsWhatIsFilledIn) {
  constexpr int64_t kRows = 20000;  // several blocks
  EQAT_ASSERT_OK_AND_ASSIGN(const QuantizedTable table,
                            QuantizedTable::BuildPacked(kRows, 3, Dtype::kQUInt4x2, FillNibbles));
  for (int64_t row = 0; row < kRows; ++row) {
    ASSERT_THAT(table.codes(row), ElementsAre(row % 256, 0x0f)) << row;
    ASSERT_EQ(table.scale(row), QParamsAt(row).scale);
    ASSERT_EQ(table.zero_point(row), QParamsAt(row).zero_point);
  }
}

TEST(QuantizedTableTest, BuildPackedRefusesTheLowestBadRow) {
  constexpr int64_t kRows = 20000;
  const auto build = [](auto spoil) {
    return QuantizedTable::BuildPacked(kRows, 3, Dtype::kQUInt4x2,
                                       [&](int64_t begin, int64_t end, const MutablePackedRows& packed) {
                                         EXPECT_TRUE(FillNibbles(begin, end, packed).ok());
                                         for (int64_t row = std::max<int64_t>(begin, 7000); row < end; ++row) {
                                           spoil(packed, row - begin);
                                         }
                                         return absl::OkStatus();
                                       });
  };
  EXPECT_THAT(build([](const MutablePackedRows& packed, int64_t i) { packed.Params(i).scale = kFloatNaN; }),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("row 7000: bad scale")));
  EXPECT_THAT(build([](const MutablePackedRows& packed, int64_t i) { packed.Params(i).zero_point = kFloatInfinity; }),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("row 7000: bad zero point")));
  EXPECT_THAT(build([](const MutablePackedRows& packed, int64_t i) { packed.Codes(i)[1] = 0x1f; }),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("row 7000: bits beyond the last column")));
}

absl::StatusOr<QuantizedTable> FromPacked(int64_t rows, int64_t cols, const std::vector<uint8_t>& codes,
                                          std::vector<float> scale, std::vector<float> zero_point) {
  return QuantizedTable::FromPacked(rows, cols, Dtype::kQUInt4x2, codes, nullptr, std::move(scale),
                                    std::move(zero_point));
}

TEST(QuantizedTableTest, FromPackedCopiesWithoutAKeeper) {
  std::vector<uint8_t> codes = {0x50, 0x0a, 0x21, 0x03};
  EQAT_ASSERT_OK_AND_ASSIGN(const QuantizedTable table, FromPacked(2, 3, codes, {1, 2}, {0, 5}));
  codes.assign(4, 0xff);
  std::vector<int32_t> row(3);
  table.UnpackRow(0, row.data());
  EXPECT_THAT(row, ElementsAre(0, 5, 10));
  table.UnpackRow(1, row.data());
  EXPECT_THAT(row, ElementsAre(1, 2, 3));
}

TEST(QuantizedTableTest, FromPackedUsesTheKeepersMemory) {
  auto memory = std::make_shared<std::vector<uint8_t>>(std::vector<uint8_t>{1, 2});
  const std::weak_ptr<std::vector<uint8_t>> alive = memory;
  {
    EQAT_ASSERT_OK_AND_ASSIGN(QuantizedTable table,
                              QuantizedTable::FromPacked(2, 1, Dtype::kQUInt8, *memory, memory, {1, 1}, {0, 0}));
    EXPECT_EQ(table.packed_rows().codes, memory->data());
    memory.reset();
    const QuantizedTable moved = std::move(table);
    EXPECT_FALSE(alive.expired());
    EXPECT_EQ(moved.codes(1)[0], 2);
  }
  EXPECT_TRUE(alive.expired());
}

TEST(QuantizedTableTest, FromPackedChecksSizes) {
  const auto invalid = [](const char* part) { return StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(part)); };
  EXPECT_THAT(FromPacked(2, 3, {0, 0, 0}, {1, 1}, {0, 0}), invalid("codes have the wrong size (got 3, expected 4)"));
  EXPECT_THAT(FromPacked(2, 3, {0, 0, 0, 0}, {1}, {0, 0}), invalid("scales have the wrong size"));
  EXPECT_THAT(FromPacked(2, 3, {0, 0, 0, 0}, {1, 1}, {0, 0, 0}), invalid("zero points have the wrong size"));
  EXPECT_THAT(FromPacked(-1, 3, {}, {}, {}), invalid("negative size"));
  EXPECT_THAT(FromPacked(int64_t{1} << 62, int64_t{1} << 4, {}, {}, {}),
              StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("size overflows")));
  EXPECT_THAT(FromPacked(1, int64_t{1} << 62, {}, {}, {}),
              StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("size overflows")));
}

TEST(QuantizedTableTest, FromPackedChecksParametersAndPaddingBits) {
  const auto invalid = [](const char* part) { return StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(part)); };
  const std::vector<uint8_t> codes = {0, 0, 0, 0};
  EXPECT_THAT(FromPacked(2, 3, codes, {1, kFloatNaN}, {0, 0}), invalid("row 1: bad scale"));
  EXPECT_THAT(FromPacked(2, 3, codes, {kFloatInfinity, 1}, {0, 0}), invalid("row 0: bad scale"));
  EXPECT_THAT(FromPacked(2, 3, codes, {1, -1}, {0, 0}), invalid("row 1: bad scale"));
  EXPECT_THAT(FromPacked(2, 3, codes, {1, 1}, {0, -kFloatInfinity}), invalid("row 1: bad zero point"));
  EXPECT_THAT(FromPacked(2, 3, {0, 0x0f, 0, 0x10}, {1, 1}, {0, 0}), invalid("row 1: bits beyond the last column"));
}

TEST(QuantizedTableTest, EmptyTables) {
  for (const int64_t rows : {0, 3}) {
    const int64_t cols = rows == 0 ? 4 : 0;
    EQAT_ASSERT_OK_AND_ASSIGN(const QuantizedTable table, BuildTable(rows, cols, Dtype::kQUInt4x2));
    EXPECT_EQ(table.bytes(), rows * 8);
    table.DequantizeRows({}, MutableTableView(nullptr, 0, cols));
  }
}

}  // namespace
}  // namespace eqat::quant
