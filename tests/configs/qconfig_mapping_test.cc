#include "quant/types/qconfig_mapping.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"

namespace eqat::quant {
namespace {

using absl::StatusCode;
using eqat::testing::StatusIs;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

QConfig Preset(const std::string& suffix) { return *QConfigPreset("default_embedding_qat_qconfig" + suffix); }
const QConfig& Bits8() {
  static const auto& qconfig = *new QConfig(Preset(""));
  return qconfig;
}
const QConfig& Bits4() {
  static const auto& qconfig = *new QConfig(Preset("_4bit"));
  return qconfig;
}
const QConfig& Bits2() {
  static const auto& qconfig = *new QConfig(Preset("_2bit"));
  return qconfig;
}

TEST(QConfigMapping, WithoutRulesNothingIsQuantized) {
  const QConfigMapping::Resolution resolution = QConfigMapping().Resolve("item", "nn.Embedding");
  EXPECT_EQ(resolution.qconfig, std::nullopt);
  EXPECT_EQ(resolution.rule, "no rule");
}

TEST(QConfigMapping, ResolvesByNameThenRegexThenTypeThenGlobal) {
  QConfigMapping mapping;
  mapping.SetGlobal(Bits8());
  EXPECT_EQ(mapping.Resolve("item", "nn.Embedding").rule, "global");
  EXPECT_EQ(mapping.Resolve("item", "nn.Embedding").qconfig, Bits8());
  mapping.SetObjectType("nn.Embedding", Bits4());
  EXPECT_EQ(mapping.Resolve("item", "nn.Embedding").rule, "object_type nn.Embedding");
  EXPECT_EQ(mapping.Resolve("item", "nn.Embedding").qconfig, Bits4());
  EXPECT_EQ(mapping.Resolve("item", "nn.EmbeddingBag").rule, "global");
  EQAT_ASSERT_OK(mapping.SetModuleNameRegex("it", Bits2()));
  EXPECT_EQ(mapping.Resolve("item", "nn.Embedding").rule, "module_name_regex it");
  EXPECT_EQ(mapping.Resolve("item", "nn.Embedding").qconfig, Bits2());
  EXPECT_EQ(mapping.Resolve("user", "nn.Embedding").rule, "object_type nn.Embedding");
  mapping.SetModuleName("item", Bits8());
  EXPECT_EQ(mapping.Resolve("item", "nn.Embedding").rule, "module_name item");
  EXPECT_EQ(mapping.Resolve("item", "nn.Embedding").qconfig, Bits8());
}

TEST(QConfigMapping, NullStopsTheSearchAtItsLevel) {
  QConfigMapping mapping;
  mapping.SetGlobal(Bits8()).SetObjectType("nn.Embedding", std::nullopt).SetModuleName("user", std::nullopt);
  EQAT_ASSERT_OK(mapping.SetModuleNameRegex("x", std::nullopt));
  for (const auto& [name, type, rule] : {std::tuple("item", "nn.Embedding", "object_type nn.Embedding"),
                                         std::tuple("user", "nn.EmbeddingBag", "module_name user"),
                                         std::tuple("x1", "nn.EmbeddingBag", "module_name_regex x")}) {
    EXPECT_EQ(mapping.Resolve(name, type).qconfig, std::nullopt) << name;
    EXPECT_EQ(mapping.Resolve(name, type).rule, rule);
  }
  EXPECT_EQ(QConfigMapping().SetGlobal(std::nullopt).Resolve("a", "b").rule, "global");
}

TEST(QConfigMapping, AModuleNameHoldsForItsChildrenUnlessALongerOneDoes) {
  QConfigMapping mapping;
  mapping.SetModuleName("tower.item", Bits4()).SetModuleName("tower", Bits8()).SetModuleName("tower.item.0.x", Bits2());
  EXPECT_EQ(mapping.Resolve("tower", "nn.Embedding").rule, "module_name tower");
  EXPECT_EQ(mapping.Resolve("tower.user", "nn.Embedding").rule, "module_name tower");
  EXPECT_EQ(mapping.Resolve("tower.item", "nn.Embedding").rule, "module_name tower.item");
  EXPECT_EQ(mapping.Resolve("tower.item.0", "nn.Embedding").rule, "module_name tower.item");
  EXPECT_EQ(mapping.Resolve("tower.item.0.x.y", "nn.Embedding").rule, "module_name tower.item.0.x");
  EXPECT_EQ(mapping.Resolve("tower.items", "nn.Embedding").rule, "module_name tower");
  EXPECT_EQ(mapping.Resolve("tower2", "nn.Embedding").rule, "no rule");
  EXPECT_EQ(mapping.Resolve("towe", "nn.Embedding").rule, "no rule");
}

TEST(QConfigMapping, RegexMatchesFromTheStartAndTheFirstOneWins) {
  QConfigMapping mapping;
  EQAT_ASSERT_OK(mapping.SetModuleNameRegex("user_\\d", Bits4()));
  EQAT_ASSERT_OK(mapping.SetModuleNameRegex("user", Bits8()));
  EQAT_ASSERT_OK(mapping.SetModuleNameRegex("^whole$", Bits8()));
  EXPECT_EQ(mapping.Resolve("user_7", "").rule, "module_name_regex user_\\d");
  EXPECT_EQ(mapping.Resolve("user_7_rest", "").rule, "module_name_regex user_\\d");
  EXPECT_EQ(mapping.Resolve("user_x", "").rule, "module_name_regex user");
  EXPECT_EQ(mapping.Resolve("the_user_7", "").rule, "no rule");
  EXPECT_EQ(mapping.Resolve("whole", "").rule, "module_name_regex ^whole$");
  EXPECT_EQ(mapping.Resolve("wholesome", "").rule, "no rule");
  EXPECT_EQ(mapping.Resolve("", "").rule, "no rule");
}

TEST(QConfigMapping, SettingAgainReplacesTheValueAndKeepsThePlace) {
  QConfigMapping mapping;
  EQAT_ASSERT_OK(mapping.SetModuleNameRegex("a", Bits4()));
  EQAT_ASSERT_OK(mapping.SetModuleNameRegex("ab", Bits8()));
  EQAT_ASSERT_OK(mapping.SetModuleNameRegex("a", Bits2()));
  ASSERT_EQ(mapping.module_name_regex().size(), 2);
  EXPECT_EQ(mapping.module_name_regex()[0].first, "a");
  EXPECT_EQ(mapping.Resolve("ab", "").qconfig, Bits2());
  mapping.SetModuleName("x", Bits4()).SetModuleName("y", Bits4()).SetModuleName("x", std::nullopt);
  ASSERT_EQ(mapping.module_name().size(), 2);
  EXPECT_EQ(mapping.module_name()[0].second, std::nullopt);
  mapping.SetObjectType("t", Bits4()).SetObjectType("t", Bits8());
  ASSERT_EQ(mapping.object_type().size(), 1);
  EXPECT_EQ(mapping.object_type()[0].second, Bits8());
  mapping.SetGlobal(Bits4()).SetGlobal(Bits8());
  EXPECT_EQ(mapping.global(), QConfigMapping::Value(Bits8()));
}

TEST(QConfigMapping, RefusesWhatIsNoRegularExpression) {
  QConfigMapping mapping;
  for (const std::string pattern : {"(", "[a", "a**", "(?=a)", "\\8", "((a{100}){100}){100}", "\xff"}) {
    EXPECT_THAT(mapping.SetModuleNameRegex(pattern, Bits8()),
                StatusIs(StatusCode::kInvalidArgument,
                         AllOf(HasSubstr("is not a regular expression"), HasSubstr("expected RE2 syntax"))))
        << pattern;
  }
  EXPECT_THAT(mapping.SetModuleNameRegex("a\n(" + std::string(100'000, 'x'), Bits8()).message().size(),
              ::testing::Lt(400));
  EXPECT_THAT(mapping.module_name_regex(), IsEmpty());
}

TEST(QConfigMapping, HostilePatternsEndSoon) {
  QConfigMapping mapping;
  EQAT_ASSERT_OK(mapping.SetModuleNameRegex("(a*)*(a|aa)+(.*)(.*)b", Bits8()));
  EXPECT_EQ(mapping.Resolve(std::string(10'000, 'a'), "").rule, "no rule");
}

TEST(QConfigMapping, ListsRulesThatMatchNothing) {
  QConfigMapping mapping;
  mapping.SetGlobal(Bits8()).SetObjectType("nn.Embedding", Bits8()).SetObjectType("nn.EmbeddingBag", Bits8());
  mapping.SetModuleName("tower", Bits8()).SetModuleName("tower.item", Bits8()).SetModuleName("tow", Bits8());
  EQAT_ASSERT_OK(mapping.SetModuleNameRegex("tower\\..*", Bits8()));
  EQAT_ASSERT_OK(mapping.SetModuleNameRegex("item", Bits8()));
  // Rules that others hide are no mistake: they would match.
  EXPECT_THAT(mapping.UnmatchedRules({{"tower.item", "nn.Embedding"}}),
              ElementsAre("module_name tow", "module_name_regex item", "object_type nn.EmbeddingBag"));
  EXPECT_THAT(mapping.UnmatchedRules({}).size(), 7);
  EXPECT_THAT(QConfigMapping().SetGlobal(Bits8()).UnmatchedRules({}), IsEmpty());
}

TEST(QConfigMapping, CopiesShareNothing) {
  QConfigMapping mapping;
  mapping.SetGlobal(Bits8());
  QConfigMapping copy = mapping;
  copy.SetGlobal(Bits4());
  EXPECT_EQ(mapping.Resolve("a", "b").qconfig, Bits8());
}

}  // namespace
}  // namespace eqat::quant
