// Values for the tests of this folder: bit patterns of tests/golden, small tables, comparisons.
#ifndef EQAT_TESTS_FLOAT_MODULES_GOLDEN_VALUES_H_
#define EQAT_TESTS_FLOAT_MODULES_GOLDEN_VALUES_H_

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <utility>
#include <vector>

#include "absl/types/span.h"
#include "core/rng.h"
#include "core/table.h"
#include "core/tensor.h"
#include "gtest/gtest.h"

namespace eqat::testing {

inline std::vector<float> FloatsOf(const std::vector<uint32_t>& bits) {
  std::vector<float> values;
  for (const uint32_t b : bits) values.push_back(std::bit_cast<float>(b));
  return values;
}

// For exact comparison: tells -0 from 0 and NaNs apart.
inline std::vector<uint32_t> BitsOf(absl::Span<const float> values) {
  std::vector<uint32_t> bits;
  for (const float v : values) bits.push_back(std::bit_cast<uint32_t>(v));
  return bits;
}

inline std::vector<uint32_t> BitsOf(const Table& table) {
  return BitsOf(absl::MakeConstSpan(table.data(), table.rows() * table.cols()));
}

inline Table TableOf(int64_t rows, int64_t cols, const std::vector<float>& values) {
  EXPECT_EQ(static_cast<int64_t>(values.size()), rows * cols);
  return *Table::CopyOf(TableView(values.data(), rows, cols));
}

inline Tensor TensorOf(std::vector<int64_t> shape, std::vector<float> values) {
  Tensor tensor(std::move(shape));
  EXPECT_EQ(tensor.values.size(), values.size());
  tensor.values = std::move(values);
  return tensor;
}

inline std::vector<float> RandomFloats(int64_t count, uint64_t stream) {
  const Rng rng(7, stream);
  std::vector<float> values(count);
  for (int64_t i = 0; i < count; ++i) values[i] = rng.Normal(i);
  return values;
}

inline Tensor RandomTensor(std::vector<int64_t> shape, uint64_t stream) {
  Tensor tensor(std::move(shape));
  tensor.values = RandomFloats(tensor.size(), stream);
  return tensor;
}

inline std::vector<int64_t> RandomIndices(int64_t count, int64_t num_embeddings, uint64_t stream) {
  const Rng rng(11, stream);
  std::vector<int64_t> indices(count);
  for (int64_t i = 0; i < count; ++i) indices[i] = static_cast<int64_t>(rng.Below(i, num_embeddings));
  return indices;
}

// Steps of float32 between two values of the same sign.
inline int64_t UlpsBetween(float a, float b) {
  return std::abs(static_cast<int64_t>(std::bit_cast<int32_t>(a)) - std::bit_cast<int32_t>(b));
}

inline void ExpectWithinUlps(absl::Span<const float> actual, absl::Span<const float> expected, int64_t ulps) {
  ASSERT_EQ(actual.size(), expected.size());
  for (size_t i = 0; i < actual.size(); ++i) {
    EXPECT_LE(UlpsBetween(actual[i], expected[i]), ulps) << i << ": " << actual[i] << " and " << expected[i];
  }
}

// |actual - expected| <= absolute + relative * |expected|
inline void ExpectClose(absl::Span<const float> actual, absl::Span<const float> expected, double relative,
                        double absolute) {
  ASSERT_EQ(actual.size(), expected.size());
  for (size_t i = 0; i < actual.size(); ++i) {
    EXPECT_NEAR(actual[i], expected[i], absolute + relative * std::abs(expected[i])) << "element " << i;
  }
}

// sum of a[i] * b[i] in double: a loss whose gradient with respect to `a` is `b`.
inline double Loss(absl::Span<const float> a, absl::Span<const float> b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += static_cast<double>(a[i]) * b[i];
  return sum;
}

// Checks gradient[i] against the central difference of loss() over values[i] +- step.
template <typename LossFunction>
void ExpectGradient(std::vector<float>& values, absl::Span<const float> gradient, float step, double tolerance,
                    LossFunction loss) {
  ASSERT_EQ(values.size(), gradient.size());
  for (size_t i = 0; i < values.size(); ++i) {
    const float value = values[i];
    values[i] = value + step;
    const double above = loss();
    const double up = static_cast<double>(values[i]) - value;
    values[i] = value - step;
    const double below = loss();
    const double down = static_cast<double>(value) - values[i];
    values[i] = value;
    EXPECT_NEAR(gradient[i], (above - below) / (up + down), tolerance) << "element " << i;
  }
}

}  // namespace eqat::testing

#endif  // EQAT_TESTS_FLOAT_MODULES_GOLDEN_VALUES_H_
