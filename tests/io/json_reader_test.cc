#include "io/json_reader.h"

#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"

namespace eqat::io {
namespace {

using absl::StatusCode;
using eqat::testing::StatusIs;
using eqat::testing::TempDir;
using ::testing::AllOf;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::Not;

Json Parsed(absl::string_view text) {
  absl::StatusOr<Json> json = ParseJson(text, "f.json");
  EXPECT_TRUE(json.ok()) << json.status();
  return *std::move(json);
}

TEST(ParseJson, KeepsEveryKindOfValueAndTheOrderOfKeys) {
  const std::string text =
      R"({"z":[1,-2,3.5,1e300,true,false,null,"\u00e9\n"],"a":{"b":{},"c":[]},"m":9223372036854775807})";
  EXPECT_EQ(Parsed(text).dump(),
            R"({"z":[1,-2,3.5,1e+300,true,false,null,"é\n"],"a":{"b":{},"c":[]},"m":9223372036854775807})");
  EXPECT_EQ(Parsed("  7 ").dump(), "7");
  EXPECT_EQ(Parsed("null"), nullptr);
}

TEST(ParseJson, LocatesSyntaxErrors) {
  const std::pair<const char*, const char*> cases[] = {
      {"", "f.json: line 1, column 1: is not valid JSON"},
      {"{", "f.json: line 1, column 2: is not valid JSON"},
      {"{\n  \"a\": 1,\n}", "f.json: line 3, column 1: is not valid JSON: syntax error while parsing object key"},
      {"[1 2]", "line 1, column 4"},
      {"{\"a\" 1}", "line 1, column 6"},
      {"[1,]", "line 1, column 4"},
      {"[1]\n\n]", "line 3, column 1"},
      {"// comment\n1", "line 1, column 1"},
      {"NaN", "line 1, column 1"},
      {"[Infinity]", "line 1, column 2"},
      {"[01]", "line 1, column 3"},
      {"'a'", "line 1, column 1"},
      {"[1e999]", "is not valid JSON: a number is out of range"},
      {"\"\xff\"", "line 1, column 2"},
      {"\"\xed\xa0\x80\"", "is not valid JSON"},
      {"\"\\ud800\"", "is not valid JSON"},
      {"\"a\nb\"", "is not valid JSON"},
      {"tru", "is not valid JSON"},
  };
  for (const auto& [text, message] : cases) {
    SCOPED_TRACE(text);
    const absl::StatusOr<Json> json = ParseJson(text, "f.json");
    EXPECT_THAT(json, StatusIs(StatusCode::kInvalidArgument, HasSubstr(message)));
    EXPECT_THAT(std::string(json.status().message()), Not(HasSubstr("\n")));
  }
  EXPECT_THAT(ParseJson(absl::string_view("[1]\0", 4), "f.json"),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("line 1, column 4")));
}

TEST(ParseJson, ErrorsStayShort) {
  const std::string text = absl::StrCat("[\"", std::string(100'000, 'x'), "\x01\"]");
  const absl::StatusOr<Json> json = ParseJson(text, "f.json");
  ASSERT_FALSE(json.ok());
  EXPECT_LT(json.status().message().size(), 400);
}

TEST(ParseJson, RefusesDuplicateKeys) {
  EXPECT_THAT(ParseJson(R"({"a": 1, "b": {"c": [0, {"x/y": 1, "x/y": 2}]}})", "f.json"),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("f.json: /b/c/1/x~1y: duplicate key")));
  EXPECT_THAT(ParseJson(R"({"a": 1, "\u0061": 2})", "f.json"),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("f.json: /a: duplicate key")));
  EXPECT_EQ(Parsed(R"([{"a": 1}, {"a": 2}])").size(), 2);
}

TEST(ParseJson, RefusesDeepNesting) {
  const auto nested = [](int depth) { return std::string(depth, '[') + std::string(depth, ']'); };
  Parsed(nested(64));
  EXPECT_THAT(ParseJson(nested(65), "f.json"),
              StatusIs(StatusCode::kInvalidArgument, AllOf(HasSubstr("nested too deep"), HasSubstr("at most 64"))));
  EXPECT_THAT(ParseJson(std::string(1'000'000, '['), "f.json"),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("nested too deep")));
  std::string objects;
  for (int i = 0; i < 100'000; ++i) objects += "{\"a\":";
  EXPECT_THAT(ParseJson(objects, "f.json"), StatusIs(StatusCode::kInvalidArgument, HasSubstr("nested too deep")));
}

TEST(ParseJson, ReadsLargeObjectsInLinearTime) {
  std::string text = "{\"k\":0";
  for (int i = 0; i < 200'000; ++i) absl::StrAppend(&text, ",\"k", i, "\":", i);
  text += "}";
  EXPECT_EQ(Parsed(text).size(), 200'001);
}

TEST(ReadJsonFile, NamesTheFile) {
  const TempDir dir;
  EXPECT_EQ(*ReadJsonFile(dir.Write("good.json", "[1]")), Json::array({1}));
  EXPECT_THAT(ReadJsonFile(dir.Write("bad.json", "[")),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr(dir / "bad.json" + ": line 1, column 2")));
  EXPECT_THAT(ReadJsonFile(dir / "none.json"), StatusIs(StatusCode::kNotFound, HasSubstr(dir / "none.json")));
}

TEST(JsonText, IsIndentedAndRoundTripsNumbers) {
  Json json;
  json["b"] = 0.1;
  json["a"] = {1, 2};
  EXPECT_EQ(JsonText(json), "{\n  \"b\": 0.1,\n  \"a\": [\n    1,\n    2\n  ]\n}\n");
  for (const double value : {0.1, 1.0 / 3.0, 5e-324, 1.7976931348623157e308, -0.0, 1e22, 123456789.123456789}) {
    const Json parsed = Parsed(JsonText(Json(value)));
    EXPECT_EQ(parsed.get<double>(), value);
    EXPECT_EQ(std::signbit(parsed.get<double>()), std::signbit(value));
  }
}

TEST(JsonExcerpt, IsOneShortValidLine) {
  EXPECT_EQ(JsonExcerpt(Parsed(R"({"a": [1, "x\ny"]})")), R"({"a":[1,"x\ny"]})");
  const std::string cut = JsonExcerpt(Json(std::string(1000, 'x')));
  EXPECT_LE(cut.size(), 60);
  EXPECT_THAT(cut, EndsWith("..."));
  // Never inside a character, whatever the offset.
  for (int offset = 0; offset < 4; ++offset) {
    std::string text(offset, 'x');
    for (int i = 0; i < 50; ++i) text += "€";
    const std::string excerpt = JsonExcerpt(Json(text));
    EXPECT_LE(excerpt.size(), 60);
    EQAT_EXPECT_OK(ParseJson("\"" + excerpt.substr(1) + "\"", "excerpt"));
  }
  EQAT_EXPECT_OK(ParseJson(JsonExcerpt(Json(std::string("\xff\xfe"))), "excerpt"));
}

TEST(JsonError, HasTheCommonShape) {
  const Json value = Parsed("[1]");
  EXPECT_EQ(JsonError("f.json", "/a", "is bad", &value, "good").message(),
            "f.json: /a: is bad (got [1], expected good)");
  EXPECT_EQ(JsonError("f.json", "", "is bad", nullptr, "").message(), "f.json: is bad");
  EXPECT_EQ(JsonError("f.json", "/a\nb", "is bad", nullptr, "").message(), "f.json: /a\\nb: is bad");
  EXPECT_LT(JsonError("f.json", std::string(100'000, 'k'), "is bad", nullptr, "").message().size(), 400);
}

class ObjectReaderTest : public ::testing::Test {
 protected:
  ObjectReader Reader(absl::string_view text) {
    json_ = Parsed(text);
    return *ObjectReader::Of(json_, "f.json", "/at");
  }
  Json json_;
};

TEST_F(ObjectReaderTest, ReadsRequiredMembers) {
  ObjectReader object =
      Reader(R"({"i": -3, "d": 0.5, "whole": 2, "b": true, "s": "x", "o": {}, "l": [1], "any": null, "c": "two"})");
  EXPECT_EQ(*object.Int("i"), -3);
  EXPECT_EQ(*object.Double("d"), 0.5);
  EXPECT_EQ(*object.Double("whole"), 2.0);
  EXPECT_EQ(*object.Bool("b"), true);
  EXPECT_EQ(*object.String("s"), "x");
  EXPECT_TRUE((*object.Object("o"))->is_object());
  EXPECT_EQ((*object.Array("l"))->size(), 1);
  EXPECT_TRUE((*object.Any("any"))->is_null());
  EXPECT_EQ(*object.Choice("c", {"one", "two"}), 1);
  EQAT_EXPECT_OK(object.Finish());
}

TEST_F(ObjectReaderTest, ReadsOptionalMembers) {
  ObjectReader object =
      Reader(R"({"i": 7, "d": 1, "b": false, "s": "", "o": {"k": 1}, "l": [], "any": 0, "c": "one"})");
  EXPECT_EQ(*object.OptionalInt("i"), 7);
  EXPECT_EQ(*object.OptionalDouble("d"), 1.0);
  EXPECT_EQ(*object.OptionalBool("b"), false);
  EXPECT_EQ(*object.OptionalString("s"), "");
  EXPECT_EQ((*object.OptionalObject("o"))->size(), 1);
  EXPECT_EQ((*object.OptionalArray("l"))->size(), 0);
  EXPECT_EQ(**object.OptionalAny("any"), 0);
  EXPECT_EQ(*object.OptionalChoice("c", {"one", "two"}), 0);
  EXPECT_EQ(*object.OptionalInt("i2"), std::nullopt);
  EXPECT_EQ(*object.OptionalDouble("d2"), std::nullopt);
  EXPECT_EQ(*object.OptionalBool("b2"), std::nullopt);
  EXPECT_EQ(*object.OptionalString("s2"), std::nullopt);
  EXPECT_EQ(*object.OptionalObject("o2"), nullptr);
  EXPECT_EQ(*object.OptionalArray("l2"), nullptr);
  EXPECT_EQ(*object.OptionalAny("any2"), nullptr);
  EXPECT_EQ(*object.OptionalChoice("c2", {"one"}), std::nullopt);
  EQAT_EXPECT_OK(object.Finish());
}

TEST_F(ObjectReaderTest, NamesMissingMembers) {
  ObjectReader object = Reader("{}");
  const auto missing = [](const char* key, const char* expected) {
    return StatusIs(StatusCode::kInvalidArgument,
                    AllOf(HasSubstr(absl::StrCat("f.json: /at/", key, ": is missing")), HasSubstr(expected)));
  };
  EXPECT_THAT(object.Int("i", {0, 9}), missing("i", "an integer from 0 to 9"));
  EXPECT_THAT(object.Double("d"), missing("d", "a number"));
  EXPECT_THAT(object.Bool("b"), missing("b", "true or false"));
  EXPECT_THAT(object.String("s"), missing("s", "a string"));
  EXPECT_THAT(object.Object("o"), missing("o", "an object"));
  EXPECT_THAT(object.Array("l"), missing("l", "an array"));
  EXPECT_THAT(object.Any("any"), missing("any", "a value"));
  EXPECT_THAT(object.Choice("c", {"one", "two"}), missing("c", "one of \"one\", \"two\""));
}

TEST_F(ObjectReaderTest, RefusesEveryOtherType) {
  const std::vector<std::string> values = {"null", "true", "1", "-1", "1.0", "1.5", "\"x\"", "[]", "{}"};
  for (const std::string& value : values) {
    SCOPED_TRACE(value);
    ObjectReader object = Reader(absl::StrCat("{\"k\": ", value, "}"));
    const bool is_integer = value == "1" || value == "-1";
    const bool is_number = is_integer || value == "1.0" || value == "1.5";
    EXPECT_EQ(object.OptionalInt("k").ok(), is_integer);
    EXPECT_EQ(object.OptionalDouble("k").ok(), is_number);
    EXPECT_EQ(object.OptionalBool("k").ok(), value == "true");
    EXPECT_EQ(object.OptionalString("k").ok(), value == "\"x\"");
    EXPECT_EQ(object.OptionalArray("k").ok(), value == "[]");
    EXPECT_EQ(object.OptionalObject("k").ok(), value == "{}");
    EXPECT_EQ(object.OptionalChoice("k", {"x"}).ok(), value == "\"x\"");
    if (!is_integer) {
      EXPECT_THAT(object.Int("k"), StatusIs(StatusCode::kInvalidArgument,
                                            HasSubstr(absl::StrCat("f.json: /at/k: has the wrong type (got ", value))));
    }
  }
}

TEST_F(ObjectReaderTest, ChecksIntegerRanges) {
  ObjectReader object = Reader(
      R"({"k": 10, "max": 9223372036854775807, "min": -9223372036854775808, "over": 9223372036854775808,
          "unsigned": 18446744073709551615, "huge": 100000000000000000000})");
  EXPECT_EQ(*object.Int("k", {10, 10}), 10);
  EXPECT_THAT(object.Int("k", {0, 9}),
              StatusIs(StatusCode::kInvalidArgument,
                       HasSubstr("f.json: /at/k: is out of range (got 10, expected an integer from 0 to 9)")));
  EXPECT_THAT(object.Int("k", {11}), StatusIs(StatusCode::kInvalidArgument, HasSubstr("an integer of at least 11")));
  EXPECT_THAT(object.Int("k", {INT64_MIN, 9}),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("an integer of at most 9")));
  EXPECT_EQ(*object.Int("max"), INT64_MAX);
  EXPECT_EQ(*object.Int("min"), INT64_MIN);
  EXPECT_THAT(object.Int("over"), StatusIs(StatusCode::kInvalidArgument, HasSubstr("is out of range")));
  EXPECT_THAT(object.Int("unsigned"), StatusIs(StatusCode::kInvalidArgument, HasSubstr("is out of range")));
  EXPECT_THAT(object.Int("huge"), StatusIs(StatusCode::kInvalidArgument, HasSubstr("an integer")));
  EXPECT_EQ(*object.Double("huge"), 1e20);
}

TEST_F(ObjectReaderTest, ChecksNumberRanges) {
  ObjectReader object = Reader(R"({"k": 0.5, "zero": 0})");
  EXPECT_EQ(*object.Double("k", {0.5, 0.5}), 0.5);
  EXPECT_EQ(*object.Double("zero", {.minimum = 0.0}), 0.0);
  EXPECT_THAT(object.Double("zero", {.minimum = 0.0, .exclude_minimum = true}),
              StatusIs(StatusCode::kInvalidArgument,
                       HasSubstr("f.json: /at/zero: is out of range (got 0, expected a number greater than 0)")));
  EXPECT_THAT(object.Double("k", {0.0, 0.25}),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("a number of at least 0 and of at most 0.25")));
  EXPECT_THAT(object.Double("k", {.minimum = 1.0}),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("a number of at least 1")));
  EXPECT_THAT(object.Double("k", {.maximum = 0.25}),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("a number of at most 0.25")));
}

