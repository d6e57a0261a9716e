// RowParser: the lines of one file to rows of a Dataset, in blocks that any thread can take.
#ifndef EQAT_TRAIN_ROW_PARSER_H_
#define EQAT_TRAIN_ROW_PARSER_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "train/data_spec.h"
#include "train/dataset.h"
#include "train/field_parser.h"

namespace eqat::train {

// Lines of one file that follow one another.
struct LineBlock {
  int64_t first_line = 0;  // its number in the file, from 1
  std::string text;
  std::vector<size_t> ends;  // of the lines in `text`

  void Add(std::string_view line) {
    text.append(line);
    ends.push_back(text.size());
  }
};

class RowParser {
 public:
  // `first_line`: the header if the spec says that there is one, otherwise a row, which says how many columns there
  // are. `vocabularies`: as spec.categorical; empty for other encodings. Both must outlive the parser. InvalidArgument
  // if a column of the spec is not in the file, or is there twice.
  static absl::StatusOr<RowParser> Create(const DataSpec& spec, const std::vector<Vocabulary>& vocabularies,
                                          const std::string& file, std::string_view first_line);

  // Adds the rows of `block` to `rows`, which has the columns of the spec. A bad line is InvalidArgument "FILE:LINE:
  // ..." and ends the parsing or, if the spec says skip, is counted.
  absl::Status Parse(const LineBlock& block, Dataset& rows) const;

 private:
  struct CategoricalPositions {
    int64_t values = 0;
    int64_t weights = 0;
  };
  class BlockParser;

  RowParser(const DataSpec& spec, const std::vector<Vocabulary>& vocabularies, std::string file)
      : spec_(&spec), vocabularies_(&vocabularies), file_(std::move(file)) {}

  const DataSpec* spec_;
  const std::vector<Vocabulary>* vocabularies_;
  std::string file_;
  int64_t num_columns_ = 0;
  int64_t label_position_ = 0;
  std::vector<std::vector<int64_t>> dense_positions_;
  std::vector<CategoricalPositions> categorical_positions_;
};

}  // namespace eqat::train

#endif  // EQAT_TRAIN_ROW_PARSER_H_
