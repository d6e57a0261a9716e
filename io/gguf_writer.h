// GGUF files, version 3: named tensors in ggml's block types with typed metadata, as ggml and llama.cpp read them.
//
// Layout: "GGUF", u32 version, i64 tensors, i64 keys; the keys; for each tensor its name, its dimensions (innermost
// first), type and offset; padding; the tensors, each starting at a multiple of 32 bytes. All little-endian. Format:
// https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
#ifndef EQAT_IO_GGUF_WRITER_H_
#define EQAT_IO_GGUF_WRITER_H_

#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/status/status.h"

namespace eqat::io {

enum class GgufType : uint32_t { kF32 = 0, kF16 = 1, kQ4_0 = 2, kQ4_1 = 3, kQ8_0 = 8 };

struct GgufTypeTraits {
  const char* name;
  int64_t block_values;  // a row is a whole number of blocks
  int64_t block_bytes;
};
GgufTypeTraits TraitsOf(GgufType type);

using GgufValue = std::variant<uint32_t, int64_t, std::string>;
using GgufMetadata = std::vector<std::pair<std::string, GgufValue>>;

// A table [rows, cols]. `fill(begin, end, bytes)` appends the blocks of rows [begin, end) to `bytes`; it is called for
// consecutive ranges of rows.
struct GgufTensor {
  std::string name;
  GgufType type = GgufType::kF32;
  int64_t rows = 0;
  int64_t cols = 0;
  std::function<void(int64_t begin, int64_t end, std::string& bytes)> fill;
};

// Replaces `path` atomically. InvalidArgument for a name of 64 bytes or more (ggml's limit) or one given twice, a size
// that overflows, or columns that are no whole number of blocks. Memory: a block of rows.
absl::Status WriteGguf(const std::string& path, const GgufMetadata& metadata, const std::vector<GgufTensor>& tensors);

}  // namespace eqat::io

#endif  // EQAT_IO_GGUF_WRITER_H_
