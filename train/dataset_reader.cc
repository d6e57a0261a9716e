// Dataset::Read: files to columns. One thread reads lines while the others parse those that were read before; what a
// block of lines gives does not depend on who parses it, and blocks are joined in the order of the files.
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/error.h"
#include "core/parallel_for.h"
#include "core/status_macros.h"
#include "train/dataset.h"
#include "train/field_parser.h"
#include "train/fingerprint.h"
#include "train/line_reader.h"
#include "train/row_parser.h"

namespace eqat::train {
namespace {

constexpr size_t kBlockBytes = size_t{1} << 18;
constexpr size_t kBlocksPerThread = 2;

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
    data_ = empty_;
    Join();
    FindFingerprint();
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
      empty_.dense_.push_back(std::move(column));
    }
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
      empty_.categorical_.push_back(std::move(column));
      vocabularies_.push_back(std::move(vocabulary));
    }
    return absl::OkStatus();
  }

  absl::Status ReadFile() {
    std::string_view first_line;
    if (!reader_->Next(&first_line)) {
      EQAT_RETURN_IF_ERROR(reader_->status());
      if (!spec_.header) return absl::OkStatus();
      return InvalidArgument(absl::StrCat(reader_->path(), ":1"), "no header line");
    }
    EQAT_ASSIGN_OR_RETURN(const RowParser parser, RowParser::Create(spec_, vocabularies_, reader_->path(), first_line));
    std::vector<LineBlock> blocks = NextBlocks(spec_.header ? nullptr : &first_line);
    while (!blocks.empty()) {
      std::vector<LineBlock> next_blocks;
      std::vector<Dataset> parts(blocks.size(), empty_);
      std::vector<absl::Status> statuses(blocks.size());
      ParallelFor(1 + static_cast<int64_t>(blocks.size()), 1, [&](int64_t task, int64_t /*end*/) {
        if (task == 0) {
          next_blocks = NextBlocks(nullptr);
        } else {
          statuses[task - 1] = parser.Parse(blocks[task - 1], parts[task - 1]);
        }
      });
      for (size_t i = 0; i < blocks.size(); ++i) {
        EQAT_RETURN_IF_ERROR(statuses[i]);
        parts_.push_back(std::move(parts[i]));
      }
      blocks = std::move(next_blocks);
      if (progress_) progress_(finished_bytes_ + reader_->bytes_read(), total_bytes_);
    }
    return reader_->status();
  }

  // `line`, if it is not null, and as many of the lines that follow as keep all threads busy for a while. None at the
  // end of the file and after an error of the reader.
  std::vector<LineBlock> NextBlocks(const std::string_view* line) {
    std::vector<LineBlock> blocks;
    const size_t most_bytes = kBlockBytes * kBlocksPerThread * static_cast<size_t>(NumThreads());
    size_t bytes = 0;
    const auto add = [&](std::string_view text) {
      if (blocks.empty() || blocks.back().text.size() >= kBlockBytes) {
        blocks.emplace_back().first_line = reader_->line_number();
      }
      blocks.back().Add(text);
      bytes += text.size() + 1;
    };
    if (line != nullptr) add(*line);
    for (std::string_view next; bytes < most_bytes && reader_->Next(&next);) add(next);
    return blocks;
  }

  // All parts in one, column by column.
  void Join() {
    for (const Dataset& part : parts_) {
      data_.rows_ += part.rows_;
      data_.skipped_lines_ += part.skipped_lines_;
    }
    const int64_t num_dense = static_cast<int64_t>(data_.dense_.size());
    const int64_t num_categorical = static_cast<int64_t>(data_.categorical_.size());
    ParallelFor(1 + num_dense + num_categorical, 1, [&](int64_t task, int64_t /*end*/) {
      if (task < num_dense) {
        JoinVectors([&](Dataset & data) -> auto& { return data.dense_[task].values; });
      } else if (task == num_dense + num_categorical) {
        JoinVectors([](Dataset & data) -> auto& { return data.labels_; });
      } else {
        const int64_t i = task - num_dense;
        JoinVectors([&](Dataset & data) -> auto& { return data.categorical_[i].weights; });
        if (data_.categorical_[i].multi_valued) JoinBegins(i);
        JoinVectors([&](Dataset & data) -> auto& { return data.categorical_[i].indices; });
      }
    });
    parts_.clear();
  }

  // The vector that `vector_of` picks, of all parts; theirs are freed on the way.
  template <typename VectorOf>
  void JoinVectors(VectorOf vector_of) {
    auto& whole = vector_of(data_);
    size_t size = 0;
    for (Dataset& part : parts_) size += vector_of(part).size();
    whole.reserve(size);
    for (Dataset& part : parts_) {
      auto values = std::move(vector_of(part));
      whole.insert(whole.end(), values.begin(), values.end());
    }
  }

  // Begins count from the start of their part.
  void JoinBegins(int64_t i) {
    std::vector<int64_t>& whole = data_.categorical_[i].begins;
    whole.reserve(data_.rows_ + 1);
    int64_t before = 0;
    for (Dataset& part : parts_) {
      const std::vector<int64_t> begins = std::move(part.categorical_[i].begins);
      for (size_t row = 1; row < begins.size(); ++row) whole.push_back(before + begins[row]);
      before += begins.back();
    }
  }

  void FindFingerprint() {
    Fingerprint fingerprint;
    fingerprint.AddValues(data_.labels_);
    for (const DenseColumn& column : data_.dense_) {
      fingerprint.AddBytes(column.input);
      fingerprint.AddValues(column.values);
    }
    for (const CategoricalColumn& column : data_.categorical_) {
      fingerprint.AddBytes(column.input);
      fingerprint.AddValues(column.indices);
      fingerprint.AddValues(column.begins);
      fingerprint.AddValues(column.weights);
    }
    data_.fingerprint_ = fingerprint.value();
  }

  const DataSpec& spec_;
  const std::function<void(int64_t, int64_t)>& progress_;
  Dataset empty_;                         // the columns of the spec
  std::vector<Vocabulary> vocabularies_;  // as spec_.categorical; empty for other encodings
  std::unique_ptr<LineReader> reader_;    // of the file being read
  int64_t total_bytes_ = 0;
  int64_t finished_bytes_ = 0;
  std::vector<Dataset> parts_;
  Dataset data_;
};

absl::StatusOr<Dataset> Dataset::Read(const DataSpec& spec,
                                      const std::function<void(int64_t done, int64_t total)>& progress) {
  return DatasetReader(spec, progress).Read();
}

}  // namespace eqat::train
