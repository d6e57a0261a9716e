#include "io/pytorch_file.h"

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/checked_math.h"
#include "core/error.h"
#include "core/status_macros.h"
#include "core/tensor.h"
#include "io/excerpt.h"
#include "io/pickle.h"

namespace eqat::io {
namespace {

constexpr int64_t kMaxPickleBytes = int64_t{64} << 20;
constexpr size_t kMaxDepth = 16;  // of dictionaries
constexpr size_t kMaxTensorNameBytes = 4096;
constexpr size_t kMaxTensorNameBytesInAll = size_t{32} << 20;
constexpr std::string_view kPickleName = "/data.pkl";
// Entries that say nothing about the tensors.
constexpr std::string_view kKnownEntries[] = {"version", ".data/serialization_id", ".format_version",
                                              ".storage_alignment"};

// The element behind the last one of a view, counted from its first: 0 for an empty one. nullopt on overflow.
std::optional<int64_t> SpanOf(const std::vector<int64_t>& shape, const std::vector<int64_t>& strides) {
  if (std::find(shape.begin(), shape.end(), 0) != shape.end()) return 0;
  std::optional<int64_t> last = 0;
  for (size_t i = 0; i < shape.size() && last; ++i) {
    const std::optional<int64_t> reach = CheckedMul(shape[i] - 1, strides[i]);
    last = reach ? CheckedAdd(*last, *reach) : std::nullopt;
  }
  return last ? CheckedAdd(*last, 1) : std::nullopt;
}

}  // namespace

class PyTorchParser {
 public:
  explicit PyTorchParser(std::shared_ptr<const ZipArchive> archive) { file_.archive_ = std::move(archive); }

  absl::StatusOr<PyTorchFile> Parse() {
    EQAT_RETURN_IF_ERROR(SortEntries());
    const ZipArchive::Entry& entry = *pickle_entry_;
    if (entry.size > kMaxPickleBytes) {
      return InvalidArgument(archive().Place(entry), "pickle is too long", absl::StrCat(entry.size, " bytes"),
                             absl::StrCat("at most ", kMaxPickleBytes));
    }
    EQAT_ASSIGN_OR_RETURN(const std::string bytes, archive().ReadBeginning(entry, entry.size));
    EQAT_ASSIGN_OR_RETURN(const Pickle pickle, ReadPickle(bytes, archive().Place(entry)));
    const PickledValue& root = pickle.values[pickle.root];
    if (root.kind == PickledValue::Kind::kTensor) {
      EQAT_RETURN_IF_ERROR(AddTensor("weight", pickle.tensors[root.integer]));
    } else {
      EQAT_RETURN_IF_ERROR(AddDictionary(pickle, pickle.root, "", 0));
    }
    for (const PickledTensor& tensor : pickle.tensors) used_.insert(std::string(tensor.storage));
    for (const auto& [key, index] : storages_) {
      if (!used_.contains(key)) {
        return InvalidArgument(archive().Place(archive().entries()[index]), "belongs to no tensor");
      }
    }
    return std::move(file_);
  }

 private:
  const ZipArchive& archive() const { return *file_.archive_; }

  // Tells the storages from the rest, by name.
  absl::Status SortEntries() {
    const std::vector<ZipArchive::Entry>& entries = archive().entries();
    const auto pickle = std::find_if(entries.begin(), entries.end(), [](const ZipArchive::Entry& entry) {
      return std::string_view(entry.name).ends_with(kPickleName);
    });
    if (pickle == entries.end())
      return InvalidArgument(archive().path(), "holds no data.pkl", "", "a file of torch.save");
    pickle_entry_ = &*pickle;
    const std::string folder = pickle->name.substr(0, pickle->name.size() - kPickleName.size() + 1);
    for (const ZipArchive::Entry& entry : entries) {
      const std::string place = archive().Place(entry);
      if (!std::string_view(entry.name).starts_with(folder))
        return InvalidArgument(place, "lies outside the file's folder", "", folder);
      const std::string name = entry.name.substr(folder.size());
      if (name == "constants.pkl" || name.starts_with("code/")) {
        return InvalidArgument(place, "is a program (TorchScript), which is never run", "",
                               "a file of torch.save(model.state_dict())");
      }
      if (name.starts_with("data/")) {
        if (!entry.is_stored) return InvalidArgument(place, "a storage is compressed", "", "one that torch.save wrote");
        storages_[name.substr(5)] = &entry - entries.data();
      } else if (name == "byteorder") {
        EQAT_ASSIGN_OR_RETURN(const std::string order, archive().ReadBeginning(entry, 16));
        if (order != "little") return InvalidArgument(place, "byte order is not read", Excerpt(order), "little");
      } else if (&entry != pickle_entry_ &&
                 std::find(std::begin(kKnownEntries), std::end(kKnownEntries), name) == std::end(kKnownEntries)) {
        return InvalidArgument(place, "is not known in a file of torch.save");
      }
    }
    return absl::OkStatus();
  }

