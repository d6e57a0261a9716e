#include "formats/source_table.h"

#include <cmath>
#include <limits>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/formats/export_models.h"
#include "tests/support/status_matchers.h"

namespace eqat::formats {
namespace {

using quant::Deploy;
using quant::Dtype;
using ::testing::AllOf;
using testing::BitsOf;
using testing::ConfigFor;
using ::testing::HasSubstr;
using testing::Matrix;
using testing::StatusIs;

const quant::DeployTraits& Traits(Deploy deploy, Dtype dtype) { return *quant::FindDeploy(deploy, dtype); }

Matrix ValuesOf(const SourceTable& table) {
  Matrix values(table.rows(), table.cols());
  table.Read(0, table.rows(), values.mutable_view());
  return values;
}

TEST(SourceTableTest, FloatTablesAreReadAsTheyAreLookedUp) {
  const Matrix weight = testing::MatrixOfValues(2, 2, {3, 4, 0.3f, 0.4f});
  nn::EmbeddingBagOptions options;
  options.max_norm = 1.0;
  options.padding_idx = 1;
  const model::Module module = testing::MakeFloat<testing::EmbeddingBagFamily>(weight, options);
  const SourceTable table("item", module);
  EXPECT_EQ(table.ValueText(), "float32");
  EXPECT_TRUE(table.is_bag());
  EXPECT_EQ(table.options().padding_idx, 1);
  const Matrix values = ValuesOf(table);
  EXPECT_NEAR(values.Row(0)[0], 0.6f, 1e-6f);  // renormalized
  EXPECT_EQ(values.Row(1)[1], 0.4f);
  EXPECT_EQ(std::get<nn::EmbeddingBag>(module).weight().Row(0)[0], 3.0f);  // not what is stored
}

TEST(SourceTableTest, QuantizedTablesAreReadByRows) {
  const Matrix weight = testing::RandomMatrix(40, 5, 1);
  const model::Module module = testing::PackedTable(weight, ConfigFor(Dtype::kQUInt4x2));
  const SourceTable table("item", module);
  EXPECT_EQ(table.ValueText(), "quint4x2");
  const Matrix all = ValuesOf(table);
  Matrix part(3, 5);
  table.Read(7, 10, part.mutable_view());
  EXPECT_EQ(BitsOf(part.values), BitsOf(std::vector<float>(all.Row(7), all.Row(10))));
}

TEST(RequantizeTest, ATableTrainedForTheFormatIsUsedAsItIs) {
  const quant::DeployTraits& deploy = Traits(Deploy::kTorch, Dtype::kQUInt4x2);
  const model::Module module =
      testing::PackedTable(testing::RandomMatrix(9, 6, 1), ConfigFor(Dtype::kQUInt4x2, Deploy::kTorch));
  const SourceTable table("item", module);
  EXPECT_EQ(table.ValueText(), "quint4x2 for torch");
  EQAT_ASSERT_OK_AND_ASSIGN(const Requantized same, Requantize(table, deploy));
  EXPECT_EQ(&*same, table.quantized());
  EXPECT_EQ(same.errors.differing, 0);
  EXPECT_EQ(same.errors.values, 54);
  // The same arithmetic under another name makes the same codes.
  EQAT_ASSERT_OK_AND_ASSIGN(const Requantized again, Requantize(table, Traits(Deploy::kTorch, Dtype::kQUInt8)));
  EXPECT_NE(&*again, table.quantized());
}

TEST(RequantizeTest, CountsWhatItChanges) {
  const Matrix weight = testing::RandomMatrix(300, 33, 2);
  const model::Module module = testing::MakeFloat<testing::EmbeddingFamily>(weight, {});
  EQAT_ASSERT_OK_AND_ASSIGN(const Requantized made,
                            Requantize(SourceTable("item", module), Traits(Deploy::kFbgemmHalf, Dtype::kQUInt4x2)));
  std::vector<int64_t> rows(300);
  for (int64_t row = 0; row < 300; ++row) rows[row] = row;
  Matrix values(300, 33);
  made->DequantizeRows(rows, values.mutable_view());
  ValueErrors expected;
  for (size_t i = 0; i < values.values.size(); ++i) expected.Add(weight.values[i], values.values[i]);
  EXPECT_EQ(made.errors.values, 300 * 33);
  EXPECT_EQ(made.errors.differing, expected.differing);
  EXPECT_EQ(made.errors.largest, expected.largest);
  EXPECT_NEAR(made.errors.root_mean_square(), expected.root_mean_square(), 1e-12);
  EXPECT_GT(made.errors.largest, 0.0);
}

TEST(RequantizeTest, NamesWhatDoesNotFit) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const auto requantize = [](const Matrix& weight, const quant::DeployTraits& deploy) {
    const model::Module module = testing::MakeFloat<testing::EmbeddingFamily>(weight, {});
    return Requantize(SourceTable("item", module), deploy).status();
  };
  const auto invalid = absl::StatusCode::kInvalidArgument;
  EXPECT_THAT(
      requantize(testing::MatrixOfValues(2, 2, {1, 2, 3, nan}), Traits(Deploy::kTorch, Dtype::kQUInt8)),
      StatusIs(invalid, AllOf(HasSubstr("item: row 1: does not fit into torch"), HasSubstr("nan at column 1"))));
  EXPECT_THAT(requantize(testing::MatrixOfValues(1, 2, {1, 1e6f}), Traits(Deploy::kTorch, Dtype::kQUInt4x2)),
              StatusIs(invalid, AllOf(HasSubstr("item: row 0"), HasSubstr("1 to 1e+06"))));
  EXPECT_THAT(
      requantize(testing::MatrixOfValues(1, 3, {1, 2, 3}), Traits(Deploy::kTorch, Dtype::kQUInt4x2)),
      StatusIs(invalid, HasSubstr("item: deploy: torch cannot hold rows of this width (got 3 columns, expected a "
                                  "multiple of 2)")));
}

TEST(ValueErrorsTest, ZerosOfBothSignsAreEqual) {
  ValueErrors errors;
  errors.Add(0.0f, -0.0f);
  EXPECT_EQ(errors.differing, 0);
  errors.Add(1.0f, 3.0f);
  errors.Add(1.0f, 1.0f);
  EXPECT_EQ(errors.values, 3);
  EXPECT_EQ(errors.largest, 2.0);
  EXPECT_NEAR(errors.root_mean_square(), std::sqrt(4.0 / 3.0), 1e-15);
}

}  // namespace
}  // namespace eqat::formats
