// TextTable: rows of text in aligned columns, for people. SizeText: bytes as people read them.
#ifndef EQAT_CLI_TEXT_TABLE_H_
#define EQAT_CLI_TEXT_TABLE_H_

#include <cstdint>
#include <string>
#include <vector>

namespace eqat::cli {

class TextTable {
 public:
  enum class Align : uint8_t { kLeft, kRight };
  struct Column {
    std::string title;
    Align align = Align::kLeft;
  };

  explicit TextTable(std::vector<Column> columns) : columns_(std::move(columns)) {}

  // REQUIRES: as many cells as columns. Control characters in a cell are shown as '?'.
  void AddRow(std::vector<std::string> cells);
  // A line of dashes, for example before totals.
  void AddRule() { rows_.emplace_back(); }
  // Title, dashes, rows; two spaces between columns, none at the end of a line.
  std::string ToString() const;

 private:
  std::vector<Column> columns_;
  std::vector<std::vector<std::string>> rows_;  // an empty row is a rule
};

// "812 B", "12.3 MB"; powers of 1000, one decimal.
std::string SizeText(int64_t bytes);

}  // namespace eqat::cli

#endif  // EQAT_CLI_TEXT_TABLE_H_
