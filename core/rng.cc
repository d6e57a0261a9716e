#include "core/rng.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstdint>

#include "core/parallel_for.h"

namespace eqat {
namespace {

// Logarithm and cosine from IEEE operations alone: the C library's differ in the last bit between machines.

// Natural logarithm for normal x > 0.
double Log(double x) {
  // x = m * 2^e with m in [sqrt(1/2), sqrt(2)).
  constexpr uint64_t kSqrtHalfBits = 0x3fe6a09e667f3bcdull;
  const uint64_t shifted = std::bit_cast<uint64_t>(x) - kSqrtHalfBits;
  const int64_t exponent = static_cast<int64_t>(shifted) >> 52;
  const double m = std::bit_cast<double>(std::bit_cast<uint64_t>(x) - (static_cast<uint64_t>(exponent) << 52));
  // log m = 2 atanh(s) = 2 (s + s^3/3 + s^5/5 + ...), |s| < 0.172.
  const double s = (m - 1.0) / (m + 1.0);
  const double s2 = s * s;
  double series = 0.0;
  for (int power = 21; power >= 1; power -= 2) series = series * s2 + 1.0 / power;
  constexpr double kLn2 = 0x1.62e42fefa39efp-1;
  return static_cast<double>(exponent) * kLn2 + 2.0 * s * series;
}

constexpr double InverseFactorial(int n) { return n == 0 ? 1.0 : InverseFactorial(n - 1) / n; }

// cos(2 pi u) for u in [0, 1) that is a multiple of 2^-53.
double CosineOfTurn(double u) {
  constexpr double kHalfPi = 0x1.921fb54442d18p+0;
  constexpr int kTerms = 9;
  // Taylor coefficients of cosine and of sine(x) / x in x^2.
  static constexpr auto kCoefficients = [] {
    std::array<std::array<double, kTerms>, 2> coefficients = {};
    for (int n = 0; n < kTerms; ++n) {
      const double sign = n % 2 == 0 ? 1.0 : -1.0;
      coefficients[0][n] = sign * InverseFactorial(2 * n);
      coefficients[1][n] = sign * InverseFactorial(2 * n + 1);
    }
    return coefficients;
  }();
  const int quadrant = static_cast<int>(4.0 * u + 0.5);
  const double angle = (4.0 * u - quadrant) * kHalfPi;  // in [-pi/4, pi/4]; the difference is exact
  const double angle2 = angle * angle;
  const bool is_sine = quadrant % 2 == 1;
  const std::array<double, kTerms>& coefficients = kCoefficients[is_sine];
  double series = 0.0;
  for (int n = kTerms - 1; n >= 0; --n) series = series * angle2 + coefficients[n];
  // Chosen by index: as branches they would be mispredicted every other time.
  const double factors[] = {1.0, angle};
  constexpr double kSigns[] = {1.0, -1.0, -1.0, 1.0, 1.0};
  return kSigns[quadrant] * (factors[is_sine] * series);
}

}  // namespace

float Rng::Normal(uint64_t position) const {
  const double radius = std::sqrt(-2.0 * Log(1.0 - Uniform(2 * position)));
  return static_cast<float>(radius * CosineOfTurn(Uniform(2 * position + 1)));
}

uint64_t StreamOf(absl::string_view name) {
  uint64_t hash = 0xcbf29ce484222325ull;
  for (const char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3ull;
  return hash;
}

void FillNormal(const Rng& rng, MutableTableView table) {
  constexpr int64_t kBlockElements = 1 << 14;
  ParallelFor(table.rows, std::max<int64_t>(1, kBlockElements / std::max<int64_t>(1, table.cols)),
              [&](int64_t begin, int64_t end) {
                for (int64_t row = begin; row < end; ++row) {
                  const uint64_t first = static_cast<uint64_t>(row) * static_cast<uint64_t>(table.cols);
                  for (int64_t col = 0; col < table.cols; ++col) table.Row(row)[col] = rng.Normal(first + col);
                }
              });
}

}  // namespace eqat
