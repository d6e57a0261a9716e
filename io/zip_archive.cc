#include "io/zip_archive.h"

#include <zip.h>
#include <zlib.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/error.h"
#include "core/status_macros.h"
#include "io/excerpt.h"
#include "io/zip_layout.h"

namespace eqat::io {
namespace {

constexpr int64_t kChunkBytes = int64_t{4} << 20;  // checked or written at a time

// An open zip file of libzip, which ends with the last who uses it.
using ZipHandle = std::shared_ptr<zip_t>;

absl::StatusOr<ZipHandle> OpenZip(const MappedFile& file, const std::string& path) {
  zip_error_t error;
  zip_error_init(&error);
  const auto fail = [&]() -> absl::Status {
    const std::string text = zip_error_strerror(&error);
    zip_error_fini(&error);
    return DataLoss(path, absl::StrCat("cannot be read as a zip file: ", text));
  };
  zip_source_t* const source = zip_source_buffer_create(file.data(), file.size(), /*freep=*/0, &error);
  if (source == nullptr) return fail();
  zip_t* const zip = zip_open_from_source(source, ZIP_RDONLY, &error);
  if (zip == nullptr) {
    zip_source_free(source);
    return fail();
  }
  zip_error_fini(&error);
  return ZipHandle(zip, zip_discard);
}

// zlib would take a null pointer for the wish to start anew.
uint32_t Crc(uint32_t crc, absl::Span<const char> bytes) {
  if (bytes.empty()) return crc;
  return static_cast<uint32_t>(crc32_z(crc, reinterpret_cast<const Bytef*>(bytes.data()), bytes.size()));
}

// A deflated entry; libzip checks its size and CRC-32 at its end.
class UnpackedEntry : public ByteStream {
 public:
  static absl::StatusOr<std::unique_ptr<ByteStream>> Open(std::shared_ptr<const MappedFile> file,
                                                          const std::string& path, int64_t index, std::string place) {
    EQAT_ASSIGN_OR_RETURN(ZipHandle zip, OpenZip(*file, path));
    zip_file_t* const entry = zip_fopen_index(zip.get(), index, 0);
    if (entry == nullptr) return DataLoss(place, absl::StrCat("cannot be read: ", zip_strerror(zip.get())));
    return std::unique_ptr<ByteStream>(new UnpackedEntry(std::move(file), std::move(zip), entry, std::move(place)));
  }
  ~UnpackedEntry() override { zip_fclose(entry_); }

  absl::Status Read(char* data, int64_t size) override {
    while (size > 0) {
      const zip_int64_t count = zip_fread(entry_, data, size);
      if (count < 0) return Error();
      if (count == 0) return DataLoss(place_, "ends early", "", absl::StrCat(size, " bytes more"));
      data += count;
      size -= count;
    }
    return absl::OkStatus();
  }
  absl::Status Finish() override {
    char byte;
    const zip_int64_t count = zip_fread(entry_, &byte, 1);
    if (count < 0) return Error();
    return count == 0 ? absl::OkStatus() : DataLoss(place_, "is longer than its directory entry says");
  }

 private:
  UnpackedEntry(std::shared_ptr<const MappedFile> file, ZipHandle zip, zip_file_t* entry, std::string place)
      : file_(std::move(file)), zip_(std::move(zip)), entry_(entry), place_(std::move(place)) {}
  absl::Status Error() const { return DataLoss(place_, absl::StrCat("is damaged: ", zip_file_strerror(entry_))); }

  std::shared_ptr<const MappedFile> file_;
  ZipHandle zip_;
  zip_file_t* entry_;
  std::string place_;
};

// A stored entry.
class StoredEntry : public ByteStream {
 public:
  StoredEntry(std::shared_ptr<const MappedFile> file, const ZipArchive::Entry& entry, std::string place)
      : file_(std::move(file)), entry_(entry), place_(std::move(place)) {}

  absl::Status Read(char* data, int64_t size) override {
    if (size > entry_.size - position_) {
      return DataLoss(place_, "ends early", "", absl::StrCat(size, " bytes from byte ", position_));
    }
    const int64_t begin = entry_.data_begin + position_;
    std::memcpy(data, file_->data() + begin, size);
    crc_ = Crc(crc_, absl::MakeConstSpan(data, size));
    file_->Release(begin, size);
    position_ += size;
    return absl::OkStatus();
  }
  absl::Status Finish() override {
    if (position_ != entry_.size) {
      return DataLoss(place_, "is too long", absl::StrCat(entry_.size, " bytes"), absl::StrCat(position_));
    }
    if (crc_ == entry_.crc) return absl::OkStatus();
    return DataLoss(place_, "is damaged: its checksum differs", absl::StrCat(crc_), absl::StrCat(entry_.crc));
  }

