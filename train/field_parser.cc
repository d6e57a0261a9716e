#include "train/field_parser.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <system_error>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "core/error.h"
#include "core/rng.h"
#include "core/status_macros.h"
#include "io/number_text.h"
#include "train/line_reader.h"

namespace eqat::train {
namespace {

using io::ParseNumber;

constexpr size_t kMaxHexDigits = 16;

}  // namespace

std::optional<float> Apply(Transform transform, float value) {
  if (transform == Transform::kNone) return value;
  if (!(value > -1.0f)) return std::nullopt;
  return static_cast<float>(std::log1p(static_cast<double>(value)));
}

absl::StatusOr<Vocabulary> ReadVocabulary(const std::string& path) {
  EQAT_ASSIGN_OR_RETURN(std::unique_ptr<LineReader> reader, LineReader::Open(path));
  Vocabulary vocabulary;
  for (std::string_view line; reader->Next(&line);) {
    const int64_t index = reader->line_number() - 1;
    const auto [entry, inserted] = vocabulary.emplace(std::string(line), index);
    if (!inserted) {
      return InvalidArgument(absl::StrCat(path, ":", index + 1), "value stands here twice", FieldExcerpt(line),
                             absl::StrCat("other values than in line ", entry->second + 1));
    }
  }
  EQAT_RETURN_IF_ERROR(reader->status());
  if (vocabulary.empty()) return InvalidArgument(path, "is empty", "", "one value a line");
  return vocabulary;
}

IndexResult ParseIndex(const CategoricalSpec& spec, const Vocabulary& vocabulary, std::string_view text) {
  switch (spec.encoding) {
    case Encoding::kVocabulary: {
      const auto entry = vocabulary.find(text);
      if (entry != vocabulary.end()) return {entry->second};
      if (spec.unknown) return {*spec.unknown};
      return {-1, "a value of the vocabulary"};
    }
    case Encoding::kHash: {
      const uint64_t hash = StreamOf(absl::string_view(text.data(), text.size()));
      return {static_cast<int64_t>(hash % static_cast<uint64_t>(spec.buckets))};
    }
    case Encoding::kHexadecimal: {
      uint64_t value = 0;
      if (text.size() > kMaxHexDigits || ParseNumber(text, value, 16) != std::errc()) {
        return {-1, "1 to 16 hexadecimal digits"};
      }
      return {static_cast<int64_t>(value % static_cast<uint64_t>(spec.buckets))};
    }
    case Encoding::kInteger: {
      int64_t value = 0;
      if (ParseNumber(text, value) != std::errc() || value < 0 || value >= spec.buckets) {
        return {-1, "a whole number from 0 to below \"buckets\""};
      }
      return {value};
    }
  }
  return {-1, "a known encoding"};
}

int64_t IndexBound(const CategoricalSpec& spec, const Vocabulary& vocabulary) {
  const int64_t values =
      spec.encoding == Encoding::kVocabulary ? static_cast<int64_t>(vocabulary.size()) : spec.buckets;
  return std::max({values, spec.unknown.value_or(-1) + 1, spec.missing.value_or(-1) + 1});
}

std::string FieldExcerpt(std::string_view text) {
  constexpr size_t kMaxBytes = 40;
  const std::string escaped = absl::CHexEscape(absl::string_view(text.data(), std::min(text.size(), kMaxBytes)));
  return absl::StrCat("'", escaped, text.size() > kMaxBytes ? "..." : "", "'");
}

}  // namespace eqat::train
