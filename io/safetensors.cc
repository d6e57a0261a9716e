#include "io/safetensors.h"

#include <algorithm>
#include <bit>
#include <cassert>
#include <cstring>
#include <optional>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "core/checked_math.h"
#include "core/error.h"
#include "core/parallel_for.h"
#include "core/status_macros.h"
#include "core/tensor.h"
#include "io/json_reader.h"
#include "io/row_source.h"

namespace eqat::io {
namespace {

static_assert(std::endian::native == std::endian::little, "safetensors files are read and written without swapping");

struct TensorDtypeTraits {
  TensorDtype dtype;
  const char* name;
  int bytes;
};

// In the order of the format's own writer, which puts later ones first.
constexpr TensorDtypeTraits kTensorDtypes[] = {
    {TensorDtype::kBool, "BOOL", 1},      {TensorDtype::kU8, "U8", 1},          {TensorDtype::kI8, "I8", 1},
    {TensorDtype::kF8E5M2, "F8_E5M2", 1}, {TensorDtype::kF8E4M3, "F8_E4M3", 1}, {TensorDtype::kI16, "I16", 2},
    {TensorDtype::kU16, "U16", 2},        {TensorDtype::kF16, "F16", 2},        {TensorDtype::kBF16, "BF16", 2},
    {TensorDtype::kI32, "I32", 4},        {TensorDtype::kU32, "U32", 4},        {TensorDtype::kF32, "F32", 4},
    {TensorDtype::kF64, "F64", 8},        {TensorDtype::kI64, "I64", 8},        {TensorDtype::kU64, "U64", 8},
};
constexpr const TensorDtypeTraits& TraitsOf(TensorDtype dtype) { return kTensorDtypes[static_cast<int>(dtype)]; }
static_assert(TraitsOf(TensorDtype::kU64).dtype == TensorDtype::kU64);

constexpr int64_t kPrefixBytes = 8;  // the length of the header
constexpr int64_t kMaxHeaderBytes = 100'000'000;
constexpr size_t kMaxKeyBytes = 4096;
constexpr char kMetadataKey[] = "__metadata__";
constexpr size_t kGatheredBytes = 1 << 20;  // what is written at a time of rows that lie apart
constexpr int64_t kWidenedAtATime = 16384;  // elements that one thread widens at a time

std::string Place(absl::string_view path, absl::string_view tensor) {
  return absl::StrCat(path, ": tensor \"", absl::Utf8SafeCEscape(tensor.substr(0, 200)), "\"");
}

std::vector<std::string> DtypeNames() {
  std::vector<std::string> names;
  for (const TensorDtypeTraits& traits : kTensorDtypes) names.push_back(traits.name);
  return names;
}

// Bytes of a tensor; nullopt when a size is negative or the product overflows.
std::optional<int64_t> ByteSize(TensorDtype dtype, absl::Span<const int64_t> shape) {
  std::optional<int64_t> bytes = TensorDtypeBytes(dtype);
  for (const int64_t size : shape) {
    if (size < 0) return std::nullopt;
    bytes = CheckedMul(*bytes, size);
    if (!bytes.has_value()) return std::nullopt;
  }
  return bytes;
}

absl::StatusOr<std::vector<int64_t>> SizesFrom(const Json& json, absl::string_view where, absl::string_view what) {
  std::vector<int64_t> sizes;
  for (const Json& size : json) {
    if (!size.is_number_unsigned() || size.get<uint64_t>() > uint64_t{INT64_MAX}) {
      return InvalidArgument(where, absl::StrCat(what, " holds a bad size"), JsonExcerpt(size),
                             "integers from 0 to 2^63 - 1");
    }
    sizes.push_back(size.get<int64_t>());
  }
  return sizes;
}

absl::StatusOr<TensorInfo> TensorFrom(const std::string& name, const Json& json, const std::string& path,
                                      const std::vector<std::string>& dtype_names) {
  const std::string where = Place(path, name);
  if (name.size() > kMaxKeyBytes) {
    return InvalidArgument(where, "name is too long", absl::StrCat(name.size(), " bytes"),
                           absl::StrCat("at most ", kMaxKeyBytes));
  }
  EQAT_ASSIGN_OR_RETURN(ObjectReader object, ObjectReader::Of(json, where, ""));
  TensorInfo tensor;
  tensor.name = name;
  EQAT_ASSIGN_OR_RETURN(const int dtype, object.Choice("dtype", dtype_names));
  tensor.dtype = static_cast<TensorDtype>(dtype);
  EQAT_ASSIGN_OR_RETURN(const Json* shape, object.Array("shape"));
  EQAT_ASSIGN_OR_RETURN(tensor.shape, SizesFrom(*shape, where, "shape"));
  EQAT_ASSIGN_OR_RETURN(const Json* offsets, object.Array("data_offsets"));
  EQAT_ASSIGN_OR_RETURN(const std::vector<int64_t> range, SizesFrom(*offsets, where, "data_offsets"));
  EQAT_RETURN_IF_ERROR(object.Finish());
  if (range.size() != 2 || range[0] > range[1]) {
    return InvalidArgument(where, "data_offsets is no range", JsonExcerpt(*offsets), "[begin, end] with begin <= end");
  }
  tensor.begin = range[0];
  tensor.end = range[1];
  const std::optional<int64_t> bytes = ByteSize(tensor.dtype, tensor.shape);
  if (!bytes.has_value()) return InvalidArgument(where, "shape is too large", JsonExcerpt(*shape));
  if (*bytes != tensor.end - tensor.begin) {
    return InvalidArgument(where, "data_offsets do not match dtype and shape",
                           absl::StrCat(tensor.end - tensor.begin, " bytes"), absl::StrCat(*bytes));
  }
  return tensor;
}

absl::StatusOr<std::map<std::string, std::string>> MetadataFrom(const Json& json, const std::string& path) {
  const std::string where = absl::StrCat(path, ": ", kMetadataKey);
  if (!json.is_object()) return InvalidArgument(where, "has the wrong type", JsonExcerpt(json), "an object of strings");
  std::map<std::string, std::string> metadata;
  for (const auto& [key, value] : json.items()) {
    if (!value.is_string()) return InvalidArgument(where, "holds something else", JsonExcerpt(value), "strings");
    metadata[key] = value.get_ref<const std::string&>();
  }
  return metadata;
}

// The ranges in ascending order must cover the data from its first to its last byte, each byte once: nothing can hide
// in between, and a small file cannot pose as many large tensors.
absl::Status CheckCoverage(const std::vector<TensorInfo>& tensors, int64_t data_bytes, const std::string& path) {
  std::vector<const TensorInfo*> order;
  for (const TensorInfo& tensor : tensors) order.push_back(&tensor);
  std::sort(order.begin(), order.end(), [](const TensorInfo* a, const TensorInfo* b) {
    return std::pair(a->begin, a->end) < std::pair(b->begin, b->end);
  });
  int64_t end = 0;
  for (const TensorInfo* tensor : order) {
    if (tensor->begin != end) {
      return InvalidArgument(Place(path, tensor->name),
                             tensor->begin < end ? "overlaps another tensor" : "leaves a hole before it",
                             absl::StrCat("begin ", tensor->begin), absl::StrCat(end));
    }
    end = tensor->end;
  }
  if (end == data_bytes) return absl::OkStatus();
  return InvalidArgument(path,
                         end < data_bytes ? "has bytes after the last tensor" : "ends before its last tensor does",
                         absl::StrCat(data_bytes, " bytes of data"), absl::StrCat(end));
}

absl::StatusOr<absl::string_view> HeaderOf(const MappedFile& file, const std::string& path) {
  if (file.size() < kPrefixBytes) {
    return InvalidArgument(path, "is too short for a safetensors file", absl::StrCat(file.size(), " bytes"),
                           "at least 8");
  }
  uint64_t length = 0;
  std::memcpy(&length, file.data(), kPrefixBytes);
  const int64_t limit = std::min(kMaxHeaderBytes, file.size() - kPrefixBytes);
  if (length > static_cast<uint64_t>(limit)) {
    return InvalidArgument(path, "is not a safetensors file, or cut off: header is too long",
                           absl::StrCat(length, " bytes"), absl::StrCat("at most ", limit));
  }
  const absl::string_view header(file.data() + kPrefixBytes, length);
  if (header.empty() || header[0] != '{') return InvalidArgument(path, "header does not start with '{'");
  return header;
}

// The bits of a tensor's element as float32.
using Widen = float (*)(const char* element);

float WidenFloat32(const char* element) {
  float value;
  std::memcpy(&value, element, sizeof(value));
  return value;
}

template <float (*From)(uint16_t)>
float Widen16(const char* element) {
  uint16_t bits;
  std::memcpy(&bits, element, sizeof(bits));
  return From(bits);
}

template <Widen widen>
void WidenAll(absl::Span<const char> bytes, int64_t element_bytes, float* values) {
  ParallelFor(static_cast<int64_t>(bytes.size()) / element_bytes, kWidenedAtATime, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) values[i] = widen(bytes.data() + i * element_bytes);
  });
}

