// Dataset::Read: lines to columns. A line goes straight into the columns; a bad one is taken back.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "core/error.h"
#include "core/status_macros.h"
#include "io/number_text.h"
#include "train/dataset.h"
#include "train/field_parser.h"
#include "train/fingerprint.h"
#include "train/line_reader.h"

namespace eqat::train {
namespace {

constexpr int64_t kLinesPerProgress = 8192;

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
  Columns(const DataSpec& spec, const std::string& file) : spec_(spec), file_(file) {}

  void SetHeader(std::string_view line) {
    std::vector<std::string_view> fields;
    SplitInto(line, '\t', fields);
    names_.assign(fields.begin(), fields.end());
    count_ = static_cast<int64_t>(names_.size());
  }
  // Without a header the first line says how many columns there are.
  void SetCount(int64_t count) { count_ = count; }
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
  int64_t count_ = -1;
};

}  // namespace

class DatasetReader {
 public:
  DatasetReader(const DataSpec& spec, const std::function<void(int64_t, int64_t)>& progress)
      : spec_(spec), progress_(progress) {}

  absl::StatusOr<Dataset> Read() {
    EQAT_RETURN_IF_ERROR(Prepare());
    for (const std::string& file : spec_.files) {  // a missing one is found before the first is read
      EQAT_ASSIGN_OR_RETURN(std::unique_ptr<LineReader> reader, LineReader::Open(file));
      total_bytes_ += reader->file_bytes();
    }
    for (const std::string& file : spec_.files) {
      EQAT_ASSIGN_OR_RETURN(reader_, LineReader::Open(file));
      EQAT_RETURN_IF_ERROR(ReadFile());
      finished_bytes_ += reader_->file_bytes();
    }
    if (progress_) progress_(total_bytes_, total_bytes_);
    Finish();
    return std::move(data_);
  }

 private:
  using DenseColumn = Dataset::DenseColumn;
  using CategoricalColumn = Dataset::CategoricalColumn;

  absl::Status Prepare() {
    for (const DenseSpec& dense : spec_.dense) {
      DenseColumn column;
      column.input = dense.input;
      column.width = static_cast<int64_t>(dense.columns.size());
      data_.dense_.push_back(std::move(column));
    }
    dense_positions_.resize(spec_.dense.size());
    for (const CategoricalSpec& categorical : spec_.categorical) {
      Vocabulary vocabulary;
      if (categorical.encoding == Encoding::kVocabulary) {
        EQAT_ASSIGN_OR_RETURN(vocabulary, ReadVocabulary(categorical.vocabulary));
      }
      CategoricalColumn column;
      column.input = categorical.input;
      column.multi_valued = categorical.multi_valued;
      column.has_weights = categorical.weights_column.has_value();
      column.bound = IndexBound(categorical, vocabulary);
      if (column.multi_valued) column.begins = {0};
      data_.categorical_.push_back(std::move(column));
      vocabularies_.push_back(std::move(vocabulary));
    }
    categorical_positions_.resize(spec_.categorical.size());
    return absl::OkStatus();
  }

  absl::Status ReadFile() {
    Columns columns(spec_, reader_->path());
    std::string_view line;
    if (spec_.header) {
      if (!reader_->Next(&line)) {
        EQAT_RETURN_IF_ERROR(reader_->status());
        return InvalidArgument(absl::StrCat(reader_->path(), ":1"), "no header line");
      }
      columns.SetHeader(line);
      EQAT_RETURN_IF_ERROR(FindPositions(columns));
    }
    while (reader_->Next(&line)) {
      SplitInto(line, '\t', fields_);
      if (columns.count() < 0) {
        columns.SetCount(static_cast<int64_t>(fields_.size()));
        EQAT_RETURN_IF_ERROR(FindPositions(columns));
      }
      if (const absl::Status status = AddRow(columns.count()); status.ok()) {
        ++data_.rows_;
      } else if (spec_.bad_lines == BadLines::kSkip) {
        TakeBack();
        ++data_.skipped_lines_;
      } else {
        return status;
      }
      if (progress_ && reader_->line_number() % kLinesPerProgress == 0) {
        progress_(finished_bytes_ + reader_->bytes_read(), total_bytes_);
      }
    }
    return reader_->status();
  }

  absl::Status FindPositions(const Columns& columns) {
    EQAT_ASSIGN_OR_RETURN(label_position_, columns.PositionOf(spec_.label));
    for (size_t i = 0; i < spec_.dense.size(); ++i) {
      dense_positions_[i].clear();
      for (const ColumnRef& column : spec_.dense[i].columns) {
        EQAT_ASSIGN_OR_RETURN(int64_t position, columns.PositionOf(column));
        dense_positions_[i].push_back(position);
      }
    }
    for (size_t i = 0; i < spec_.categorical.size(); ++i) {
      const CategoricalSpec& categorical = spec_.categorical[i];
      EQAT_ASSIGN_OR_RETURN(categorical_positions_[i].values, columns.PositionOf(categorical.column));
      if (categorical.weights_column) {
        EQAT_ASSIGN_OR_RETURN(categorical_positions_[i].weights, columns.PositionOf(*categorical.weights_column));
      }
    }
    return absl::OkStatus();
  }

  absl::Status BadLine(absl::string_view what, absl::string_view got, absl::string_view expected) const {
    return InvalidArgument(absl::StrCat(reader_->path(), ":", reader_->line_number()), what, got, expected);
  }
  absl::Status BadField(const ColumnRef& column, std::string_view field, absl::string_view expected) const {
    return BadLine(absl::StrCat(ColumnText(column), " is invalid"), FieldExcerpt(field), expected);
  }

