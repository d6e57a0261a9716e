// ModelDescription: what `eqat inspect` tells about a model.
#ifndef EQAT_CLI_MODEL_DESCRIPTION_H_
#define EQAT_CLI_MODEL_DESCRIPTION_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "cli/table_statistics.h"
#include "io/json_reader.h"
#include "model/model.h"

namespace eqat::cli {

struct ModuleDescription {
  std::string name;
  std::string type;
  std::vector<int64_t> shape;  // of the weight, empty without one
  int bits = 32;               // of a weight; for QAT those it is trained for
  int64_t bytes = 0;
  std::optional<int64_t> padding_idx;
  io::Json qconfig;                   // preset name, object or null
  std::optional<std::string> deploy;  // the format that the table is trained for
  std::optional<TableStatistics> rows;
};

struct ModelDescription {
  std::vector<ModuleDescription> modules;
  std::optional<int64_t> graph_nodes;
};

ModelDescription Describe(const model::Model& model);
std::string ToText(const ModelDescription& description);
std::string ToJsonText(const ModelDescription& description);

}  // namespace eqat::cli

#endif  // EQAT_CLI_MODEL_DESCRIPTION_H_
