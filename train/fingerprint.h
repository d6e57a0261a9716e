// Fingerprint: a 64-bit hash of a sequence of words, by which a resumed run tells that its data or model changed. Every
// step is a bijection of the state, so that changing one word always changes the result. Not for untrusted input.
#ifndef EQAT_TRAIN_FINGERPRINT_H_
#define EQAT_TRAIN_FINGERPRINT_H_

#include <cstdint>
#include <cstring>
#include <vector>

#include "absl/types/span.h"

namespace eqat::train {

class Fingerprint {
 public:
  void Add(uint64_t word) {
    state_ = (state_ ^ word) * 0x9e3779b97f4a7c15ull;
    state_ ^= state_ >> 32;
  }
  // The length and the bytes.
  void AddBytes(absl::Span<const char> bytes) {
    Add(bytes.size());
    size_t i = 0;
    for (; i + sizeof(uint64_t) <= bytes.size(); i += sizeof(uint64_t)) {
      uint64_t word;
      std::memcpy(&word, bytes.data() + i, sizeof(word));
      Add(word);
    }
    if (i < bytes.size()) {
      uint64_t word = 0;
      std::memcpy(&word, bytes.data() + i, bytes.size() - i);
      Add(word);
    }
  }
  template <typename T>
  void AddValues(const std::vector<T>& values) {
    AddBytes(absl::MakeConstSpan(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)));
  }
  uint64_t value() const { return state_; }

 private:
  uint64_t state_ = 0xcbf29ce484222325ull;
};

}  // namespace eqat::train

#endif  // EQAT_TRAIN_FINGERPRINT_H_
