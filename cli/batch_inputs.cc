#include "cli/batch_inputs.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "core/error.h"
#include "core/status_macros.h"

namespace eqat::cli {
namespace {

constexpr char kGradOutput[] = "grad_output";

// The values of a tensor where they lie in the file, or copied to `copies` if the file does not align them.
template <typename T>
absl::Span<const T> Values(absl::Span<const char> bytes, std::deque<std::vector<T>>& copies) {
  const size_t count = bytes.size() / sizeof(T);
  if (reinterpret_cast<uintptr_t>(bytes.data()) % alignof(T) == 0) {
    return absl::MakeConstSpan(reinterpret_cast<const T*>(bytes.data()), count);
  }
  std::vector<T>& copy = copies.emplace_back(count);
  std::memcpy(copy.data(), bytes.data(), bytes.size());
  return copy;
}

enum class Use : uint8_t { kNone, kIndices, kValues };

Use UseOf(const model::Model& model, const std::string& placeholder) {
  for (const model::Node& node : model.inlined_graph().nodes) {
    if (std::find(node.args.begin(), node.args.end(), placeholder) == node.args.end()) continue;
    const bool is_table = node.op == model::Op::kCallModule && model::AsLookup(*model.Find(node.target)) != nullptr;
    return is_table ? Use::kIndices : Use::kValues;
  }
  return Use::kNone;
}

}  // namespace

absl::StatusOr<BatchInputs> BatchInputs::Read(const std::string& path, const model::Model& model, bool module_alone) {
  EQAT_ASSIGN_OR_RETURN(io::SafetensorsReader reader, io::SafetensorsReader::Open(path));
  BatchInputs inputs(std::move(reader), module_alone);
  EQAT_RETURN_IF_ERROR(inputs.CheckNames(model));
  for (const std::string& placeholder : model.graph()->Placeholders()) {
    EQAT_RETURN_IF_ERROR(inputs.IsLookup(model, placeholder) ? inputs.AddLookup(placeholder)
                                                             : inputs.AddDense(placeholder));
  }
  if (const io::TensorInfo* tensor = inputs.reader_.Find(kGradOutput)) {
    EQAT_ASSIGN_OR_RETURN(inputs.grad_output_, inputs.DenseTensor(*tensor));
  }
  return inputs;
}

absl::Status BatchInputs::CheckNames(const model::Model& model) const {
  std::vector<std::string> known;
  for (const std::string& placeholder : model.graph()->Placeholders()) {
    known.push_back(placeholder);
    if (!IsLookup(model, placeholder)) continue;
    known.push_back(PartName(placeholder, "offsets"));
    known.push_back(PartName(placeholder, "per_sample_weights"));
  }
  known.push_back(kGradOutput);
  for (const io::TensorInfo& tensor : reader_.tensors()) {
    if (std::find(known.begin(), known.end(), tensor.name) == known.end()) {
      return InvalidArgument(reader_.path(), "unknown tensor", tensor.name,
                             absl::StrCat("one of ", absl::StrJoin(known, ", ")));
    }
  }
  return absl::OkStatus();
}

bool BatchInputs::IsLookup(const model::Model& model, const std::string& placeholder) const {
  const Use use = UseOf(model, placeholder);
  if (use != Use::kNone) return use == Use::kIndices;
  const io::TensorInfo* tensor = reader_.Find(placeholder);
  return tensor != nullptr && (tensor->dtype == io::TensorDtype::kI64 || tensor->dtype == io::TensorDtype::kI32);
}

absl::Status BatchInputs::AddLookup(const std::string& placeholder) {
  EQAT_ASSIGN_OR_RETURN(const io::TensorInfo* indices, Require(placeholder));
  LookupInput lookup;
  EQAT_ASSIGN_OR_RETURN(lookup.indices, Integers(*indices));
  lookup.shape = indices->shape;
  if (const io::TensorInfo* offsets = reader_.Find(PartName(placeholder, "offsets"))) {
    if (offsets->shape.size() != 1) {
      return InvalidArgument(absl::StrCat(reader_.path(), ": ", offsets->name), "wrong shape",
                             ShapeText(offsets->shape), "one dimension");
    }
    EQAT_ASSIGN_OR_RETURN(lookup.offsets, Integers(*offsets));
  }
  if (const io::TensorInfo* weights = reader_.Find(PartName(placeholder, "per_sample_weights"))) {
    if (weights->shape != indices->shape) {
      return InvalidArgument(absl::StrCat(reader_.path(), ": ", weights->name), "wrong shape",
                             ShapeText(weights->shape),
                             absl::StrCat(ShapeText(indices->shape), ", the shape of ", placeholder));
    }
    EQAT_ASSIGN_OR_RETURN(lookup.per_sample_weights, Floats(*weights));
  }
  feed_.lookups.emplace(placeholder, std::move(lookup));
  return absl::OkStatus();
}

absl::Status BatchInputs::AddDense(const std::string& placeholder) {
  EQAT_ASSIGN_OR_RETURN(const io::TensorInfo* tensor, Require(placeholder));
  EQAT_ASSIGN_OR_RETURN(Tensor values, DenseTensor(*tensor));
  feed_.dense.emplace(placeholder, std::move(values));
  return absl::OkStatus();
}

std::string BatchInputs::PartName(const std::string& placeholder, const char* part) const {
  return module_alone_ ? part : absl::StrCat(placeholder, ".", part);
}

absl::StatusOr<const io::TensorInfo*> BatchInputs::Require(const std::string& name) const {
  const io::TensorInfo* tensor = reader_.Find(name);
  if (tensor == nullptr) return NotFound(reader_.path(), absl::StrCat("tensor ", name, " is missing"));
  return tensor;
}

absl::StatusOr<IndexSpan> BatchInputs::Integers(const io::TensorInfo& tensor) {
  const absl::Span<const char> bytes = reader_.Bytes(tensor);
  if (tensor.dtype == io::TensorDtype::kI64) return IndexSpan(Values(bytes, int64_copies_));
  if (tensor.dtype == io::TensorDtype::kI32) return IndexSpan(Values(bytes, int32_copies_));
  return InvalidArgument(absl::StrCat(reader_.path(), ": ", tensor.name), "wrong dtype",
                         io::TensorDtypeName(tensor.dtype), "I32 or I64");
}

absl::StatusOr<absl::Span<const float>> BatchInputs::Floats(const io::TensorInfo& tensor) {
  if (tensor.dtype == io::TensorDtype::kF32) return Values(reader_.Bytes(tensor), float_copies_);
  return InvalidArgument(absl::StrCat(reader_.path(), ": ", tensor.name), "wrong dtype",
                         io::TensorDtypeName(tensor.dtype), "F32");
}

absl::StatusOr<Tensor> BatchInputs::DenseTensor(const io::TensorInfo& tensor) {
  EQAT_ASSIGN_OR_RETURN(const absl::Span<const float> values, Floats(tensor));
  Tensor dense;
  dense.shape = tensor.shape;
  dense.values.assign(values.begin(), values.end());
  return dense;
}

}  // namespace eqat::cli
