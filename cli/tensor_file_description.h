// TensorFileDescription: what `eqat inspect` tells about a .safetensors file.
#ifndef EQAT_CLI_TENSOR_FILE_DESCRIPTION_H_
#define EQAT_CLI_TENSOR_FILE_DESCRIPTION_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "io/json_reader.h"
#include "io/safetensors.h"

namespace eqat::cli {

struct TensorDescription {
  io::TensorInfo info;
  // Of the finite values, integers as such; null when there is none or the dtype has no arithmetic here (8-bit floats).
  io::Json min;
  io::Json max;
  int64_t non_finite = 0;
};

struct TensorFileDescription {
  std::vector<TensorDescription> tensors;
  std::map<std::string, std::string> metadata;
};

TensorFileDescription Describe(const io::SafetensorsReader& reader);
std::string ToText(const TensorFileDescription& description);
std::string ToJsonText(const TensorFileDescription& description);

}  // namespace eqat::cli

#endif  // EQAT_CLI_TENSOR_FILE_DESCRIPTION_H_