  absl::Status AddDictionary(const Pickle& pickle, size_t index, const std::string& prefix, size_t depth) {
    const std::string place = archive().Place(*pickle_entry_);
    const PickledValue& dictionary = pickle.values[index];
    if (dictionary.kind != PickledValue::Kind::kDictionary) {
      return InvalidArgument(place, "holds no dictionary of tensors", "", "torch.save(model.state_dict(), FILE)");
    }
    // Shared ones could make a small file name more tensors than memory holds.
    if (!visited_.insert(index).second)
      return InvalidArgument(place, "a dictionary stands in two places", Excerpt(prefix));
    if (depth == kMaxDepth)
      return InvalidArgument(place, "dictionaries are nested too deeply", "", absl::StrCat("at most ", kMaxDepth));
    for (size_t i = 0; i + 1 < dictionary.items.size(); i += 2) {
      const PickledValue& key = pickle.values[dictionary.items[i]];
      const PickledValue& value = pickle.values[dictionary.items[i + 1]];
      const bool is_tensor = value.kind == PickledValue::Kind::kTensor;
      if (!is_tensor && value.kind != PickledValue::Kind::kDictionary) continue;
      // Keys that are numbers belong to the state of an optimizer ({0: {"exp_avg": ...}}).
      const bool is_text = key.kind == PickledValue::Kind::kText;
      if (!is_text && key.kind != PickledValue::Kind::kInteger) {
        return InvalidArgument(place, "a key is neither text nor a whole number", "", Excerpt(prefix));
      }
      const std::string name = absl::StrCat(prefix, is_text ? std::string(key.text) : absl::StrCat(key.integer));
      name_bytes_ += name.size();
      if (name.size() > kMaxTensorNameBytes || name_bytes_ > kMaxTensorNameBytesInAll) {
        return InvalidArgument(
            place, "names of tensors are too long", Excerpt(name),
            absl::StrCat("at most ", kMaxTensorNameBytes, " bytes, ", kMaxTensorNameBytesInAll, " in all"));
      }
      EQAT_RETURN_IF_ERROR(is_tensor
                               ? AddTensor(name, pickle.tensors[value.integer])
                               : AddDictionary(pickle, dictionary.items[i + 1], absl::StrCat(name, "."), depth + 1));
    }
    return absl::OkStatus();
  }

  absl::Status AddTensor(const std::string& name, const PickledTensor& pickled) {
    const std::string place = absl::StrCat(archive().path(), ": tensor \"", Excerpt(name), "\"");
    if (!names_.insert(name).second) return InvalidArgument(place, "stands there twice");
    const auto storage = storages_.find(std::string(pickled.storage));
    if (storage == storages_.end()) return InvalidArgument(place, "its storage is missing", Excerpt(pickled.storage));
    const ZipArchive::Entry& entry = archive().entries()[storage->second];
    const std::optional<int64_t> bytes = CheckedMul(pickled.storage_elements, TensorDtypeBytes(pickled.dtype));
    if (!bytes || *bytes != entry.size) {
      return InvalidArgument(archive().Place(entry), "has the wrong size", absl::StrCat(entry.size, " bytes"),
                             absl::StrCat(pickled.storage_elements, " elements of ", TensorDtypeName(pickled.dtype)));
    }
    const std::optional<int64_t> span = SpanOf(pickled.shape, pickled.strides);
    const std::optional<int64_t> end = span ? CheckedAdd(*span, pickled.offset) : std::nullopt;
    std::optional<int64_t> elements = 1;
    for (const int64_t size : pickled.shape) elements = elements ? CheckedMul(*elements, size) : std::nullopt;
    if (!end || *end > pickled.storage_elements) {
      return InvalidArgument(place, "reaches out of its storage",
                             absl::StrCat("offset ", pickled.offset, ", shape ", ShapeText(pickled.shape), ", strides ",
                                          ShapeText(pickled.strides)),
                             absl::StrCat("at most ", pickled.storage_elements, " elements"));
    }
    // A view that shows elements many times over (expand) could be larger than any disk.
    if (!elements || *elements > pickled.storage_elements) {
      return InvalidArgument(place, "has more elements than its storage", ShapeText(pickled.shape),
                             absl::StrCat("at most ", pickled.storage_elements));
    }
    file_.tensors_.push_back({name, pickled.dtype, pickled.shape, pickled.strides, pickled.offset, storage->second});
    return absl::OkStatus();
  }

  PyTorchFile file_;
  const ZipArchive::Entry* pickle_entry_ = nullptr;
  std::map<std::string, size_t> storages_;  // entries by key
  std::set<std::string> used_;
  std::set<std::string> names_;
  std::set<size_t> visited_;  // dictionaries
  size_t name_bytes_ = 0;
};

absl::StatusOr<PyTorchFile> PyTorchFile::Open(const std::string& path) {
  EQAT_ASSIGN_OR_RETURN(std::shared_ptr<const ZipArchive> archive, ZipArchive::Open(path));
  return PyTorchParser(std::move(archive)).Parse();
}

bool PyTorchFile::IsOne(const ZipArchive& archive) {
  return std::any_of(archive.entries().begin(), archive.entries().end(), [](const ZipArchive::Entry& entry) {
    return std::string_view(entry.name).ends_with(kPickleName);
  });
}

absl::StatusOr<std::unique_ptr<RowSource>> PyTorchFile::Rows(const Tensor& tensor) const {
  const std::string place = absl::StrCat(archive_->path(), ": tensor \"", Excerpt(tensor.name), "\"");
  if (!IsTableDtype(tensor.dtype)) {
    return InvalidArgument(place, "is no table of floats", TensorDtypeName(tensor.dtype), "F32, F16, BF16 or F64");
  }
  if (tensor.shape.size() != 2) {
    return InvalidArgument(place, "has the wrong shape", ShapeText(tensor.shape), "two dimensions");
  }
  const ZipArchive::Entry& entry = archive_->entries()[tensor.storage];
  EQAT_RETURN_IF_ERROR(archive_->CheckStored(entry));
  const int64_t begin = entry.data_begin + tensor.offset * TensorDtypeBytes(tensor.dtype);
  return RowsOfMapping(archive_->file(), begin,
                       {.dtype = tensor.dtype,
                        .rows = tensor.shape[0],
                        .cols = tensor.shape[1],
                        .row_stride = tensor.strides[0],
                        .col_stride = tensor.strides[1]});
}

}  // namespace eqat::io
