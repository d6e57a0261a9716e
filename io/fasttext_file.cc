#include "io/fasttext_file.h"

#include <algorithm>
#include <cstring>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/checked_math.h"
#include "core/error.h"
#include "core/parallel_for.h"
#include "core/status_macros.h"
#include "io/byte_reader.h"
#include "io/word_vectors.h"

namespace eqat::io {
namespace {

constexpr int32_t kFastTextVersion = 12;
constexpr int32_t kMaxDim = 1 << 20;
constexpr int64_t kMinEntryBytes = 1 + 1 + 8 + 1;  // a word of one byte, its end, count, type
constexpr int64_t kPrunedBytes = 8;
constexpr int64_t kCentroids = 256;  // of a part: a code is a byte
constexpr int8_t kWordType = 0;
constexpr int8_t kLabelType = 1;
constexpr int32_t kSupervised = 3;     // of 1 cbow, 2 skip-gram, 3 supervised
constexpr int64_t kRowsAtATime = 256;  // that one thread decodes

}  // namespace

class FastTextParser {
 public:
  FastTextParser(std::shared_ptr<const MappedFile> file, const std::string& path)
      : reader_(std::string_view(file->data(), file->size()), path), result_(std::make_shared<FastTextFile>()) {
    result_->file_ = std::move(file);
  }

  absl::StatusOr<std::shared_ptr<const FastTextFile>> Parse() {
    EQAT_RETURN_IF_ERROR(Expect(kFastTextMagic, "magic number", "is no fastText model"));
    EQAT_RETURN_IF_ERROR(Expect(kFastTextVersion, "version", "is not read; save the model with fastText 0.9 or later"));
    EQAT_RETURN_IF_ERROR(ParseArguments());
    EQAT_RETURN_IF_ERROR(ParseDictionary());
    EQAT_ASSIGN_OR_RETURN(const bool input_is_quantised, Flag("quantised input"));
    EQAT_ASSIGN_OR_RETURN(result_->input_, ParseMatrix(input_is_quantised, "input"));
    if (pruned_ >= 0 && !input_is_quantised) {
      return InvalidArgument(reader_.Place("input"), "a pruned dictionary with a dense matrix cannot be used");
    }
    const int64_t subwords = pruned_ >= 0 ? pruned_ : result_->arguments_.bucket;
    EQAT_RETURN_IF_ERROR(CheckShape(result_->input_, Count(result_->words_) + subwords, "input"));
    EQAT_ASSIGN_OR_RETURN(const bool output_is_quantised, Flag("quantised output"));
    if (output_is_quantised && !input_is_quantised) {
      return InvalidArgument(reader_.Place("quantised output"), "only the output is quantised");
    }
    EQAT_ASSIGN_OR_RETURN(result_->output_, ParseMatrix(output_is_quantised, "output"));
    EQAT_RETURN_IF_ERROR(CheckShape(
        result_->output_, Count(result_->arguments_.is_supervised ? result_->labels_ : result_->words_), "output"));
    if (reader_.left() != 0) {
      return InvalidArgument(reader_.Place("end"), "something follows the output matrix",
                             absl::StrCat(reader_.left(), " bytes"), "none");
    }
    return std::shared_ptr<const FastTextFile>(std::move(result_));
  }

 private:
  using Matrix = FastTextFile::Matrix;
  using ProductQuantizer = FastTextFile::ProductQuantizer;

  static int64_t Count(const std::vector<std::string_view>& words) { return static_cast<int64_t>(words.size()); }

