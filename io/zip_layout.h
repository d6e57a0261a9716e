// Where the entries of a zip file lie: a check that they and the directory cover the file from its first to its last
// byte, each byte once. Internal to this folder; zip_archive.h says what is refused. libzip, which reads the entries,
// looks for the directory alone and would not see what lies beside it.
#ifndef EQAT_IO_ZIP_LAYOUT_H_
#define EQAT_IO_ZIP_LAYOUT_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace eqat::io {

inline constexpr char kZipLocalSignature[] = "PK\x03\x04";
inline constexpr char kZipDirectorySignature[] = "PK\x01\x02";
inline constexpr char kZipEndSignature[] = "PK\x05\x06";
inline constexpr char kZip64EndSignature[] = "PK\x06\x06";
inline constexpr char kZip64LocatorSignature[] = "PK\x06\x07";

inline constexpr uint16_t kZipStored = 0;
inline constexpr uint16_t kZipDeflated = 8;
inline constexpr uint32_t kZip64Mark = 0xffffffff;  // in place of a size: see the zip64 field
inline constexpr uint16_t kZip64Field = 1;

struct ZipLayoutEntry {
  std::string_view name;  // views the file
  uint16_t method = kZipStored;
  uint32_t crc = 0;
  int64_t size = 0;
  int64_t packed_size = 0;
  int64_t data_begin = 0;
};

// `bytes`: the whole file. Errors name `path`, the byte and the field.
absl::StatusOr<std::vector<ZipLayoutEntry>> ReadZipLayout(std::string_view bytes, std::string_view path);

// InvalidArgument unless `name` is a relative path without "..", '\\', control characters, at most 4096 bytes long.
absl::Status CheckZipName(std::string_view name, std::string_view where);

}  // namespace eqat::io

#endif  // EQAT_IO_ZIP_LAYOUT_H_
