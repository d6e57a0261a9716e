// A directory of its own for one test, removed with all it holds.
#ifndef EQAT_TESTS_SUPPORT_TEMP_DIR_H_
#define EQAT_TESTS_SUPPORT_TEMP_DIR_H_

#include <stdlib.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <system_error>
#include <vector>

#include "absl/strings/string_view.h"
#include "gtest/gtest.h"

namespace eqat::testing {

class TempDir {
 public:
  TempDir() : path_(std::filesystem::canonical(::testing::TempDir()) / "eqat-test-XXXXXX") {
    std::string pattern = path_.string();
    EXPECT_NE(mkdtemp(pattern.data()), nullptr);
    path_ = pattern;
  }
  ~TempDir() {
    std::error_code error;
    std::filesystem::remove_all(path_, error);
  }
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;

  std::string path() const { return path_.string(); }
  std::string operator/(absl::string_view name) const { return (path_ / std::string(name)).string(); }

  // Writes without the library under test.
  std::string Write(absl::string_view name, absl::string_view content) const {
    const std::string path = *this / name;
    std::ofstream(path, std::ios::binary).write(content.data(), static_cast<std::streamsize>(content.size()));
    return path;
  }
  std::string Read(absl::string_view name) const {
    std::ifstream file(*this / name, std::ios::binary);
    return std::string(std::istreambuf_iterator<char>(file), {});
  }
  // Names in directory `name`, hidden ones too, ascending.
  std::vector<std::string> List(absl::string_view name = ".") const {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(*this / name)) {
      names.push_back(entry.path().filename().string());
    }
    std::sort(names.begin(), names.end());
    return names;
  }

 private:
  std::filesystem::path path_;
};

}  // namespace eqat::testing

#endif  // EQAT_TESTS_SUPPORT_TEMP_DIR_H_
