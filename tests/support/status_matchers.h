// IsOk, IsOkAndHolds, StatusIs for absl::Status and absl::StatusOr, with the names of absl/status/status_matchers.h,
// which the packaged Abseil lacks.
#ifndef EQAT_TESTS_SUPPORT_STATUS_MATCHERS_H_
#define EQAT_TESTS_SUPPORT_STATUS_MATCHERS_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace eqat::testing {

inline const absl::Status& StatusOf(const absl::Status& status) { return status; }
template <typename T>
const absl::Status& StatusOf(const absl::StatusOr<T>& status_or) {
  return status_or.status();
}

MATCHER(IsOk, "is OK") {
  *result_listener << StatusOf(arg).ToString();
  return StatusOf(arg).ok();
}

// StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("row 3"))
MATCHER_P2(StatusIs, code, message_matcher, "") {
  *result_listener << StatusOf(arg).ToString();
  return StatusOf(arg).code() == code &&
         ::testing::ExplainMatchResult(message_matcher, std::string(StatusOf(arg).message()), result_listener);
}

}  // namespace eqat::testing

#define EQAT_ASSERT_OK(expression) ASSERT_THAT((expression), ::eqat::testing::IsOk())
#define EQAT_EXPECT_OK(expression) EXPECT_THAT((expression), ::eqat::testing::IsOk())
#define EQAT_TEST_CONCAT_INNER(a, b) a##b
#define EQAT_TEST_CONCAT(a, b) EQAT_TEST_CONCAT_INNER(a, b)
#define EQAT_ASSERT_OK_AND_ASSIGN(declaration, expression) \
  EQAT_ASSERT_OK_AND_ASSIGN_INNER(EQAT_TEST_CONCAT(eqat_test_status_or_, __LINE__), declaration, expression)
#define EQAT_ASSERT_OK_AND_ASSIGN_INNER(name, declaration, expression) \
  auto name = (expression);                                            \
  ASSERT_TRUE(name.ok()) << name.status();                             \
  declaration = *std::move(name)

#endif  // EQAT_TESTS_SUPPORT_STATUS_MATCHERS_H_
