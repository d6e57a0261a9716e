// The part of Python's pickle format that PyTorch's state dictionaries are made of: numbers, texts, tuples, lists,
// dictionaries, tensors. Internal to this folder.
//
// A pickle is a program; here it is read as data. Each instruction outside a fixed list ends the reading, and so does a
// name (GLOBAL) outside another: nothing is ever looked up, called or imported. The seven names that are known stand
// for fixed meanings: an ordered dictionary, a tensor, a parameter, and storages of numbers. Time and memory are
// proportional to the bytes read; at most kMaxPickleInstructions are. Protocols 2 to 4.
#ifndef EQAT_IO_PICKLE_H_
#define EQAT_IO_PICKLE_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "io/safetensors.h"

namespace eqat::io {

inline constexpr int64_t kMaxPickleInstructions = 4'000'000;  // about 100,000 tensors

// A view of numbers in a storage. Sizes and strides as they stand in the pickle: not checked against the storage.
struct PickledTensor {
  std::string_view storage;  // its key
  int64_t storage_elements = 0;
  TensorDtype dtype = TensorDtype::kF32;
  int64_t offset = 0;  // elements
  std::vector<int64_t> shape;
  std::vector<int64_t> strides;  // elements
};

// Values refer to each other by position in Pickle::values, so that a pickle of any depth is freed without recursion.
struct PickledValue {
  enum class Kind : uint8_t {
    kOther,  // none, a truth value, a float, a list: nothing that is used here
    kInteger,
    kText,
    kTuple,       // items
    kDictionary,  // items: key, value, key, value, ...
    kName,        // a class or function; text: "module name"
    kStorage,     // integer: position in Pickle::tensors, of which storage, storage_elements and dtype are set
    kTensor,      // integer: position in Pickle::tensors
  };
  Kind kind = Kind::kOther;
  int64_t integer = 0;
  std::string_view text;  // views the pickle
  std::vector<size_t> items;
};

struct Pickle {
  std::vector<PickledValue> values;
  std::vector<PickledTensor> tensors;  // and storages
  size_t root = 0;
};

// `bytes` must outlive the result. Errors name `where`, the byte and the instruction or name that is refused.
absl::StatusOr<Pickle> ReadPickle(std::string_view bytes, const std::string& where);

}  // namespace eqat::io

#endif  // EQAT_IO_PICKLE_H_
