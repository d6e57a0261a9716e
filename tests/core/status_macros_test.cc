#include "core/status_macros.h"

#include <memory>

#include "gtest/gtest.h"

namespace eqat {
namespace {

absl::Status ReturnIfError(const absl::Status& status, bool* went_on) {
  EQAT_RETURN_IF_ERROR(status);
  *went_on = true;
  return absl::OkStatus();
}

TEST(ReturnIfErrorMacro, ReturnsErrorsOnly) {
  bool went_on = false;
  EXPECT_EQ(ReturnIfError(absl::NotFoundError("x"), &went_on), absl::NotFoundError("x"));
  EXPECT_FALSE(went_on);
  EXPECT_EQ(ReturnIfError(absl::OkStatus(), &went_on), absl::OkStatus());
  EXPECT_TRUE(went_on);
}

absl::StatusOr<int> SumOfBoth(absl::StatusOr<std::unique_ptr<int>> a, absl::StatusOr<int> b) {
  EQAT_ASSIGN_OR_RETURN(const std::unique_ptr<int> first, std::move(a));
  int second = 0;
  EQAT_ASSIGN_OR_RETURN(second, b);
  return *first + second;
}

TEST(AssignOrReturnMacro, MovesValuesAndReturnsErrors) {
  EXPECT_EQ(*SumOfBoth(std::make_unique<int>(3), 4), 7);
  EXPECT_EQ(SumOfBoth(absl::DataLossError("a"), 4).status(), absl::DataLossError("a"));
  EXPECT_EQ(SumOfBoth(std::make_unique<int>(3), absl::DataLossError("b")).status(), absl::DataLossError("b"));
}

}  // namespace
}  // namespace eqat
