#include "io/npy.h"

#include <algorithm>
#include <charconv>
#include <optional>
#include <system_error>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "core/checked_math.h"
#include "core/error.h"
#include "core/status_macros.h"
#include "core/tensor.h"
#include "io/byte_reader.h"
#include "io/excerpt.h"

namespace eqat::io {
namespace {

constexpr std::string_view kMagic("\x93NUMPY", 6);
constexpr size_t kMaxDimensions = 64;  // NumPy 2's own limit
constexpr std::string_view kNpyEnding = ".npy";
constexpr size_t kMaxArrayName = 255;
constexpr size_t kNpyAlignment = 64;  // of the data, in files that are written
constexpr size_t kGrowthDigits = 21;  // NumPy leaves room for the first size to grow to so many digits

struct NpyDtype {
  std::string_view descr;
  TensorDtype dtype;
};
constexpr NpyDtype kNpyDtypes[] = {
    {"<f4", TensorDtype::kF32}, {"<f2", TensorDtype::kF16}, {"<f8", TensorDtype::kF64}, {"<i2", TensorDtype::kI16},
    {"<i4", TensorDtype::kI32}, {"<i8", TensorDtype::kI64}, {"<u2", TensorDtype::kU16}, {"<u4", TensorDtype::kU32},
    {"<u8", TensorDtype::kU64}, {"|u1", TensorDtype::kU8},  {"|i1", TensorDtype::kI8},  {"|b1", TensorDtype::kBool},
};

std::string DescrNames() {
  return absl::StrJoin(kNpyDtypes, ", ",
                       [](std::string* out, const NpyDtype& entry) { absl::StrAppend(out, std::string(entry.descr)); });
}

// The few forms of Python's literals that the header's dictionary is made of.
class HeaderParser {
 public:
  // `begin`: byte of the file at which `text` begins, for messages.
  HeaderParser(std::string_view text, int64_t begin, std::string_view where)
      : text_(text), begin_(begin), where_(where) {}

  absl::Status Parse(NpyHeader& header) {
    bool has_descr = false, has_order = false, has_shape = false;
    EQAT_RETURN_IF_ERROR(Expect('{'));
    while (!Accept('}')) {
      EQAT_ASSIGN_OR_RETURN(const std::string_view key, String("a key"));
      EQAT_RETURN_IF_ERROR(Expect(':'));
      bool* const seen = key == "descr"           ? &has_descr
                         : key == "fortran_order" ? &has_order
                         : key == "shape"         ? &has_shape
                                                  : nullptr;
      if (seen == nullptr || *seen) {
        return Error(seen == nullptr ? "unknown key" : "key stands there twice", Excerpt(key, 40),
                     "descr, fortran_order and shape");
      }
      *seen = true;
      if (seen == &has_descr) EQAT_RETURN_IF_ERROR(ParseDescr(header.dtype));
      if (seen == &has_order) EQAT_RETURN_IF_ERROR(ParseBool(header.fortran_order));
      if (seen == &has_shape) EQAT_RETURN_IF_ERROR(ParseShape(header.shape));
      if (Accept('}')) break;
      EQAT_RETURN_IF_ERROR(Expect(','));
    }
    SkipSpace();
    if (position_ != text_.size()) return Error("something follows the dictionary", Rest(), "spaces");
    if (has_descr && has_order && has_shape) return absl::OkStatus();
    return Error(!has_descr   ? "descr is missing"
                 : !has_order ? "fortran_order is missing"
                              : "shape is missing",
                 "", "");
  }

