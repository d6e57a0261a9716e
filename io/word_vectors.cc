#include "io/word_vectors.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/checked_math.h"
#include "core/error.h"
#include "core/parallel_for.h"
#include "core/status_macros.h"
#include "io/byte_reader.h"
#include "io/excerpt.h"
#include "io/number_text.h"
#include "io/stored_file.h"

namespace eqat::io {
namespace {

constexpr int64_t kTextBytes = int64_t{8} << 20;  // read of a text at a time
constexpr size_t kFirstTextBytes = size_t{1} << 12;
constexpr int64_t kMaxLineBytes = int64_t{64} << 20;  // a row of 4 million numbers
constexpr int64_t kGuessedBytes = int64_t{1} << 18;   // from which a kind is guessed
constexpr int64_t kMaxCountsBytes = 64;               // of the line "ROWS DIMENSIONS"
constexpr int64_t kLinesAtATime = 16;                 // that one thread parses
constexpr int64_t kGzipRatio = 1032;                  // of deflate at its best
constexpr size_t kMaxNumberBytes = 16;                // of a float32 in shortest form: -1.17549435e-38
constexpr std::string_view kSpaces = " \t\n\v\f\r";

bool IsBlank(char c) { return c == ' ' || c == '\t'; }

std::string Quoted(std::string_view text) {
  constexpr size_t kMaxBytes = 40;
  return absl::StrCat("'", Excerpt(text, kMaxBytes), text.size() > kMaxBytes ? "..." : "", "'");
}

// What is wrong with a word, or null.
const char* WordError(std::string_view word) {
  if (word.empty()) return "word is empty";
  if (static_cast<int64_t>(word.size()) > kMaxWordBytes) return "word is too long";
  if (word.find_first_of(kSpaces) != word.npos) return "word holds a space character";
  return nullptr;
}

struct Counts {
  int64_t rows = 0;
  int64_t cols = 0;
};

// "ROWS DIMENSIONS" and nothing else but blanks at the end.
std::optional<Counts> ParseCounts(std::string_view line) {
  while (!line.empty() && (IsBlank(line.back()) || line.back() == '\r')) line.remove_suffix(1);
  const size_t gap = line.find(' ');
  if (gap == line.npos) return std::nullopt;
  Counts counts;
  if (ParseNumber(line.substr(0, gap), counts.rows) != std::errc() ||
      ParseNumber(line.substr(gap + 1), counts.cols) != std::errc() || counts.rows < 0 || counts.cols < 1) {
    return std::nullopt;
  }
  return counts;
}

// InvalidArgument unless such rows, each at least a word of one byte, a byte behind it and its numbers, can lie in
// `bytes`.
absl::Status CheckCounts(const Counts& counts, int64_t number_bytes, int64_t bytes, const std::string& where) {
  const std::optional<int64_t> numbers = CheckedMul(counts.cols, number_bytes);
  const std::optional<int64_t> row = numbers ? CheckedAdd(*numbers, 2) : std::nullopt;
  const std::optional<int64_t> all = row ? CheckedMul(counts.rows, *row) : std::nullopt;
  if (all && *all <= bytes) return absl::OkStatus();
  return InvalidArgument(where, "says more rows and dimensions than the file can hold",
                         absl::StrCat(counts.rows, " ", counts.cols), absl::StrCat("what fits into ", bytes, " bytes"));
}

int64_t CountFields(std::string_view line) {
  int64_t fields = 0;
  bool inside = false;
  for (const char c : line) {
    const bool is_space = kSpaces.find(c) != kSpaces.npos;
    fields += !is_space && !inside;
    inside = !is_space;
  }
  return fields;
}

struct ParsedLine {
  std::string_view word;
  std::string error;  // empty: the line is good
  std::string got;
};

// One line, without its newline, into `cols` numbers.
ParsedLine ParseLine(std::string_view line, int64_t cols, float* values) {
  if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
  const char* const end = line.data() + line.size();
  const char* at = std::find_if(line.data(), end, IsBlank);
  ParsedLine parsed{.word = line.substr(0, at - line.data())};
  if (const char* error = WordError(parsed.word)) {
    parsed.error = error;
    parsed.got = Quoted(parsed.word);
    return parsed;
  }
  for (int64_t i = 0; i <= cols; ++i) {
    while (at != end && IsBlank(*at)) ++at;
    if ((at == end) != (i == cols)) {
      parsed.error = absl::StrCat("has ", CountFields(line) - 1, " numbers");
      return parsed;
    }
    if (i == cols) break;
    const auto [next, error] = std::from_chars(at, end, values[i]);
    if (error == std::errc() && (next == end || IsBlank(*next)) && std::isfinite(values[i])) {
      at = next;
      continue;
    }
    const char* const token_end = std::find_if(at, end, IsBlank);
    const std::string_view token(at, token_end - at);
    const std::optional<float> value = ParseFloat(token);
    if (!value) {
      parsed.error = absl::StrCat("number ", i + 1, " is no finite float32");
      parsed.got = Quoted(token);
      return parsed;
    }
    values[i] = *value;
    at = token_end;
  }
  return parsed;
}

// The lines of a text, many at a time.
class LineWindow {
 public:
  static absl::StatusOr<LineWindow> Open(const std::string& path) {
    EQAT_ASSIGN_OR_RETURN(std::unique_ptr<StoredFile> file, StoredFile::Open(path));
    return LineWindow(path, std::move(file));
  }

