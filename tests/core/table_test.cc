#include "core/table.h"

#include <algorithm>
#include <cstdint>
#include <limits>
#include <memory>
#include <utility>
#include <vector>

#include "tests/support/status_matchers.h"

namespace eqat {
namespace {

using ::eqat::testing::StatusIs;
using ::testing::HasSubstr;

bool IsAligned(const Table& table) { return reinterpret_cast<uintptr_t>(table.data()) % 64 == 0; }

TEST(TableZeros, IsZeroAndAlignedAtEverySize) {
  // The last two lie on both sides of the size from which memory is mapped.
  for (const auto& [rows, cols] :
       std::vector<std::pair<int64_t, int64_t>>{{1, 1}, {7, 5}, {1 << 13, 63}, {1 << 13, 65}}) {
    SCOPED_TRACE(::testing::Message() << rows << " x " << cols);
    EQAT_ASSERT_OK_AND_ASSIGN(const Table table, Table::Zeros(rows, cols));
    EXPECT_EQ(table.rows(), rows);
    EXPECT_EQ(table.cols(), cols);
    EXPECT_TRUE(IsAligned(table));
    EXPECT_TRUE(std::all_of(table.data(), table.data() + rows * cols, [](float x) { return x == 0.0f; }));
  }
}

TEST(TableZeros, AllowsNoRowsAndNoColumns) {
  EQAT_ASSERT_OK_AND_ASSIGN(const Table no_rows, Table::Zeros(0, 5));
  EXPECT_EQ(no_rows.cols(), 5);
  EQAT_ASSERT_OK_AND_ASSIGN(const Table no_cols, Table::Zeros(5, 0));
  EXPECT_EQ(no_cols.rows(), 5);
  EQAT_ASSERT_OK_AND_ASSIGN(const Table copy, no_cols.Clone());
  EXPECT_EQ(copy.rows(), 5);
}

TEST(TableZeros, TouchesNoMemoryBeforeItsUse) {
  // 64 GiB: more than the test machine need have. Refused or granted, it must come back at once.
  const absl::StatusOr<Table> table = Table::Zeros(int64_t{1} << 28, 64);
  if (table.ok()) {
    EXPECT_EQ(table->Row((int64_t{1} << 28) - 1)[63], 0.0f);
  } else {
    EXPECT_THAT(table, StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("[268435456, 64]")));
  }
}

TEST(TableZeros, RefusesImpossibleSizes) {
  EXPECT_THAT(Table::Zeros(-1, 5), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("[-1, 5]")));
  EXPECT_THAT(Table::Zeros(5, -1), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("[5, -1]")));
  constexpr int64_t kMax = std::numeric_limits<int64_t>::max();
  EXPECT_THAT(Table::Zeros(kMax, 2), StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("64 bits")));
  EXPECT_THAT(Table::Zeros(kMax / 2, 2), StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("64 bits")));
  EXPECT_THAT(Table::Zeros(kMax / 8, 2), StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("memory")));
}

TEST(TableCopyOf, CopiesStridedRows) {
  std::vector<float> values = {1, 2, 3, 99, 4, 5, 6, 99};
  EQAT_ASSERT_OK_AND_ASSIGN(const Table copy, Table::CopyOf(TableView(values.data(), 2, 3, 4)));
  EXPECT_EQ(std::vector<float>(copy.data(), copy.data() + 6), (std::vector<float>{1, 2, 3, 4, 5, 6}));
}

TEST(TableCopyOf, CopiesManyBlocks) {
  EQAT_ASSERT_OK_AND_ASSIGN(Table table, Table::Zeros(20'011, 33));
  for (int64_t i = 0; i < table.rows() * table.cols(); ++i) table.data()[i] = static_cast<float>(i);
  EQAT_ASSERT_OK_AND_ASSIGN(const Table copy, table.Clone());
  EXPECT_NE(copy.data(), table.data());
  EXPECT_TRUE(std::equal(table.data(), table.Row(table.rows()), copy.data()));
}

TEST(TableAdopt, UsesMemoryInPlaceAndReleasesItOnce) {
  const auto values = std::make_shared<std::vector<float>>(std::vector<float>{1, 2, 3, 4});
  {
    const Table table = Table::Adopt(values->data(), 2, 2, values);
    EXPECT_EQ(table.Row(1), values->data() + 2);
    EXPECT_EQ(values.use_count(), 2);
  }
  EXPECT_EQ(values.use_count(), 1);
}

TEST(TableMove, EmptiesTheSource) {
  const auto values = std::make_shared<std::vector<float>>(std::vector<float>{1, 2, 3, 4});
  Table source = Table::Adopt(values->data(), 2, 2, values);
  Table moved(std::move(source));
  EXPECT_EQ(source.data(), nullptr);  // NOLINT: the state after a move is part of the contract
  EXPECT_EQ(source.rows(), 0);
  EXPECT_EQ(source.cols(), 0);
  EXPECT_EQ(moved.data(), values->data());

  Table target = *Table::Zeros(3, 3);
  target = std::move(moved);
  EXPECT_EQ(target.data(), values->data());
  EXPECT_EQ(moved.data(), nullptr);  // NOLINT
  EXPECT_EQ(moved.rows(), 0);
  EXPECT_EQ(values.use_count(), 2);
  target = Table();
  EXPECT_EQ(values.use_count(), 1);
}

}  // namespace
}  // namespace eqat