 private:
  std::string Rest() const { return Excerpt(text_.substr(position_), 40); }
  absl::Status Error(absl::string_view what, absl::string_view got, absl::string_view expected) const {
    return InvalidArgument(absl::StrCat(absl::string_view(where_.data(), where_.size()), ": byte ",
                                        begin_ + static_cast<int64_t>(position_), ": header"),
                           what, got, expected);
  }
  void SkipSpace() {
    while (position_ < text_.size() && absl::ascii_isspace(text_[position_])) ++position_;
  }
  bool Accept(char c) {
    SkipSpace();
    if (position_ == text_.size() || text_[position_] != c) return false;
    ++position_;
    return true;
  }
  absl::Status Expect(char c) {
    if (Accept(c)) return absl::OkStatus();
    return Error("is no dictionary as NumPy writes it", Rest(), absl::StrCat("'", std::string(1, c), "'"));
  }
  absl::StatusOr<std::string_view> String(absl::string_view what) {
    const bool is_double = Accept('"');
    if (!is_double && !Accept('\'')) return Error(absl::StrCat(what, " is no string"), Rest(), "");
    const size_t end = text_.find(is_double ? '"' : '\'', position_);
    if (end == std::string_view::npos) return Error("string does not end", Rest(), "");
    const std::string_view value = text_.substr(position_, end - position_);
    position_ = end + 1;
    return value;
  }
  absl::Status ParseDescr(TensorDtype& dtype) {
    if (Accept('[')) return Error("descr is a record of several fields", "", DescrNames());
    EQAT_ASSIGN_OR_RETURN(const std::string_view descr, String("descr"));
    for (const NpyDtype& known : kNpyDtypes) {
      if (descr != known.descr) continue;
      dtype = known.dtype;
      return absl::OkStatus();
    }
    if (descr.size() > 1 && descr[1] == 'O') {
      return Error("descr: Python objects (a pickle) are never read", Excerpt(descr, 40), DescrNames());
    }
    if (!descr.empty() && descr[0] == '>') {
      return Error("descr: big-endian numbers are not read; convert them with array.astype(\"<f4\")",
                   Excerpt(descr, 40), DescrNames());
    }
    return Error("descr is not read", Excerpt(descr, 40), DescrNames());
  }
  absl::Status ParseBool(bool& value) {
    SkipSpace();
    for (const bool candidate : {true, false}) {
      const std::string_view word = candidate ? "True" : "False";
      if (text_.substr(position_, word.size()) != word) continue;
      position_ += word.size();
      value = candidate;
      return absl::OkStatus();
    }
    return Error("fortran_order is no truth value", Rest(), "True or False");
  }
  absl::Status ParseShape(std::vector<int64_t>& shape) {
    EQAT_RETURN_IF_ERROR(Expect('('));
    while (!Accept(')')) {
      SkipSpace();
      int64_t size = 0;
      const char* const begin = text_.data() + position_;
      const auto [end, error] = std::from_chars(begin, text_.data() + text_.size(), size);
      if (error != std::errc() || size < 0) {
        return Error("shape holds a bad size", Rest(), "integers from 0 to 2^63 - 1");
      }
      position_ += end - begin;
      shape.push_back(size);
      if (shape.size() > kMaxDimensions)
        return Error("shape has too many dimensions", "", absl::StrCat("at most ", kMaxDimensions));
      if (Accept(')')) break;
      EQAT_RETURN_IF_ERROR(Expect(','));
    }
    return absl::OkStatus();
  }

