#include "train/row_parser.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <variant>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "core/error.h"
#include "core/status_macros.h"
#include "io/number_text.h"

namespace eqat::train {
namespace {

void SplitInto(std::string_view line, char separator, std::vector<std::string_view>& fields) {
  fields.clear();
  for (;;) {
    const size_t end = line.find(separator);
    fields.push_back(line.substr(0, end));
    if (end == std::string_view::npos) return;
    line.remove_prefix(end + 1);
  }
}

std::string ColumnText(const ColumnRef& column) {
  if (const std::string* name = std::get_if<std::string>(&column)) return absl::StrCat("column '", *name, "'");
  return absl::StrCat("column ", std::get<int64_t>(column));
}

// One file's columns: where each reference of the spec stands.
class Columns {
 public:
  Columns(const DataSpec& spec, const std::string& file, std::string_view first_line) : spec_(spec), file_(file) {
    std::vector<std::string_view> fields;
    SplitInto(first_line, '\t', fields);
    if (spec.header) names_.assign(fields.begin(), fields.end());
    count_ = static_cast<int64_t>(fields.size());
  }

  int64_t count() const { return count_; }

  absl::StatusOr<int64_t> PositionOf(const ColumnRef& column) const {
    if (const int64_t* position = std::get_if<int64_t>(&column)) {
      if (*position < count_) return *position;
      return InvalidArgument(file_, "no such column", absl::StrCat("position ", *position, " in ", spec_.path),
                             absl::StrCat("a position below ", count_));
    }
    const std::string& name = std::get<std::string>(column);
    const auto found = std::find(names_.begin(), names_.end(), name);
    if (found == names_.end()) {
      return InvalidArgument(file_, "no such column", absl::StrCat("'", name, "' in ", spec_.path),
                             absl::StrCat("one of ", NamesText()));
    }
    if (std::find(found + 1, names_.end(), name) != names_.end()) {
      return InvalidArgument(absl::StrCat(file_, ":1"), "column name stands in the header twice", FieldExcerpt(name));
    }
    return found - names_.begin();
  }

 private:
  // A file that is no table has a first line of any length and of any bytes.
  std::string NamesText() const {
    constexpr size_t kMaxNames = 32;
    const auto end = names_.begin() + static_cast<std::ptrdiff_t>(std::min(names_.size(), kMaxNames));
    const auto append = [](std::string* out, const std::string& name) { absl::StrAppend(out, FieldExcerpt(name)); };
    return absl::StrCat(absl::StrJoin(names_.begin(), end, ", ", append), end == names_.end() ? "" : ", ...");
  }

  const DataSpec& spec_;
  const std::string& file_;
  std::vector<std::string> names_;
  int64_t count_ = 0;
};

}  // namespace

absl::StatusOr<RowParser> RowParser::Create(const DataSpec& spec, const std::vector<Vocabulary>& vocabularies,
                                            const std::string& file, std::string_view first_line) {
  RowParser parser(spec, vocabularies, file);
  const Columns columns(spec, file, first_line);
  parser.num_columns_ = columns.count();
  EQAT_ASSIGN_OR_RETURN(parser.label_position_, columns.PositionOf(spec.label));
  for (const DenseSpec& dense : spec.dense) {
    std::vector<int64_t>& positions = parser.dense_positions_.emplace_back();
    for (const ColumnRef& column : dense.columns) {
      EQAT_ASSIGN_OR_RETURN(int64_t position, columns.PositionOf(column));
      positions.push_back(position);
    }
  }
  for (const CategoricalSpec& categorical : spec.categorical) {
    CategoricalPositions& positions = parser.categorical_positions_.emplace_back();
    EQAT_ASSIGN_OR_RETURN(positions.values, columns.PositionOf(categorical.column));
    if (categorical.weights_column) {
      EQAT_ASSIGN_OR_RETURN(positions.weights, columns.PositionOf(*categorical.weights_column));
    }
  }
  return parser;
}

// A line goes straight into the columns; a bad one is taken back.
class RowParser::BlockParser {
 public:
  BlockParser(const RowParser& parser, Dataset& rows) : parser_(parser), spec_(*parser.spec_), rows_(rows) {}

  absl::Status Parse(const LineBlock& block) {
    line_number_ = block.first_line;
    size_t begin = 0;
    for (const size_t end : block.ends) {
      SplitInto(std::string_view(block.text).substr(begin, end - begin), '\t', fields_);
      if (const absl::Status status = AddRow(); status.ok()) {
        ++rows_.rows_;
        fields_.swap(fields_of_last_row_);
      } else if (spec_.bad_lines == BadLines::kSkip) {
        TakeBack();
        ++rows_.skipped_lines_;
      } else {
        return status;
      }
      begin = end;
      ++line_number_;
    }
    return absl::OkStatus();
  }

 private:
  using DenseColumn = Dataset::DenseColumn;
  using CategoricalColumn = Dataset::CategoricalColumn;

  absl::Status BadLine(absl::string_view what, absl::string_view got, absl::string_view expected) const {
    return InvalidArgument(absl::StrCat(parser_.file_, ":", line_number_), what, got, expected);
  }
  absl::Status BadField(const ColumnRef& column, std::string_view field, absl::string_view expected) const {
    return BadLine(absl::StrCat(ColumnText(column), " is invalid"), FieldExcerpt(field), expected);
  }