  // At least one and at most `limit` further lines without their newlines, valid until the next call; none at the end.
  absl::StatusOr<std::vector<std::string_view>> Next(int64_t limit) {
    while (true) {
      std::vector<std::string_view> lines;
      while (static_cast<int64_t>(lines.size()) < limit && begin_ < end_) {
        const void* const newline = std::memchr(buffer_.data() + begin_, '\n', end_ - begin_);
        if (newline == nullptr && !at_end_) break;
        const size_t stop = newline == nullptr ? end_ : static_cast<const char*>(newline) - buffer_.data();
        lines.emplace_back(buffer_.data() + begin_, stop - begin_);
        begin_ = std::min(stop + 1, end_);
      }
      if (!lines.empty() || (at_end_ && begin_ == end_)) {
        lines_read_ += static_cast<int64_t>(lines.size());
        return lines;
      }
      EQAT_RETURN_IF_ERROR(Fill());
    }
  }
  // Lines to the end of the text.
  absl::StatusOr<int64_t> CountRest() {
    int64_t count = 0;
    while (true) {
      EQAT_ASSIGN_OR_RETURN(const std::vector<std::string_view> lines, Next(INT64_MAX));
      if (lines.empty()) return count;
      count += static_cast<int64_t>(lines.size());
    }
  }

  int64_t lines_read() const { return lines_read_; }
  std::string PlaceOfLine(int64_t number) const { return absl::StrCat(path_, ":", number); }
  // Bytes that the text can have at most.
  int64_t MaxTextBytes() const {
    const int64_t ratio = file_->is_gzip() ? kGzipRatio : 1;
    return CheckedMul(file_->file_bytes() + 1, ratio).value_or(INT64_MAX);  // 1: the last line may lack its newline
  }

 private:
  LineWindow(std::string path, std::unique_ptr<StoredFile> file) : path_(std::move(path)), file_(std::move(file)) {}

  // Moves what is left to the front and reads on. The buffer grows to its usual size with the file, beyond that only
  // for a line that is longer.
  absl::Status Fill() {
    const bool was_full = end_ == buffer_.size();
    std::copy(buffer_.begin() + begin_, buffer_.begin() + end_, buffer_.begin());
    end_ -= begin_;
    begin_ = 0;
    if (end_ >= static_cast<size_t>(kMaxLineBytes)) {
      return InvalidArgument(PlaceOfLine(lines_read_ + 1), "line is too long",
                             absl::StrCat("over ", kMaxLineBytes, " bytes"));
    }
    if (end_ == buffer_.size() || (was_full && buffer_.size() < static_cast<size_t>(kTextBytes))) {
      buffer_.resize(std::clamp<size_t>(2 * buffer_.size(), kFirstTextBytes, buffer_.size() + kTextBytes));
    }
    while (end_ < buffer_.size() && !at_end_) {
      EQAT_ASSIGN_OR_RETURN(const size_t count, file_->Read(buffer_.data() + end_, buffer_.size() - end_));
      end_ += count;
      at_end_ = count == 0;
    }
    return absl::OkStatus();
  }

