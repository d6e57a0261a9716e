#include "quant/tensor_text.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace eqat::quant {
namespace {

constexpr size_t kLineWidth = 80;
constexpr size_t kThreshold = 1000;
constexpr size_t kEdgeItems = 3;
constexpr absl::string_view kPrefix = "tensor(";

template <typename T>
std::vector<T> ShownValues(absl::Span<const T> values) {
  if (values.size() <= kThreshold) return std::vector<T>(values.begin(), values.end());
  std::vector<T> shown(values.begin(), values.begin() + kEdgeItems);
  shown.insert(shown.end(), values.end() - kEdgeItems, values.end());
  return shown;
}

enum class FloatStyle { kInteger, kFixed, kScientific };

FloatStyle StyleOf(absl::Span<const float> values) {
  double smallest = std::numeric_limits<double>::infinity();
  double largest = 0.0;
  bool integers = true;
  for (const float value : values) {
    if (!std::isfinite(value) || value == 0.0f) continue;
    smallest = std::min(smallest, std::abs(static_cast<double>(value)));
    largest = std::max(largest, std::abs(static_cast<double>(value)));
    integers = integers && value == std::ceil(value);
  }
  if (largest == 0.0) return FloatStyle::kInteger;
  if (largest / smallest > 1000.0 || largest > 1.0e8) return FloatStyle::kScientific;
  if (integers) return FloatStyle::kInteger;
  return smallest < 1.0e-4 ? FloatStyle::kScientific : FloatStyle::kFixed;
}

std::string FloatText(float value, FloatStyle style) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value > 0 ? "inf" : "-inf";
  switch (style) {
    case FloatStyle::kInteger:
      return absl::StrFormat("%.0f.", value);
    case FloatStyle::kFixed:
      return absl::StrFormat("%.4f", value);
    case FloatStyle::kScientific:
      return absl::StrFormat("%.4e", value);
  }
  return "";
}

// The column width follows the finite values other than zero alone.
size_t FloatWidth(absl::Span<const float> values, FloatStyle style) {
  size_t width = 1;
  for (const float value : values) {
    if (std::isfinite(value) && value != 0.0f) width = std::max(width, FloatText(value, style).size());
  }
  return width;
}

std::string Padded(const std::string& text, size_t width) {
  return std::string(width > text.size() ? width - text.size() : 0, ' ') + text;
}

// `cells` are the shown values, already padded to `width`.
std::string Bracketed(std::vector<std::string> cells, size_t width, bool summarized) {
  if (summarized) cells.insert(cells.begin() + kEdgeItems, " ...");
  const size_t per_line = std::max<size_t>(1, (kLineWidth - kPrefix.size()) / (width + 2));
  std::string text = "[";
  for (size_t i = 0; i < cells.size(); ++i) {
    if (i > 0) absl::StrAppend(&text, i % per_line == 0 ? ",\n" + std::string(kPrefix.size() + 1, ' ') : ", ");
    absl::StrAppend(&text, cells[i]);
  }
  return text + "]";
}

}  // namespace

std::string FloatTensorText(absl::Span<const float> values) {
  const std::vector<float> shown = ShownValues(values);
  const FloatStyle style = StyleOf(shown);
  const size_t width = FloatWidth(shown, style);
  std::vector<std::string> cells;
  for (const float value : shown) cells.push_back(Padded(FloatText(value, style), width));
  return absl::StrCat(kPrefix, Bracketed(std::move(cells), width, values.size() > kThreshold), ")");
}

std::string IntTensorText(absl::Span<const int64_t> values, absl::string_view dtype) {
  const std::vector<int64_t> shown = ShownValues(values);
  size_t width = 1;
  for (const int64_t value : shown) width = std::max(width, absl::StrCat(value).size());
  std::vector<std::string> cells;
  for (const int64_t value : shown) cells.push_back(Padded(absl::StrCat(value), width));
  const std::string body = absl::StrCat(kPrefix, Bracketed(std::move(cells), width, values.size() > kThreshold));
  const std::string suffix = absl::StrCat("dtype=", dtype);
  // A newline counts as one more column than it takes, as in torch.
  const size_t last_line = body.rfind('\n') == std::string::npos ? body.size() + 2 : body.size() - body.rfind('\n') + 1;
  const bool fits = last_line + suffix.size() + 2 <= kLineWidth;
  return absl::StrCat(body, fits ? ", " : ",\n" + std::string(kPrefix.size(), ' '), suffix, ")");
}

std::string ScalarText(float value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value > 0 ? "inf" : "-inf";
  const double number = static_cast<double>(value);
  char buffer[400];
  const double magnitude = std::abs(number);
  const bool fixed = magnitude == 0.0 || (magnitude >= 1e-4 && magnitude < 1e16);
  const auto end = std::to_chars(buffer, buffer + sizeof(buffer), number,
                                 fixed ? std::chars_format::fixed : std::chars_format::scientific);
  std::string text(buffer, end.ptr);
  if (fixed && text.find('.') == std::string::npos) text += ".0";
  return text;
}

}  // namespace eqat::quant