  absl::Status Expect(int32_t expected, std::string_view field, absl::string_view what) {
    const std::string place = reader_.Place(field);
    EQAT_ASSIGN_OR_RETURN(const int32_t value, reader_.Read<int32_t>(field));
    return value == expected ? absl::OkStatus()
                             : InvalidArgument(place, what, absl::StrCat(value), absl::StrCat(expected));
  }
  template <typename T>
  absl::StatusOr<T> InRange(std::string_view field, int64_t minimum, int64_t maximum) {
    const std::string place = reader_.Place(field);
    EQAT_ASSIGN_OR_RETURN(const T value, reader_.Read<T>(field));
    if (value >= minimum && value <= maximum) return value;
    return InvalidArgument(place, "is out of range", absl::StrCat(value), absl::StrCat(minimum, " to ", maximum));
  }
  absl::StatusOr<bool> Flag(std::string_view field) {
    EQAT_ASSIGN_OR_RETURN(const uint8_t value, InRange<uint8_t>(field, 0, 1));
    return value == 1;
  }

  absl::Status ParseArguments() {
    FastTextFile::Arguments& arguments = result_->arguments_;
    EQAT_ASSIGN_OR_RETURN(arguments.dim, InRange<int32_t>("dim", 1, kMaxDim));
    for (const char* ignored : {"ws", "epoch", "minCount", "neg", "wordNgrams", "loss"}) {
      EQAT_RETURN_IF_ERROR(reader_.Read<int32_t>(ignored).status());
    }
    EQAT_ASSIGN_OR_RETURN(const int32_t model, InRange<int32_t>("model", 1, kSupervised));
    arguments.is_supervised = model == kSupervised;
    EQAT_ASSIGN_OR_RETURN(arguments.bucket, InRange<int32_t>("bucket", 0, INT32_MAX));
    EQAT_ASSIGN_OR_RETURN(arguments.min_n, InRange<int32_t>("minn", 0, INT32_MAX));
    EQAT_ASSIGN_OR_RETURN(arguments.max_n, InRange<int32_t>("maxn", 0, INT32_MAX));
    EQAT_RETURN_IF_ERROR(reader_.Read<int32_t>("lrUpdateRate").status());
    return reader_.Read<double>("t").status();
  }

  absl::Status ParseDictionary() {
    EQAT_ASSIGN_OR_RETURN(const int32_t entries, InRange<int32_t>("dictionary size", 0, INT32_MAX));
    EQAT_ASSIGN_OR_RETURN(const int32_t words, InRange<int32_t>("number of words", 0, entries));
    EQAT_RETURN_IF_ERROR(InRange<int32_t>("number of labels", entries - words, entries - words).status());
    EQAT_RETURN_IF_ERROR(reader_.Read<int64_t>("number of tokens").status());
    EQAT_ASSIGN_OR_RETURN(pruned_, InRange<int64_t>("pruned buckets", -1, INT32_MAX));
    if (entries > reader_.left() / kMinEntryBytes) {
      return DataLoss(reader_.Place("dictionary"), "has more entries than the file can hold", absl::StrCat(entries),
                      absl::StrCat("at most ", reader_.left() / kMinEntryBytes));
    }
    for (int32_t i = 0; i < entries; ++i) {
      const std::string field = absl::StrCat("dictionary entry ", i);
      const std::string place = reader_.Place(field);
      EQAT_ASSIGN_OR_RETURN(const std::string_view word, reader_.TakeUntil('\0', kMaxWordBytes + 1, field));
      EQAT_RETURN_IF_ERROR(CheckWord(word, place));
      EQAT_RETURN_IF_ERROR(reader_.Read<int64_t>(field).status());
      const int8_t type = i < words ? kWordType : kLabelType;
      EQAT_RETURN_IF_ERROR(InRange<int8_t>(absl::StrCat(field, " type"), type, type).status());
      (i < words ? result_->words_ : result_->labels_).push_back(word);
    }
    return reader_.Take(std::max<int64_t>(pruned_, 0) * kPrunedBytes, "pruned buckets").status();
  }

