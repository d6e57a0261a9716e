#include "float_modules/interaction_kernels.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "gmock/gmock.h"
#include "tests/float_modules/random_values.h"
#include "tests/support/naive_embedding.h"
#include "tests/support/simd_targets.h"

namespace eqat::nn {
namespace {

using ::eqat::testing::BitsOf;
using ::eqat::testing::ForEachSimdTarget;

constexpr float kUntouchedInteraction = 0x1.23456p7f;

// `count` features of `rows` rows that start at odd addresses; each call works on rows [begin, end).
struct Interaction {
  Interaction(int64_t count, int64_t rows, int64_t dim) : count(count), rows(rows), dim(dim) {
    for (int64_t i = 0; i < count; ++i) memory.push_back(RandomValues(static_cast<uint64_t>(i), rows * dim + 1));
    for (const std::vector<float>& values : memory) features.push_back(values.data() + 1);
  }

  std::vector<float> Dots(decltype(InteractRows)* interact, int64_t begin, int64_t end) const {
    std::vector<float> dots(rows * count * (count - 1) / 2 + 1, kUntouchedInteraction);
    interact(features, dim, begin, end, dots.data() + 1);
    return dots;
  }

  std::vector<float> Gradients(decltype(InteractRowsBackward)* interact, int64_t begin, int64_t end) const {
    const std::vector<float> g = RandomValues(99, rows * count * (count - 1) / 2 + 1);
    std::vector<float> all(count * rows * dim + 1, kUntouchedInteraction);
    std::vector<float*> gradients;
    for (int64_t i = 0; i < count; ++i) gradients.push_back(all.data() + 1 + i * rows * dim);
    interact(features, dim, g.data() + 1, begin, end, gradients);
    return all;
  }

  void ExpectReference(int64_t begin, int64_t end) const {
    SCOPED_TRACE(::testing::Message() << count << " features of " << dim << ", rows " << begin << " to " << end);
    ASSERT_EQ(BitsOf(Dots(InteractRows, begin, end)), BitsOf(Dots(InteractRowsReference, begin, end)));
    ASSERT_EQ(BitsOf(Gradients(InteractRowsBackward, begin, end)),
              BitsOf(Gradients(InteractRowsBackwardReference, begin, end)));
  }

  int64_t count, rows, dim;
  std::vector<std::vector<float>> memory;
  std::vector<const float*> features;
};

TEST(InteractionKernelsTest, EveryTargetEqualsTheReference) {
  ForEachSimdTarget([] {
    for (const int64_t count : {2, 3, 10}) {
      for (const int64_t dim : {1, 3, 4, 7, 8, 9, 16, 21, 40}) {
        const Interaction interaction(count, 21, dim);
        interaction.ExpectReference(0, 21);
        interaction.ExpectReference(3, 20);
        interaction.ExpectReference(5, 6);
        interaction.ExpectReference(7, 7);
      }
    }
  });
}

TEST(InteractionKernelsTest, RowsOfManyValues) {
  ForEachSimdTarget([] { Interaction(3, 16, 22000).ExpectReference(0, 16); });
}

TEST(InteractionKernelsTest, OtherRowsDoNotMatter) {
  ForEachSimdTarget([] {
    Interaction interaction(4, 16, 8);
    const std::vector<float> before = interaction.Dots(InteractRows, 0, 16);
    for (float& value : interaction.memory[0]) value = std::numeric_limits<float>::quiet_NaN();
    std::vector<float> row(interaction.memory[1].begin() + 1 + 5 * 8, interaction.memory[1].begin() + 1 + 6 * 8);
    std::copy(row.begin(), row.end(), interaction.memory[0].begin() + 1 + 5 * 8);
    const std::vector<float> after = interaction.Dots(InteractRows, 0, 16);
    for (int64_t lane = 0; lane < 16; ++lane) {
      // Pair 1 is of features 2 and 0, pair 2 of 2 and 1.
      EXPECT_EQ(std::isnan(after[1 + lane * 6 + 1]), lane != 5) << lane;
      EXPECT_EQ(after[1 + lane * 6 + 2], before[1 + lane * 6 + 2]) << lane;
    }
  });
}

}  // namespace
}  // namespace eqat::nn
