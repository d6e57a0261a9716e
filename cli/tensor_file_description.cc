#include "cli/tensor_file_description.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "cli/text_table.h"
#include "core/tensor.h"

namespace eqat::cli {
namespace {

float Number(float value) { return value; }
double Number(double value) { return value; }
template <typename T>
T Number(T integer) {
  return integer;
}

// The 16-bit formats, as stored.
struct BFloat16 {
  uint16_t bits;
};
struct Float16 {
  uint16_t bits;
};
float Number(BFloat16 value) {
  const uint32_t bits = static_cast<uint32_t>(value.bits) << 16;
  float result;
  std::memcpy(&result, &bits, sizeof(result));
  return result;
}
float Number(Float16 value) {
  const int exponent = (value.bits >> 10) & 0x1f;
  const float fraction = static_cast<float>(value.bits & 0x3ff);
  float magnitude;
  if (exponent == 0x1f) {
    magnitude = fraction == 0 ? INFINITY : NAN;
  } else if (exponent == 0) {
    magnitude = std::ldexp(fraction, -24);
  } else {
    magnitude = std::ldexp(fraction + 1024.0f, exponent - 25);
  }
  return (value.bits & 0x8000) != 0 ? -magnitude : magnitude;
}

// T: how a value is stored, at any alignment.
template <typename T>
void AddRange(absl::Span<const char> bytes, TensorDescription& description) {
  using Value = decltype(Number(T{}));
  std::optional<std::pair<Value, Value>> range;
  for (size_t at = 0; at + sizeof(T) <= bytes.size(); at += sizeof(T)) {
    T stored;
    std::memcpy(&stored, bytes.data() + at, sizeof(T));
    const Value value = Number(stored);
    if (!std::isfinite(static_cast<double>(value))) {
      ++description.non_finite;
      continue;
    }
    if (!range.has_value()) range.emplace(value, value);
    range->first = std::min(range->first, value);
    range->second = std::max(range->second, value);
  }
  if (range.has_value()) {
    description.min = range->first;
    description.max = range->second;
  }
}

void AddRange(io::TensorDtype dtype, absl::Span<const char> bytes, TensorDescription& description) {
  switch (dtype) {
    case io::TensorDtype::kBool:
    case io::TensorDtype::kU8:
      return AddRange<uint8_t>(bytes, description);
    case io::TensorDtype::kI8:
      return AddRange<int8_t>(bytes, description);
    case io::TensorDtype::kI16:
      return AddRange<int16_t>(bytes, description);
    case io::TensorDtype::kU16:
      return AddRange<uint16_t>(bytes, description);
    case io::TensorDtype::kF16:
      return AddRange<Float16>(bytes, description);
    case io::TensorDtype::kBF16:
      return AddRange<BFloat16>(bytes, description);
    case io::TensorDtype::kI32:
      return AddRange<int32_t>(bytes, description);
    case io::TensorDtype::kU32:
      return AddRange<uint32_t>(bytes, description);
    case io::TensorDtype::kF32:
      return AddRange<float>(bytes, description);
    case io::TensorDtype::kF64:
      return AddRange<double>(bytes, description);
    case io::TensorDtype::kI64:
      return AddRange<int64_t>(bytes, description);
    case io::TensorDtype::kU64:
      return AddRange<uint64_t>(bytes, description);
    case io::TensorDtype::kF8E5M2:
    case io::TensorDtype::kF8E4M3:
      return;
  }
}

std::string NumberText(const io::Json& number) {
  if (number.is_null()) return "-";
  return number.is_number_float() ? absl::StrFormat("%.6g", number.get<double>()) : number.dump();
}

}  // namespace

TensorFileDescription Describe(const io::SafetensorsReader& reader) {
  TensorFileDescription description;
  description.metadata = reader.metadata();
  for (const io::TensorInfo& info : reader.tensors()) {
    TensorDescription& tensor = description.tensors.emplace_back();
    tensor.info = info;
    AddRange(info.dtype, reader.Bytes(info), tensor);
  }
  return description;
}

std::string ToText(const TensorFileDescription& description) {
  constexpr auto kRight = TextTable::Align::kRight;
  TextTable table(
      {{"tensor"}, {"dtype"}, {"shape"}, {"size", kRight}, {"min", kRight}, {"max", kRight}, {"non-finite", kRight}});
  int64_t bytes = 0;
  for (const TensorDescription& tensor : description.tensors) {
    const int64_t size = tensor.info.end - tensor.info.begin;
    table.AddRow({tensor.info.name, std::string(io::TensorDtypeName(tensor.info.dtype)), ShapeText(tensor.info.shape),
                  SizeText(size), NumberText(tensor.min), NumberText(tensor.max), absl::StrCat(tensor.non_finite)});
    bytes += size;
  }
  return absl::StrCat(table.ToString(), "\n", description.tensors.size(), " tensors, ", SizeText(bytes), "\n");
}

std::string ToJsonText(const TensorFileDescription& description) {
  io::Json json;
  json["kind"] = "tensors";
  json["tensors"] = io::Json::array();
  int64_t bytes = 0;
  for (const TensorDescription& tensor : description.tensors) {
    const int64_t size = tensor.info.end - tensor.info.begin;
    io::Json entry;
    entry["name"] = tensor.info.name;
    entry["dtype"] = std::string(io::TensorDtypeName(tensor.info.dtype));
    entry["shape"] = tensor.info.shape;
    entry["bytes"] = size;
    entry["min"] = tensor.min;
    entry["max"] = tensor.max;
    entry["non_finite"] = tensor.non_finite;
    json["tensors"].push_back(std::move(entry));
    bytes += size;
  }
  json["bytes"] = bytes;
  json["metadata"] = description.metadata;
  return io::JsonText(json);
}

}  // namespace eqat::cli
