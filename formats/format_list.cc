#include "formats/format_list.h"

#include <algorithm>
#include <iterator>

namespace eqat::formats {
namespace {

constexpr Format kFormats[] = {
    {"safetensors", Access::kReadWrite, ".safetensors", "a header length and '{'",
     "Named tensors; what PyTorch and others save tables in"},
    {"npy", Access::kRead, ".npy", "\\x93NUMPY", "One NumPy array"},
    {"npz", Access::kReadWrite, ".npz", "a zip file", "Named NumPy arrays, plain or compressed"},
    {"torch_state_dict", Access::kReadWrite, ".pt", "a zip file with data.pkl",
     "What torch.save(model.state_dict()) wrote"},
    {"vec", Access::kReadWrite, ".vec", "text: \"ROWS DIMENSIONS\"",
     "Word vectors as text (word2vec, fastText), plain or gzip"},
    {"glove", Access::kRead, ".txt", "text: words and numbers",
     "Word vectors as text without a first line, plain or gzip"},
    {"word2vec", Access::kRead, ".bin", "\"ROWS DIMENSIONS\", then bytes", "Word vectors in word2vec's binary form"},
    {"fasttext", Access::kRead, ".bin, .ftz", "its magic number", "fastText models: words, subwords, output matrix"},
    {"torch", Access::kWrite, ".safetensors", "", "Rows of torch.ops.quantized.embedding_bag_{byte,4bit,2bit}"},
    {"fbgemm_half", Access::kWrite, ".safetensors", "",
     "Rows of FBGEMM's table-batched embeddings, float16 scale and bias"},
    {"gguf", Access::kWrite, ".gguf", "", "Tables in the types they were trained for, else F32"},
    {"gguf_f32", Access::kWrite, ".gguf", "", "Tables in F32"},
    {"gguf_f16", Access::kWrite, ".gguf", "", "Tables in F16"},
    {"gguf_q8_0", Access::kWrite, ".gguf", "", "Tables in 8 bits, a scale for 32 columns"},
    {"gguf_q4_0", Access::kWrite, ".gguf", "", "Tables in 4 bits, a scale for 32 columns"},
    {"gguf_q4_1", Access::kWrite, ".gguf", "", "Tables in 4 bits, a scale and a minimum for 32 columns"},
    {"onnx", Access::kWrite, ".onnx", "", "The model or its tables as a graph of ONNX's own operators"},
    {"onnx_qdq", Access::kWrite, ".onnx", "", "Tables behind DequantizeLinear, a scale for a row"},
    {"onnx_block", Access::kWrite, ".onnx", "", "Tables behind ONNX Runtime's GatherBlockQuantized"},
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
