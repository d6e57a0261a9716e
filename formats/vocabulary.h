// vocabulary.txt of a model directory: the words that the first rows of an imported table stand for, one a line.
#ifndef EQAT_FORMATS_VOCABULARY_H_
#define EQAT_FORMATS_VOCABULARY_H_

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "io/file.h"

namespace eqat::formats {

// The words in order; views of the mapped file.
class Vocabulary {
 public:
  // InvalidArgument when the last line does not end.
  static absl::StatusOr<Vocabulary> Open(const std::string& path);
  const std::vector<std::string_view>& words() const { return words_; }

 private:
  std::shared_ptr<const io::MappedFile> file_;
  std::vector<std::string_view> words_;
};

// A note that names the first word which stands there more than once; "" if every word is its own.
absl::StatusOr<std::string> RepeatedWordsNote(const std::string& path);

}  // namespace eqat::formats

#endif  // EQAT_FORMATS_VOCABULARY_H_
