// ByteReader: little-endian values from a range of bytes, each checked against its end.
//
//   ByteReader reader(bytes, "model.bin");
//   EQAT_ASSIGN_OR_RETURN(const int32_t dim, reader.Read<int32_t>("dim"));
#ifndef EQAT_IO_BYTE_READER_H_
#define EQAT_IO_BYTE_READER_H_

#include <bit>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <type_traits>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "core/error.h"

namespace eqat::io {

static_assert(std::endian::native == std::endian::little, "files are read without swapping");

class ByteReader {
 public:
  // `bytes` must outlive the reader; `where` is the file (and entry) for messages.
  ByteReader(std::string_view bytes, std::string where) : bytes_(bytes), where_(std::move(where)) {}

  int64_t position() const { return position_; }
  int64_t left() const { return static_cast<int64_t>(bytes_.size()) - position_; }
  const std::string& where() const { return where_; }
  std::string_view rest() const { return bytes_.substr(position_); }

  // The next value; DataLoss naming `field` at the end of the bytes. REQUIRES: T is an integer or a float.
  template <typename T>
  absl::StatusOr<T> Read(std::string_view field) {
    static_assert(std::is_arithmetic_v<T>);
    absl::StatusOr<std::string_view> bytes = Take(sizeof(T), field);
    if (!bytes.ok()) return bytes.status();
    T value;
    std::memcpy(&value, bytes->data(), sizeof(T));
    return value;
  }
  // The next `size` bytes.
  absl::StatusOr<std::string_view> Take(int64_t size, std::string_view field) {
    if (size < 0 || size > left()) {
      return DataLoss(Place(field), "the file ends inside it", absl::StrCat(left(), " bytes"), absl::StrCat(size));
    }
    const std::string_view taken = bytes_.substr(position_, size);
    position_ += size;
    return taken;
  }
  // What comes before the next `end`, which is skipped. InvalidArgument when it is not among the next `limit` bytes.
  absl::StatusOr<std::string_view> TakeUntil(char end, int64_t limit, std::string_view field) {
    const std::string_view window = bytes_.substr(position_, limit);
    const size_t length = window.find(end);
    if (length == std::string_view::npos) {
      return InvalidArgument(Place(field), "does not end", absl::StrCat("over ", window.size(), " bytes"),
                             absl::StrCat("at most ", limit));
    }
    position_ += static_cast<int64_t>(length) + 1;
    return window.substr(0, length);
  }

  // "FILE: byte POSITION: FIELD"
  std::string Place(std::string_view field) const { return PlaceAt(position_, field); }
  std::string PlaceAt(int64_t position, std::string_view field) const {
    return absl::StrCat(where_, ": byte ", position, ": ", absl::string_view(field.data(), field.size()));
  }

 private:
  std::string_view bytes_;
  std::string where_;
  int64_t position_ = 0;
};

}  // namespace eqat::io

#endif  // EQAT_IO_BYTE_READER_H_
