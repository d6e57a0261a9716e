// Deploy: the formats of other programs in which a quantized table can be served, as arithmetic. Each stores unsigned
// or signed codes q of some bits and, for every row or group of columns of a row, a scale s and an offset, and gives
// values
//
//   kByteBias, kHalfBias     y = fma(s, q, bias), rounded once
//   the others               y = f32((q - zero_point) * s)
//
// A qconfig that names one trains for exactly these values (quant/deploy_arithmetic.h says how codes are found); how
// the bytes of a file lie is the business of its writer.
#ifndef EQAT_QUANT_TYPES_DEPLOY_H_
#define EQAT_QUANT_TYPES_DEPLOY_H_

#include <cstdint>
#include <optional>
#include <string_view>

#include "quant/types/dtype.h"

namespace eqat::quant {

enum class Deploy : uint8_t { kTorch, kFbgemmHalf, kGgufQ8_0, kGgufQ4_0, kGgufQ4_1, kOnnxQdq, kOnnxBlock };

// How scale and offset follow from the values they serve.
enum class DeployParams : uint8_t {
  kByteBias,          // float32 scale and bias (torch's byte rows)
  kHalfBias,          // float16 scale and bias (torch's 4-bit and 2-bit rows, FBGEMM, GGUF Q4_1)
  kHalfSigned,        // float16 scale, zero point 0, signed codes (GGUF Q8_0)
  kHalfCentered,      // float16 scale of either sign, zero point 2^(bits - 1) (GGUF Q4_0)
  kIntegerZeroPoint,  // float32 scale, zero point one of the codes (ONNX)
};

struct DeployTraits {
  Deploy deploy;
  const char* name;  // in qconfig files and model.json
  int bits;
  bool is_signed;
  DeployParams params;
  int64_t group;            // columns that share a scale and an offset; 0: the whole row
  int64_t column_multiple;  // of which the number of columns must be a multiple

  bool has_bias() const { return params == DeployParams::kByteBias || params == DeployParams::kHalfBias; }
  bool has_half_params() const {
    return params != DeployParams::kByteBias && params != DeployParams::kIntegerZeroPoint;
  }
  // Scales and offsets in a row of `cols` columns, and the bytes that they take.
  int64_t GroupsOf(int64_t cols) const { return group == 0 || cols == 0 ? 1 : (cols - 1) / group + 1; }
  int64_t ParamBytesOf(int64_t cols) const { return GroupsOf(cols) * (has_half_params() ? 4 : 8); }
};

inline constexpr DeployTraits kDeploys[] = {
    {Deploy::kTorch, "torch", 8, false, DeployParams::kByteBias, 0, 1},
    {Deploy::kTorch, "torch", 4, false, DeployParams::kHalfBias, 0, 2},
    {Deploy::kTorch, "torch", 2, false, DeployParams::kHalfBias, 0, 4},
    {Deploy::kFbgemmHalf, "fbgemm_half", 8, false, DeployParams::kHalfBias, 0, 1},
    {Deploy::kFbgemmHalf, "fbgemm_half", 4, false, DeployParams::kHalfBias, 0, 1},
    {Deploy::kFbgemmHalf, "fbgemm_half", 2, false, DeployParams::kHalfBias, 0, 1},
    {Deploy::kGgufQ8_0, "gguf_q8_0", 8, true, DeployParams::kHalfSigned, 32, 32},
    {Deploy::kGgufQ4_0, "gguf_q4_0", 4, false, DeployParams::kHalfCentered, 32, 32},
    {Deploy::kGgufQ4_1, "gguf_q4_1", 4, false, DeployParams::kHalfBias, 32, 32},
    {Deploy::kOnnxQdq, "onnx_qdq", 8, false, DeployParams::kIntegerZeroPoint, 0, 1},
    {Deploy::kOnnxQdq, "onnx_qdq", 4, false, DeployParams::kIntegerZeroPoint, 0, 1},
    {Deploy::kOnnxBlock, "onnx_block", 8, false, DeployParams::kIntegerZeroPoint, 32, 32},
    {Deploy::kOnnxBlock, "onnx_block", 4, false, DeployParams::kIntegerZeroPoint, 32, 32},
};

// The arithmetic of `deploy` with codes of `dtype`, which lives forever; null if it has none.
constexpr const DeployTraits* FindDeploy(Deploy deploy, Dtype dtype) {
  const DtypeTraits& codes = TraitsOf(dtype);
  for (const DeployTraits& traits : kDeploys) {
    if (traits.deploy == deploy && traits.bits == codes.bits && traits.is_signed == (codes.quant_min < 0)) {
      return &traits;
    }
  }
  return nullptr;
}

constexpr const char* DeployName(Deploy deploy) {
  for (const DeployTraits& traits : kDeploys) {
    if (traits.deploy == deploy) return traits.name;
  }
  return "";
}

inline std::optional<Deploy> DeployFromName(std::string_view name) {
  for (const DeployTraits& traits : kDeploys) {
    if (name == traits.name) return traits.deploy;
  }
  return std::nullopt;
}

// The dtype of the codes, by torch's names.
constexpr Dtype DtypeOf(const DeployTraits& traits) {
  if (traits.is_signed) return Dtype::kQInt8;
  return traits.bits == 8 ? Dtype::kQUInt8 : traits.bits == 4 ? Dtype::kQUInt4x2 : Dtype::kQUInt2x4;
}

}  // namespace eqat::quant

#endif  // EQAT_QUANT_TYPES_DEPLOY_H_
