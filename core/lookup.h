// What an Embedding or EmbeddingBag is called with, checked once per batch and put into one canonical form.
//
// Follows torch.nn.functional.embedding_bag, with every check it leaves out: offsets start at 0, never decrease and end
// inside the indices; per_sample_weights are as many as the indices; every index is a row.
#ifndef EQAT_CORE_LOOKUP_H_
#define EQAT_CORE_LOOKUP_H_

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace eqat {

// A view of int32 or int64 integers.
class IndexSpan {
 public:
  IndexSpan() : values_(absl::Span<const int64_t>()) {}
  IndexSpan(absl::Span<const int32_t> values) : values_(values) {}                         // NOLINT: a view of a view
  IndexSpan(absl::Span<const int64_t> values) : values_(values) {}                         // NOLINT
  IndexSpan(const std::vector<int32_t>& values) : values_(absl::MakeConstSpan(values)) {}  // NOLINT
  IndexSpan(const std::vector<int64_t>& values) : values_(absl::MakeConstSpan(values)) {}  // NOLINT

  int64_t size() const;
  int64_t operator[](int64_t i) const;
  bool is_int32() const { return values_.index() == 0; }
  absl::Span<const int32_t> int32() const { return std::get<0>(values_); }
  absl::Span<const int64_t> int64() const { return std::get<1>(values_); }

 private:
  std::variant<absl::Span<const int32_t>, absl::Span<const int64_t>> values_;
};

// Arguments of one call. Views: must outlive the call, and the Bags made from them (not a context kept for Backward,
// which copies what it needs).
struct LookupInput {
  IndexSpan indices;                                // row-major
  std::vector<int64_t> shape = {};                  // of the index tensor; empty means 1-D [indices.size()]
  std::optional<IndexSpan> offsets = std::nullopt;  // [bags], or [bags + 1] with include_last_offset
  std::optional<absl::Span<const float>> per_sample_weights = std::nullopt;  // as many as indices, same shape
};

// The reductions of EmbeddingBag. kSum: sum of the rows (times per_sample_weights); kMean: sum divided by the number of
// rows; kMax: element-wise maximum.
enum class PoolMode : uint8_t { kSum = 0, kMean = 1, kMax = 2 };
absl::string_view PoolModeName(PoolMode mode);  // "sum", "mean", "max"

// A checked batch: bag b holds positions [offsets[b], offsets[b + 1]); every position is in a bag. Views the int64
// indices and offsets and the weights of the input it was made from, until Keep() has copied them. Move-only.
class Bags {
 public:
  Bags() = default;
  Bags(Bags&&) = default;
  Bags& operator=(Bags&&) = default;

  int64_t num_bags() const { return static_cast<int64_t>(offsets_.view.size()) - 1; }
  absl::Span<const int64_t> indices() const { return indices_.view; }
  absl::Span<const int64_t> offsets() const { return offsets_.view; }                      // [num_bags + 1], first 0
  absl::Span<const float> per_sample_weights() const { return per_sample_weights_.view; }  // empty: all 1
  bool has_per_sample_weights() const { return has_per_sample_weights_; }

  // Becomes `bags` and outlives the input they were made from. Uses the memory it has for the copies.
  void Keep(Bags&& bags);

 private:
  friend absl::StatusOr<Bags> BagsOfOne(const LookupInput& input, int64_t num_embeddings, absl::string_view where);
  friend absl::StatusOr<Bags> MakeBags(const LookupInput& input, int64_t num_embeddings, bool include_last_offset,
                                       PoolMode mode, absl::string_view where);

  static constexpr int64_t kFirstOffset[1] = {0};

  // Values of the input, or of its own.
  template <typename T>
  struct Values {
    absl::Span<const T> view;
    std::vector<T> own;

    void Own(std::vector<T> values) {
      own = std::move(values);
      view = own;
    }
    void Keep(Values&& values) {
      if (values.view.data() == values.own.data()) {
        own.swap(values.own);
      } else {
        own.assign(values.view.begin(), values.view.end());
      }
      view = absl::MakeConstSpan(own).first(values.view.size());
    }
  };

  Values<int64_t> indices_;
  Values<int64_t> offsets_ = {.view = kFirstOffset, .own = {}};
  Values<float> per_sample_weights_;
  bool has_per_sample_weights_ = false;
};

// Embedding: every index is a bag of its own. Any rank; offsets and per_sample_weights must be absent.
// Errors: InvalidArgument (shape does not match the number of indices), OutOfRange naming position, index and table.
absl::StatusOr<Bags> BagsOfOne(const LookupInput& input, int64_t num_embeddings, absl::string_view where);

// EmbeddingBag: 2-D [bags, length] without offsets (also with include_last_offset: all bags count), or 1-D with them.
// Zero offsets give zero bags (indices are checked, then dropped). Errors as above, and InvalidArgument for rank,
// offsets (names the position) and per_sample_weights that differ in number or come with a mode other than sum.
absl::StatusOr<Bags> MakeBags(const LookupInput& input, int64_t num_embeddings, bool include_last_offset, PoolMode mode,
                              absl::string_view where);

// How many bags BagsOfOne and MakeBags would make: all their checks but those of the indices' values.
absl::StatusOr<int64_t> NumBagsOfOne(const LookupInput& input, absl::string_view where);
absl::StatusOr<int64_t> NumBags(const LookupInput& input, bool include_last_offset, PoolMode mode,
                                absl::string_view where);

}  // namespace eqat

#endif  // EQAT_CORE_LOOKUP_H_
