#include "cli/text_table.h"

#include "gtest/gtest.h"

namespace eqat::cli {
namespace {

TEST(TextTableTest, AlignsColumnsWithoutTrailingSpace) {
  TextTable table({{"name"}, {"size", TextTable::Align::kRight}, {"note"}});
  table.AddRow({"a", "1 B", ""});
  table.AddRow({"longer", "12.3 MB", "x"});
  table.AddRule();
  table.AddRow({"total", "", "end"});
  EXPECT_EQ(table.ToString(),
            "name       size  note\n"
            "------  -------  ----\n"
            "a           1 B\n"
            "longer  12.3 MB  x\n"
            "------  -------  ----\n"
            "total            end\n");
}

TEST(TextTableTest, CountsCharactersAndHidesControls) {
  TextTable table({{"n"}, {"m"}});
  table.AddRow({"\u00e9\u00e9", "x"});
  table.AddRow({"a\n", "y"});
  EXPECT_EQ(table.ToString(), "n   m\n--  -\n\u00e9\u00e9  x\na?  y\n");
}

TEST(SizeTextTest, ScalesByThousands) {
  EXPECT_EQ(SizeText(0), "0 B");
  EXPECT_EQ(SizeText(999), "999 B");
  EXPECT_EQ(SizeText(1000), "1.0 kB");
  EXPECT_EQ(SizeText(999949), "999.9 kB");
  EXPECT_EQ(SizeText(999950), "1.0 MB");
  EXPECT_EQ(SizeText(12345678), "12.3 MB");
  EXPECT_EQ(SizeText(INT64_MAX), "9.2 EB");
}

}  // namespace
}  // namespace eqat::cli