  absl::StatusOr<Matrix> ParseMatrix(bool is_quantised, const std::string& name) {
    Matrix matrix{.is_quantised = is_quantised};
    if (is_quantised) {
      EQAT_ASSIGN_OR_RETURN(matrix.has_norms, Flag(name + " has norms"));
    }
    EQAT_ASSIGN_OR_RETURN(matrix.rows, InRange<int64_t>(name + " rows", 0, INT64_MAX));
    EQAT_ASSIGN_OR_RETURN(matrix.cols,
                          InRange<int64_t>(name + " columns", result_->arguments_.dim, result_->arguments_.dim));
    if (is_quantised) EQAT_RETURN_IF_ERROR(ParseQuantised(name, matrix));
    if (!is_quantised) {
      matrix.begin = reader_.position();
      EQAT_RETURN_IF_ERROR(TakeProduct({matrix.rows, matrix.cols, int64_t{sizeof(float)}}, name + " values"));
    }
    return matrix;
  }

  absl::Status ParseQuantised(const std::string& name, Matrix& matrix) {
    EQAT_ASSIGN_OR_RETURN(const int32_t codes, InRange<int32_t>(name + " codes", 0, INT32_MAX));
    matrix.begin = reader_.position();
    EQAT_RETURN_IF_ERROR(reader_.Take(codes, name + " codes").status());
    EQAT_ASSIGN_OR_RETURN(matrix.quantizer, ParseQuantizer(name + " quantizer", matrix.cols));
    if (CheckedMul(matrix.rows, matrix.quantizer.parts) != int64_t{codes}) {
      return InvalidArgument(reader_.Place(name + " codes"), "do not match rows and parts", absl::StrCat(codes),
                             absl::StrCat(matrix.rows, " * ", matrix.quantizer.parts));
    }
    if (!matrix.has_norms) return absl::OkStatus();
    matrix.norms_begin = reader_.position();
    EQAT_RETURN_IF_ERROR(reader_.Take(matrix.rows, name + " norm codes").status());
    EQAT_ASSIGN_OR_RETURN(matrix.norm_quantizer, ParseQuantizer(name + " norm quantizer", 1));
    return absl::OkStatus();
  }

  absl::StatusOr<ProductQuantizer> ParseQuantizer(const std::string& name, int64_t cols) {
    ProductQuantizer quantizer{.cols = cols};
    EQAT_RETURN_IF_ERROR(InRange<int32_t>(name + " columns", cols, cols).status());
    EQAT_ASSIGN_OR_RETURN(quantizer.parts, InRange<int32_t>(name + " parts", 1, cols));
    EQAT_ASSIGN_OR_RETURN(quantizer.part_cols, InRange<int32_t>(name + " columns of a part", 1, cols));
    const int64_t last = cols - (quantizer.parts - 1) * quantizer.part_cols;
    EQAT_ASSIGN_OR_RETURN(quantizer.last_part_cols, InRange<int32_t>(name + " columns of the last part", last, last));
    if (last < 1 || last > quantizer.part_cols) {
      return InvalidArgument(reader_.Place(name), "parts do not cover the columns", absl::StrCat(last),
                             absl::StrCat("1 to ", quantizer.part_cols, " in the last part"));
    }
    quantizer.centroids_begin = reader_.position();
    EQAT_RETURN_IF_ERROR(TakeProduct({cols, kCentroids, int64_t{sizeof(float)}}, name + " centroids"));
    return quantizer;
  }

  absl::Status TakeProduct(std::initializer_list<int64_t> factors, const std::string& field) {
    std::optional<int64_t> bytes = 1;
    for (const int64_t factor : factors) {
      if (bytes) bytes = CheckedMul(*bytes, factor);
    }
    if (!bytes) return InvalidArgument(reader_.Place(field), "size overflows");
    return reader_.Take(*bytes, field).status();
  }

  absl::Status CheckShape(const Matrix& matrix, int64_t rows, std::string_view name) const {
    if (matrix.rows == rows) return absl::OkStatus();
    return InvalidArgument(reader_.Place(name), "has a number of rows that the dictionary does not explain",
                           absl::StrCat(matrix.rows), absl::StrCat(rows));
  }

