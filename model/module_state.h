// A module's tensors in model.safetensors, with the names, dtypes and shapes of torch's state_dict. Internal to this
// folder and to formats/; docs/model_directory.md lists them all.
#ifndef EQAT_MODEL_MODULE_STATE_H_
#define EQAT_MODEL_MODULE_STATE_H_

#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "io/safetensors.h"
#include "model/model_json.h"
#include "model/module.h"

namespace eqat::model {

// The tensors of a file, each to be asked for by the module that it belongs to.
class TensorSource {
 public:
  explicit TensorSource(io::SafetensorsReader reader);

  // F32 (adopted from the mapping), F16 or BF16 (converted; NaN and infinity are refused).
  absl::StatusOr<Table> ReadTable(const std::string& name, int64_t rows, int64_t cols);
  // Values of one of `dtypes` in one of `shapes`.
  absl::StatusOr<std::vector<float>> ReadFloats(const std::string& name,
                                                const std::vector<std::vector<int64_t>>& shapes,
                                                const std::vector<io::TensorDtype>& dtypes);
  // An F32 vector whose only dimension is one of `sizes`.
  absl::StatusOr<std::vector<float>> ReadVector(const std::string& name, const std::vector<int64_t>& sizes);
  // F32, F16 or BF16 (NaN and infinity are refused in the narrow ones).
  absl::StatusOr<Tensor> ReadTensor(const std::string& name, const std::vector<int64_t>& shape);
  absl::StatusOr<bool> ReadFlag(const std::string& name);      // U8 [1], 0 or 1
  absl::StatusOr<int64_t> ReadCount(const std::string& name);  // I64 scalar, not negative
  // U8 [rows, row_bytes], a view that lives as long as keeper().
  absl::StatusOr<absl::Span<const uint8_t>> ReadBytes(const std::string& name, int64_t rows, int64_t row_bytes);
  std::shared_ptr<void> keeper() const { return reader_; }
  const std::string& path() const { return reader_->path(); }

  // Unimplemented if `name` is there with a second dimension over 1 (several parameters in a row).
  absl::Status RefuseGroups(const std::string& name) const;
  // InvalidArgument for a tensor nobody asked for.
  absl::Status Finish() const;

 private:
  absl::StatusOr<const io::TensorInfo*> Expect(const std::string& name, const std::vector<io::TensorDtype>& dtypes,
                                               const std::vector<std::vector<int64_t>>& shapes);
  std::string Place(const std::string& name) const { return reader_->path() + ": " + name; }

  std::shared_ptr<io::SafetensorsReader> reader_;
  std::set<std::string> asked_;
};

// The module `name` of `spec` with its tensors from `source`.
absl::StatusOr<Module> BuildModule(const std::string& name, ModuleSpec spec, TensorSource& source);

// The tensors of a quantized table's parameters, in our own arithmetic (`deploy` null) or a deployed format's.
// "bias" or "zero_point": (code - zero_point) * scale, or code * scale + bias.
const char* OffsetName(const quant::DeployTraits* deploy);
// [rows], or [rows, groups] where columns have groups.
std::vector<int64_t> ParameterShape(const quant::DeployTraits* deploy, int64_t rows, int64_t cols);
io::TensorDtype ParameterDtype(const quant::DeployTraits* deploy);

// Tensors to be written, with what they view.
struct TensorSink {
  std::vector<io::TensorToWrite> tensors;
  std::vector<std::shared_ptr<const void>> keepers;
};

// Appends views of the tensors of `module`, which must outlive the sink. Float tables are written as `table_dtype`.
absl::Status AppendState(const std::string& name, const Module& module, io::TensorDtype table_dtype, TensorSink& sink);

}  // namespace eqat::model

#endif  // EQAT_MODEL_MODULE_STATE_H_