  std::string_view text_;
  int64_t begin_;
  std::string_view where_;
  size_t position_ = 0;
};

absl::StatusOr<MatrixLayout> LayoutOf(const NpyHeader& header, const std::string& where) {
  if (!IsTableDtype(header.dtype)) {
    return InvalidArgument(where, "is no table of floats", TensorDtypeName(header.dtype), "F32, F16 or F64");
  }
  if (header.shape.size() != 2) {
    return InvalidArgument(where, "has the wrong shape", ShapeText(header.shape), "two dimensions");
  }
  const int64_t rows = header.shape[0];
  const int64_t cols = header.shape[1];
  return MatrixLayout{.dtype = header.dtype,
                      .rows = rows,
                      .cols = cols,
                      .row_stride = header.fortran_order ? 1 : cols,
                      .col_stride = header.fortran_order ? rows : 1};
}

}  // namespace

absl::StatusOr<NpyHeader> ParseNpyHeader(std::string_view beginning, int64_t total_bytes, std::string_view where) {
  ByteReader reader(beginning, std::string(where));
  if (beginning.substr(0, kMagic.size()) != kMagic) {
    return InvalidArgument(reader.Place("magic"), "is no NumPy array", Excerpt(beginning, 6), "\\x93NUMPY");
  }
  EQAT_RETURN_IF_ERROR(reader.Take(static_cast<int64_t>(kMagic.size()), "magic").status());
  EQAT_ASSIGN_OR_RETURN(const uint8_t major, reader.Read<uint8_t>("version"));
  EQAT_ASSIGN_OR_RETURN(const uint8_t minor, reader.Read<uint8_t>("version"));
  if (major < 1 || major > 3 || minor != 0) {
    return InvalidArgument(reader.PlaceAt(6, "version"), "is unknown", absl::StrCat(major, ".", minor),
                           "1.0, 2.0 or 3.0");
  }
  int64_t length = 0;
  if (major == 1) {
    EQAT_ASSIGN_OR_RETURN(length, reader.Read<uint16_t>("length of the header"));
  } else {
    EQAT_ASSIGN_OR_RETURN(length, reader.Read<uint32_t>("length of the header"));
  }
  if (length > kMaxNpyHeaderBytes - reader.position()) {
    return InvalidArgument(reader.Place("header"), "is too long", absl::StrCat(length, " bytes"),
                           absl::StrCat("at most ", kMaxNpyHeaderBytes - reader.position()));
  }
  const int64_t header_begin = reader.position();
  EQAT_ASSIGN_OR_RETURN(const std::string_view text, reader.Take(length, "header"));
  NpyHeader header;
  EQAT_RETURN_IF_ERROR(HeaderParser(text, header_begin, where).Parse(header));
  header.data_begin = reader.position();
  std::optional<int64_t> bytes = TensorDtypeBytes(header.dtype);
  for (const int64_t size : header.shape) {
    if (bytes) bytes = CheckedMul(*bytes, size);
  }
  const int64_t data_bytes = total_bytes - header.data_begin;
  if (!bytes || *bytes != data_bytes) {
    return InvalidArgument(reader.Place("data"), "does not match dtype and shape", absl::StrCat(data_bytes, " bytes"),
                           bytes ? absl::StrCat(*bytes) : "a size below 2^63");
  }
  return header;
}

absl::StatusOr<NpyReader> NpyReader::Open(const std::string& path) {
  NpyReader reader;
  reader.path_ = path;
  EQAT_ASSIGN_OR_RETURN(reader.file_, MappedFile::Open(path));
  EQAT_ASSIGN_OR_RETURN(reader.header_, ParseNpyHeader(std::string_view(reader.file_->data(), reader.file_->size()),
                                                       reader.file_->size(), path));
  return reader;
}

absl::StatusOr<std::unique_ptr<RowSource>> NpyReader::Rows() const {
  EQAT_ASSIGN_OR_RETURN(const MatrixLayout layout, LayoutOf(header_, path_));
  return RowsOfMapping(file_, header_.data_begin, layout);
}

absl::Span<const char> NpyReader::Bytes() const {
  return absl::MakeConstSpan(file_->data() + header_.data_begin, file_->size() - header_.data_begin);
}

absl::StatusOr<NpzReader> NpzReader::Open(const std::string& path) {
  NpzReader reader;
  EQAT_ASSIGN_OR_RETURN(reader.archive_, ZipArchive::Open(path));
  for (const ZipArchive::Entry& entry : reader.archive_->entries()) {
    const std::string place = reader.archive_->Place(entry);
    if (entry.name.size() <= kNpyEnding.size() || !std::string_view(entry.name).ends_with(kNpyEnding)) {
      return InvalidArgument(place, "is no array", "", "names that end in .npy");
    }
    EQAT_ASSIGN_OR_RETURN(const std::string beginning, reader.archive_->ReadBeginning(entry, kMaxNpyHeaderBytes));
    EQAT_ASSIGN_OR_RETURN(NpyHeader header, ParseNpyHeader(beginning, entry.size, place));
    reader.arrays_.push_back({entry.name.substr(0, entry.name.size() - kNpyEnding.size()), std::move(header)});
  }
  return reader;
}

absl::StatusOr<std::unique_ptr<RowSource>> NpzReader::Rows(size_t index) const {
  const ZipArchive::Entry& entry = archive_->entries()[index];
  const NpyHeader& header = arrays_[index].header;
  const std::string place = archive_->Place(entry);
  EQAT_ASSIGN_OR_RETURN(const MatrixLayout layout, LayoutOf(header, place));
  if (header.fortran_order && layout.rows > 1 && layout.cols > 1) {
    if (!entry.is_stored) {
      return Unimplemented(place, "a compressed array in Fortran order is not read", "",
                           "numpy.ascontiguousarray(array), or numpy.savez without compression");
    }
    EQAT_RETURN_IF_ERROR(archive_->CheckStored(entry));
    return RowsOfMapping(archive_->file(), entry.data_begin + header.data_begin, layout);
  }
  EQAT_ASSIGN_OR_RETURN(std::unique_ptr<ByteStream> stream, archive_->OpenEntry(entry));
  std::string skipped(header.data_begin, '\0');
  EQAT_RETURN_IF_ERROR(stream->Read(skipped.data(), header.data_begin));
  return RowsOfStream(std::move(stream), layout);
}

absl::StatusOr<std::string> NpyHeaderText(TensorDtype dtype, absl::Span<const int64_t> shape) {
  const auto* const known = std::find_if(std::begin(kNpyDtypes), std::end(kNpyDtypes),
                                         [&](const NpyDtype& item) { return item.dtype == dtype; });
  if (known == std::end(kNpyDtypes)) {
    return InvalidArgument("npy", "NumPy has no such dtype", TensorDtypeName(dtype), "F32, F16, F64 or an integer");
  }
  const std::string sizes = absl::StrCat(absl::StrJoin(shape, ", "), shape.size() == 1 ? "," : "");
  std::string text =
      absl::StrCat("{'descr': '", std::string(known->descr), "', 'fortran_order': False, 'shape': (", sizes, "), }");
  if (!shape.empty()) text.append(kGrowthDigits - absl::StrCat(shape[0]).size(), ' ');
  const size_t before = kMagic.size() + 2 + sizeof(uint16_t);
  const size_t length = (before + text.size() + 1 + kNpyAlignment - 1) / kNpyAlignment * kNpyAlignment - before;
  if (length > UINT16_MAX) {
    return InvalidArgument("npy", "has too many dimensions", absl::StrCat(shape.size()));
  }
  text.resize(length - 1, ' ');
  std::string header(kMagic);
  header += {'\x01', '\0', static_cast<char>(length & 0xff), static_cast<char>(length >> 8)};
  return absl::StrCat(header, text, "\n");
}

namespace {

// The header of `array`, whose bytes must be those of its dtype and shape.
absl::StatusOr<std::string> HeaderToWrite(const TensorToWrite& array, const std::string& where) {
  std::optional<int64_t> bytes = TensorDtypeBytes(array.dtype);
  for (const int64_t size : array.shape) {
    if (bytes) bytes = size < 0 ? std::nullopt : CheckedMul(*bytes, size);
  }
  if (!bytes || *bytes != array.bytes.size()) {
    return InvalidArgument(where, "bytes do not match dtype and shape", absl::StrCat(array.bytes.size()),
                           absl::StrCat(TensorDtypeName(array.dtype), " ", ShapeText(array.shape)));
  }
  absl::StatusOr<std::string> header = NpyHeaderText(array.dtype, array.shape);
  if (!header.ok()) return AtPlace(where, header.status());
  return header;
}

absl::Status CheckArrayNames(absl::Span<const TensorToWrite> arrays, const std::string& path) {
  std::vector<std::string_view> names;
  for (const TensorToWrite& array : arrays) {
    const std::string_view name = array.name;
    if (name.empty() || name.size() > kMaxArrayName || name.find_first_of(std::string_view("/\\\0", 3)) != name.npos) {
      return InvalidArgument(path, "name of an array cannot be a file's", Excerpt(array.name),
                             "1 to 255 bytes without '/', '\\' and NUL");
    }
    names.push_back(name);
  }
  std::sort(names.begin(), names.end());
  const auto twice = std::adjacent_find(names.begin(), names.end());
  if (twice == names.end()) return absl::OkStatus();
  return InvalidArgument(path, "an array is given twice", Excerpt(*twice));
}

}  // namespace

absl::Status WriteNpy(const std::string& path, const TensorToWrite& array) {
  EQAT_ASSIGN_OR_RETURN(const std::string header, HeaderToWrite(array, path));
  EQAT_ASSIGN_OR_RETURN(const std::unique_ptr<AtomicFileWriter> file, AtomicFileWriter::Create(path));
  EQAT_RETURN_IF_ERROR(file->Write(absl::MakeConstSpan(header)));
  EQAT_RETURN_IF_ERROR(WriteRows(array.bytes, *file));
  return file->Commit();
}

absl::Status WriteNpz(const std::string& path, absl::Span<const TensorToWrite> arrays) {
  EQAT_RETURN_IF_ERROR(CheckArrayNames(arrays, path));
  std::vector<std::string> headers;
  for (const TensorToWrite& array : arrays) {
    EQAT_ASSIGN_OR_RETURN(std::string header, HeaderToWrite(array, absl::StrCat(path, ": ", array.name)));
    headers.push_back(std::move(header));
  }
  EQAT_ASSIGN_OR_RETURN(const std::unique_ptr<AtomicFileWriter> file, AtomicFileWriter::Create(path));
  ZipWriter zip(*file);
  for (size_t i = 0; i < arrays.size(); ++i) {
    EQAT_RETURN_IF_ERROR(zip.Add(absl::StrCat(arrays[i].name, std::string(kNpyEnding)), absl::MakeConstSpan(headers[i]),
                                 arrays[i].bytes));
  }
  EQAT_RETURN_IF_ERROR(zip.Finish());
  return file->Commit();
}

}  // namespace eqat::io
