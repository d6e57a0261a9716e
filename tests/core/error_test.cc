#include "core/error.h"

#include "gtest/gtest.h"

namespace eqat {
namespace {

TEST(ErrorText, LeavesOutWhatIsEmpty) {
  EXPECT_EQ(ErrorText("item", "bad size", "3", "at least 4"), "item: bad size (got 3, expected at least 4)");
  EXPECT_EQ(ErrorText("item", "bad size", "3"), "item: bad size (got 3)");
  EXPECT_EQ(ErrorText("item", "bad size", "", "at least 4"), "item: bad size (expected at least 4)");
  EXPECT_EQ(ErrorText("item", "bad size"), "item: bad size");
  EXPECT_EQ(ErrorText("", "bad size", "3"), "bad size (got 3)");
}

TEST(Error, EachFunctionHasItsCode) {
  EXPECT_EQ(InvalidArgument("w", "x", "g", "e"), absl::InvalidArgumentError("w: x (got g, expected e)"));
  EXPECT_EQ(OutOfRange("w", "x", "g", "e"), absl::OutOfRangeError("w: x (got g, expected e)"));
  EXPECT_EQ(FailedPrecondition("w", "x", "g", "e"), absl::FailedPreconditionError("w: x (got g, expected e)"));
  EXPECT_EQ(NotFound("w", "x", "g", "e"), absl::NotFoundError("w: x (got g, expected e)"));
  EXPECT_EQ(DataLoss("w", "x", "g", "e"), absl::DataLossError("w: x (got g, expected e)"));
  EXPECT_EQ(ResourceExhausted("w", "x", "g", "e"), absl::ResourceExhaustedError("w: x (got g, expected e)"));
  EXPECT_EQ(Unimplemented("w", "x", "g", "e"), absl::UnimplementedError("w: x (got g, expected e)"));
}

TEST(AtPlace, PrefixesErrorsAndKeepsTheCode) {
  EXPECT_EQ(AtPlace("model.json", OutOfRange("item", "bad")), absl::OutOfRangeError("model.json: item: bad"));
  EXPECT_EQ(AtPlace("model.json", absl::OkStatus()), absl::OkStatus());
}

}  // namespace
}  // namespace eqat
