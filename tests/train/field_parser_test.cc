#include "train/field_parser.h"

#include <cmath>
#include <limits>

#include "gmock/gmock.h"
#include "io/number_text.h"
#include "tests/train/train_fixture.h"

namespace eqat::train {
namespace {

using ::eqat::testing::StatusIs;
using ::testing::HasSubstr;
using FieldParserTest = ::eqat::testing::TrainTest;

TEST_F(FieldParserTest, Floats) {
  const std::pair<const char*, std::optional<float>> cases[] = {
      {"0", 0.0f},
      {"-1.5", -1.5f},
      {"1e3", 1000.0f},
      {".5", 0.5f},
      {"3.", 3.0f},
      {"1e-60", 0.0f},
      {"1e-40", 1e-40f},
      {"3.4028235e38", 3.4028235e38f},
      {"1e39", std::nullopt},
      {"1e999", std::nullopt},
      {"nan", std::nullopt},
      {"inf", std::nullopt},
      {"-inf", std::nullopt},
      {"", std::nullopt},
      {"+1", std::nullopt},
      {" 1", std::nullopt},
      {"1 ", std::nullopt},
      {"1,5", std::nullopt},
      {"0x10", std::nullopt},
      {"abc", std::nullopt},
      {"-", std::nullopt},
  };
  for (const auto& [text, expected] : cases) EXPECT_EQ(io::ParseFloat(text), expected) << text;
}

TEST_F(FieldParserTest, Log1p) {
  EXPECT_EQ(Apply(Transform::kNone, -3.0f), -3.0f);
  EXPECT_EQ(Apply(Transform::kLog1p, 0.0f), 0.0f);
  EXPECT_EQ(Apply(Transform::kLog1p, 2.5f), static_cast<float>(std::log1p(2.5)));
  EXPECT_EQ(Apply(Transform::kLog1p, -1.0f), std::nullopt);
  EXPECT_EQ(Apply(Transform::kLog1p, -2.0f), std::nullopt);
}

CategoricalSpec Spec(Encoding encoding, int64_t buckets) {
  CategoricalSpec spec;
  spec.encoding = encoding;
  spec.buckets = buckets;
  return spec;
}

TEST_F(FieldParserTest, HashIsFnv1a) {
  // Published test vectors of 64-bit FNV-1a.
  const CategoricalSpec spec = Spec(Encoding::kHash, int64_t{1} << 48);
  const uint64_t mask = (uint64_t{1} << 48) - 1;
  EXPECT_EQ(static_cast<uint64_t>(ParseIndex(spec, {}, "a").index), 0xaf63dc4c8601ec8cull & mask);
  EXPECT_EQ(static_cast<uint64_t>(ParseIndex(spec, {}, "foobar").index), 0x85944171f73967e8ull & mask);
  EXPECT_EQ(ParseIndex(Spec(Encoding::kHash, 1000), {}, "a").index, 0xaf63dc4c8601ec8cull % 1000);
}

TEST_F(FieldParserTest, Hexadecimal) {
  const CategoricalSpec spec = Spec(Encoding::kHexadecimal, 1000);
  EXPECT_EQ(ParseIndex(spec, {}, "ff").index, 255);
  EXPECT_EQ(ParseIndex(spec, {}, "FF").index, 255);
  EXPECT_EQ(ParseIndex(spec, {}, "68fd1e64").index, 0x68fd1e64 % 1000);
  EXPECT_EQ(ParseIndex(spec, {}, "ffffffffffffffff").index, 0xffffffffffffffffull % 1000);
  for (const char* text : {"0x1f", "g", "-1", "11112222333344445"}) {
    EXPECT_STREQ(ParseIndex(spec, {}, text).expected, "1 to 16 hexadecimal digits") << text;
  }
}

TEST_F(FieldParserTest, Integer) {
  const CategoricalSpec spec = Spec(Encoding::kInteger, 10);
  EXPECT_EQ(ParseIndex(spec, {}, "0").index, 0);
  EXPECT_EQ(ParseIndex(spec, {}, "9").index, 9);
  for (const char* text : {"10", "-1", "1.0", "99999999999999999999", "x"}) {
    EXPECT_NE(ParseIndex(spec, {}, text).expected, nullptr) << text;
  }
}

TEST_F(FieldParserTest, VocabularyFile) {
  EQAT_ASSERT_OK_AND_ASSIGN(const Vocabulary vocabulary, ReadVocabulary(Write("v.txt", "red\r\ngreen\n\nb l u e\n")));
  CategoricalSpec spec = Spec(Encoding::kVocabulary, 0);
  EXPECT_EQ(IndexBound(spec, vocabulary), 4);
  EXPECT_EQ(ParseIndex(spec, vocabulary, "red").index, 0);
  EXPECT_EQ(ParseIndex(spec, vocabulary, "b l u e").index, 3);
  EXPECT_NE(ParseIndex(spec, vocabulary, "pink").expected, nullptr);
  spec.unknown = 4;
  EXPECT_EQ(ParseIndex(spec, vocabulary, "pink").index, 4);
  EXPECT_EQ(IndexBound(spec, vocabulary), 5);
  spec.missing = 7;
  EXPECT_EQ(IndexBound(spec, vocabulary), 8);
}

TEST_F(FieldParserTest, VocabularyErrors) {
  EXPECT_THAT(
      ReadVocabulary(Write("twice.txt", "a\nb\na\n")),
      StatusIs(absl::StatusCode::kInvalidArgument,
               HasSubstr("twice.txt:3: value stands here twice (got 'a', expected other values than in line 1")));
  EXPECT_THAT(ReadVocabulary(Write("empty.txt", "")),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("empty.txt: is empty")));
  EXPECT_THAT(ReadVocabulary(PathOf("none.txt")), StatusIs(absl::StatusCode::kNotFound, HasSubstr("none.txt")));
}

TEST_F(FieldParserTest, Excerpt) {
  EXPECT_EQ(FieldExcerpt("ab"), "'ab'");
  EXPECT_EQ(FieldExcerpt("a\tb"), "'a\\tb'");
  EXPECT_EQ(FieldExcerpt(std::string(50, 'x')), "'" + std::string(40, 'x') + "...'");
}

}  // namespace
}  // namespace eqat::train
