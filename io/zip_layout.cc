#include "io/zip_layout.h"

#include <algorithm>
#include <cstring>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/checked_math.h"
#include "core/error.h"
#include "core/status_macros.h"
#include "io/excerpt.h"

namespace eqat::io {
namespace {

constexpr int64_t kLocalBytes = 30;
constexpr int64_t kDirectoryBytes = 46;
constexpr int64_t kEndBytes = 22;
constexpr int64_t kZip64EndBytes = 56;
constexpr int64_t kZip64LocatorBytes = 20;
constexpr int64_t kMaxEntries = 100'000;
constexpr size_t kMaxEntryNameBytes = 4096;
constexpr int64_t kMaxRatio = 1032;  // of deflate: 258 bytes in 2 bits
constexpr uint16_t kEncryptedFlag = 1;
constexpr uint16_t kDescriptorFlag = 8;                            // sizes and checksum follow the content
constexpr uint16_t kKnownFlags = 2 | 4 | kDescriptorFlag | 0x800;  // effort of deflate, names in UTF-8

struct EndRecord {
  int64_t entries = 0;
  int64_t directory_begin = 0;
  int64_t directory_end = 0;
};

class Walk {
 public:
  Walk(std::string_view bytes, std::string_view path) : bytes_(bytes), path_(path) {}

  absl::StatusOr<std::vector<ZipLayoutEntry>> Run() {
    EQAT_ASSIGN_OR_RETURN(const EndRecord end, ReadEnd());
    int64_t directory = end.directory_begin;
    int64_t local = 0;
    std::vector<ZipLayoutEntry> entries;
    for (int64_t i = 0; i < end.entries; ++i) {
      EQAT_ASSIGN_OR_RETURN(Directory item, ReadDirectoryEntry(directory, end.directory_end));
      if (item.local_begin != local) {
        return Error(directory, "local header offset leaves a hole or overlaps another entry",
                     absl::StrCat(item.local_begin), absl::StrCat(local));
      }
      EQAT_ASSIGN_OR_RETURN(local, ReadLocal(local, end.directory_begin, item));
      directory = item.next;
      entries.push_back(item.entry);
    }
    if (local != end.directory_begin) {
      return Error(local, "bytes between the last entry and the directory", absl::StrCat(end.directory_begin - local),
                   "none");
    }
    if (directory != end.directory_end) {
      return Error(directory, "directory is longer than its entries", absl::StrCat(end.directory_end - directory),
                   "0 bytes more");
    }
    EQAT_RETURN_IF_ERROR(CheckDistinctNames(entries));
    return entries;
  }

 private:
  struct Directory {
    ZipLayoutEntry entry;
    uint16_t flags = 0;
    int64_t local_begin = 0;
    int64_t next = 0;
  };

  absl::Status Error(int64_t position, absl::string_view what, absl::string_view got = "",
                     absl::string_view expected = "") const {
    return InvalidArgument(absl::StrCat(absl::string_view(path_.data(), path_.size()), ": byte ", position), what, got,
                           expected);
  }
  bool HasBytes(int64_t position, int64_t size) const {
    return position >= 0 && size >= 0 && size <= Size() && position <= Size() - size;
  }
  int64_t Size() const { return static_cast<int64_t>(bytes_.size()); }
  bool IsAt(int64_t position, const char* signature) const {
    return HasBytes(position, 4) && bytes_.substr(position, 4) == signature;
  }
  template <typename T>
  T At(int64_t position) const {
    T value;
    std::memcpy(&value, bytes_.data() + position, sizeof(value));
    return value;
  }

  absl::StatusOr<EndRecord> ReadEnd() const {
    const int64_t end = Size() - kEndBytes;
    if (!HasBytes(end, kEndBytes) || !IsAt(end, kZipEndSignature)) {
      return Error(std::max<int64_t>(end, 0), "is no zip file, is cut off, or something follows its end record");
    }
    uint64_t disk = At<uint16_t>(end + 4) | At<uint16_t>(end + 6);
    uint64_t here = At<uint16_t>(end + 8);
    uint64_t entries = At<uint16_t>(end + 10);
    uint64_t size = At<uint32_t>(end + 12);
    uint64_t begin = At<uint32_t>(end + 16);
    int64_t directory_end = end;
    const int64_t locator = end - kZip64LocatorBytes;
    if (IsAt(locator, kZip64LocatorSignature)) {
      directory_end = locator - kZip64EndBytes;
      if (!IsAt(directory_end, kZip64EndSignature) ||
          At<uint64_t>(locator + 8) != static_cast<uint64_t>(directory_end) ||
          At<uint64_t>(directory_end + 4) != kZip64EndBytes - 12) {
        return Error(locator, "zip64 end record is not where its locator says");
      }
      disk = At<uint32_t>(locator + 4) | At<uint32_t>(directory_end + 16) | At<uint32_t>(directory_end + 20);
      here = At<uint64_t>(directory_end + 24);
      entries = At<uint64_t>(directory_end + 32);
      size = At<uint64_t>(directory_end + 40);
      begin = At<uint64_t>(directory_end + 48);
    }
    if (disk != 0 || here != entries) return Error(end, "is one part of several");
    if (entries > static_cast<uint64_t>(kMaxEntries)) {
      return Error(end, "has too many entries", absl::StrCat(entries), absl::StrCat("at most ", kMaxEntries));
    }
    if (begin > static_cast<uint64_t>(directory_end) || size != static_cast<uint64_t>(directory_end) - begin) {
      return Error(end, "directory does not end where the end record begins", absl::StrCat(begin, " + ", size),
                   absl::StrCat(directory_end));
    }
    return EndRecord{static_cast<int64_t>(entries), static_cast<int64_t>(begin), directory_end};
  }

