#include "cli/text_table.h"

#include <algorithm>
#include <cassert>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace eqat::cli {
namespace {

// Characters, not bytes: bytes that continue a UTF-8 sequence take no place.
size_t Width(const std::string& text) {
  return std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; });
}

std::string Aligned(const std::string& cell, size_t width, TextTable::Align align) {
  const std::string space(width - Width(cell), ' ');
  return align == TextTable::Align::kLeft ? cell + space : space + cell;
}

void AppendLine(std::string line, std::string& text) {
  line.erase(line.find_last_not_of(' ') + 1);
  absl::StrAppend(&text, line, "\n");
}

}  // namespace

void TextTable::AddRow(std::vector<std::string> cells) {
  assert(cells.size() == columns_.size());
  for (std::string& cell : cells) {
    std::replace_if(
        cell.begin(), cell.end(), [](char c) { return (c >= 0 && c < ' ') || c == '\x7f'; }, '?');
  }
  rows_.push_back(std::move(cells));
}

std::string TextTable::ToString() const {
  std::vector<size_t> widths;
  for (size_t i = 0; i < columns_.size(); ++i) {
    size_t width = Width(columns_[i].title);
    for (const auto& row : rows_) {
      if (!row.empty()) width = std::max(width, Width(row[i]));
    }
    widths.push_back(width);
  }
  std::string title, rule, text;
  for (size_t i = 0; i < columns_.size(); ++i) {
    const char* gap = i == 0 ? "" : "  ";
    absl::StrAppend(&title, gap, Aligned(columns_[i].title, widths[i], columns_[i].align));
    absl::StrAppend(&rule, gap, std::string(widths[i], '-'));
  }
  AppendLine(title, text);
  AppendLine(rule, text);
  for (const auto& row : rows_) {
    std::string line;
    for (size_t i = 0; i < row.size(); ++i) {
      absl::StrAppend(&line, i == 0 ? "" : "  ", Aligned(row[i], widths[i], columns_[i].align));
    }
    AppendLine(row.empty() ? rule : line, text);
  }
  return text;
}

std::string SizeText(int64_t bytes) {
  if (bytes < 1000) return absl::StrCat(bytes, " B");
  double size = static_cast<double>(bytes);
  const char* unit = "B";
  // 999.95 would print as 1000.0 of the smaller unit.
  for (const char* larger : {"kB", "MB", "GB", "TB", "PB", "EB"}) {
    if (size < 999.95) break;
    size /= 1000;
    unit = larger;
  }
  return absl::StrFormat("%.1f %s", size, unit);
}

}  // namespace eqat::cli
