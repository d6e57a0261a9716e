// Data specs: a JSON file that says how lines of tab-separated files (plain or gzip) become batches.
//
// {"version": 1,
//  "files": ["train.tsv.gz"],                         relative to the spec
//  "header": true,                                    first line names the columns; else columns are numbered from 0
//  "bad_lines": "error" | "skip",
//  "label": {"column": "y"},
//  "dense": [{"input": "numbers", "columns": ["n0", "n1"], "missing": 0.0, "transform": "none" | "log1p"}],
//  "categorical": [{"input": "item_ids", "column": "item", "encoding": "vocabulary", "vocabulary": "items.txt",
//                   "unknown": 0 | null},
//                  {"input": "prefix", "column": "p", "encoding": "hash", "buckets": 4096},
//                  {"input": "c1", "column": 14, "encoding": "hexadecimal", "buckets": 100000, "missing": 0},
//                  {"input": "tags", "column": "tags", "encoding": "hash", "buckets": 5000, "multi_valued": true,
//                   "separator": ","},
//                  {"input": "id", "column": "id", "encoding": "integer", "buckets": 100000}]}
//
// "input" is the graph's placeholder. Single-valued columns give 1-D indices with one index a row (bags of one: offsets
// 0, 1, 2, ... are supplied for an EmbeddingBag), multi-valued ones give jagged indices with offsets; an empty field is
// an empty bag. "hash" is 64-bit FNV-1a of the bytes modulo buckets, stable across machines. "weights_column" names a
// column of as many numbers as values, for per_sample_weights.
#ifndef EQAT_TRAIN_DATA_SPEC_H_
#define EQAT_TRAIN_DATA_SPEC_H_

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"

namespace eqat::train {

using ColumnRef = std::variant<std::string, int64_t>;  // name (with a header) or position from 0

enum class Encoding : uint8_t { kVocabulary, kHash, kHexadecimal, kInteger };
enum class Transform : uint8_t { kNone, kLog1p };
enum class BadLines : uint8_t { kError, kSkip };

struct DenseSpec {
  std::string input;
  std::vector<ColumnRef> columns;
  std::optional<float> missing;  // value of an empty field; absent: an empty field is a bad line
  Transform transform = Transform::kNone;
};

struct CategoricalSpec {
  std::string input;
  ColumnRef column;
  Encoding encoding = Encoding::kHash;
  int64_t buckets = 0;             // hash, hexadecimal (value modulo buckets), integer (value below buckets)
  std::string vocabulary;          // path of a file with one value a line; line number from 0 is the index
  std::optional<int64_t> unknown;  // index for values not in the vocabulary; absent: a bad line
  std::optional<int64_t> missing;  // index for an empty single-valued field; absent: a bad line
  bool multi_valued = false;
  char separator = ',';
  std::optional<ColumnRef> weights_column;
};

struct DataSpec {
  std::string path;                // of the JSON file
  std::vector<std::string> files;  // resolved against the spec's folder
  bool header = true;
  BadLines bad_lines = BadLines::kError;
  ColumnRef label;
  std::vector<DenseSpec> dense;
  std::vector<CategoricalSpec> categorical;
};

// Strict; errors name file, JSON pointer, value and what is allowed.
absl::StatusOr<DataSpec> ReadDataSpec(const std::string& path);

}  // namespace eqat::train

#endif  // EQAT_TRAIN_DATA_SPEC_H_
