#include "core/distinct_rows.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <utility>

namespace eqat {
namespace {

struct LookUp {
  int64_t row;
  int64_t position;
};

constexpr int kDigitBits = 11;
constexpr size_t kDigits = size_t{1} << kDigitBits;
// Below this many look-ups clearing the digit counts costs more than comparing.
constexpr size_t kSmallBatch = 512;

// Stable counting sort of `from` into `to` by the digit of (row - smallest) that starts at bit `shift`.
void SortByDigit(const std::vector<LookUp>& from, int64_t smallest, int shift, std::vector<LookUp>& to) {
  const auto digit_of = [&](const LookUp& look_up) {
    const uint64_t key = static_cast<uint64_t>(look_up.row) - static_cast<uint64_t>(smallest);
    return static_cast<size_t>(key >> shift) & (kDigits - 1);
  };
  std::array<size_t, kDigits> next = {};
  for (const LookUp& look_up : from) ++next[digit_of(look_up)];
  size_t begin = 0;
  for (size_t& place : next) begin += std::exchange(place, begin);
  for (const LookUp& look_up : from) to[next[digit_of(look_up)]++] = look_up;
}

// By row, then by position. `look_ups` comes in order of position.
void SortByRow(std::vector<LookUp>& look_ups) {
  const auto by_row = [](const LookUp& a, const LookUp& b) { return a.row < b.row; };
  if (look_ups.size() < kSmallBatch) {
    std::stable_sort(look_ups.begin(), look_ups.end(), by_row);
    return;
  }
  const auto [smallest, largest] = std::minmax_element(look_ups.begin(), look_ups.end(), by_row);
  const int64_t smallest_row = smallest->row;
  const int key_bits = std::bit_width(static_cast<uint64_t>(largest->row) - static_cast<uint64_t>(smallest_row));
  std::vector<LookUp> sorted(look_ups.size());
  for (int shift = 0; shift < key_bits; shift += kDigitBits) {
    SortByDigit(look_ups, smallest_row, shift, sorted);
    look_ups.swap(sorted);
  }
}

}  // namespace

DistinctRows::DistinctRows(absl::Span<const int64_t> indices) : slots_(indices.size()), positions_(indices.size()) {
  std::vector<LookUp> look_ups(indices.size());
  for (size_t k = 0; k < indices.size(); ++k) look_ups[k] = {indices[k], static_cast<int64_t>(k)};
  SortByRow(look_ups);

  for (size_t i = 0; i < look_ups.size(); ++i) {
    const auto [row, position] = look_ups[i];
    if (rows_.empty() || rows_.back() != row) {
      rows_.push_back(row);
      begins_.push_back(static_cast<int64_t>(i));
    }
    begins_.back() = static_cast<int64_t>(i) + 1;
    positions_[i] = position;
    slots_[position] = size() - 1;
  }
}

int64_t DistinctRows::SlotOf(int64_t row) const {
  const auto found = std::lower_bound(rows_.begin(), rows_.end(), row);
  return found != rows_.end() && *found == row ? found - rows_.begin() : -1;
}

}  // namespace eqat
