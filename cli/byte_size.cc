#include "cli/byte_size.h"

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "core/checked_math.h"
#include "io/number_text.h"

namespace eqat::cli {
namespace {

constexpr int64_t kMinMemory = int64_t{32} << 20;

// What is wrong with a memory limit, or nothing.
std::string MemoryLimitError(const std::string& text) {
  const std::optional<int64_t> bytes = ParseByteSize(text);
  return bytes && *bytes >= kMinMemory ? "" : absl::StrCat(text, " is no size of at least 32M (512M, 2G)");
}

}  // namespace

std::optional<int64_t> ParseByteSize(const std::string& text) {
  constexpr std::string_view kUnits = "KMGT";
  std::string digits = text;
  int64_t unit = 1;
  if (!digits.empty()) {
    const size_t power = kUnits.find(absl::ascii_toupper(static_cast<unsigned char>(digits.back())));
    if (power != kUnits.npos) {
      unit = int64_t{1024} << (10 * power);
      digits.pop_back();
    }
  }
  int64_t number = 0;
  if (io::ParseNumber(digits, number) != std::errc() || number < 0) return std::nullopt;
  return CheckedMul(number, unit);
}

CLI::Option* AddMemoryLimit(CLI::App& verb, std::string& text, const std::string& description) {
  return verb.add_option("--memory-limit", text, description)
      ->type_name("SIZE")
      ->check(CLI::Validator(MemoryLimitError, ""));
}

}  // namespace eqat::cli
