#include "train/metrics.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <utility>

namespace eqat::train {

std::optional<double> AreaUnderCurve(absl::Span<const float> scores, absl::Span<const float> labels) {
  assert(scores.size() == labels.size());
  std::vector<std::pair<float, bool>> ranked(scores.size());
  uint64_t positives = 0;
  for (size_t i = 0; i < scores.size(); ++i) {
    if (std::isnan(scores[i])) return std::nullopt;
    ranked[i] = {scores[i], labels[i] > 0.5f};
    positives += ranked[i].second ? 1 : 0;
  }
  const uint64_t negatives = ranked.size() - positives;
  if (positives == 0 || negatives == 0) return std::nullopt;
  std::sort(ranked.begin(), ranked.end(), [](const auto& a, const auto& b) { return a.first < b.first; });

  // Pairs of a positive and a negative, counted twice: 2 for the positive above, 1 for a tie.
  unsigned __int128 twice = 0;
  uint64_t negatives_below = 0;
  for (size_t begin = 0; begin < ranked.size();) {
    size_t end = begin;
    uint64_t tied_positives = 0;
    for (; end < ranked.size() && ranked[end].first == ranked[begin].first; ++end) {
      tied_positives += ranked[end].second ? 1 : 0;
    }
    const uint64_t tied_negatives = end - begin - tied_positives;
    twice += static_cast<unsigned __int128>(tied_positives) * (2 * negatives_below + tied_negatives);
    negatives_below += tied_negatives;
    begin = end;
  }
  return static_cast<double>(twice) / (2.0 * static_cast<double>(positives) * static_cast<double>(negatives));
}

}  // namespace eqat::train