  std::string path_;
  std::unique_ptr<StoredFile> file_;
  std::vector<char> buffer_;
  size_t begin_ = 0;  // of the bytes that are not yet in a line
  size_t end_ = 0;
  bool at_end_ = false;
  int64_t lines_read_ = 0;
};

class TextRows : public RowSource {
 public:
  TextRows(const Counts& counts, LineWindow window) : RowSource(counts.rows, counts.cols), window_(std::move(window)) {}

  absl::Status Read(int64_t count, float* values, std::string& words) override {
    while (count > 0) {
      const int64_t first_line = window_.lines_read() + 1;
      EQAT_ASSIGN_OR_RETURN(const std::vector<std::string_view> lines, window_.Next(count));
      if (lines.empty()) {
        return DataLoss(window_.PlaceOfLine(first_line), "the file ends early", "", absl::StrCat(count, " lines more"));
      }
      EQAT_RETURN_IF_ERROR(Parse(lines, first_line, values, words));
      values += static_cast<int64_t>(lines.size()) * cols();
      count -= static_cast<int64_t>(lines.size());
    }
    return absl::OkStatus();
  }

  absl::Status Finish() override {
    EQAT_ASSIGN_OR_RETURN(const std::vector<std::string_view> lines, window_.Next(1));
    if (lines.empty()) return absl::OkStatus();
    return InvalidArgument(window_.PlaceOfLine(window_.lines_read()),
                           "the file has more lines than its first line says", Quoted(lines[0]),
                           absl::StrCat(rows(), " rows"));
  }

 private:
  absl::Status Parse(const std::vector<std::string_view>& lines, int64_t first_line, float* values,
                     std::string& words) const {
    std::vector<ParsedLine> parsed(lines.size());
    ParallelFor(static_cast<int64_t>(lines.size()), kLinesAtATime, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) parsed[i] = ParseLine(lines[i], cols(), values + i * cols());
    });
    for (size_t i = 0; i < parsed.size(); ++i) {
      const ParsedLine& line = parsed[i];
      if (!line.error.empty()) {
        return InvalidArgument(window_.PlaceOfLine(first_line + static_cast<int64_t>(i)), line.error, line.got,
                               absl::StrCat("a word and ", cols(), " numbers"));
      }
      words.append(line.word);
      words.push_back('\n');
    }
    return absl::OkStatus();
  }

  LineWindow window_;
};

class BinaryRows : public RowSource {
 public:
  BinaryRows(const Counts& counts, std::shared_ptr<const MappedFile> file, ByteReader reader)
      : RowSource(counts.rows, counts.cols), file_(std::move(file)), reader_(std::move(reader)) {}

  absl::Status Read(int64_t count, float* values, std::string& words) override {
    const int64_t begin = reader_.position();
    for (int64_t i = 0; i < count; ++i, ++row_) {
      SkipNewline();
      const int64_t start = reader_.position();
      EQAT_ASSIGN_OR_RETURN(const std::string_view word,
                            reader_.TakeUntil(' ', kMaxWordBytes + 1, absl::StrCat("word ", row_)));
      EQAT_RETURN_IF_ERROR(CheckWord(word, reader_.PlaceAt(start, absl::StrCat("word ", row_))));
      EQAT_ASSIGN_OR_RETURN(const std::string_view bytes,
                            reader_.Take(4 * cols(), absl::StrCat("numbers of word ", row_)));
      std::memcpy(values + i * cols(), bytes.data(), bytes.size());
      words.append(word);
      words.push_back('\n');
    }
    file_->Release(begin, reader_.position() - begin);
    return absl::OkStatus();
  }

