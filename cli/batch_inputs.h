// BatchInputs: the tensors of a batch file, checked against the placeholders of a model and viewed as its Feed.
//
// Placeholder X that feeds a table: X (I32 or I64, any shape), X.offsets (I32 or I64), X.per_sample_weights (F32, shape
// of X); any other placeholder: X (F32); one that nothing reads: either. A module alone has the one placeholder
// "input", and leaves out "input." in front of offsets and per_sample_weights. grad_output (F32) asks for a backward.
#ifndef EQAT_CLI_BATCH_INPUTS_H_
#define EQAT_CLI_BATCH_INPUTS_H_

#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "core/lookup.h"
#include "core/tensor.h"
#include "io/safetensors.h"
#include "model/model.h"

namespace eqat::cli {

// The placeholder of a module that is called alone.
inline constexpr char kModuleInput[] = "input";

class BatchInputs {
 public:
  // InvalidArgument naming file and tensor: unknown or missing tensors, wrong dtypes and shapes. REQUIRES: `model` has
  // a graph; with `module_alone` it is the single call of one module on kModuleInput.
  static absl::StatusOr<BatchInputs> Read(const std::string& path, const model::Model& model, bool module_alone);

  // Views the file and this object.
  const model::Feed& feed() const { return feed_; }
  const std::optional<Tensor>& grad_output() const { return grad_output_; }

 private:
  BatchInputs(io::SafetensorsReader reader, bool module_alone)
      : reader_(std::move(reader)), module_alone_(module_alone) {}
  // Whether `placeholder` is fed as indices.
  bool IsLookup(const model::Model& model, const std::string& placeholder) const;
  absl::Status AddLookup(const std::string& placeholder);
  absl::Status AddDense(const std::string& placeholder);
  absl::Status CheckNames(const model::Model& model) const;
  // The tensor's name of `part` ("offsets") of a jagged input.
  std::string PartName(const std::string& placeholder, const char* part) const;
  absl::StatusOr<const io::TensorInfo*> Require(const std::string& name) const;
  absl::StatusOr<IndexSpan> Integers(const io::TensorInfo& tensor);
  absl::StatusOr<absl::Span<const float>> Floats(const io::TensorInfo& tensor);
  absl::StatusOr<Tensor> DenseTensor(const io::TensorInfo& tensor);

  io::SafetensorsReader reader_;
  bool module_alone_;
  model::Feed feed_;
  std::optional<Tensor> grad_output_;
  // Values that the file does not align; deques, because views of their elements must stay valid.
  std::deque<std::vector<int32_t>> int32_copies_;
  std::deque<std::vector<int64_t>> int64_copies_;
  std::deque<std::vector<float>> float_copies_;
};

}  // namespace eqat::cli

#endif  // EQAT_CLI_BATCH_INPUTS_H_
