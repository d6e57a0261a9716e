// PrepareQat, Convert, ToFloat and Ptq over a whole model: each swaps every table module by a mapping or by its kind
// and says what it did. The model is consumed and given back; on error it is unchanged.
#ifndef EQAT_MODEL_PREPARE_QAT_H_
#define EQAT_MODEL_PREPARE_QAT_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "model/model.h"
#include "quant/types/qconfig_mapping.h"

namespace eqat::model {

// One line of the report, per module of the model.
struct ModuleChange {
  std::string module;
  std::string type_before;
  std::string type_after;    // equal to type_before: left as it was
  std::string rule;          // rule of the mapping that decided
  std::string reason;        // why it was left, empty otherwise ("qconfig is null", "no rule", "not a table")
  int bits = 32;             // of the weight after the change (QAT: bits it will be converted to)
  int64_t bytes_before = 0;  // of the parameters
  int64_t bytes_after = 0;   // after conversion, for PrepareQat
};
using ChangeReport = std::vector<ModuleChange>;

// nn tables with a qconfig become qat tables (from_float). A rule that matches no module is InvalidArgument and lists
// the module names; a qconfig that does not suit is InvalidArgument naming the module; NaN or infinity in a table is
// found when its rows are touched or converted.
absl::StatusOr<ChangeReport> PrepareQat(Model& model, const quant::QConfigMapping& mapping);
// qat tables become quantized tables; evaluation keeps its bits. FailedPrecondition if there is none.
absl::StatusOr<ChangeReport> Convert(Model& model);
// qat tables become nn tables with the unquantized weight. FailedPrecondition if there is none.
absl::StatusOr<ChangeReport> ToFloat(Model& model);
// nn tables with a qconfig become quantized tables at once (post-training): bounds of each row observed once. Accepts
// qconfigs with and without fake_quantize.
absl::StatusOr<ChangeReport> Ptq(Model& model, const quant::QConfigMapping& mapping);

}  // namespace eqat::model

#endif  // EQAT_MODEL_PREPARE_QAT_H_
