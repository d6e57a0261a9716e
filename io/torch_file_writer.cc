#include "io/torch_file_writer.h"

#include <memory>
#include <optional>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "core/checked_math.h"
#include "core/error.h"
#include "core/status_macros.h"
#include "core/tensor.h"
#include "io/file.h"
#include "io/zip_archive.h"

namespace eqat::io {
namespace {

constexpr char kArchive[] = "archive";

// Null for a dtype that torch does not have.
const char* StorageName(TensorDtype dtype) {
  switch (dtype) {
    case TensorDtype::kBool:
      return "BoolStorage";
    case TensorDtype::kU8:
      return "ByteStorage";
    case TensorDtype::kI8:
      return "CharStorage";
    case TensorDtype::kI16:
      return "ShortStorage";
    case TensorDtype::kF16:
      return "HalfStorage";
    case TensorDtype::kBF16:
      return "BFloat16Storage";
    case TensorDtype::kI32:
      return "IntStorage";
    case TensorDtype::kF32:
      return "FloatStorage";
    case TensorDtype::kF64:
      return "DoubleStorage";
    case TensorDtype::kI64:
      return "LongStorage";
    default:
      return nullptr;
  }
}

absl::StatusOr<int64_t> CheckedElements(const TensorToWrite& tensor) {
  int64_t elements = 1;
  for (const int64_t size : tensor.shape) {
    const std::optional<int64_t> product = size < 0 ? std::nullopt : CheckedMul(elements, size);
    if (!product.has_value()) return InvalidArgument(tensor.name, "shape is impossible", ShapeText(tensor.shape));
    elements = *product;
  }
  const std::optional<int64_t> bytes = CheckedMul(elements, TensorDtypeBytes(tensor.dtype));
  if (bytes != tensor.bytes.size()) {
    return InvalidArgument(tensor.name, "bytes do not match the shape", absl::StrCat(tensor.bytes.size()),
                           ShapeText(tensor.shape));
  }
  return elements;
}

// Pickle opcodes, protocol 2.
class Pickle {
 public:
  Pickle() : bytes_("\x80\x02") {}

  void Global(const char* module, const char* name) { absl::StrAppend(&bytes_, "c", module, "\n", name, "\n"); }
  void Text(const std::string& text) {
    bytes_ += 'X';
    AppendRaw(static_cast<uint32_t>(text.size()));
    bytes_ += text;
  }
  void Integer(int64_t value) {
    if (value == static_cast<int32_t>(value)) {
      bytes_ += 'J';
      AppendRaw(static_cast<int32_t>(value));
    } else {
      bytes_ += "\x8a\x08";
      AppendRaw(value);
    }
  }
  void Integers(absl::Span<const int64_t> values) {
    Mark();
    for (const int64_t value : values) Integer(value);
    Tuple();
  }
  void False() { bytes_ += '\x89'; }
  void EmptyDict() { bytes_ += '}'; }
  // collections.OrderedDict().
  void OrderedDict() {
    Global("collections", "OrderedDict");
    bytes_ += ')';
    Reduce();
  }
  void Mark() { bytes_ += '('; }
  void Tuple() { bytes_ += 't'; }         // of what stands behind the mark
  void Reduce() { bytes_ += 'R'; }        // callable, tuple: the call's result
  void PersistentId() { bytes_ += 'Q'; }  // tuple: what torch finds under it
  void SetItems() { bytes_ += 'u'; }      // dict, mark, key, value, ...
  void Build() { bytes_ += 'b'; }         // object, dict of attributes
  std::string Stop() && { return std::move(bytes_) + '.'; }

 private:
  template <typename T>
  void AppendRaw(T value) {
    bytes_.append(reinterpret_cast<const char*>(&value), sizeof(value));
  }
  std::string bytes_;
};

void AppendTensor(const TensorToWrite& tensor, int64_t elements, size_t position, Pickle& pickle) {
  std::vector<int64_t> strides(tensor.shape.size(), 1);
  for (size_t i = strides.size(); i-- > 1;) strides[i - 1] = strides[i] * tensor.shape[i];
  pickle.Global("torch._utils", "_rebuild_tensor_v2");
  pickle.Mark();
  pickle.Mark();
  pickle.Text("storage");
  pickle.Global("torch", StorageName(tensor.dtype));
  pickle.Text(absl::StrCat(position));
  pickle.Text("cpu");
  pickle.Integer(elements);
  pickle.Tuple();
  pickle.PersistentId();
  pickle.Integer(0);  // where in the storage it begins
  pickle.Integers(tensor.shape);
  pickle.Integers(strides);
  pickle.False();  // requires_grad
  pickle.OrderedDict();
  pickle.Tuple();
  pickle.Reduce();
}

// The attribute _metadata of a state_dict.
void AppendVersions(const std::map<std::string, int64_t>& versions, Pickle& pickle) {
  pickle.EmptyDict();
  pickle.Mark();
  pickle.Text("_metadata");
  pickle.OrderedDict();
  pickle.Mark();
  for (const auto& [module, version] : versions) {
    pickle.Text(module);
    pickle.EmptyDict();
    pickle.Mark();
    pickle.Text("version");
    pickle.Integer(version);
    pickle.SetItems();
  }
  pickle.SetItems();
  pickle.SetItems();
  pickle.Build();
}

absl::StatusOr<std::string> PickleOf(const std::vector<TensorToWrite>& tensors,
                                     const std::map<std::string, int64_t>& versions) {
  Pickle pickle;
  pickle.OrderedDict();
  pickle.Mark();
  std::set<std::string> names;
  for (size_t i = 0; i < tensors.size(); ++i) {
    const TensorToWrite& tensor = tensors[i];
    if (!names.insert(tensor.name).second) return InvalidArgument(tensor.name, "name is given twice");
    if (StorageName(tensor.dtype) == nullptr) {
      return InvalidArgument(tensor.name, "torch has no such dtype", TensorDtypeName(tensor.dtype));
    }
    EQAT_ASSIGN_OR_RETURN(const int64_t elements, CheckedElements(tensor));
    pickle.Text(tensor.name);
    AppendTensor(tensor, elements, i, pickle);
  }
  pickle.SetItems();
  AppendVersions(versions, pickle);
  return std::move(pickle).Stop();
}

}  // namespace

absl::Status WriteTorchStateDict(const std::string& path, const std::vector<TensorToWrite>& tensors,
                                 const std::map<std::string, int64_t>& versions) {
  EQAT_ASSIGN_OR_RETURN(const std::string pickle, PickleOf(tensors, versions));
  EQAT_ASSIGN_OR_RETURN(const std::unique_ptr<AtomicFileWriter> file, AtomicFileWriter::Create(path));
  ZipWriter zip(*file);
  const auto add = [&zip](const std::string& name, const ByteRows& content) {
    return zip.Add(absl::StrCat(kArchive, "/", name), {}, content);
  };
  const std::string byte_order = "little", version = "3\n";
  EQAT_RETURN_IF_ERROR(add("data.pkl", absl::MakeConstSpan(pickle)));
  EQAT_RETURN_IF_ERROR(add("byteorder", absl::MakeConstSpan(byte_order)));
  for (size_t i = 0; i < tensors.size(); ++i) {
    EQAT_RETURN_IF_ERROR(add(absl::StrCat("data/", i), tensors[i].bytes));
  }
  EQAT_RETURN_IF_ERROR(add("version", absl::MakeConstSpan(version)));
  EQAT_RETURN_IF_ERROR(zip.Finish());
  return file->Commit();
}

}  // namespace eqat::io