  absl::Status Finish() override {
    SkipNewline();
    if (reader_.left() == 0) return absl::OkStatus();
    return InvalidArgument(reader_.Place("end"), "something follows the last row",
                           absl::StrCat(reader_.left(), " bytes"), absl::StrCat(rows(), " rows alone"));
  }

 private:
  void SkipNewline() {
    if (reader_.rest().starts_with('\n')) (void)reader_.Take(1, "newline");
  }

  std::shared_ptr<const MappedFile> file_;
  ByteReader reader_;
  int64_t row_ = 0;
};

// Appends a number in shortest form.
void AppendNumber(float value, std::string& text) {
  std::array<char, kMaxNumberBytes> digits;
  const std::to_chars_result result = std::to_chars(digits.data(), digits.data() + digits.size(), value);
  text.append(digits.data(), result.ptr - digits.data());
}

}  // namespace

absl::Status CheckWord(std::string_view word, std::string_view where) {
  const char* const error = WordError(word);
  if (error == nullptr) return absl::OkStatus();
  return InvalidArgument(absl::string_view(where.data(), where.size()), error, Quoted(word),
                         absl::StrCat("1 to ", kMaxWordBytes, " bytes, none of them a space"));
}

absl::StatusOr<std::unique_ptr<RowSource>> OpenVectorText(const std::string& path, VecHeader header) {
  EQAT_ASSIGN_OR_RETURN(LineWindow window, LineWindow::Open(path));
  EQAT_ASSIGN_OR_RETURN(const std::vector<std::string_view> first, window.Next(1));
  if (first.empty()) return InvalidArgument(path, "is empty", "", "a line per word");
  if (header == VecHeader::kCounts) {
    const std::optional<Counts> counts = ParseCounts(first[0]);
    if (!counts) {
      return InvalidArgument(window.PlaceOfLine(1), "does not give the numbers of rows and dimensions",
                             Quoted(first[0]), "two whole numbers; --format glove reads files without that line");
    }
    EQAT_RETURN_IF_ERROR(CheckCounts(*counts, 2, window.MaxTextBytes(), window.PlaceOfLine(1)));
    return std::unique_ptr<RowSource>(new TextRows(*counts, std::move(window)));
  }
  Counts counts{.cols = CountFields(first[0]) - 1};
  if (counts.cols < 1) {
    return InvalidArgument(window.PlaceOfLine(1), "holds no numbers", Quoted(first[0]), "a word and its numbers");
  }
  EQAT_ASSIGN_OR_RETURN(counts.rows, window.CountRest());
  ++counts.rows;
  EQAT_RETURN_IF_ERROR(CheckCounts(counts, 2, window.MaxTextBytes(), path));
  EQAT_ASSIGN_OR_RETURN(LineWindow again, LineWindow::Open(path));
  return std::unique_ptr<RowSource>(new TextRows(counts, std::move(again)));
}

absl::StatusOr<std::unique_ptr<RowSource>> OpenVectorBinary(const std::string& path) {
  EQAT_ASSIGN_OR_RETURN(std::shared_ptr<const MappedFile> file, MappedFile::Open(path));
  ByteReader reader(std::string_view(file->data(), file->size()), path);
  EQAT_ASSIGN_OR_RETURN(const std::string_view line,
                        reader.TakeUntil('\n', kMaxCountsBytes, "numbers of rows and dimensions"));
  const std::optional<Counts> counts = ParseCounts(line);
  if (!counts) {
    return InvalidArgument(reader.PlaceAt(0, "first line"), "does not give the numbers of rows and dimensions",
                           Quoted(line), "two whole numbers");
  }
  EQAT_RETURN_IF_ERROR(CheckCounts(*counts, 4, reader.left(), reader.PlaceAt(0, "first line")));
  return std::unique_ptr<RowSource>(new BinaryRows(*counts, std::move(file), std::move(reader)));
}