 private:
  std::shared_ptr<const MappedFile> file_;
  ZipArchive::Entry entry_;
  std::string place_;
  int64_t position_ = 0;
  uint32_t crc_ = 0;
};

// libzip and the layout are two readings of one file: both must give the same entries.
absl::Status CheckSameEntries(zip_t* zip, const std::vector<ZipLayoutEntry>& layout, const std::string& path) {
  const auto differs = [&] { return DataLoss(path, "libzip reads another directory in it"); };
  if (zip_get_num_entries(zip, 0) != static_cast<zip_int64_t>(layout.size())) return differs();
  for (size_t i = 0; i < layout.size(); ++i) {
    zip_stat_t stat;
    const ZipLayoutEntry& entry = layout[i];
    const char* const name = zip_get_name(zip, i, ZIP_FL_ENC_RAW);
    if (name == nullptr || name != entry.name || zip_stat_index(zip, i, 0, &stat) != 0 ||
        stat.size != static_cast<zip_uint64_t>(entry.size) ||
        stat.comp_size != static_cast<zip_uint64_t>(entry.packed_size) || stat.crc != entry.crc ||
        stat.comp_method != entry.method || stat.encryption_method != ZIP_EM_NONE) {
      return differs();
    }
  }
  return absl::OkStatus();
}

void AppendRaw(std::string& bytes, const void* value, size_t size) {
  bytes.append(static_cast<const char*>(value), size);
}
template <typename... T>
void Append(std::string& bytes, T... values) {
  (AppendRaw(bytes, &values, sizeof(values)), ...);
}

constexpr uint16_t kDosTime = 0;
constexpr uint16_t kDosDate = (1 << 5) | 1;  // 1 January 1980, the first day of the format
constexpr uint16_t kZipVersion = 20;
constexpr uint16_t kZip64Version = 45;
constexpr uint16_t kUtf8Flag = 0x800;

// Sizes, and in the directory the offset, that 32 bits cannot hold.
std::string Zip64FieldOf(absl::Span<const int64_t> values) {
  std::string field;
  Append(field, kZip64Field, static_cast<uint16_t>(8 * values.size()));
  for (const int64_t value : values) Append(field, value);
  return field;
}

}  // namespace

absl::StatusOr<std::shared_ptr<const ZipArchive>> ZipArchive::Open(const std::string& path) {
  auto archive = std::make_shared<ZipArchive>();
  archive->path_ = path;
  EQAT_ASSIGN_OR_RETURN(archive->file_, MappedFile::Open(path));
  const std::string_view bytes(archive->file_->data(), archive->file_->size());
  EQAT_ASSIGN_OR_RETURN(const std::vector<ZipLayoutEntry> layout, ReadZipLayout(bytes, path));
  EQAT_ASSIGN_OR_RETURN(const ZipHandle zip, OpenZip(*archive->file_, path));
  EQAT_RETURN_IF_ERROR(CheckSameEntries(zip.get(), layout, path));
  for (const ZipLayoutEntry& entry : layout) {
    archive->entries_.push_back({.name = std::string(entry.name),
                                 .size = entry.size,
                                 .packed_size = entry.packed_size,
                                 .data_begin = entry.data_begin,
                                 .crc = entry.crc,
                                 .is_stored = entry.method == kZipStored});
  }
  return std::shared_ptr<const ZipArchive>(std::move(archive));
}

const ZipArchive::Entry* ZipArchive::Find(std::string_view name) const {
  const auto found =
      std::find_if(entries_.begin(), entries_.end(), [&](const Entry& entry) { return entry.name == name; });
  return found == entries_.end() ? nullptr : &*found;
}

std::string ZipArchive::Place(const Entry& entry) const {
  return absl::StrCat(path_, ": entry \"", Excerpt(entry.name), "\"");
}

absl::StatusOr<std::unique_ptr<ByteStream>> ZipArchive::OpenEntry(const Entry& entry) const {
  if (entry.is_stored) return std::unique_ptr<ByteStream>(new StoredEntry(file_, entry, Place(entry)));
  return UnpackedEntry::Open(file_, path_, &entry - entries_.data(), Place(entry));
}

absl::StatusOr<std::string> ZipArchive::ReadBeginning(const Entry& entry, int64_t size) const {
  EQAT_ASSIGN_OR_RETURN(const std::unique_ptr<ByteStream> stream, OpenEntry(entry));
  std::string content(std::min(size, entry.size), '\0');
  EQAT_RETURN_IF_ERROR(stream->Read(content.data(), static_cast<int64_t>(content.size())));
  if (static_cast<int64_t>(content.size()) == entry.size) EQAT_RETURN_IF_ERROR(stream->Finish());
  return content;
}

absl::Span<const char> ZipArchive::StoredBytes(const Entry& entry) const {
  return absl::MakeConstSpan(file_->data() + entry.data_begin, entry.size);
}

absl::Status ZipArchive::CheckStored(const Entry& entry) const {
  uint32_t crc = 0;
  for (int64_t begin = 0; begin < entry.size; begin += kChunkBytes) {
    const int64_t size = std::min(kChunkBytes, entry.size - begin);
    crc = Crc(crc, StoredBytes(entry).subspan(begin, size));
    file_->Release(entry.data_begin + begin, size);
  }
  if (crc == entry.crc) return absl::OkStatus();
  return DataLoss(Place(entry), "is damaged: its checksum differs", absl::StrCat(crc), absl::StrCat(entry.crc));
}

absl::Status ZipWriter::Write(const std::string& bytes) {
  position_ += static_cast<int64_t>(bytes.size());
  return file_.Write(absl::MakeConstSpan(bytes));
}

absl::Status ZipWriter::Add(std::string_view name, absl::Span<const char> beginning, const ByteRows& rest) {
  EQAT_RETURN_IF_ERROR(CheckZipName(name, "zip file"));
  Written entry{.name = std::string(name),
                .crc = Crc(0, beginning),
                .size = static_cast<int64_t>(beginning.size()) + rest.size(),
                .begin = position_};
  for (int64_t row = 0; row < rest.rows; ++row) {
    entry.crc = Crc(entry.crc, absl::MakeConstSpan(rest.data + row * rest.stride, rest.row_bytes));
  }
  const bool is_large = entry.size >= kZip64Mark;
  const uint32_t size = is_large ? kZip64Mark : static_cast<uint32_t>(entry.size);
  const std::string extra = is_large ? Zip64FieldOf({entry.size, entry.size}) : "";
  std::string header(kZipLocalSignature);
  Append(header, is_large ? kZip64Version : kZipVersion, kUtf8Flag, kZipStored, kDosTime, kDosDate, entry.crc, size,
         size, static_cast<uint16_t>(name.size()), static_cast<uint16_t>(extra.size()));
  header.append(name);
  EQAT_RETURN_IF_ERROR(Write(header + extra));
  EQAT_RETURN_IF_ERROR(file_.Write(beginning));
  EQAT_RETURN_IF_ERROR(WriteRows(rest, file_));
  position_ += entry.size;
  entries_.push_back(std::move(entry));
  return absl::OkStatus();
}

absl::Status ZipWriter::Finish() {
  const int64_t begin = position_;
  for (const Written& entry : entries_) {
    std::vector<int64_t> large;
    const auto narrow = [&large](int64_t value) {
      if (value >= kZip64Mark) large.push_back(value);
      return static_cast<uint32_t>(std::min<int64_t>(value, kZip64Mark));
    };
    const uint32_t size = narrow(entry.size);
    narrow(entry.size);  // packed
    const uint32_t offset = narrow(entry.begin);
    const std::string extra = large.empty() ? "" : Zip64FieldOf(large);
    const uint16_t version = large.empty() ? kZipVersion : kZip64Version;
    std::string item(kZipDirectorySignature);
    Append(item, version, version, kUtf8Flag, kZipStored, kDosTime, kDosDate, entry.crc, size, size,
           static_cast<uint16_t>(entry.name.size()), static_cast<uint16_t>(extra.size()), uint16_t{0}, uint16_t{0},
           uint16_t{0}, uint32_t{0}, offset);
    EQAT_RETURN_IF_ERROR(Write(item + entry.name + extra));
  }
  const int64_t end = position_;
  const auto count = static_cast<int64_t>(entries_.size());
  std::string record;
  if (count >= 0xffff || begin >= kZip64Mark || end - begin >= kZip64Mark) {
    record = kZip64EndSignature;
    Append(record, int64_t{44}, kZip64Version, kZip64Version, uint32_t{0}, uint32_t{0}, count, count, end - begin,
           begin);
    record += kZip64LocatorSignature;
    Append(record, uint32_t{0}, end, uint32_t{1});
  }
  record += kZipEndSignature;
  const auto short_count = static_cast<uint16_t>(std::min<int64_t>(count, 0xffff));
  Append(record, uint16_t{0}, uint16_t{0}, short_count, short_count,
         static_cast<uint32_t>(std::min<int64_t>(end - begin, kZip64Mark)),
         static_cast<uint32_t>(std::min<int64_t>(begin, kZip64Mark)), uint16_t{0});
  return Write(record);
}

}  // namespace eqat::io