  absl::Status AddRow() {
    if (static_cast<int64_t>(fields_.size()) != parser_.num_columns_) {
      return BadLine("wrong number of columns", absl::StrCat(fields_.size()), absl::StrCat(parser_.num_columns_));
    }
    const std::optional<float> label = io::ParseFloat(fields_[parser_.label_position_]);
    if (!label) return BadField(spec_.label, fields_[parser_.label_position_], "a finite number");
    rows_.labels_.push_back(*label);
    for (size_t i = 0; i < spec_.dense.size(); ++i) EQAT_RETURN_IF_ERROR(AddDense(i));
    for (size_t i = 0; i < spec_.categorical.size(); ++i) EQAT_RETURN_IF_ERROR(AddCategorical(i));
    return absl::OkStatus();
  }

  absl::Status AddDense(size_t i) {
    const DenseSpec& spec = spec_.dense[i];
    for (size_t c = 0; c < spec.columns.size(); ++c) {
      const std::string_view field = fields_[parser_.dense_positions_[i][c]];
      std::optional<float> value = field.empty() ? spec.missing : io::ParseFloat(field);
      if (!value) return BadField(spec.columns[c], field, "a finite number");
      value = Apply(spec.transform, *value);
      if (!value) return BadField(spec.columns[c], field, "a number above -1, for log1p");
      rows_.dense_[i].values.push_back(*value);
    }
    return absl::OkStatus();
  }

  absl::Status AddIndex(size_t i, std::string_view value) {
    const CategoricalSpec& spec = spec_.categorical[i];
    if (value.empty()) return BadField(spec.column, value, "a value that is not empty");
    const IndexResult result = ParseIndex(spec, (*parser_.vocabularies_)[i], value);
    if (result.expected != nullptr) return BadField(spec.column, value, result.expected);
    rows_.categorical_[i].indices.push_back(result.index);
    return absl::OkStatus();
  }

  absl::Status AddCategorical(size_t i) {
    const CategoricalSpec& spec = spec_.categorical[i];
    CategoricalColumn& column = rows_.categorical_[i];
    const std::string_view field = fields_[parser_.categorical_positions_[i].values];
    const size_t first = column.indices.size();
    if (IsAsInLastRow(parser_.categorical_positions_[i].values)) {
      RepeatLastRow(column);
    } else if (!spec.multi_valued) {
      if (field.empty() && spec.missing) {
        column.indices.push_back(*spec.missing);
      } else {
        EQAT_RETURN_IF_ERROR(AddIndex(i, field));
      }
    } else {
      if (!field.empty()) {
        SplitInto(field, spec.separator, values_);
        for (const std::string_view value : values_) EQAT_RETURN_IF_ERROR(AddIndex(i, value));
      }
    }
    if (spec.multi_valued) column.begins.push_back(static_cast<int64_t>(column.indices.size()));
    return column.has_weights ? AddWeights(i, column.indices.size() - first) : absl::OkStatus();
  }

  // Rows of one user, session or document often follow one another: what they share is parsed once.
  bool IsAsInLastRow(int64_t position) const {
    return !fields_of_last_row_.empty() && fields_[position] == fields_of_last_row_[position];
  }

  // Adds the indices that the column's last whole row has.
  static void RepeatLastRow(CategoricalColumn& column) {
    const size_t end = column.indices.size();
    const size_t begin = column.multi_valued ? *(column.begins.end() - 2) : end - 1;
    column.indices.resize(end + (end - begin));
    std::copy(column.indices.begin() + begin, column.indices.begin() + end, column.indices.begin() + end);
  }

  absl::Status AddWeights(size_t i, size_t num_values) {
    const CategoricalSpec& spec = spec_.categorical[i];
    const std::string_view field = fields_[parser_.categorical_positions_[i].weights];
    values_.clear();
    if (!field.empty()) SplitInto(field, spec.separator, values_);
    if (values_.size() != num_values) {
      return BadLine(absl::StrCat(ColumnText(*spec.weights_column), " has the wrong number of weights"),
                     absl::StrCat(values_.size()), absl::StrCat(num_values, ", as ", ColumnText(spec.column)));
    }
    for (const std::string_view value : values_) {
      const std::optional<float> weight = io::ParseFloat(value);
      if (!weight) return BadField(*spec.weights_column, value, "finite numbers");
      rows_.categorical_[i].weights.push_back(*weight);
    }
    return absl::OkStatus();
  }

  // Back to rows_ whole rows.
  void TakeBack() {
    rows_.labels_.resize(rows_.rows_);
    for (DenseColumn& column : rows_.dense_) column.values.resize(rows_.rows_ * column.width);
    for (CategoricalColumn& column : rows_.categorical_) {
      if (column.multi_valued) column.begins.resize(rows_.rows_ + 1);
      column.indices.resize(column.multi_valued ? column.begins.back() : rows_.rows_);
      if (column.has_weights) column.weights.resize(column.indices.size());
    }
  }

  const RowParser& parser_;
  const DataSpec& spec_;
  Dataset& rows_;
  int64_t line_number_ = 0;
  std::vector<std::string_view> fields_;
  std::vector<std::string_view> fields_of_last_row_;  // of the block; none before its first row
  std::vector<std::string_view> values_;  // of one multi-valued field
};

absl::Status RowParser::Parse(const LineBlock& block, Dataset& rows) const {
  return BlockParser(*this, rows).Parse(block);
}

}  // namespace eqat::train
