#include "formats/format_list.h"

#include <algorithm>
#include <iterator>

namespace eqat::formats {
namespace {

constexpr Format kFormats[] = {
    {"safetensors", Access::kRead, ".safetensors", "a header length and '{'",
     "Named tensors; what PyTorch and others save tables in"},
    {"npy", Access::kRead, ".npy", "\\x93NUMPY", "One NumPy array"},
    {"npz", Access::kRead, ".npz", "a zip file", "Named NumPy arrays, plain or compressed"},
    {"torch_state_dict", Access::kRead, ".pt", "a zip file with data.pkl", "What torch.save(model.state_dict()) wrote"},
    {"vec", Access::kRead, ".vec", "text: \"ROWS DIMENSIONS\"",
     "Word vectors as text (word2vec, fastText), plain or gzip"},
    {"glove", Access::kRead, ".txt", "text: words and numbers",
     "Word vectors as text without a first line, plain or gzip"},
    {"word2vec", Access::kRead, ".bin", "\"ROWS DIMENSIONS\", then bytes", "Word vectors in word2vec's binary form"},
    {"fasttext", Access::kRead, ".bin, .ftz", "its magic number", "fastText models: words, subwords, output matrix"},
};

std::vector<std::string> NamesWithout(Access other) {
  std::vector<std::string> names;
  for (const Format& format : kFormats) {
    if (format.access != other) names.emplace_back(format.name);
  }
  return names;
}

}  // namespace

absl::Span<const Format> Formats() { return kFormats; }

const Format* FindFormat(std::string_view name) {
  const Format* const found =
      std::find_if(std::begin(kFormats), std::end(kFormats), [&](const Format& format) { return format.name == name; });
  return found == std::end(kFormats) ? nullptr : found;
}

std::vector<std::string> ReadableFormats() { return NamesWithout(Access::kWrite); }

std::vector<std::string> WritableFormats() { return NamesWithout(Access::kRead); }

}  // namespace eqat::formats
