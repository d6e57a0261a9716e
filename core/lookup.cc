#include "core/lookup.h"

#include <algorithm>
#include <limits>
#include <numeric>
#include <type_traits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/checked_math.h"
#include "core/error.h"
#include "core/status_macros.h"
#include "core/tensor.h"

namespace eqat {
namespace {

// Calls `use` with the absl::Span<const int32_t> or absl::Span<const int64_t> that `values` views.
template <typename Use>
auto VisitValues(const IndexSpan& values, Use use) {
  return values.is_int32() ? use(values.int32()) : use(values.int64());
}

std::string At(absl::string_view what, int64_t position) { return absl::StrCat(what, " at position ", position); }

int64_t Rank(const LookupInput& input) { return input.shape.empty() ? 1 : static_cast<int64_t>(input.shape.size()); }

absl::Status CheckShape(const LookupInput& input, absl::string_view where) {
  if (input.shape.empty()) return absl::OkStatus();
  std::optional<int64_t> size = 1;
  for (const int64_t extent : input.shape) {
    if (extent < 0)
      return InvalidArgument(where, "index shape has a negative size", ShapeText(input.shape), "at least 0");
    if (size) size = CheckedMul(*size, extent);
  }
  // A size that overflows may still be followed by a zero, so zeros are looked for separately.
  if (std::find(input.shape.begin(), input.shape.end(), 0) != input.shape.end()) size = 0;
  if (size == input.indices.size()) return absl::OkStatus();
  return InvalidArgument(where, "index shape does not match the number of indices", ShapeText(input.shape),
                         absl::StrCat(input.indices.size(), " indices"));
}

absl::Status CheckBagsOfOne(const LookupInput& input, absl::string_view where) {
  EQAT_RETURN_IF_ERROR(CheckShape(input, where));
  if (input.offsets) return InvalidArgument(where, "offsets given to an Embedding", "", "none");
  if (input.per_sample_weights) return InvalidArgument(where, "per_sample_weights given to an Embedding", "", "none");
  return absl::OkStatus();
}

absl::Status CheckPerSampleWeights(const LookupInput& input, PoolMode mode, absl::string_view where) {
  if (!input.per_sample_weights) return absl::OkStatus();
  const int64_t num_weights = static_cast<int64_t>(input.per_sample_weights->size());
  if (num_weights != input.indices.size()) {
    return InvalidArgument(where, "per_sample_weights differ in number from the indices", absl::StrCat(num_weights),
                           absl::StrCat(input.indices.size()));
  }
  if (mode != PoolMode::kSum) {
    return InvalidArgument(where, "per_sample_weights need mode sum", absl::StrCat("mode ", PoolModeName(mode)));
  }
  return absl::OkStatus();
}

absl::Status CheckRank(const LookupInput& input, absl::string_view where) {
  const int64_t rank = Rank(input);
  if (rank != 1 && rank != 2) {
    return InvalidArgument(where, "indices of wrong rank", ShapeText(input.shape), "1 or 2 dimensions");
  }
  if (rank == 2 && input.offsets) {
    return InvalidArgument(where, "offsets given together with 2-D indices", "",
                           "no offsets: each row of the indices is a bag");
  }
  if (rank == 1 && !input.offsets) {
    return InvalidArgument(where, "1-D indices without offsets", ShapeText({input.indices.size()}),
                           "offsets, or 2 dimensions");
  }
  return absl::OkStatus();
}

template <typename Integer>
absl::Status CheckOffsetValues(absl::Span<const Integer> offsets, int64_t num_indices, bool include_last_offset,
                               absl::string_view where) {
  if (offsets.empty()) {
    if (!include_last_offset) return absl::OkStatus();
    return InvalidArgument(where, "include_last_offset without any offset", "0 offsets", "at least 1");
  }
  if (offsets[0] != 0) {
    return InvalidArgument(where, At("offsets do not start at 0", 0), absl::StrCat(offsets[0]), "0");
  }
  for (size_t i = 1; i < offsets.size(); ++i) {
    if (offsets[i] < offsets[i - 1]) {
      return InvalidArgument(where, At("offsets decrease", static_cast<int64_t>(i)),
                             absl::StrCat(offsets[i], " after ", offsets[i - 1]),
                             absl::StrCat("at least ", offsets[i - 1]));
    }
    if (offsets[i] > num_indices) {
      return InvalidArgument(where, At("offset beyond the indices", static_cast<int64_t>(i)), absl::StrCat(offsets[i]),
                             absl::StrCat("at most ", num_indices));
    }
  }
  if (include_last_offset && offsets.back() != num_indices) {
    return InvalidArgument(where,
                           At("last offset is not the number of indices", static_cast<int64_t>(offsets.size()) - 1),
                           absl::StrCat(offsets.back()), absl::StrCat(num_indices));
  }
  return absl::OkStatus();
}

absl::Status CheckBags(const LookupInput& input, bool include_last_offset, PoolMode mode, absl::string_view where) {
  EQAT_RETURN_IF_ERROR(CheckShape(input, where));
  EQAT_RETURN_IF_ERROR(CheckRank(input, where));
  EQAT_RETURN_IF_ERROR(CheckPerSampleWeights(input, mode, where));
  if (!input.offsets) return absl::OkStatus();
  return VisitValues(*input.offsets, [&](auto offsets) {
    return CheckOffsetValues(offsets, input.indices.size(), include_last_offset, where);
  });
}

// Bags of a batch that has passed CheckBags.
int64_t NumCheckedBags(const LookupInput& input, bool include_last_offset) {
  if (!input.offsets) return input.shape[0];
  return input.offsets->size() - (include_last_offset ? 1 : 0);
}

template <typename Integer>
absl::Status CheckIndexValues(absl::Span<const Integer> indices, int64_t num_embeddings, absl::string_view where) {
  // One pass of additions, which every processor does several at a time, unlike comparisons of 64 bits: an index below
  // 0 or above `last` sets the highest bit. The position matters only when there is one.
  using Unsigned = std::make_unsigned_t<Integer>;
  const auto last = static_cast<Unsigned>(std::min<int64_t>(num_embeddings - 1, std::numeric_limits<Integer>::max()));
  Unsigned highest_bits = 0;
  const auto look_at = [&](Integer index) {
    highest_bits |= static_cast<Unsigned>(index) | (last - static_cast<Unsigned>(index));
  };
  constexpr size_t kLine = 64 / sizeof(Integer);    // of the cache
  constexpr size_t kPage = 4096 / sizeof(Integer);  // of memory
  size_t i = 0;
  for (; i + kLine <= indices.size(); i += kLine) {
    // A page ahead, as the processor's own prefetching ends with each page.
    __builtin_prefetch(&indices[std::min(i + kPage, indices.size() - 1)]);
    for (size_t k = i; k < i + kLine; ++k) look_at(indices[k]);
  }
  for (; i < indices.size(); ++i) look_at(indices[i]);
  if (static_cast<Integer>(highest_bits) >= 0) return absl::OkStatus();
  const auto is_outside = [&](Integer index) { return index < 0 || index >= num_embeddings; };
  const int64_t position = std::find_if(indices.begin(), indices.end(), is_outside) - indices.begin();
  return OutOfRange(where, At("index out of range", position), absl::StrCat(indices[position]),
                    num_embeddings == 0 ? "none: the table has no rows" : absl::StrCat("0 to ", num_embeddings - 1));
}

absl::Status CheckIndices(const IndexSpan& indices, int64_t num_embeddings, absl::string_view where) {
  return VisitValues(indices, [&](auto values) { return CheckIndexValues(values, num_embeddings, where); });
}

std::vector<int64_t> EvenOffsets(int64_t num_bags, int64_t length) {
  std::vector<int64_t> offsets(num_bags + 1);
  for (int64_t bag = 0; bag <= num_bags; ++bag) offsets[bag] = bag * length;
  return offsets;
}

std::vector<int64_t> CopyOf(const IndexSpan& values) {
  return VisitValues(values, [](auto integers) { return std::vector<int64_t>(integers.begin(), integers.end()); });
}

// [num_bags + 1] from offsets that have passed CheckOffsetValues.
std::vector<int64_t> ClosedOffsets(const IndexSpan& offsets, int64_t num_indices, bool include_last_offset) {
  std::vector<int64_t> closed;
  closed.reserve(static_cast<size_t>(offsets.size()) + 1);
  VisitValues(offsets, [&](auto values) { closed.insert(closed.end(), values.begin(), values.end()); });
  if (!include_last_offset) closed.push_back(closed.empty() ? 0 : num_indices);
  return closed;
}

}  // namespace

int64_t IndexSpan::size() const {
  return static_cast<int64_t>(VisitValues(*this, [](auto values) { return values.size(); }));
}

int64_t IndexSpan::operator[](int64_t i) const {
  return VisitValues(*this, [i](auto values) { return static_cast<int64_t>(values[i]); });
}

absl::string_view PoolModeName(PoolMode mode) {
  switch (mode) {
    case PoolMode::kSum:
      return "sum";
    case PoolMode::kMean:
      return "mean";
    case PoolMode::kMax:
      return "max";
  }
  return "";
}

absl::StatusOr<int64_t> NumBagsOfOne(const LookupInput& input, absl::string_view where) {
  EQAT_RETURN_IF_ERROR(CheckBagsOfOne(input, where));
  return input.indices.size();
}

absl::StatusOr<int64_t> NumBags(const LookupInput& input, bool include_last_offset, PoolMode mode,
                                absl::string_view where) {
  EQAT_RETURN_IF_ERROR(CheckBags(input, include_last_offset, mode, where));
  return NumCheckedBags(input, include_last_offset);
}

absl::StatusOr<Bags> BagsOfOne(const LookupInput& input, int64_t num_embeddings, absl::string_view where) {
  EQAT_RETURN_IF_ERROR(CheckBagsOfOne(input, where));
  EQAT_RETURN_IF_ERROR(CheckIndices(input.indices, num_embeddings, where));
  Bags bags;
  if (input.indices.is_int32()) {
    bags.indices_.Own(CopyOf(input.indices));
  } else {
    bags.indices_.view = input.indices.int64();
  }
  bags.offsets_.Own(EvenOffsets(input.indices.size(), 1));
  return bags;
}

absl::StatusOr<Bags> MakeBags(const LookupInput& input, int64_t num_embeddings, bool include_last_offset, PoolMode mode,
                              absl::string_view where) {
  EQAT_RETURN_IF_ERROR(CheckBags(input, include_last_offset, mode, where));
  EQAT_RETURN_IF_ERROR(CheckIndices(input.indices, num_embeddings, where));
  Bags bags;
  if (!input.offsets) {
    bags.offsets_.Own(EvenOffsets(input.shape[0], input.shape[1]));
  } else if (include_last_offset && !input.offsets->is_int32()) {
    bags.offsets_.view = input.offsets->int64();
  } else {
    bags.offsets_.Own(ClosedOffsets(*input.offsets, input.indices.size(), include_last_offset));
  }
  if (input.indices.is_int32()) {
    bags.indices_.Own(CopyOf(input.indices));
  } else {
    bags.indices_.view = input.indices.int64();
  }
  // Without any bag nothing is looked up, whatever the indices.
  const auto num_used = static_cast<size_t>(bags.offsets().back());
  bags.indices_.view = bags.indices_.view.first(num_used);
  if (input.per_sample_weights) {
    bags.has_per_sample_weights_ = true;
    bags.per_sample_weights_.view = input.per_sample_weights->first(num_used);
  }
  return bags;
}

void Bags::Keep(Bags&& bags) {
  indices_.Keep(std::move(bags.indices_));
  offsets_.Keep(std::move(bags.offsets_));
  per_sample_weights_.Keep(std::move(bags.per_sample_weights_));
  has_per_sample_weights_ = bags.has_per_sample_weights_;
}

}  // namespace eqat