TEST_F(ObjectReaderTest, ListsTheChoices) {
  ObjectReader object = Reader(R"({"k": "three"})");
  EXPECT_THAT(object.Choice("k", {"one", "two"}),
              StatusIs(StatusCode::kInvalidArgument,
                       HasSubstr(R"(f.json: /at/k: is unknown (got "three", expected one of "one", "two"))")));
}

TEST_F(ObjectReaderTest, RefusesUnknownKeys) {
  ObjectReader object = Reader(R"({"a": 1, "x/y~": [2]})");
  EXPECT_TRUE(object.Has("x/y~"));  // does not count as asked for
  EXPECT_FALSE(object.Has("b"));
  EXPECT_EQ(*object.Int("a"), 1);
  EXPECT_EQ(*object.OptionalInt("b"), std::nullopt);
  EXPECT_THAT(object.Finish(),
              StatusIs(StatusCode::kInvalidArgument,
                       HasSubstr(R"(f.json: /at/x~1y~0: unknown key (got [2], expected one of the keys "a", "b"))")));
}

TEST_F(ObjectReaderTest, TakesObjectsOnly) {
  for (const char* text : {"[]", "null", "1", "\"x\""}) {
    const Json json = Parsed(text);
    EXPECT_THAT(ObjectReader::Of(json, "f.json", ""),
                StatusIs(StatusCode::kInvalidArgument,
                         HasSubstr(absl::StrCat("f.json: has the wrong type (got ", text, ", expected an object)"))));
  }
}

TEST_F(ObjectReaderTest, MakesErrorsOfCallers) {
  const ObjectReader object = Reader(R"({"a": 1})");
  EXPECT_EQ(object.Error("a", "is odd", "2").message(), "f.json: /at/a: is odd (got 1, expected 2)");
  EXPECT_EQ(object.Error("b", "is odd", "2").message(), "f.json: /at/b: is odd (expected 2)");
}

}  // namespace
}  // namespace eqat::io
