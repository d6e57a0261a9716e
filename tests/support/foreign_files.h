// Bytes of foreign files, made by hand, so that tests can bend each field of them.
#ifndef EQAT_TESTS_SUPPORT_FOREIGN_FILES_H_
#define EQAT_TESTS_SUPPORT_FOREIGN_FILES_H_

#include <zlib.h>

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"

namespace eqat::testing {

template <typename... T>
std::string BytesOf(T... values) {
  std::string bytes;
  (bytes.append(reinterpret_cast<const char*>(&values), sizeof(values)), ...);
  return bytes;
}

template <typename T>
std::string BytesOfAll(const std::vector<T>& values) {
  return std::string(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T));
}

// An array of version 1.0 with this dictionary.
inline std::string NpyFile(const std::string& dictionary, const std::string& data) {
  return absl::StrCat(std::string("\x93NUMPY\x01\0", 8), BytesOf(static_cast<uint16_t>(dictionary.size())), dictionary,
                      data);
}

struct ZipPart {
  std::string name;
  std::string content;
  bool is_deflated = false;
  bool has_descriptor = false;  // sizes behind the content
  uint16_t flags = 0;           // more flags
};

inline std::string Deflated(const std::string& content) {
  z_stream stream = {};
  deflateInit2(&stream, 9, Z_DEFLATED, -15, 8, Z_DEFAULT_STRATEGY);
  std::string packed(deflateBound(&stream, content.size()), '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(content.data()));
  stream.avail_in = static_cast<uInt>(content.size());
  stream.next_out = reinterpret_cast<Bytef*>(packed.data());
  stream.avail_out = static_cast<uInt>(packed.size());
  deflate(&stream, Z_FINISH);
  packed.resize(stream.total_out);
  deflateEnd(&stream);
  return packed;
}

inline std::string ZipFile(const std::vector<ZipPart>& parts) {
  std::string file, directory;
  for (const ZipPart& part : parts) {
    const std::string packed = part.is_deflated ? Deflated(part.content) : part.content;
    const auto crc =
        static_cast<uint32_t>(crc32_z(0, reinterpret_cast<const Bytef*>(part.content.data()), part.content.size()));
    const auto packed_size = static_cast<uint32_t>(packed.size());
    const auto size = static_cast<uint32_t>(part.content.size());
    const auto flags = static_cast<uint16_t>(part.flags | (part.has_descriptor ? 8 : 0));
    const uint16_t method = part.is_deflated ? 8 : 0;
    const auto name_bytes = static_cast<uint16_t>(part.name.size());
    const auto begin = static_cast<uint32_t>(file.size());
    const uint16_t version = 20, zero = 0;
    file += "PK\x03\x04" + BytesOf(version, flags, method, zero, zero);
    file += part.has_descriptor ? std::string(12, '\0') : BytesOf(crc, packed_size, size);
    file += BytesOf(name_bytes, zero) + part.name + packed;
    if (part.has_descriptor) file += "PK\x07\x08" + BytesOf(crc, packed_size, size);
    directory += "PK\x01\x02" + BytesOf(version, version, flags, method, zero, zero, crc, packed_size, size, name_bytes,
                                        zero, zero, zero, zero, uint32_t{0}, begin);
    directory += part.name;
  }
  const auto count = static_cast<uint16_t>(parts.size());
  return file + directory + "PK\x05\x06" +
         BytesOf(uint16_t{0}, uint16_t{0}, count, count, static_cast<uint32_t>(directory.size()),
                 static_cast<uint32_t>(file.size()), uint16_t{0});
}

// Instructions of a pickle.
inline std::string PickleText(const std::string& text) {
  return "X" + BytesOf(static_cast<uint32_t>(text.size())) + text;
}
inline std::string PickleInteger(int32_t value) { return "J" + BytesOf(value); }
inline std::string PickleIntegers(const std::vector<int32_t>& values) {
  std::string code = "(";
  for (const int32_t value : values) code += PickleInteger(value);
  return code + "t";
}
struct PickledView {
  std::string storage = "0";
  std::string type = "FloatStorage";
  int32_t elements = 6;
  int32_t offset = 0;
  std::vector<int32_t> shape = {2, 3};
  std::vector<int32_t> strides = {3, 1};
};
inline std::string PickleTensor(const PickledView& view) {
  return "ctorch._utils\n_rebuild_tensor_v2\n((" + PickleText("storage") + "ctorch\n" + view.type + "\n" +
         PickleText(view.storage) + PickleText("cpu") + PickleInteger(view.elements) + "tQ" +
         PickleInteger(view.offset) + PickleIntegers(view.shape) + PickleIntegers(view.strides) + "\x89" +
         "ccollections\nOrderedDict\n)RtR";
}
// A dictionary of named values, each given by its instructions.
inline std::string PickleDictionary(const std::vector<std::pair<std::string, std::string>>& items) {
  std::string code = "}(";
  for (const auto& [name, value] : items) code += PickleText(name) + value;
  return code + "u";
}
inline std::string PickleOf(const std::string& code) { return "\x80\x02" + code + "."; }

inline std::string TorchFile(const std::string& pickle, const std::string& storage) {
  return ZipFile({{"archive/data.pkl", pickle}, {"archive/data/0", storage}, {"archive/version", "3\n"}});
}

// A dense fastText model of two words ("</s>", "a") and one bucket, of dimension 3.
struct FastTextParts {
  int32_t magic = 793712314, version = 12, dim = 3, model = 2, bucket = 1;
  int32_t entries = 2, words = 2, labels = 0;
  int64_t pruned = -1;
  std::vector<std::pair<std::string, int8_t>> dictionary = {{"</s>", 0}, {"a", 0}};
  char quantised_input = 0, quantised_output = 0;
  int64_t input_rows = 3, input_cols = 3, output_rows = 2, output_cols = 3;
  std::string input = BytesOfAll(std::vector<float>{1, 2, 3, 4, 5, 6, 7, 8, 9});
  std::string output = BytesOfAll(std::vector<float>{-1, -2, -3, -4, -5, -6});
  std::string rest;
};
inline std::string FastTextHead(const FastTextParts& parts) {
  std::string file = BytesOf(parts.magic, parts.version, parts.dim, int32_t{5}, int32_t{1}, int32_t{1}, int32_t{5},
                             int32_t{1}, int32_t{2}, parts.model, parts.bucket, int32_t{3}, int32_t{6}, int32_t{100}) +
                     BytesOf(1e-4) + BytesOf(parts.entries, parts.words, parts.labels) +
                     BytesOf(int64_t{10}, parts.pruned);
  for (const auto& [word, type] : parts.dictionary) file += word + std::string(1, '\0') + BytesOf(int64_t{1}, type);
  for (int64_t i = 0; i < parts.pruned; ++i) file += BytesOf(static_cast<int32_t>(i), static_cast<int32_t>(i));
  return file;
}
inline std::string FastTextModel(const FastTextParts& parts) {
  return FastTextHead(parts) + parts.quantised_input + BytesOf(parts.input_rows, parts.input_cols) + parts.input +
         parts.quantised_output + BytesOf(parts.output_rows, parts.output_cols) + parts.output + parts.rest;
}

}  // namespace eqat::testing

#endif  // EQAT_TESTS_SUPPORT_FOREIGN_FILES_H_
