// Rows of a deployed table as ggml's blocks of 32 values.
//
//   Q8_0   float16 scale, 32 signed bytes
//   Q4_0   float16 scale, 16 bytes: byte j holds value j in its low half and value j + 16 in its high half
//   Q4_1   float16 scale, float16 minimum, 16 bytes as Q4_0
#ifndef EQAT_FORMATS_GGUF_BLOCKS_H_
#define EQAT_FORMATS_GGUF_BLOCKS_H_

#include <cstdint>
#include <string>

#include "io/gguf_writer.h"
#include "quant/quantized_table.h"

namespace eqat::formats {

// The type whose blocks hold tables deployed as `deploy`. REQUIRES: one of the gguf formats.
io::GgufType GgufTypeOf(const quant::DeployTraits& deploy);

// Appends the blocks of row `row`. REQUIRES: a table deployed for a gguf format.
void AppendGgufBlocks(const quant::QuantizedTable& table, int64_t row, std::string& bytes);

}  // namespace eqat::formats

#endif  // EQAT_FORMATS_GGUF_BLOCKS_H_