  // Sizes that the zip64 field of [begin, begin + size) gives, in its order; nullopt for a damaged list of fields.
  std::optional<std::vector<uint64_t>> Zip64Values(int64_t begin, int64_t size) const {
    for (const int64_t end = begin + size; begin < end;) {
      if (end - begin < 4) return std::nullopt;
      const auto id = At<uint16_t>(begin);
      const int64_t length = At<uint16_t>(begin + 2);
      begin += 4;
      if (length > end - begin) return std::nullopt;
      if (id == kZip64Field) {
        std::vector<uint64_t> values;
        for (int64_t at = 0; at + 8 <= length; at += 8) values.push_back(At<uint64_t>(begin + at));
        return values;
      }
      begin += length;
    }
    return std::vector<uint64_t>();
  }

  absl::StatusOr<Directory> ReadDirectoryEntry(int64_t at, int64_t end) const {
    if (end - at < kDirectoryBytes || !IsAt(at, kZipDirectorySignature)) return Error(at, "directory entry is missing");
    const int64_t name_bytes = At<uint16_t>(at + 28);
    const int64_t extra_bytes = At<uint16_t>(at + 30);
    const int64_t comment_bytes = At<uint16_t>(at + 32);
    const int64_t length = kDirectoryBytes + name_bytes + extra_bytes + comment_bytes;
    if (length > end - at) return Error(at, "directory entry is longer than the directory");
    Directory item;
    item.entry.name = bytes_.substr(at + kDirectoryBytes, name_bytes);
    item.entry.method = At<uint16_t>(at + 10);
    item.entry.crc = At<uint32_t>(at + 16);
    item.flags = At<uint16_t>(at + 8);
    item.next = at + length;
    EQAT_RETURN_IF_ERROR(CheckZipName(item.entry.name, PlaceOf(at)));
    const auto zip64 = Zip64Values(at + kDirectoryBytes + name_bytes, extra_bytes);
    if (!zip64) return Error(at, "extra fields are damaged");
    uint64_t values[] = {At<uint32_t>(at + 24), At<uint32_t>(at + 20), At<uint32_t>(at + 42)};
    size_t used = 0;
    for (uint64_t& value : values) {
      if (value != kZip64Mark) continue;
      if (used == zip64->size()) return Error(at, "zip64 field lacks a size");
      value = (*zip64)[used++];
    }
    for (const uint64_t value : values) {
      if (value > uint64_t{INT64_MAX}) return Error(at, "size is too large", absl::StrCat(value));
    }
    item.entry.size = static_cast<int64_t>(values[0]);
    item.entry.packed_size = static_cast<int64_t>(values[1]);
    item.local_begin = static_cast<int64_t>(values[2]);
    EQAT_RETURN_IF_ERROR(CheckKind(at, item));
    return item;
  }

  absl::Status CheckKind(int64_t at, const Directory& item) const {
    const ZipLayoutEntry& entry = item.entry;
    const std::string where = absl::StrCat("entry \"", Excerpt(entry.name), "\" ");
    if ((item.flags & kEncryptedFlag) != 0) return Error(at, where + "is encrypted");
    if ((item.flags & ~kKnownFlags) != 0) {
      return Error(at, where + "has unknown flags", absl::StrCat(item.flags));
    }
    if (entry.method != kZipStored && entry.method != kZipDeflated) {
      return Error(at, where + "has an unknown compression method", absl::StrCat(entry.method),
                   "0 (stored) or 8 (deflated)");
    }
    if (entry.method == kZipStored && entry.size != entry.packed_size) {
      return Error(at, where + "is stored with two sizes", absl::StrCat(entry.packed_size), absl::StrCat(entry.size));
    }
    const std::optional<int64_t> most = CheckedMul(entry.packed_size, kMaxRatio);
    if (most && entry.size > *most) {
      return Error(at, where + "claims to unpack to more than deflate can",
                   absl::StrCat(entry.size, " bytes from ", entry.packed_size), absl::StrCat("at most ", *most));
    }
    return absl::OkStatus();
  }

