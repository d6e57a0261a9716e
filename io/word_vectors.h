// Word vectors: a word and its numbers per row, as text (word2vec, fastText's .vec, GloVe) and as word2vec's .bin.
//
// Text: lines of a word and numbers, separated by spaces or tabs; spaces at the end of a line and "\r\n" are taken.
// word2vec and fastText put a line "ROWS DIMENSIONS" first, GloVe does not. Binary: that first line, then for each row
// the word, a space, little-endian float32 numbers and perhaps a newline. Words hold any byte but space characters,
// need not be UTF-8, and are at most kMaxWordBytes long. Plain or gzip text; numbers are read without regard to the
// locale and rounded correctly.
#ifndef EQAT_IO_WORD_VECTORS_H_
#define EQAT_IO_WORD_VECTORS_H_

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/table_view.h"
#include "io/row_source.h"

namespace eqat::io {

inline constexpr int64_t kMaxWordBytes = 4096;

enum class VecHeader : uint8_t {
  kCounts,  // the first line gives rows and dimensions, which are checked
  kNone,    // GloVe: lines are counted, the first one gives the dimensions
};

// The vectors of a text file, parsed in parallel. Errors name file, line and what is wrong with it.
absl::StatusOr<std::unique_ptr<RowSource>> OpenVectorText(const std::string& path, VecHeader header);

// The vectors of a word2vec .bin file. Errors name file and byte.
absl::StatusOr<std::unique_ptr<RowSource>> OpenVectorBinary(const std::string& path);

// What a file of word vectors seems to be, from its beginning (unpacked).
enum class VectorFileKind : uint8_t { kUnknown, kTextWithCounts, kTextWithoutCounts, kBinary };
absl::StatusOr<VectorFileKind> GuessVectorFile(const std::string& path);

// InvalidArgument naming `where` for a word that no file of word vectors can hold: empty, too long, with a space
// character.
absl::Status CheckWord(std::string_view word, std::string_view where);

// Writes text with a first line of counts, atomically: `word(row)`, then the shortest decimal numbers that read back as
// the same float32. [rows, cols]; blocks of rows are asked for by `values(begin, end, out)`, in order, which keeps
// tables larger than memory writable. InvalidArgument for a word or a number (NaN, infinity) that the format cannot
// hold.
absl::Status WriteVectorText(const std::string& path, int64_t rows, int64_t cols,
                             absl::FunctionRef<absl::StatusOr<std::string_view>(int64_t row)> word,
                             absl::FunctionRef<absl::Status(int64_t begin, int64_t end, float* out)> values);

}  // namespace eqat::io

#endif  // EQAT_IO_WORD_VECTORS_H_
