#include "io/gguf_writer.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <set>

#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "core/checked_math.h"
#include "core/error.h"
#include "core/status_macros.h"
#include "io/file.h"

namespace eqat::io {
namespace {

constexpr uint32_t kGgufVersion = 3;
constexpr int64_t kGgufAlignment = 32;
constexpr size_t kMaxGgufNameBytes = 63;
constexpr int64_t kBytesPerFill = int64_t{1} << 20;

// Types of metadata values.
constexpr uint32_t kUInt32 = 4;
constexpr uint32_t kString = 8;
constexpr uint32_t kInt64 = 11;

int64_t Padded(int64_t bytes) { return (bytes + kGgufAlignment - 1) / kGgufAlignment * kGgufAlignment; }

template <typename T>
void Append(T value, std::string& bytes) {
  bytes.append(reinterpret_cast<const char*>(&value), sizeof(value));
}

void AppendString(const std::string& text, std::string& bytes) {
  Append<uint64_t>(text.size(), bytes);
  bytes += text;
}

void AppendValue(const GgufValue& value, std::string& bytes) {
  if (const auto* number = std::get_if<uint32_t>(&value)) {
    Append(kUInt32, bytes);
    Append(*number, bytes);
  } else if (const auto* integer = std::get_if<int64_t>(&value)) {
    Append(kInt64, bytes);
    Append(*integer, bytes);
  } else {
    Append(kString, bytes);
    AppendString(std::get<std::string>(value), bytes);
  }
}

int64_t RowBytes(const GgufTensor& tensor) {
  const GgufTypeTraits type = TraitsOf(tensor.type);
  return tensor.cols / type.block_values * type.block_bytes;
}

absl::StatusOr<int64_t> CheckedBytes(const GgufTensor& tensor) {
  if (tensor.name.empty() || tensor.name.size() > kMaxGgufNameBytes) {
    return InvalidArgument(tensor.name, "GGUF cannot hold a tensor of this name",
                           absl::StrCat(tensor.name.size(), " bytes"), absl::StrCat("1 to ", kMaxGgufNameBytes));
  }
  const GgufTypeTraits type = TraitsOf(tensor.type);
  if (tensor.cols % type.block_values != 0) {
    return InvalidArgument(tensor.name, absl::StrCat("rows are no whole number of blocks of ", type.name),
                           absl::StrCat(tensor.cols, " columns"), absl::StrCat("a multiple of ", type.block_values));
  }
  const std::optional<int64_t> values = CheckedMul(tensor.cols, type.block_bytes);
  const std::optional<int64_t> bytes = values.has_value() ? CheckedMul(tensor.rows, RowBytes(tensor)) : std::nullopt;
  if (!bytes.has_value() || !CheckedAdd(*bytes, kGgufAlignment).has_value()) {
    return ResourceExhausted(tensor.name, "size overflows", absl::StrCat("[", tensor.rows, ", ", tensor.cols, "]"));
  }
  return *bytes;
}

absl::StatusOr<std::string> Header(const GgufMetadata& metadata, const std::vector<GgufTensor>& tensors) {
  std::string bytes = "GGUF";
  Append(kGgufVersion, bytes);
  Append<int64_t>(tensors.size(), bytes);
  Append<int64_t>(metadata.size(), bytes);
  for (const auto& [key, value] : metadata) {
    AppendString(key, bytes);
    AppendValue(value, bytes);
  }
  std::set<std::string> names;
  int64_t offset = 0;
  for (const GgufTensor& tensor : tensors) {
    EQAT_ASSIGN_OR_RETURN(const int64_t size, CheckedBytes(tensor));
    if (!names.insert(tensor.name).second) return InvalidArgument(tensor.name, "name is given twice");
    AppendString(tensor.name, bytes);
    Append<uint32_t>(2, bytes);
    Append<int64_t>(tensor.cols, bytes);
    Append<int64_t>(tensor.rows, bytes);
    Append(static_cast<uint32_t>(tensor.type), bytes);
    Append<uint64_t>(offset, bytes);
    const std::optional<int64_t> next = CheckedAdd(offset, Padded(size));
    if (!next.has_value()) return ResourceExhausted(tensor.name, "size of the file overflows");
    offset = *next;
  }
  bytes.resize(Padded(static_cast<int64_t>(bytes.size())));
  return bytes;
}

absl::Status WriteTensor(const GgufTensor& tensor, AtomicFileWriter& file) {
  const int64_t row_bytes = RowBytes(tensor);
  const int64_t rows_at_once = std::max<int64_t>(1, kBytesPerFill / std::max<int64_t>(1, row_bytes));
  std::string bytes;
  for (int64_t begin = 0; begin < tensor.rows; begin += rows_at_once) {
    bytes.clear();
    tensor.fill(begin, std::min(begin + rows_at_once, tensor.rows), bytes);
    EQAT_RETURN_IF_ERROR(file.Write(absl::MakeConstSpan(bytes)));
  }
  const int64_t size = tensor.rows * row_bytes;
  const std::string padding(Padded(size) - size, '\0');
  return file.Write(absl::MakeConstSpan(padding));
}

}  // namespace

GgufTypeTraits TraitsOf(GgufType type) {
  switch (type) {
    case GgufType::kF32:
      return {"F32", 1, 4};
    case GgufType::kF16:
      return {"F16", 1, 2};
    case GgufType::kQ4_0:
      return {"Q4_0", 32, 18};
    case GgufType::kQ4_1:
      return {"Q4_1", 32, 20};
    case GgufType::kQ8_0:
      return {"Q8_0", 32, 34};
  }
  return {"", 1, 1};
}

absl::Status WriteGguf(const std::string& path, const GgufMetadata& metadata, const std::vector<GgufTensor>& tensors) {
  EQAT_ASSIGN_OR_RETURN(const std::string header, Header(metadata, tensors));
  EQAT_ASSIGN_OR_RETURN(const std::unique_ptr<AtomicFileWriter> file, AtomicFileWriter::Create(path));
  EQAT_RETURN_IF_ERROR(file->Write(absl::MakeConstSpan(header)));
  for (const GgufTensor& tensor : tensors) EQAT_RETURN_IF_ERROR(WriteTensor(tensor, *file));
  return file->Commit();
}

}  // namespace eqat::io
