#include "core/rng.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "core/parallel_for.h"
#include "core/table.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"

namespace eqat {
namespace {

// Box and Muller with the C library's functions.
double NormalByLibrary(const Rng& rng, uint64_t position) {
  const double radius = std::sqrt(-2.0 * std::log(1.0 - rng.Uniform(2 * position)));
  return radius * std::cos(2.0 * 3.14159265358979323846 * rng.Uniform(2 * position + 1));
}

TEST(Rng, BitsAreSplitMix64) {
  // With this seed the key is 0, and positions 1, 2, 3 are the well-known first outputs of SplitMix64 from state 0.
  const Rng rng(0xe220a8397b1dcdafull, 0);
  EXPECT_EQ(rng.Bits(1), 0xe220a8397b1dcdafull);
  EXPECT_EQ(rng.Bits(2), 0x6e789e6aa1b965f4ull);
  EXPECT_EQ(rng.Bits(3), 0x06c45d188009454full);
}

TEST(Rng, SeedsAndStreamsDiffer) {
  EXPECT_EQ(Rng(7, 3).Bits(5), Rng(7, 3).Bits(5));
  EXPECT_NE(Rng(7, 3).Bits(5), Rng(8, 3).Bits(5));
  EXPECT_NE(Rng(7, 3).Bits(5), Rng(7, 4).Bits(5));
}

TEST(Rng, UniformIsEven) {
  const Rng rng(1, 2);
  constexpr int kDraws = 1 << 16;
  std::vector<int> counts(16);
  for (int i = 0; i < kDraws; ++i) {
    const double u = rng.Uniform(i);
    ASSERT_GE(u, 0.0);
    ASSERT_LT(u, 1.0);
    ++counts[static_cast<int>(u * 16)];
  }
  // Binomial with mean 4096 and standard deviation 62; six of them fail once in a billion seeds.
  for (const int count : counts) EXPECT_NEAR(count, kDraws / 16, 6 * 62);
}

TEST(Rng, BelowStaysBelow) {
  const Rng rng(1, 2);
  std::vector<int> counts(7);
  for (int i = 0; i < 7000; ++i) ++counts[rng.Below(i, 7)];
  for (const int count : counts) EXPECT_NEAR(count, 1000, 6 * 30);
  EXPECT_EQ(rng.Below(0, 1), 0u);
  EXPECT_LT(rng.Below(0, ~uint64_t{0}), ~uint64_t{0});
}

TEST(Rng, NormalIsBoxMuller) {
  const Rng rng(3, 4);
  double sum = 0.0;
  double sum_of_squares = 0.0;
  constexpr int kDraws = 200'000;
  for (int i = 0; i < kDraws; ++i) {
    const float x = rng.Normal(i);
    // Both are correct to about 1e-15; the float is half an ulp from it.
    const double exact = NormalByLibrary(rng, i);
    ASSERT_NEAR(x, exact, std::abs(exact) * 0x1.0p-24 + 2e-15) << i;
    sum += x;
    sum_of_squares += double{x} * x;
  }
  // Standard errors 1 / sqrt(n) and sqrt(2 / n), five of them.
  EXPECT_NEAR(sum / kDraws, 0.0, 5 * 0.00224);
  EXPECT_NEAR(sum_of_squares / kDraws, 1.0, 5 * 0.00317);
}

TEST(Rng, ValuesStayTheSameForever) {
  // Fixed by the first release: seeds in users' scripts must keep their meaning.
  const Rng rng(42, StreamOf("item.weight"));
  EXPECT_EQ(rng.Bits(0), 0x1a7d4d6770d85bafull);
  EXPECT_EQ(rng.Bits(1), 0x877245b9d67db279ull);
  EXPECT_EQ(rng.Normal(0), -0x1.d6a3eap-2f);
  EXPECT_EQ(rng.Normal(1), 0x1.fb99cap+0f);
}

TEST(StreamOf, IsFnv1a) {
  EXPECT_EQ(StreamOf(""), 0xcbf29ce484222325ull);
  EXPECT_EQ(StreamOf("a"), 0xaf63dc4c8601ec8cull);
  EXPECT_EQ(StreamOf("foobar"), 0x85944171f73967e8ull);
}

TEST(FillNormal, IsTheSameForAnyNumberOfThreadsAndStride) {
  const Rng rng(5, 6);
  std::vector<float> values(3000 * 18, -7.0f);
  for (const int threads : {1, 3}) {
    SCOPED_TRACE(threads);
    SetNumThreads(threads);
    std::fill(values.begin(), values.end(), -7.0f);
    FillNormal(rng, MutableTableView(values.data(), 3000, 17, 18));
    for (int64_t row = 0; row < 3000; ++row) {
      for (int64_t col = 0; col < 17; ++col) ASSERT_EQ(values[row * 18 + col], rng.Normal(row * 17 + col));
      ASSERT_EQ(values[row * 18 + 17], -7.0f);
    }
  }
  SetNumThreads(0);
}

}  // namespace
}  // namespace eqat