  absl::Status AddRow(int64_t num_columns) {
    if (static_cast<int64_t>(fields_.size()) != num_columns) {
      return BadLine("wrong number of columns", absl::StrCat(fields_.size()), absl::StrCat(num_columns));
    }
    const std::optional<float> label = io::ParseFloat(fields_[label_position_]);
    if (!label) return BadField(spec_.label, fields_[label_position_], "a finite number");
    data_.labels_.push_back(*label);
    for (size_t i = 0; i < spec_.dense.size(); ++i) EQAT_RETURN_IF_ERROR(AddDense(i));
    for (size_t i = 0; i < spec_.categorical.size(); ++i) EQAT_RETURN_IF_ERROR(AddCategorical(i));
    return absl::OkStatus();
  }

  absl::Status AddDense(size_t i) {
    const DenseSpec& spec = spec_.dense[i];
    for (size_t c = 0; c < spec.columns.size(); ++c) {
      const std::string_view field = fields_[dense_positions_[i][c]];
      std::optional<float> value = field.empty() ? spec.missing : io::ParseFloat(field);
      if (!value) return BadField(spec.columns[c], field, "a finite number");
      value = Apply(spec.transform, *value);
      if (!value) return BadField(spec.columns[c], field, "a number above -1, for log1p");
      data_.dense_[i].values.push_back(*value);
    }
    return absl::OkStatus();
  }

  absl::Status AddIndex(size_t i, std::string_view value) {
    const CategoricalSpec& spec = spec_.categorical[i];
    if (value.empty()) return BadField(spec.column, value, "a value that is not empty");
    const IndexResult result = ParseIndex(spec, vocabularies_[i], value);
    if (result.expected != nullptr) return BadField(spec.column, value, result.expected);
    data_.categorical_[i].indices.push_back(result.index);
    return absl::OkStatus();
  }

  absl::Status AddCategorical(size_t i) {
    const CategoricalSpec& spec = spec_.categorical[i];
    CategoricalColumn& column = data_.categorical_[i];
    const std::string_view field = fields_[categorical_positions_[i].values];
    const size_t first = column.indices.size();
    if (!spec.multi_valued) {
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
      column.begins.push_back(static_cast<int64_t>(column.indices.size()));
    }
    return column.has_weights ? AddWeights(i, column.indices.size() - first) : absl::OkStatus();
  }

  absl::Status AddWeights(size_t i, size_t num_values) {
    const CategoricalSpec& spec = spec_.categorical[i];
    const std::string_view field = fields_[categorical_positions_[i].weights];
    values_.clear();
    if (!field.empty()) SplitInto(field, spec.separator, values_);
    if (values_.size() != num_values) {
      return BadLine(absl::StrCat(ColumnText(*spec.weights_column), " has the wrong number of weights"),
                     absl::StrCat(values_.size()), absl::StrCat(num_values, ", as ", ColumnText(spec.column)));
    }
    for (const std::string_view value : values_) {
      const std::optional<float> weight = io::ParseFloat(value);
      if (!weight) return BadField(*spec.weights_column, value, "finite numbers");
      data_.categorical_[i].weights.push_back(*weight);
    }
    return absl::OkStatus();
  }

  // Back to rows_ whole rows.
  void TakeBack() {
    data_.labels_.resize(data_.rows_);
    for (DenseColumn& column : data_.dense_) column.values.resize(data_.rows_ * column.width);
    for (CategoricalColumn& column : data_.categorical_) {
      if (column.multi_valued) column.begins.resize(data_.rows_ + 1);
      column.indices.resize(column.multi_valued ? column.begins.back() : data_.rows_);
      if (column.has_weights) column.weights.resize(column.indices.size());
    }
  }

  void Finish() {
    Fingerprint fingerprint;
    fingerprint.AddValues(data_.labels_);
    data_.labels_.shrink_to_fit();
    for (DenseColumn& column : data_.dense_) {
      column.values.shrink_to_fit();
      fingerprint.AddBytes(column.input);
      fingerprint.AddValues(column.values);
    }
    for (CategoricalColumn& column : data_.categorical_) {
      column.indices.shrink_to_fit();
      column.begins.shrink_to_fit();
      column.weights.shrink_to_fit();
      fingerprint.AddBytes(column.input);
      fingerprint.AddValues(column.indices);
      fingerprint.AddValues(column.begins);
      fingerprint.AddValues(column.weights);
    }
    data_.fingerprint_ = fingerprint.value();
  }

  struct CategoricalPositions {
    int64_t values = 0;
    int64_t weights = 0;
  };

  const DataSpec& spec_;
  const std::function<void(int64_t, int64_t)>& progress_;
  Dataset data_;
  std::vector<Vocabulary> vocabularies_;  // as spec_.categorical; empty for other encodings
  int64_t total_bytes_ = 0;
  int64_t finished_bytes_ = 0;

  // Of the file being read.
  std::unique_ptr<LineReader> reader_;
  int64_t label_position_ = 0;
  std::vector<std::vector<int64_t>> dense_positions_;
  std::vector<CategoricalPositions> categorical_positions_;
  std::vector<std::string_view> fields_;
  std::vector<std::string_view> values_;  // of one multi-valued field
};

absl::StatusOr<Dataset> Dataset::Read(const DataSpec& spec,
                                      const std::function<void(int64_t done, int64_t total)>& progress) {
  return DatasetReader(spec, progress).Read();
}

}  // namespace eqat::train