bool IsFloat(TensorDtype dtype) {
  return dtype == TensorDtype::kF32 || dtype == TensorDtype::kF16 || dtype == TensorDtype::kBF16;
}

// REQUIRES: IsFloat(dtype).
void CopyAsFloats(absl::Span<const char> bytes, TensorDtype dtype, float* values) {
  if (dtype == TensorDtype::kF32) return WidenAll<WidenFloat32>(bytes, 4, values);
  if (dtype == TensorDtype::kF16) return WidenAll<Widen16<FromFloat16>>(bytes, 2, values);
  WidenAll<Widen16<FromBFloat16>>(bytes, 2, values);
}

template <typename T>
std::vector<int64_t> IntegersFrom(absl::Span<const char> bytes) {
  std::vector<int64_t> values(bytes.size() / sizeof(T));
  for (size_t i = 0; i < values.size(); ++i) {
    T value;
    std::memcpy(&value, bytes.data() + i * sizeof(T), sizeof(T));
    values[i] = value;
  }
  return values;
}

absl::Status CheckTensorsToWrite(const std::vector<TensorToWrite>& tensors, const std::string& path) {
  for (const TensorToWrite& tensor : tensors) {
    const std::string where = Place(path, tensor.name);
    if (tensor.name == kMetadataKey) return InvalidArgument(where, "the name is reserved");
    if (tensor.name.size() > kMaxKeyBytes) return InvalidArgument(where, "name is too long");
    const std::optional<int64_t> bytes = ByteSize(tensor.dtype, tensor.shape);
    if (!bytes.has_value() || *bytes != tensor.bytes.size()) {
      return InvalidArgument(where, "bytes do not match dtype and shape", absl::StrCat(tensor.bytes.size()),
                             absl::StrCat(TensorDtypeName(tensor.dtype), " ", ShapeText(tensor.shape)));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckDistinct(std::vector<absl::string_view> names, const std::string& path) {
  std::sort(names.begin(), names.end());
  const auto duplicate = std::adjacent_find(names.begin(), names.end());
  if (duplicate == names.end()) return absl::OkStatus();
  return InvalidArgument(Place(path, *duplicate), "is given twice");
}

// Length and text of the header, padded with spaces so that the data is aligned to 8 bytes.
absl::StatusOr<std::string> HeaderFor(const std::vector<TensorToWrite>& tensors,
                                      const std::map<std::string, std::string>& metadata, const std::string& path) {
  // As text, since a JSON object would compare each new name with all before it.
  std::vector<std::string> members;
  const auto add = [&members](const std::string& name, const Json& value) {
    members.push_back(absl::StrCat(Json(name).dump(), ":", value.dump()));
  };
  try {
    if (!metadata.empty()) add(kMetadataKey, Json(metadata));
    int64_t begin = 0;
    for (const TensorToWrite& tensor : tensors) {
      const int64_t end = begin + tensor.bytes.size();
      Json entry;
      entry["dtype"] = TensorDtypeName(tensor.dtype);
      entry["shape"] = tensor.shape;
      entry["data_offsets"] = {begin, end};
      add(tensor.name, entry);
      begin = end;
    }
  } catch (const Json::type_error&) {  // the one reason for which text cannot be written
    return InvalidArgument(path, "a tensor's name or the metadata is not UTF-8");
  }
  std::string text = absl::StrCat("{", absl::StrJoin(members, ","), "}");
  text.resize((text.size() + 7) / 8 * 8, ' ');
  if (static_cast<int64_t>(text.size()) > kMaxHeaderBytes) {
    return ResourceExhausted(path, "header is too long", absl::StrCat(text.size(), " bytes"),
                             absl::StrCat("at most ", kMaxHeaderBytes));
  }
  const uint64_t length = text.size();
  std::string header(kPrefixBytes, '\0');
  std::memcpy(header.data(), &length, kPrefixBytes);
  return header + text;
}

// Puts the tensors into the order in which they are written, and gives the header that says so.
absl::StatusOr<std::string> SortAndDescribe(std::vector<TensorToWrite>& tensors,
                                            const std::map<std::string, std::string>& metadata,
                                            const std::string& path) {
  std::vector<absl::string_view> names;
  for (const TensorToWrite& tensor : tensors) names.push_back(tensor.name);
  EQAT_RETURN_IF_ERROR(CheckDistinct(names, path));
  EQAT_RETURN_IF_ERROR(CheckTensorsToWrite(tensors, path));
  std::sort(tensors.begin(), tensors.end(), [](const TensorToWrite& a, const TensorToWrite& b) {
    return a.dtype != b.dtype ? a.dtype > b.dtype : a.name < b.name;
  });
  return HeaderFor(tensors, metadata, path);
}

}  // namespace

absl::string_view TensorDtypeName(TensorDtype dtype) { return TraitsOf(dtype).name; }

int64_t TensorDtypeBytes(TensorDtype dtype) { return TraitsOf(dtype).bytes; }

absl::StatusOr<SafetensorsReader> SafetensorsReader::Open(const std::string& path) {
  SafetensorsReader reader;
  reader.path_ = path;
  EQAT_ASSIGN_OR_RETURN(reader.file_, MappedFile::Open(path));
  EQAT_ASSIGN_OR_RETURN(const absl::string_view header, HeaderOf(*reader.file_, path));
  EQAT_ASSIGN_OR_RETURN(const Json json, ParseJson(header, path));
  const std::vector<std::string> dtype_names = DtypeNames();
  for (const auto& [name, value] : json.items()) {
    if (name == kMetadataKey) {
      EQAT_ASSIGN_OR_RETURN(reader.metadata_, MetadataFrom(value, path));
    } else {
      EQAT_ASSIGN_OR_RETURN(TensorInfo tensor, TensorFrom(name, value, path, dtype_names));
      reader.tensors_.push_back(std::move(tensor));
    }
  }
  std::sort(reader.tensors_.begin(), reader.tensors_.end(),
            [](const TensorInfo& a, const TensorInfo& b) { return a.name < b.name; });
  reader.data_begin_ = kPrefixBytes + static_cast<int64_t>(header.size());
  EQAT_RETURN_IF_ERROR(CheckCoverage(reader.tensors_, reader.file_->size() - reader.data_begin_, path));
  return reader;
}

const TensorInfo* SafetensorsReader::Find(absl::string_view name) const {
  const auto found =
      std::lower_bound(tensors_.begin(), tensors_.end(), name,
                       [](const TensorInfo& tensor, absl::string_view key) { return tensor.name < key; });
  return found != tensors_.end() && found->name == name ? &*found : nullptr;
}

SafetensorsReader SafetensorsReader::Select(absl::FunctionRef<bool(const TensorInfo& tensor)> keep) const {
  SafetensorsReader selected = *this;
  selected.tensors_.erase(std::remove_if(selected.tensors_.begin(), selected.tensors_.end(),
                                         [&keep](const TensorInfo& tensor) { return !keep(tensor); }),
                          selected.tensors_.end());
  return selected;
}

absl::StatusOr<const TensorInfo*> SafetensorsReader::Require(absl::string_view name) const {
  const TensorInfo* tensor = Find(name);
  if (tensor == nullptr) return NotFound(Place(path_, name), "is missing");
  return tensor;
}

absl::StatusOr<const TensorInfo*> SafetensorsReader::RequireFloat(absl::string_view name) const {
  EQAT_ASSIGN_OR_RETURN(const TensorInfo* tensor, Require(name));
  if (!IsFloat(tensor->dtype)) {
    return InvalidArgument(Place(path_, name), "has the wrong dtype", TensorDtypeName(tensor->dtype),
                           "F32, F16 or BF16");
  }
  return tensor;
}

absl::Span<const char> SafetensorsReader::Bytes(const TensorInfo& tensor) const {
  return absl::MakeConstSpan(file_->data() + data_begin_ + tensor.begin, tensor.end - tensor.begin);
}

absl::StatusOr<Table> SafetensorsReader::ReadTable(absl::string_view name) const {
  EQAT_ASSIGN_OR_RETURN(const TensorInfo* tensor, RequireFloat(name));
  if (tensor->shape.size() != 2) {
    return InvalidArgument(Place(path_, name), "has the wrong shape", ShapeText(tensor->shape), "two dimensions");
  }
  const int64_t rows = tensor->shape[0];
  const int64_t cols = tensor->shape[1];
  char* data = file_->data() + data_begin_ + tensor->begin;
  const bool aligned = reinterpret_cast<uintptr_t>(data) % alignof(float) == 0;
  if (tensor->dtype == TensorDtype::kF32 && aligned) {
    return Table::Adopt(reinterpret_cast<float*>(data), rows, cols, file_);
  }
  EQAT_ASSIGN_OR_RETURN(Table table, Table::Zeros(rows, cols));
  CopyAsFloats(Bytes(*tensor), tensor->dtype, table.data());
  return table;
}

std::unique_ptr<RowSource> SafetensorsReader::Rows(const TensorInfo& tensor) const {
  return RowsOfMapping(file_, data_begin_ + tensor.begin,
                       {.dtype = tensor.dtype,
                        .rows = tensor.shape[0],
                        .cols = tensor.shape[1],
                        .row_stride = tensor.shape[1],
                        .col_stride = 1});
}

absl::StatusOr<std::vector<float>> SafetensorsReader::ReadFloats(absl::string_view name) const {
  EQAT_ASSIGN_OR_RETURN(const TensorInfo* tensor, RequireFloat(name));
  const absl::Span<const char> bytes = Bytes(*tensor);
  std::vector<float> values(bytes.size() / TensorDtypeBytes(tensor->dtype));
  CopyAsFloats(bytes, tensor->dtype, values.data());
  return values;
}

absl::StatusOr<std::vector<int64_t>> SafetensorsReader::ReadIntegers(absl::string_view name) const {
  EQAT_ASSIGN_OR_RETURN(const TensorInfo* tensor, Require(name));
  switch (tensor->dtype) {
    case TensorDtype::kI32:
      return IntegersFrom<int32_t>(Bytes(*tensor));
    case TensorDtype::kI64:
      return IntegersFrom<int64_t>(Bytes(*tensor));
    case TensorDtype::kU8:
      return IntegersFrom<uint8_t>(Bytes(*tensor));
    default:
      return InvalidArgument(Place(path_, name), "has the wrong dtype", TensorDtypeName(tensor->dtype),
                             "I32, I64 or U8");
  }
}

absl::Status WriteRows(const ByteRows& bytes, AtomicFileWriter& writer) {
  if (bytes.rows <= 1 || bytes.row_bytes == bytes.stride) {
    return writer.Write(absl::MakeConstSpan(bytes.data, bytes.size()));
  }
  std::vector<char> gathered;
  for (int64_t row = 0; row < bytes.rows; ++row) {
    const char* const run = bytes.data + row * bytes.stride;
    gathered.insert(gathered.end(), run, run + bytes.row_bytes);
    if (gathered.size() < kGatheredBytes) continue;
    EQAT_RETURN_IF_ERROR(writer.Write(absl::MakeConstSpan(gathered)));
    gathered.clear();
  }
  return writer.Write(absl::MakeConstSpan(gathered));
}

absl::Status WriteSafetensors(const std::string& path, std::vector<TensorToWrite> tensors,
                              const std::map<std::string, std::string>& metadata) {
  EQAT_ASSIGN_OR_RETURN(const std::string header, SortAndDescribe(tensors, metadata, path));
  EQAT_ASSIGN_OR_RETURN(const std::unique_ptr<AtomicFileWriter> writer, AtomicFileWriter::Create(path));
  EQAT_RETURN_IF_ERROR(writer->Write(absl::MakeConstSpan(header)));
  for (const TensorToWrite& tensor : tensors) EQAT_RETURN_IF_ERROR(WriteRows(tensor.bytes, *writer));
  return writer->Commit();
}

absl::StatusOr<std::unique_ptr<SafetensorsStream>> SafetensorsStream::Create(
    const std::string& path, std::vector<Tensor> tensors, const std::map<std::string, std::string>& metadata) {
  std::vector<TensorToWrite> described;
  for (Tensor& tensor : tensors) {
    const int64_t size = ByteSize(tensor.dtype, tensor.shape).value_or(0);
    described.push_back(
        {std::move(tensor.name), tensor.dtype, std::move(tensor.shape), ByteRows(nullptr, 1, size, size)});
  }
  EQAT_ASSIGN_OR_RETURN(const std::string header, SortAndDescribe(described, metadata, path));
  auto stream = std::make_unique<SafetensorsStream>();
  int64_t end = static_cast<int64_t>(header.size());
  for (const TensorToWrite& tensor : described) {
    stream->parts_[tensor.name] = {.begin = end, .size = tensor.bytes.size()};
    end += tensor.bytes.size();
  }
  EQAT_ASSIGN_OR_RETURN(stream->file_, AtomicFileWriter::Create(path));
  EQAT_RETURN_IF_ERROR(stream->file_->Reserve(end));
  EQAT_RETURN_IF_ERROR(stream->file_->WriteAt(0, absl::MakeConstSpan(header)));
  return stream;
}

absl::Status SafetensorsStream::WriteAt(const std::string& name, int64_t position, absl::Span<const char> bytes) {
  Part& part = parts_.at(name);
  assert(position >= 0 && position + static_cast<int64_t>(bytes.size()) <= part.size);
  part.written += static_cast<int64_t>(bytes.size());
  return file_->WriteAt(part.begin + position, bytes);
}

absl::Status SafetensorsStream::Commit() {
  assert(std::all_of(parts_.begin(), parts_.end(),
                     [](const auto& part) { return part.second.written == part.second.size; }));
  return file_->Commit();
}

}  // namespace eqat::io
