// One-dimensional tensors and numbers as torch prints them (torch/_tensor_str.py with default print options, repr of a
// Python float). Internal to quant/.
#ifndef EQAT_QUANT_TENSOR_TEXT_H_
#define EQAT_QUANT_TENSOR_TEXT_H_

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace eqat::quant {

// "tensor([1.0000, 0.5000])"; more than 1000 values are shown by the first and the last three.
std::string FloatTensorText(absl::Span<const float> values);
// "tensor([1], dtype=torch.uint8)".
std::string IntTensorText(absl::Span<const int64_t> values, absl::string_view dtype);
// A zero-dimensional tensor inside a text: the shortest decimal that reads back as the same double.
std::string ScalarText(float value);

}  // namespace eqat::quant

#endif  // EQAT_QUANT_TENSOR_TEXT_H_
