#include "fuzz/fuzz_file.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/parallel_for.h"

namespace eqat::fuzz {
namespace {

constexpr int64_t kMaxValues = 1 << 18;  // of a table that is read

void Require(bool condition) {
  if (!condition) std::abort();
}

int OpenMemory() {
  SetNumThreads(1);  // inputs are small
  const int fd = memfd_create("input", MFD_CLOEXEC);
  Require(fd >= 0);
  return fd;
}

}  // namespace

std::string FileOf(const uint8_t* data, size_t size) {
  static const int fd = OpenMemory();
  Require(ftruncate(fd, 0) == 0);
  Require(pwrite(fd, data, size, 0) == static_cast<ssize_t>(size));
  return absl::StrCat("/proc/self/fd/", fd);
}

void ReadAll(absl::StatusOr<std::unique_ptr<io::RowSource>> rows) {
  Check(rows.status());
  if (!rows.ok()) return;
  io::RowSource& source = **rows;
  Require(source.rows() >= 0 && source.cols() >= 0);
  if (source.cols() == 0 || source.cols() > kMaxValues || source.rows() > kMaxValues / source.cols()) return;
  constexpr int64_t kBlock = 3;
  std::vector<float> values(kBlock * source.cols());
  std::string words;
  for (int64_t row = 0; row < source.rows(); row += kBlock) {
    const absl::Status status = source.Read(std::min(kBlock, source.rows() - row), values.data(), words);
    Check(status);
    if (!status.ok()) return;
  }
  Check(source.Finish());
}

void Check(const absl::Status& status) { Require(status.ok() || !status.message().empty()); }

}  // namespace eqat::fuzz
