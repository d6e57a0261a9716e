// PyTorch files (torch.save) that hold a state_dict: an OrderedDict of tensors with the modules' versions, which
// torch.load gives to load_state_dict, also with weights_only.
//
// Layout: a zip archive with "NAME/data.pkl" (a pickle of protocol 2 that names the tensors and where they lie),
// "NAME/data/0", "NAME/data/1", ... (their bytes), "NAME/version" and "NAME/byteorder". Format:
// torch/serialization.py, caffe2/serialize/inline_container.h.
#ifndef EQAT_IO_TORCH_FILE_WRITER_H_
#define EQAT_IO_TORCH_FILE_WRITER_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "io/safetensors.h"

namespace eqat::io {

// Writes `tensors` in their order to `path`, atomically. `versions`: of each module by name, "" for the whole model, as
// state_dict()._metadata has them. InvalidArgument for a name given twice, a size that does not match its shape, or a
// dtype torch does not have.
absl::Status WriteTorchStateDict(const std::string& path, const std::vector<TensorToWrite>& tensors,
                                 const std::map<std::string, int64_t>& versions);

}  // namespace eqat::io

#endif  // EQAT_IO_TORCH_FILE_WRITER_H_
