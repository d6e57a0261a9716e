#include "formats/vocabulary.h"

#include <algorithm>
#include <cstdint>
#include <numeric>

#include "absl/strings/str_cat.h"
#include "core/error.h"
#include "core/status_macros.h"
#include "io/excerpt.h"
#include "io/word_vectors.h"

namespace eqat::formats {

absl::StatusOr<Vocabulary> Vocabulary::Open(const std::string& path) {
  Vocabulary vocabulary;
  EQAT_ASSIGN_OR_RETURN(vocabulary.file_, io::MappedFile::Open(path));
  std::string_view rest(vocabulary.file_->data(), vocabulary.file_->size());
  while (!rest.empty()) {
    const size_t end = rest.find('\n');
    if (end == rest.npos) return InvalidArgument(path, "the last line does not end", "", "a newline after each word");
    EQAT_RETURN_IF_ERROR(io::CheckWord(rest.substr(0, end), absl::StrCat(path, ":", vocabulary.words_.size() + 1)));
    vocabulary.words_.push_back(rest.substr(0, end));
    rest.remove_prefix(end + 1);
  }
  return vocabulary;
}

absl::StatusOr<std::string> RepeatedWordsNote(const std::string& path) {
  EQAT_ASSIGN_OR_RETURN(const Vocabulary vocabulary, Vocabulary::Open(path));
  const std::vector<std::string_view>& words = vocabulary.words();
  std::vector<int64_t> rows(words.size());
  std::iota(rows.begin(), rows.end(), 0);
  std::sort(rows.begin(), rows.end(), [&](int64_t a, int64_t b) {
    const int order = words[a].compare(words[b]);
    return order != 0 ? order < 0 : a < b;
  });
  int64_t repeated = 0;
  int64_t first = -1;  // row of the earliest repetition, and of the word that it repeats
  int64_t first_of_word = -1;
  for (size_t i = 1; i < rows.size(); ++i) {
    if (words[rows[i]] != words[rows[i - 1]]) continue;
    ++repeated;
    if (first >= 0 && first < rows[i]) continue;
    first = rows[i];
    first_of_word = rows[i - 1];
  }
  if (repeated == 0) return std::string();
  const std::string_view word = words[first];
  return absl::StrCat(repeated, repeated == 1 ? " row repeats a word" : " rows repeat a word",
                      " of an earlier row: row ", first, " '", io::Excerpt(word, 40), "' that of row ", first_of_word);
}

}  // namespace eqat::formats
