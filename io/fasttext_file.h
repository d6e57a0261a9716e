// fastText's own model files (.bin, quantised .ftz): dictionary, input matrix (words, then subword buckets), output
// matrix.
//
// Layout, little-endian: int32 793712314, int32 version 12; 12 int32 arguments and a double; the dictionary: int32
// entries, words, labels, int64 tokens, int64 pruned buckets (-1: not pruned), per entry a zero-terminated word, int64
// count, int8 type (0 word, 1 label), and per pruned bucket two int32; a byte that says whether the input is quantised,
// the input matrix, such a byte for the output, the output matrix. A dense matrix: int64 rows, int64 columns, float32
// values. A quantised one: a byte "norms apart", int64 rows and columns, int32 number of codes, the codes, a product
// quantizer (4 int32, 256 centroids per column), and for norms a byte per row and a quantizer of one column. Source:
// fastText 0.9.2, src/fasttext.cc, dictionary.cc, densematrix.cc, quantmatrix.cc, productquantizer.cc.
#ifndef EQAT_IO_FASTTEXT_FILE_H_
#define EQAT_IO_FASTTEXT_FILE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "io/file.h"
#include "io/row_source.h"

namespace eqat::io {

inline constexpr int32_t kFastTextMagic = 793712314;

class FastTextFile {
 public:
  struct Arguments {
    int32_t dim = 0;
    int32_t bucket = 0;  // subword buckets
    int32_t min_n = 0;   // lengths of the subwords, in characters
    int32_t max_n = 0;
    bool is_supervised = false;
  };
  struct ProductQuantizer {
    int64_t cols = 0;
    int64_t parts = 0;  // of a row, with a code each
    int64_t part_cols = 0;
    int64_t last_part_cols = 0;
    int64_t centroids_begin = 0;  // byte of the file
  };
  struct Matrix {
    int64_t rows = 0;
    int64_t cols = 0;
    bool is_quantised = false;
    int64_t begin = 0;  // byte of the file: of the values, or of the codes
    ProductQuantizer quantizer;
    bool has_norms = false;
    int64_t norms_begin = 0;  // byte of the file: of the rows' norm codes
    ProductQuantizer norm_quantizer;
  };

  // Checks the whole structure. Errors name byte and field.
  static absl::StatusOr<std::shared_ptr<const FastTextFile>> Open(const std::string& path);

  const Arguments& arguments() const { return arguments_; }
  // Of the first rows of the input; the rows behind them are subword buckets.
  const std::vector<std::string_view>& words() const { return words_; }
  // Of the rows of a supervised model's output; those of others belong to the words.
  const std::vector<std::string_view>& labels() const { return labels_; }
  const Matrix& input() const { return input_; }
  const Matrix& output() const { return output_; }

  // Rows with their words (or labels) where they have one; rows of a quantised matrix are decoded.
  static std::unique_ptr<RowSource> InputRows(std::shared_ptr<const FastTextFile> file);
  static std::unique_ptr<RowSource> OutputRows(std::shared_ptr<const FastTextFile> file);

  const MappedFile& mapping() const { return *file_; }

 private:
  friend class FastTextParser;
  std::shared_ptr<const MappedFile> file_;
  Arguments arguments_;
  std::vector<std::string_view> words_;
  std::vector<std::string_view> labels_;
  Matrix input_;
  Matrix output_;
};

}  // namespace eqat::io

#endif  // EQAT_IO_FASTTEXT_FILE_H_
