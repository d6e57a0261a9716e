#include "core/distinct_rows.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <utility>

#include "core/scratch_memory.h"

namespace eqat {
namespace {

constexpr int kDigitBits = 11;
constexpr size_t kDigits = size_t{1} << kDigitBits;
// Below this many look-ups clearing the digit counts costs more than comparing.
constexpr size_t kSmallBatch = 512;
// Up to this many rows in the range of a batch for each of its look-ups, a slot for each row of the range is cheap.
constexpr uint64_t kRowsPerLookup = 4;

// Look-ups as row - smallest row, above the position: sorting the words sorts by row, then by position.
class PackedLookups {
 public:
  // Whether 64 bits hold both.
  static bool Fit(size_t count, uint64_t largest_key) {
    return std::bit_width(count) + std::bit_width(largest_key) <= 64;
  }

  PackedLookups(absl::Span<const int64_t> indices, int64_t smallest, uint64_t largest_key)
      : smallest_(smallest),
        position_bits_(std::bit_width(indices.size())),
        key_bits_(std::bit_width(largest_key)),
        memory_(2 * indices.size()),
        words_(memory_.data(), indices.size()) {
    for (size_t k = 0; k < indices.size(); ++k) {
      const uint64_t key = static_cast<uint64_t>(indices[k]) - static_cast<uint64_t>(smallest);
      words_[k] = key << position_bits_ | k;
    }
  }

  void Sort() {
    if (words_.size() < kSmallBatch) {
      std::sort(words_.begin(), words_.end());
      return;
    }
    absl::Span<uint64_t> sorted(memory_.data() + words_.size(), words_.size());
    for (int shift = position_bits_; shift < position_bits_ + key_bits_; shift += kDigitBits) {
      SortByDigit(shift, sorted);
      std::swap(words_, sorted);
    }
  }

  size_t size() const { return words_.size(); }
  int64_t row(size_t i) const {
    return static_cast<int64_t>((words_[i] >> position_bits_) + static_cast<uint64_t>(smallest_));
  }
  int64_t position(size_t i) const { return static_cast<int64_t>(words_[i] & ((uint64_t{1} << position_bits_) - 1)); }

 private:
  // Stable counting sort into `to` by the digit that starts at bit `shift`.
  void SortByDigit(int shift, absl::Span<uint64_t> to) const {
    const auto digit_of = [shift](uint64_t word) { return static_cast<size_t>(word >> shift) & (kDigits - 1); };
    std::array<size_t, kDigits> next = {};
    for (const uint64_t word : words_) ++next[digit_of(word)];
    size_t begin = 0;
    for (size_t& place : next) begin += std::exchange(place, begin);
    for (const uint64_t word : words_) to[next[digit_of(word)]++] = word;
  }

  int64_t smallest_;
  int position_bits_;
  int key_bits_;
  ScratchArray<uint64_t> memory_;  // for the words and a sorted copy
  absl::Span<uint64_t> words_;
};

// The same for batches whose rows and positions do not fit into a word together.
class WideLookups {
 public:
  explicit WideLookups(absl::Span<const int64_t> indices) {
    for (size_t k = 0; k < indices.size(); ++k) lookups_.emplace_back(indices[k], static_cast<int64_t>(k));
  }
  void Sort() { std::sort(lookups_.begin(), lookups_.end()); }
  size_t size() const { return lookups_.size(); }
  int64_t row(size_t i) const { return lookups_[i].first; }
  int64_t position(size_t i) const { return lookups_[i].second; }

 private:
  std::vector<std::pair<int64_t, int64_t>> lookups_;
};

}  // namespace

void DistinctRows::Find(absl::Span<const int64_t> indices) {
  rows_.clear();
  slots_.resize(indices.size());
  positions_.clear();
  if (indices.empty()) return;
  const auto [smallest, largest] = std::minmax_element(indices.begin(), indices.end());
  const uint64_t largest_key = static_cast<uint64_t>(*largest) - static_cast<uint64_t>(*smallest);
  if (largest_key / kRowsPerLookup < indices.size()) {
    MarkRows(indices, *smallest, largest_key);
  } else if (PackedLookups::Fit(indices.size(), largest_key)) {
    PackedLookups lookups(indices, *smallest, largest_key);
    TakeSorted(lookups);
  } else {
    WideLookups lookups(indices);
    TakeSorted(lookups);
  }
}

void DistinctRows::MarkRows(absl::Span<const int64_t> indices, int64_t smallest, uint64_t largest_key) {
  const auto key_of = [smallest](int64_t row) { return static_cast<uint64_t>(row) - static_cast<uint64_t>(smallest); };
  const ScratchArray<int64_t> slot_of(largest_key + 1);
  std::fill(slot_of.begin(), slot_of.end(), 0);
  for (const int64_t row : indices) slot_of[key_of(row)] = 1;
  // A row that does not occur is overwritten by the next.
  rows_.resize(std::min<size_t>(indices.size(), slot_of.size()) + 1);
  int64_t count = 0;
  for (uint64_t key = 0; key <= largest_key; ++key) {
    rows_[count] = static_cast<int64_t>(key + static_cast<uint64_t>(smallest));
    count += std::exchange(slot_of[key], count);
  }
  rows_.resize(count);
  for (size_t k = 0; k < indices.size(); ++k) slots_[k] = slot_of[key_of(indices[k])];
}

template <typename Lookups>
void DistinctRows::TakeSorted(Lookups& lookups) {
  lookups.Sort();
  for (size_t i = 0; i < lookups.size(); ++i) {
    if (i == 0 || lookups.row(i) != lookups.row(i - 1)) rows_.push_back(lookups.row(i));
    slots_[lookups.position(i)] = size() - 1;
  }
}

void DistinctRows::GroupPositions() {
  if (!positions_.empty() || slots_.empty()) return;
  begins_.assign(rows_.size() + 1, 0);
  for (const int64_t slot : slots_) ++begins_[slot];
  int64_t begin = 0;
  for (int64_t& place : begins_) begin += std::exchange(place, begin);
  positions_.resize(slots_.size());
  // Moves each begin to its end, which is the next one's begin.
  for (size_t k = 0; k < slots_.size(); ++k) positions_[begins_[slots_[k]]++] = static_cast<int64_t>(k);
  begins_.insert(begins_.begin(), 0);
  begins_.pop_back();
}

int64_t DistinctRows::SlotOf(int64_t row) const {
  const auto found = std::lower_bound(rows_.begin(), rows_.end(), row);
  return found != rows_.end() && *found == row ? found - rows_.begin() : -1;
}

bool RepeatsRows(absl::Span<const int64_t> indices, int64_t rows) {
  constexpr size_t kSamples = 1024;
  constexpr int kSlotBits = 12;
  constexpr size_t kRepeats = 4;
  if (indices.size() < kSamples) return false;
  if (static_cast<uint64_t>(rows) <= indices.size() / kRepeats) return true;
  // Different rows in one slot overwrite each other, which misses a repeat now and then.
  std::array<int64_t, size_t{1} << kSlotBits> last_seen;
  last_seen.fill(-1);
  const size_t step = indices.size() / kSamples;
  size_t distinct = 0;
  for (size_t i = 0; i < kSamples; ++i) {
    const int64_t row = indices[i * step];
    const size_t slot = static_cast<uint64_t>(row) * 0x9e3779b97f4a7c15u >> (64 - kSlotBits);
    distinct += std::exchange(last_seen[slot], row) != row;
  }
  return distinct <= kSamples / kRepeats;
}

}  // namespace eqat
