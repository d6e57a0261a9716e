#include "formats/gguf_blocks.h"

#include <cassert>
#include <vector>

#include "core/float16.h"

namespace eqat::formats {
namespace {

constexpr int64_t kBlock = 32;

void AppendHalf(float value, std::string& bytes) {
  const uint16_t half = ToFloat16Bits(value);
  bytes += static_cast<char>(half & 0xff);
  bytes += static_cast<char>(half >> 8);
}

}  // namespace

io::GgufType GgufTypeOf(const quant::DeployTraits& deploy) {
  switch (deploy.deploy) {
    case quant::Deploy::kGgufQ8_0:
      return io::GgufType::kQ8_0;
    case quant::Deploy::kGgufQ4_0:
      return io::GgufType::kQ4_0;
    default:
      assert(deploy.deploy == quant::Deploy::kGgufQ4_1);
      return io::GgufType::kQ4_1;
  }
}

void AppendGgufBlocks(const quant::QuantizedTable& table, int64_t row, std::string& bytes) {
  const quant::DeployTraits& deploy = *table.deploy();
  std::vector<int32_t> codes(table.cols());
  table.UnpackRow(row, codes.data());
  for (int64_t group = 0; group < table.groups(); ++group) {
    const quant::QParams& params = table.params(row)[group];
    const int32_t* const block = codes.data() + group * kBlock;
    AppendHalf(params.scale, bytes);
    if (deploy.has_bias()) AppendHalf(params.zero_point, bytes);
    if (deploy.bits == 8) {
      for (int64_t i = 0; i < kBlock; ++i) bytes += static_cast<char>(block[i]);
    } else {
      for (int64_t i = 0; i < kBlock / 2; ++i) bytes += static_cast<char>(block[i] | block[i + kBlock / 2] << 4);
    }
  }
}

}  // namespace eqat::formats
