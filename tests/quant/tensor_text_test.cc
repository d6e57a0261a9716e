#include "quant/tensor_text.h"

#include <limits>

#include "gtest/gtest.h"

namespace eqat::quant {
namespace {

// FloatTensorText and IntTensorText are compared with torch in golden_test.cc. The numbers here are Python's repr.
TEST(TensorTextTest, ScalarsReadBackAsTheSameDouble) {
  EXPECT_EQ(ScalarText(0.0f), "0.0");
  EXPECT_EQ(ScalarText(-0.0f), "-0.0");
  EXPECT_EQ(ScalarText(2.0f), "2.0");
  EXPECT_EQ(ScalarText(-0.989000022f), "-0.9890000224113464");
  EXPECT_EQ(ScalarText(1e-4f), "9.999999747378752e-05");
  EXPECT_EQ(ScalarText(1e-3f), "0.0010000000474974513");
  EXPECT_EQ(ScalarText(1e15f), "999999986991104.0");
  EXPECT_EQ(ScalarText(3e16f), "3.000000081769267e+16");
  EXPECT_EQ(ScalarText(1e30f), "1.0000000150474662e+30");
  EXPECT_EQ(ScalarText(0x1p60f), "1.152921504606847e+18");
  EXPECT_EQ(ScalarText(std::numeric_limits<float>::infinity()), "inf");
  EXPECT_EQ(ScalarText(-std::numeric_limits<float>::infinity()), "-inf");
  EXPECT_EQ(ScalarText(std::numeric_limits<float>::quiet_NaN()), "nan");
}

}  // namespace
}  // namespace eqat::quant
