#include "float_modules/embedding_options.h"

#include <charconv>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "core/checked_math.h"
#include "core/error.h"
#include "core/status_macros.h"

namespace eqat::nn {
namespace {

// As Python prints a float: shortest digits that read back the same, ".0" when whole, an exponent below 1e-4 and from
// 1e16 on.
std::string PythonFloat(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value > 0 ? "inf" : "-inf";
  const double magnitude = std::abs(value);
  const bool scientific = magnitude != 0 && (magnitude < 1e-4 || magnitude >= 1e16);
  char buffer[32];
  const auto format = scientific ? std::chars_format::scientific : std::chars_format::fixed;
  const std::string text(buffer, std::to_chars(buffer, buffer + sizeof(buffer), value, format).ptr);
  return scientific || text.find('.') != std::string::npos ? text : text + ".0";
}

absl::Status CheckSizes(const EmbeddingOptions& options, absl::string_view where) {
  if (options.num_embeddings < 0) {
    return InvalidArgument(where, "num_embeddings is negative", absl::StrCat(options.num_embeddings), "at least 0");
  }
  if (options.embedding_dim < 0) {
    return InvalidArgument(where, "embedding_dim is negative", absl::StrCat(options.embedding_dim), "at least 0");
  }
  const std::optional<int64_t> elements = CheckedMul(options.num_embeddings, options.embedding_dim);
  if (!elements.has_value() || !CheckedMul(*elements, sizeof(float)).has_value()) {
    return ResourceExhausted(where, "the table is too large",
                             absl::StrCat(options.num_embeddings, " rows of ", options.embedding_dim),
                             "less than 2^63 bytes");
  }
  return absl::OkStatus();
}

absl::Status WrapPadding(EmbeddingOptions& options, absl::string_view where) {
  if (!options.padding_idx.has_value()) return absl::OkStatus();
  const int64_t rows = options.num_embeddings;
  const int64_t padding = *options.padding_idx;
  if (rows == 0) {
    return InvalidArgument(where, "padding_idx names a row of a table without rows", absl::StrCat(padding), "none");
  }
  if (padding < -rows || padding >= rows) {
    return InvalidArgument(where, "padding_idx is outside the table", absl::StrCat(padding),
                           absl::StrCat(-rows, " to ", rows - 1));
  }
  if (padding < 0) options.padding_idx = padding + rows;
  return absl::OkStatus();
}

// The arguments that both printed forms begin with.
std::string SizesText(const EmbeddingOptions& options) {
  return absl::StrCat(options.num_embeddings, ", ", options.embedding_dim);
}

std::string PaddingText(const EmbeddingOptions& options) {
  return options.padding_idx.has_value() ? absl::StrCat(", padding_idx=", *options.padding_idx) : "";
}

std::string NormAndFrequencyText(const EmbeddingOptions& options) {
  std::string text;
  if (options.max_norm.has_value()) absl::StrAppend(&text, ", max_norm=", PythonFloat(*options.max_norm));
  if (options.norm_type != 2.0) absl::StrAppend(&text, ", norm_type=", PythonFloat(options.norm_type));
  if (options.scale_grad_by_freq) absl::StrAppend(&text, ", scale_grad_by_freq=True");
  return text;
}

}  // namespace

absl::Status Canonicalize(EmbeddingOptions& options, absl::string_view where) {
  EQAT_RETURN_IF_ERROR(CheckSizes(options, where));
  if (options.max_norm.has_value() && std::isnan(*options.max_norm)) {
    return InvalidArgument(where, "max_norm is not a number", "nan", "a number");
  }
  if (std::isnan(options.norm_type)) return InvalidArgument(where, "norm_type is not a number", "nan", "a number");
  return WrapPadding(options, where);
}

absl::Status Canonicalize(EmbeddingBagOptions& options, absl::string_view where) {
  if (options.mode == PoolMode::kMax && options.scale_grad_by_freq) {
    return InvalidArgument(where, "mode max does not support scale_grad_by_freq", "scale_grad_by_freq=true",
                           "scale_grad_by_freq=false, or mode sum or mean");
  }
  if (options.mode == PoolMode::kMax && options.sparse) {
    return InvalidArgument(where, "mode max does not support sparse gradients", "sparse=true",
                           "sparse=false, or mode sum or mean");
  }
  return Canonicalize(static_cast<EmbeddingOptions&>(options), where);
}

std::string ToString(const EmbeddingOptions& options) {
  return absl::StrCat("Embedding(", SizesText(options), PaddingText(options), NormAndFrequencyText(options),
                      options.sparse ? ", sparse=True" : "", ")");
}

std::string ToString(const EmbeddingBagOptions& options) {
  return absl::StrCat("EmbeddingBag(", SizesText(options), NormAndFrequencyText(options),
                      ", mode=", PoolModeName(options.mode), PaddingText(options), ")");
}

}  // namespace eqat::nn
