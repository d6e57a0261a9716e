// Dataset: the rows of a data spec, parsed once into compact columns in memory; batches in file order or shuffled by a
// seed. Memory: 4 bytes a dense value, 8 a categorical index, 8 a row and jagged column; while it is read, up to
// three times as much.
//
// Deterministic: batch b of epoch e is a function of (data, batch size, seed, e, b) alone.
#ifndef EQAT_TRAIN_DATASET_H_
#define EQAT_TRAIN_DATASET_H_

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "core/tensor.h"
#include "model/model.h"
#include "train/data_spec.h"

namespace eqat::train {

// One batch; owns its values, FeedOf() views them.
struct Batch {
  std::vector<float> labels;
  std::map<std::string, Tensor> dense;
  struct Jagged {
    std::vector<int64_t> indices;
    std::vector<int64_t> offsets;  // [rows + 1], from 0 to indices.size(); filled for single-valued columns too
    std::vector<float> weights;    // empty without weights_column
    bool has_weights = false;
    bool multi_valued = false;
  };
  std::map<std::string, Jagged> jagged;
};

class Dataset {
 public:
  // Reads every file. A bad line (wrong number of columns, no number, unknown value, index out of range) is
  // InvalidArgument "FILE:LINE: ..." or, if the spec says skip, counted. `progress` (may be empty) is called with
  // (bytes read, bytes in all files as stored) now and then.
  static absl::StatusOr<Dataset> Read(const DataSpec& spec,
                                      const std::function<void(int64_t done, int64_t total)>& progress = {});

  int64_t rows() const { return rows_; }
  absl::Span<const float> labels() const { return labels_; }
  int64_t skipped_lines() const { return skipped_lines_; }
  std::vector<std::string> inputs() const;       // placeholders this data feeds
  bool IsDense(const std::string& input) const;  // false also for an input this data does not feed
  bool IsMultiValued(const std::string& input) const;
  // Indices of column `input` are below this; for checking against a table before training. 0 for other inputs.
  int64_t IndexBound(const std::string& input) const;
  // A fingerprint of all values, so that a resumed run can tell that the data changed.
  uint64_t Fingerprint() const { return fingerprint_; }

  // Order of rows in an epoch: Fisher-Yates from (seed, epoch), or 0, 1, 2, ... unshuffled.
  std::vector<int64_t> Order(uint64_t seed, int64_t epoch, bool shuffle) const;
  // REQUIRES: each of `rows` in [0, rows()).
  Batch MakeBatch(absl::Span<const int64_t> rows) const;

 private:
  friend class DatasetReader;
  friend class RowParser;
  struct DenseColumn {
    std::string input;
    int64_t width = 0;
    std::vector<float> values;  // [rows, width]
  };
  struct CategoricalColumn {
    std::string input;
    bool multi_valued = false;
    int64_t bound = 0;
    std::vector<int64_t> indices;
    std::vector<int64_t> begins;  // [rows + 1]; empty for single-valued
    std::vector<float> weights;
    bool has_weights = false;
  };
  void GatherCategorical(const CategoricalColumn& column, absl::Span<const int64_t> rows, Batch::Jagged& out) const;

  int64_t rows_ = 0;
  int64_t skipped_lines_ = 0;
  uint64_t fingerprint_ = 0;
  std::vector<float> labels_;
  std::vector<DenseColumn> dense_;
  std::vector<CategoricalColumn> categorical_;
};

// A placeholder of a model that feeds an EmbeddingBag.
struct BagInput {
  std::string name;
  bool include_last_offset = false;
};
// Placeholders of `model` that feed an EmbeddingBag, by name.
std::vector<BagInput> BagInputs(const model::Model& model);
// `batch` as a Feed: lookups view the batch. Inputs of `bag_inputs` get offsets; a single-valued column that feeds an
// nn.Embedding has none. The batch must outlive the feed.
model::Feed FeedOf(const Batch& batch, const std::vector<BagInput>& bag_inputs);
// Whether `data` is what `model` needs: a graph; every placeholder fed and every input used; dense columns for layers,
// categorical ones for tables that can hold every index; no lists for an nn.Embedding. InvalidArgument names the input.
absl::Status CheckInputs(const model::Model& model, const Dataset& data);

}  // namespace eqat::train

#endif  // EQAT_TRAIN_DATASET_H_
