#include "formats/format_list.h"

#include <set>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace eqat::formats {
namespace {

TEST(FormatListTest, EveryRowIsCompleteAndItsNameIsItsOwn) {
  std::set<std::string_view> names;
  for (const Format& format : Formats()) {
    SCOPED_TRACE(std::string(format.name));
    EXPECT_TRUE(names.insert(format.name).second);
    EXPECT_EQ(FindFormat(format.name), &format);
    EXPECT_FALSE(format.summary.empty());
    EXPECT_LE(format.summary.size(), 100);
  }
  EXPECT_EQ(FindFormat("no such format"), nullptr);
}

TEST(FormatListTest, ReadableAndWritableFormatsFollowTheAccess) {
  std::vector<std::string> readable, writable;
  for (const Format& format : Formats()) {
    if (format.access != Access::kWrite) readable.emplace_back(format.name);
    if (format.access != Access::kRead) writable.emplace_back(format.name);
  }
  EXPECT_EQ(ReadableFormats(), readable);
  EXPECT_EQ(WritableFormats(), writable);
  EXPECT_THAT(readable, ::testing::Contains("safetensors"));
}

}  // namespace
}  // namespace eqat::formats
