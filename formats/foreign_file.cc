#include "formats/foreign_file.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/status_macros.h"
#include "io/fasttext_file.h"
#include "io/npy.h"
#include "io/pytorch_file.h"
#include "io/safetensors.h"
#include "io/word_vectors.h"

namespace eqat::formats {
namespace {

using Rows = absl::StatusOr<std::unique_ptr<io::RowSource>>;

bool IsTable(io::TensorDtype dtype, const std::vector<int64_t>& shape) {
  return io::IsTableDtype(dtype) && shape.size() == 2;
}

// A tensor with its rows, if it is a table.
ForeignTable TableOf(std::string name, io::TensorDtype dtype, const std::vector<int64_t>& shape,
                     std::function<Rows()> rows) {
  return {.name = std::move(name),
          .dtype = std::string(io::TensorDtypeName(dtype)),
          .shape = shape,
          .rows = IsTable(dtype, shape) ? std::move(rows) : nullptr};
}

absl::StatusOr<ForeignFile> OpenSafetensors(const std::string& path) {
  EQAT_ASSIGN_OR_RETURN(io::SafetensorsReader opened, io::SafetensorsReader::Open(path));
  const auto reader = std::make_shared<const io::SafetensorsReader>(std::move(opened));
  ForeignFile file;
  for (const io::TensorInfo& tensor : reader->tensors()) {
    file.tables.push_back(
        TableOf(tensor.name, tensor.dtype, tensor.shape, [reader, &tensor]() -> Rows { return reader->Rows(tensor); }));
  }
  return file;
}

absl::StatusOr<ForeignFile> OpenNpy(const std::string& path) {
  EQAT_ASSIGN_OR_RETURN(io::NpyReader opened, io::NpyReader::Open(path));
  const auto reader = std::make_shared<const io::NpyReader>(std::move(opened));
  ForeignFile file;
  file.tables.push_back(
      TableOf("weight", reader->header().dtype, reader->header().shape, [reader]() -> Rows { return reader->Rows(); }));
  return file;
}

absl::StatusOr<ForeignFile> OpenNpz(const std::string& path) {
  EQAT_ASSIGN_OR_RETURN(io::NpzReader opened, io::NpzReader::Open(path));
  const auto reader = std::make_shared<const io::NpzReader>(std::move(opened));
  ForeignFile file;
  for (size_t i = 0; i < reader->arrays().size(); ++i) {
    const io::NpzReader::Array& array = reader->arrays()[i];
    file.tables.push_back(
        TableOf(array.name, array.header.dtype, array.header.shape, [reader, i]() -> Rows { return reader->Rows(i); }));
  }
  return file;
}

absl::StatusOr<ForeignFile> OpenPyTorch(const std::string& path) {
  EQAT_ASSIGN_OR_RETURN(io::PyTorchFile opened, io::PyTorchFile::Open(path));
  const auto reader = std::make_shared<const io::PyTorchFile>(std::move(opened));
  ForeignFile file;
  for (const io::PyTorchFile::Tensor& tensor : reader->tensors()) {
    file.tables.push_back(
        TableOf(tensor.name, tensor.dtype, tensor.shape, [reader, &tensor]() -> Rows { return reader->Rows(tensor); }));
  }
  return file;
}

// Word vectors are one table, whose rows are read once: a table cannot be asked for twice.
absl::StatusOr<ForeignFile> OneTable(Rows rows) {
  EQAT_RETURN_IF_ERROR(rows.status());
  const auto source = std::make_shared<std::unique_ptr<io::RowSource>>(*std::move(rows));
  ForeignFile file;
  file.tables.push_back(TableOf("vectors", io::TensorDtype::kF32, {(*source)->rows(), (*source)->cols()},
                                [source]() -> Rows { return std::move(*source); }));
  return file;
}

absl::StatusOr<ForeignFile> OpenFastText(const std::string& path) {
  EQAT_ASSIGN_OR_RETURN(const std::shared_ptr<const io::FastTextFile> reader, io::FastTextFile::Open(path));
  ForeignFile file;
  const auto add = [&](const char* name, const io::FastTextFile::Matrix& matrix, std::function<Rows()> rows) {
    ForeignTable table = TableOf(name, io::TensorDtype::kF32, {matrix.rows, matrix.cols}, std::move(rows));
    if (matrix.is_quantised) table.dtype = "quantised";
    file.tables.push_back(std::move(table));
  };
  add("input", reader->input(), [reader]() -> Rows { return io::FastTextFile::InputRows(reader); });
  add("output", reader->output(), [reader]() -> Rows { return io::FastTextFile::OutputRows(reader); });
  file.tables[0].is_default = true;
  const int64_t subwords = reader->input().rows - static_cast<int64_t>(reader->words().size());
  if (subwords > 0) {
    file.notes.push_back(absl::StrCat("input: rows ", reader->words().size(), " to ", reader->input().rows - 1,
                                      " are buckets of subwords of ", reader->arguments().min_n, " to ",
                                      reader->arguments().max_n,
                                      " characters; a word's vector is the mean of its rows"));
  }
  return file;
}

struct Opener {
  std::string_view format;
  absl::StatusOr<ForeignFile> (*open)(const std::string& path);
};
constexpr Opener kOpeners[] = {
    {"safetensors", OpenSafetensors},
    {"npy", OpenNpy},
    {"npz", OpenNpz},
    {"torch_state_dict", OpenPyTorch},
    {"vec", [](const std::string& path) { return OneTable(io::OpenVectorText(path, io::VecHeader::kCounts)); }},
    {"glove", [](const std::string& path) { return OneTable(io::OpenVectorText(path, io::VecHeader::kNone)); }},
    {"word2vec", [](const std::string& path) { return OneTable(io::OpenVectorBinary(path)); }},
    {"fasttext", OpenFastText},
};

}  // namespace

absl::StatusOr<ForeignFile> OpenForeignFile(const std::string& format, const std::string& path) {
  const auto* const opener = std::find_if(std::begin(kOpeners), std::end(kOpeners),
                                          [&](const Opener& entry) { return entry.format == format; });
  EQAT_ASSIGN_OR_RETURN(ForeignFile file, opener->open(path));
  const auto is_table = [](const ForeignTable& table) { return table.rows != nullptr; };
  if (std::count_if(file.tables.begin(), file.tables.end(), is_table) == 1) {
    std::find_if(file.tables.begin(), file.tables.end(), is_table)->is_default = true;
  }
  return file;
}

}  // namespace eqat::formats
