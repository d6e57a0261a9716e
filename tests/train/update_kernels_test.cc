#include "train/update_kernels.h"

#include <cmath>
#include <vector>

#include "core/rng.h"
#include "gtest/gtest.h"
#include "tests/support/float_bits.h"

namespace eqat::train {
namespace {

using ::eqat::testing::BitsOf;

std::vector<float> Random(uint64_t stream, int64_t n) {
  const Rng rng(11, stream);
  std::vector<float> values(n);
  for (int64_t i = 0; i < n; ++i) values[i] = rng.Normal(static_cast<uint64_t>(i));
  return values;
}
std::vector<float> RandomPositive(uint64_t stream, int64_t n) {
  std::vector<float> values = Random(stream, n);
  for (float& value : values) value *= value;
  return values;
}

constexpr int64_t kWidths[] = {0, 1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 33, 64, 65, 1000};

// Calls update(n, grad, w, a, b) on a whole stretch and element by element: vectors must change no bit, nor anything
// behind the end.
template <typename Update>
void ExpectElementwise(const Update& update) {
  for (const int64_t n : kWidths) {
    for (const int64_t shift : {0, 1, 3}) {  // alignment
      SCOPED_TRACE(::testing::Message() << "n " << n << " shift " << shift);
      const std::vector<float> grad = Random(1, n + 8);
      std::vector<float> w = Random(2, n + 8), a = RandomPositive(3, n + 8), b = RandomPositive(4, n + 8);
      std::vector<float> w1 = w, a1 = a, b1 = b;
      update(n, grad.data() + shift, w.data() + shift, a.data() + shift, b.data() + shift);
      for (int64_t i = shift; i < shift + n; ++i)
        update(1, grad.data() + i, w1.data() + i, a1.data() + i, b1.data() + i);
      EXPECT_EQ(BitsOf(w), BitsOf(w1));
      EXPECT_EQ(BitsOf(a), BitsOf(a1));
      EXPECT_EQ(BitsOf(b), BitsOf(b1));
    }
  }
}

TEST(UpdateKernelsTest, WidthAndAlignmentDoNotMatter) {
  for (const float weight_decay : {0.0f, 0.01f}) {
    for (const bool nesterov : {false, true}) {
      const SgdFactors sgd = {
          .lr = 0.1f, .weight_decay = weight_decay, .momentum = 0.9f, .gradient_share = 0.7f, .nesterov = nesterov};
      ExpectElementwise([&](int64_t n, const float* g, float* w, float*, float*) { SgdUpdate(sgd, g, w, n); });
      ExpectElementwise(
          [&](int64_t n, const float* g, float* w, float* a, float*) { SgdMomentumUpdate(sgd, g, w, a, n); });
    }
    const AdagradFactors adagrad = {.lr = 0.1f, .weight_decay = weight_decay, .eps = 1e-10f};
    ExpectElementwise(
        [&](int64_t n, const float* g, float* w, float* a, float*) { AdagradUpdate(adagrad, g, w, a, n); });
    ExpectElementwise(
        [&](int64_t n, const float* g, float* w, float* a, float*) { SparseAdagradUpdate(adagrad, g, w, a, n); });
    const AdamFactors adam = {.beta1 = 0.9f,
                              .beta2 = 0.999f,
                              .one_minus_beta1 = 0.1f,
                              .one_minus_beta2 = 0.001f,
                              .step_size = 0.01f,
                              .sqrt_bias_correction2 = 0.3f,
                              .weight_decay = weight_decay,
                              .eps = 1e-8f};
    ExpectElementwise(
        [&](int64_t n, const float* g, float* w, float* a, float* b) { AdamUpdate(adam, g, w, a, b, n); });
    ExpectElementwise(
        [&](int64_t n, const float* g, float* w, float* a, float* b) { SparseAdamUpdate(adam, g, w, a, b, n); });
  }
}

// Against its formula in double. The mean of n squares carries at most n / 8 + 4 roundings of 2^-24 each.
TEST(UpdateKernelsTest, RowWiseAdagradFollowsItsFormula) {
  for (const int64_t n : kWidths) {
    if (n == 0) continue;
    SCOPED_TRACE(n);
    const std::vector<float> grad = Random(1, n);
    const std::vector<float> before = Random(2, n);
    std::vector<float> w = before;
    float sum = 0.25f;
    RowWiseAdagradUpdate({.lr = 0.1f, .eps = 1e-8f}, grad.data(), w.data(), &sum, n);
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
