// PyTorch's .pt and .pth files (torch.save since 1.6): the tensors of a state dictionary, without running anything.
//
// Layout: a zip file of stored entries below one folder: data.pkl, a pickle (pickle.h) that says what there is;
// data/KEY, the numbers of one storage each; version; byteorder ("little") and others. Read are dictionaries, one
// inside the other, of tensors; a tensor inside is named by its keys joined with dots. Refused by name: pickles with
// anything but plain tensors and values, TorchScript archives, storages that are missing, of the wrong size or
// compressed, tensors that reach out of their storage or repeat its elements, names that stand there twice, entries
// that are not known. Source: PyTorch 1.13, torch/serialization.py, caffe2/serialize/inline_container.cc.
#ifndef EQAT_IO_PYTORCH_FILE_H_
#define EQAT_IO_PYTORCH_FILE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "io/row_source.h"
#include "io/safetensors.h"
#include "io/zip_archive.h"

namespace eqat::io {

class PyTorchFile {
 public:
  struct Tensor {
    std::string name;
    TensorDtype dtype = TensorDtype::kF32;
    std::vector<int64_t> shape;
    std::vector<int64_t> strides;  // elements
    int64_t offset = 0;            // elements
    size_t storage = 0;            // entry of the archive
  };

  static absl::StatusOr<PyTorchFile> Open(const std::string& path);
  // Whether the archive is such a file, by the names of its entries.
  static bool IsOne(const ZipArchive& archive);

  const std::vector<Tensor>& tensors() const { return tensors_; }  // in the order of the file
  // InvalidArgument unless it is a table: 2-D, of floats. Checks the checksum of its storage first.
  absl::StatusOr<std::unique_ptr<RowSource>> Rows(const Tensor& tensor) const;

 private:
  friend class PyTorchParser;
  std::shared_ptr<const ZipArchive> archive_;
  std::vector<Tensor> tensors_;
};

}  // namespace eqat::io

#endif  // EQAT_IO_PYTORCH_FILE_H_
