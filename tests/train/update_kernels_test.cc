#include "train/update_kernels.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <vector>

#include "core/rng.h"
#include "gtest/gtest.h"
#include "tests/support/simd_targets.h"
#include "tests/support/special_floats.h"

namespace eqat::train {
namespace {

using ::eqat::testing::ForEachSimdTarget;
using ::eqat::testing::kFloatInfinity;

constexpr int64_t kWidths[] = {0, 1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 33, 64, 65, 300};
constexpr int64_t kTableRows = 24;
const std::vector<int64_t> kListed = {0, 2, 3, 4, 7, 8, 9, 11, 12, 13, 17, 18, 20, 22};

// Normal values with special ones among them.
std::vector<float> Random(uint64_t stream, int64_t n) {
  constexpr float kSpecial[] = {0.0f,   -0.0f,       1e-40f,         -1e-40f,        3e38f,
                                -3e38f, 0x1.0p-126f, kFloatInfinity, -kFloatInfinity};
  const Rng rng(11, stream);
  std::vector<float> values(n);
  for (int64_t i = 0; i < n; ++i) {
    const uint64_t choice = rng.Below(2 * i, 60);
    values[i] = choice < std::size(kSpecial) ? kSpecial[choice] : rng.Normal(2 * i + 1);
  }
  return values;
}
std::vector<float> RandomPositive(uint64_t stream, int64_t n) {
  std::vector<float> values = Random(stream, n);
  for (float& value : values) value *= value;
  return values;
}

// A parameter of kTableRows rows of n elements with two states, at an odd address.
struct Parameter {
  explicit Parameter(int64_t n)
      : w_memory(Random(2, kTableRows * n + 8)),
        a_memory(RandomPositive(3, w_memory.size())),
        b_memory(RandomPositive(4, w_memory.size())) {}
  float* w(int64_t at = 0) { return w_memory.data() + 1 + at; }
  float* a(int64_t at = 0) { return a_memory.data() + 3 + at; }
  float* b(int64_t at = 0) { return b_memory.data() + 1 + at; }
  std::vector<float> w_memory, a_memory, b_memory;
};

// The same bits; which NaN comes out is left open.
void ExpectSame(const std::vector<float>& actual, const std::vector<float>& expected) {
  ASSERT_EQ(actual.size(), expected.size());
  for (size_t i = 0; i < actual.size(); ++i) {
    if (std::isnan(actual[i]) && std::isnan(expected[i])) continue;
    ASSERT_EQ(std::bit_cast<uint32_t>(actual[i]), std::bit_cast<uint32_t>(expected[i])) << "at " << i;
  }
}
void ExpectSame(const Parameter& actual, const Parameter& expected) {
  ExpectSame(actual.w_memory, expected.w_memory);
  ExpectSame(actual.a_memory, expected.a_memory);
  ExpectSame(actual.b_memory, expected.b_memory);
}

// Calls update(stretches, w, a, b) on listed rows, on all rows and on one long stretch, and compares with
// reference(grad, w, a, b, n) row by row, also before and behind the rows. row_wise: a row has one element of state.
template <typename Update, typename Reference>
void ExpectReference(const Update& update, const Reference& reference, bool row_wise = false) {
  for (const int64_t n : kWidths) {
    SCOPED_TRACE(n);
    const int64_t state = row_wise ? 1 : n;
    const std::vector<float> memory = Random(1, kTableRows * n + 1);
    const float* const grad = memory.data() + 1;
    Parameter listed(n), all(n), one(n);
    for (size_t i = 0; i < kListed.size() && n > 0; ++i) {
      const int64_t row = kListed[i];
      reference(grad + i * n, listed.w(row * n), listed.a(row * state), listed.b(row * state), n);
    }
    for (int64_t row = 0; row < kTableRows && n > 0; ++row) {
      reference(grad + row * n, all.w(row * n), all.a(row * state), all.b(row * state), n);
    }
    if (n > 0) reference(grad, one.w(), one.a(), one.b(), row_wise ? n : kTableRows * n);
    ForEachSimdTarget([&] {
      Parameter p(n);
      update(Stretches{grad, n, kListed.data(), static_cast<int64_t>(kListed.size())}, p.w(), p.a(), p.b());
      ExpectSame(p, listed);
      p = Parameter(n);
      update(Stretches{grad, n, nullptr, kTableRows}, p.w(), p.a(), p.b());
      ExpectSame(p, all);
      p = Parameter(n);
      update(Stretches{grad, row_wise ? n : kTableRows * n}, p.w(), p.a(), p.b());
      ExpectSame(p, one);
    });
  }
}

TEST(UpdateKernelsTest, SgdEqualsTheReferenceOnEveryTarget) {
  for (const float weight_decay : {0.0f, 0.01f}) {
    for (const bool nesterov : {false, true}) {
      SCOPED_TRACE(::testing::Message() << "weight decay " << weight_decay << ", nesterov " << nesterov);
      const SgdFactors f = {
          .lr = 0.1f, .weight_decay = weight_decay, .momentum = 0.9f, .gradient_share = 0.7f, .nesterov = nesterov};
      ExpectReference([&](const Stretches& s, float* w, float*, float*) { SgdUpdate(f, s, w); },
                      [&](const float* g, float* w, float*, float*, int64_t n) { reference::SgdUpdate(f, g, w, n); });
      ExpectReference(
          [&](const Stretches& s, float* w, float* a, float*) { SgdMomentumUpdate(f, s, w, a); },
          [&](const float* g, float* w, float* a, float*, int64_t n) { reference::SgdMomentumUpdate(f, g, w, a, n); });
    }
  }
}

TEST(UpdateKernelsTest, AdagradEqualsTheReferenceOnEveryTarget) {
  for (const float weight_decay : {0.0f, 0.01f}) {
    SCOPED_TRACE(weight_decay);
    const AdagradFactors f = {.lr = 0.1f, .weight_decay = weight_decay, .eps = 1e-10f};
    ExpectReference(
        [&](const Stretches& s, float* w, float* a, float*) { AdagradUpdate(f, s, w, a); },
        [&](const float* g, float* w, float* a, float*, int64_t n) { reference::AdagradUpdate(f, g, w, a, n); });
    ExpectReference(
        [&](const Stretches& s, float* w, float* a, float*) { SparseAdagradUpdate(f, s, w, a); },
        [&](const float* g, float* w, float* a, float*, int64_t n) { reference::SparseAdagradUpdate(f, g, w, a, n); });
    ExpectReference(
        [&](const Stretches& s, float* w, float* a, float*) { RowWiseAdagradUpdate(f, s, w, a); },
        [&](const float* g, float* w, float* a, float*, int64_t n) { reference::RowWiseAdagradUpdate(f, g, w, a, n); },
        /*row_wise=*/true);
  }
}

TEST(UpdateKernelsTest, AdamEqualsTheReferenceOnEveryTarget) {
  for (const float weight_decay : {0.0f, 0.01f}) {
    SCOPED_TRACE(weight_decay);
    const AdamFactors f = {.beta1 = 0.9f,
                           .beta2 = 0.999f,
                           .one_minus_beta1 = 0.1f,
                           .one_minus_beta2 = 0.001f,
                           .step_size = 0.01f,
                           .sqrt_bias_correction2 = 0.3f,
                           .weight_decay = weight_decay,
                           .eps = 1e-8f};
    ExpectReference(
        [&](const Stretches& s, float* w, float* a, float* b) { AdamUpdate(f, s, w, a, b); },
        [&](const float* g, float* w, float* a, float* b, int64_t n) { reference::AdamUpdate(f, g, w, a, b, n); });
    ExpectReference([&](const Stretches& s, float* w, float* a, float* b) { SparseAdamUpdate(f, s, w, a, b); },
                    [&](const float* g, float* w, float* a, float* b, int64_t n) {
                      reference::SparseAdamUpdate(f, g, w, a, b, n);
                    });
  }
}

// Against its formula in double. The mean of n squares carries at most n / 8 + 4 roundings of 2^-24 each.
TEST(UpdateKernelsTest, RowWiseAdagradFollowsItsFormula) {
  for (const int64_t n : kWidths) {
    if (n == 0) continue;
    SCOPED_TRACE(n);
    const Rng rng(12, 1);
    std::vector<float> grad(n), before(n);
    for (int64_t i = 0; i < n; ++i) grad[i] = rng.Normal(2 * i), before[i] = rng.Normal(2 * i + 1);
    std::vector<float> w = before;
    float sum = 0.25f;
    RowWiseAdagradUpdate({.lr = 0.1f, .eps = 1e-8f}, {grad.data(), n}, w.data(), &sum);
    double squares = 0;
    for (const float g : grad) squares += static_cast<double>(g) * g;
    const double expected = 0.25 + squares / static_cast<double>(n);
    const double tolerance = (static_cast<double>(n) / 8 + 4) * 0x1p-24;
    EXPECT_NEAR(sum, expected, expected * tolerance);
    for (int64_t i = 0; i < n; ++i) {
      EXPECT_NEAR(w[i], before[i] - 0.1 * grad[i] / (std::sqrt(expected) + 1e-8),
                  (std::abs(grad[i]) + std::abs(before[i])) * (tolerance + 4 * 0x1p-24));
    }
  }
}

}  // namespace
}  // namespace eqat::train