absl::StatusOr<VectorFileKind> GuessVectorFile(const std::string& path) {
  EQAT_ASSIGN_OR_RETURN(const std::unique_ptr<StoredFile> file, StoredFile::Open(path));
  const int64_t ratio = file->is_gzip() ? kGzipRatio : 1;
  std::string beginning(std::min(kGuessedBytes, CheckedMul(file->file_bytes(), ratio).value_or(INT64_MAX)), '\0');
  size_t size = 0;
  while (size < beginning.size()) {
    EQAT_ASSIGN_OR_RETURN(const size_t count, file->Read(beginning.data() + size, beginning.size() - size));
    if (count == 0) break;
    size += count;
  }
  beginning.resize(size);
  const std::string_view text = beginning;
  const size_t line_end = std::min(text.find('\n'), text.size());
  const auto is_text_row = [&](std::string_view line, int64_t cols) {
    std::vector<float> values(cols);
    return ParseLine(line.substr(0, line.find('\n')), cols, values.data()).error.empty();
  };
  if (const std::optional<Counts> counts = ParseCounts(text.substr(0, line_end))) {
    const std::string_view rest = text.substr(std::min(line_end + 1, text.size()));
    // A number takes two bytes at least.
    if (counts->cols <= static_cast<int64_t>(rest.size()) / 2 && is_text_row(rest, counts->cols)) {
      return VectorFileKind::kTextWithCounts;
    }
    const bool may_be_binary =
        CheckCounts(*counts, 4, file->file_bytes() - static_cast<int64_t>(line_end) - 1, path).ok();
    if (may_be_binary && !file->is_gzip()) return VectorFileKind::kBinary;
  }
  const std::string_view line = text.substr(0, line_end);
  const int64_t cols = CountFields(line) - 1;
  return cols >= 1 && is_text_row(line, cols) ? VectorFileKind::kTextWithoutCounts : VectorFileKind::kUnknown;
}

absl::Status WriteVectorText(const std::string& path, int64_t rows, int64_t cols,
                             absl::FunctionRef<absl::StatusOr<std::string_view>(int64_t row)> word,
                             absl::FunctionRef<absl::Status(int64_t begin, int64_t end, float* out)> values) {
  if (cols < 1)
    return InvalidArgument(path, "a text of word vectors needs a dimension", absl::StrCat(cols), "at least 1");
  const int64_t block = std::max<int64_t>(1, kTextBytes / static_cast<int64_t>(kMaxNumberBytes) / cols);
  EQAT_ASSIGN_OR_RETURN(const std::unique_ptr<AtomicFileWriter> file, AtomicFileWriter::Create(path));
  EQAT_RETURN_IF_ERROR(file->Write(absl::MakeConstSpan(absl::StrCat(rows, " ", cols, "\n"))));
  std::vector<float> numbers(std::min(block, rows) * cols);
  std::vector<std::string> lines(std::min(block, rows));
  for (int64_t begin = 0; begin < rows; begin += block) {
    const int64_t count = std::min(block, rows - begin);
    EQAT_RETURN_IF_ERROR(values(begin, begin + count, numbers.data()));
    EQAT_RETURN_IF_ERROR(CheckFiniteRows(path, begin, count, cols, numbers.data()));
    for (int64_t i = 0; i < count; ++i) {
      EQAT_ASSIGN_OR_RETURN(const std::string_view text, word(begin + i));
      EQAT_RETURN_IF_ERROR(CheckWord(text, absl::StrCat(path, ": row ", begin + i)));
      lines[i] = text;
    }
    ParallelFor(count, kLinesAtATime, [&](int64_t first, int64_t last) {
      for (int64_t i = first; i < last; ++i) {
        for (int64_t j = 0; j < cols; ++j) {
          lines[i].push_back(' ');
          AppendNumber(numbers[i * cols + j], lines[i]);
        }
        lines[i].push_back('\n');
      }
    });
    for (int64_t i = 0; i < count; ++i) EQAT_RETURN_IF_ERROR(file->Write(absl::MakeConstSpan(lines[i])));
  }
  return file->Commit();
}

}  // namespace eqat::io