  ByteReader reader_;
  std::shared_ptr<FastTextFile> result_;
  int64_t pruned_ = -1;
};

namespace {

// A row of 256 centroids of one part of the columns.
void AddPart(const char* centroids, int64_t cols, uint8_t code, float factor, float* values) {
  for (int64_t j = 0; j < cols; ++j) {
    float centroid;
    std::memcpy(&centroid, centroids + (code * cols + j) * sizeof(float), sizeof(centroid));
    values[j] = factor * centroid;
  }
}

void Decode(const char* data, const FastTextFile::Matrix& matrix, int64_t row, float* values) {
  const FastTextFile::ProductQuantizer& quantizer = matrix.quantizer;
  float norm = 1;
  if (matrix.has_norms) {
    const auto code = static_cast<uint8_t>(data[matrix.norms_begin + row]);
    AddPart(data + matrix.norm_quantizer.centroids_begin, 1, code, 1, &norm);
  }
  for (int64_t part = 0; part < quantizer.parts; ++part) {
    const int64_t begin = part * quantizer.part_cols;
    const int64_t cols = part + 1 == quantizer.parts ? quantizer.last_part_cols : quantizer.part_cols;
    const char* const centroids =
        data + quantizer.centroids_begin + begin * kCentroids * static_cast<int64_t>(sizeof(float));
    const auto code = static_cast<uint8_t>(data[matrix.begin + row * quantizer.parts + part]);
    AddPart(centroids, cols, code, norm, values + begin);
  }
}

class MatrixRows : public RowSource {
 public:
  MatrixRows(std::shared_ptr<const FastTextFile> file, const FastTextFile::Matrix& matrix,
             const std::vector<std::string_view>& words)
      : RowSource(matrix.rows, matrix.cols), file_(std::move(file)), matrix_(matrix), words_(words) {}

  absl::Status Read(int64_t count, float* values, std::string& words) override {
    const char* const data = file_->mapping().data();
    if (matrix_.is_quantised) {
      ParallelFor(count, kRowsAtATime, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) Decode(data, matrix_, next_ + i, values + i * cols());
      });
    } else {
      const int64_t row_bytes = cols() * static_cast<int64_t>(sizeof(float));
      const int64_t begin = matrix_.begin + next_ * row_bytes;
      std::memcpy(values, data + begin, count * row_bytes);
      file_->mapping().Release(begin, count * row_bytes);
    }
    const auto with_words = std::min(next_ + count, static_cast<int64_t>(words_.size()));
    for (int64_t i = next_; i < with_words; ++i) {
      words.append(words_[i]);
      words.push_back('\n');
    }
    next_ += count;
    return absl::OkStatus();
  }

 private:
  std::shared_ptr<const FastTextFile> file_;
  const FastTextFile::Matrix& matrix_;
  const std::vector<std::string_view>& words_;
  int64_t next_ = 0;
};

}  // namespace

absl::StatusOr<std::shared_ptr<const FastTextFile>> FastTextFile::Open(const std::string& path) {
  EQAT_ASSIGN_OR_RETURN(std::shared_ptr<const MappedFile> file, MappedFile::Open(path));
  return FastTextParser(std::move(file), path).Parse();
}

std::unique_ptr<RowSource> FastTextFile::InputRows(std::shared_ptr<const FastTextFile> file) {
  const FastTextFile& content = *file;
  return std::make_unique<MatrixRows>(std::move(file), content.input(), content.words());
}

std::unique_ptr<RowSource> FastTextFile::OutputRows(std::shared_ptr<const FastTextFile> file) {
  const FastTextFile& content = *file;
  return std::make_unique<MatrixRows>(std::move(file), content.output(),
                                      content.arguments().is_supervised ? content.labels() : content.words());
}

}  // namespace eqat::io