  // Checks the local header at `at` and gives the position behind the entry.
  absl::StatusOr<int64_t> ReadLocal(int64_t at, int64_t end, Directory& item) const {
    ZipLayoutEntry& entry = item.entry;
    if (end - at < kLocalBytes || !IsAt(at, kZipLocalSignature)) return Error(at, "local header is missing");
    const int64_t name_bytes = At<uint16_t>(at + 26);
    const int64_t extra_bytes = At<uint16_t>(at + 28);
    const int64_t header_bytes = kLocalBytes + name_bytes + extra_bytes;
    if (header_bytes > end - at || entry.packed_size > end - at - header_bytes) {
      return Error(at, "entry reaches into the directory", absl::StrCat(entry.packed_size, " bytes"));
    }
    if (bytes_.substr(at + kLocalBytes, name_bytes) != entry.name || At<uint16_t>(at + 8) != entry.method ||
        At<uint16_t>(at + 6) != item.flags) {
      return Error(at, "local header differs from the directory");
    }
    const auto zip64 = Zip64Values(at + kLocalBytes + name_bytes, extra_bytes);
    if (!zip64) return Error(at, "extra fields are damaged");
    entry.data_begin = at + header_bytes;
    const int64_t behind = entry.data_begin + entry.packed_size;
    if ((item.flags & kDescriptorFlag) != 0) return BehindDescriptor(behind, end, entry);
    uint64_t size = At<uint32_t>(at + 22);
    uint64_t packed_size = At<uint32_t>(at + 18);
    if (zip64->size() >= 2 && size == kZip64Mark && packed_size == kZip64Mark) {
      size = (*zip64)[0];
      packed_size = (*zip64)[1];
    }
    if (At<uint32_t>(at + 14) != entry.crc || size != static_cast<uint64_t>(entry.size) ||
        packed_size != static_cast<uint64_t>(entry.packed_size)) {
      return Error(at, "local header differs from the directory");
    }
    return behind;
  }

  // Checksum, packed size and size behind the content: with or without a signature, sizes of 4 or 8 bytes.
  absl::StatusOr<int64_t> BehindDescriptor(int64_t at, int64_t end, const ZipLayoutEntry& entry) const {
    for (const int64_t signature_bytes : {4, 0}) {
      for (const int64_t size_bytes : {4, 8}) {
        const int64_t crc_at = at + signature_bytes;
        const int64_t behind = crc_at + 4 + 2 * size_bytes;
        if (behind > end || (signature_bytes == 4 && !IsAt(at, "PK\x07\x08"))) continue;
        const int64_t sizes_at = crc_at + 4;
        const uint64_t packed_size = size_bytes == 4 ? At<uint32_t>(sizes_at) : At<uint64_t>(sizes_at);
        const uint64_t size = size_bytes == 4 ? At<uint32_t>(sizes_at + 4) : At<uint64_t>(sizes_at + 8);
        const bool is_next = behind == end || IsAt(behind, kZipLocalSignature);
        if (is_next && At<uint32_t>(crc_at) == entry.crc && packed_size == static_cast<uint64_t>(entry.packed_size) &&
            size == static_cast<uint64_t>(entry.size)) {
          return behind;
        }
      }
    }
    return Error(at, "data descriptor differs from the directory");
  }

  absl::Status CheckDistinctNames(const std::vector<ZipLayoutEntry>& entries) const {
    std::vector<std::string_view> names;
    for (const ZipLayoutEntry& entry : entries) names.push_back(entry.name);
    std::sort(names.begin(), names.end());
    const auto twice = std::adjacent_find(names.begin(), names.end());
    if (twice == names.end()) return absl::OkStatus();
    return InvalidArgument(absl::string_view(path_.data(), path_.size()), "has two entries of one name",
                           Excerpt(*twice));
  }

  std::string PlaceOf(int64_t at) const {
    return absl::StrCat(absl::string_view(path_.data(), path_.size()), ": byte ", at);
  }

  std::string_view bytes_;
  std::string_view path_;
};

}  // namespace

absl::StatusOr<std::vector<ZipLayoutEntry>> ReadZipLayout(std::string_view bytes, std::string_view path) {
  return Walk(bytes, path).Run();
}

absl::Status CheckZipName(std::string_view name, std::string_view where) {
  const auto error = [&](absl::string_view what) {
    return InvalidArgument(absl::string_view(where.data(), where.size()), absl::StrCat("entry's name ", what),
                           Excerpt(name));
  };
  if (name.empty()) return error("is empty");
  if (name.size() > kMaxEntryNameBytes) return error("is too long");
  if (name.front() == '/') return error("is an absolute path");
  if (std::any_of(name.begin(), name.end(), [](char c) { return c == '\\' || c == '\x7f' || (c >= 0 && c < ' '); })) {
    return error("holds a backslash or a control character");
  }
  for (size_t begin = 0; begin <= name.size();) {
    const size_t end = std::min(name.find('/', begin), name.size());
    if (name.substr(begin, end - begin) == "..") return error("leads out of its folder");
    begin = end + 1;
  }
  return absl::OkStatus();
}

}  // namespace eqat::io
