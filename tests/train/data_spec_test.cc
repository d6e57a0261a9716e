#include "train/data_spec.h"

#include <string>

#include "gmock/gmock.h"
#include "tests/train/train_fixture.h"

namespace eqat::train {
namespace {

using ::eqat::testing::StatusIs;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using DataSpecTest = ::eqat::testing::TrainTest;

TEST_F(DataSpecTest, ReadsEveryField) {
  const std::string path = Write("spec.json", R"({
    "version": 1, "files": ["a.tsv", "/elsewhere/b.tsv.gz"], "header": true, "bad_lines": "skip",
    "label": {"column": "y"},
    "dense": [{"input": "numbers", "columns": ["n0", 3], "missing": 0.5, "transform": "log1p"}],
    "categorical": [
      {"input": "v", "column": "item", "encoding": "vocabulary", "vocabulary": "items.txt", "unknown": 0},
      {"input": "w", "column": "item", "encoding": "vocabulary", "vocabulary": "items.txt", "unknown": null},
      {"input": "h", "column": 4, "encoding": "hash", "buckets": 16, "missing": 3},
      {"input": "x", "column": "c", "encoding": "hexadecimal", "buckets": 17},
      {"input": "t", "column": "tags", "encoding": "integer", "buckets": 18, "multi_valued": true, "separator": "|",
       "weights_column": "tag_weights"}]})");
  EQAT_ASSERT_OK_AND_ASSIGN(const DataSpec spec, ReadDataSpec(path));
  EXPECT_EQ(spec.path, path);
  EXPECT_THAT(spec.files, ElementsAre(PathOf("a.tsv"), "/elsewhere/b.tsv.gz"));
  EXPECT_TRUE(spec.header);
  EXPECT_EQ(spec.bad_lines, BadLines::kSkip);
  EXPECT_EQ(spec.label, ColumnRef("y"));
  ASSERT_EQ(spec.dense.size(), 1u);
  EXPECT_THAT(spec.dense[0].columns, ElementsAre(ColumnRef("n0"), ColumnRef(int64_t{3})));
  EXPECT_EQ(spec.dense[0].missing, 0.5f);
  EXPECT_EQ(spec.dense[0].transform, Transform::kLog1p);
  ASSERT_EQ(spec.categorical.size(), 5u);
  EXPECT_EQ(spec.categorical[0].vocabulary, PathOf("items.txt"));
  EXPECT_EQ(spec.categorical[0].unknown, 0);
  EXPECT_EQ(spec.categorical[1].unknown, std::nullopt);
  EXPECT_EQ(spec.categorical[2].encoding, Encoding::kHash);
  EXPECT_EQ(spec.categorical[2].column, ColumnRef(int64_t{4}));
  EXPECT_EQ(spec.categorical[2].missing, 3);
  EXPECT_EQ(spec.categorical[3].buckets, 17);
  EXPECT_TRUE(spec.categorical[4].multi_valued);
  EXPECT_EQ(spec.categorical[4].separator, '|');
  EXPECT_EQ(spec.categorical[4].weights_column, ColumnRef("tag_weights"));
}

TEST_F(DataSpecTest, Defaults) {
  EQAT_ASSERT_OK_AND_ASSIGN(const DataSpec spec, ReadDataSpec(Write("spec.json", testing::kSampleSpec)));
  EXPECT_TRUE(spec.header);
  EXPECT_EQ(spec.bad_lines, BadLines::kError);
  EXPECT_EQ(spec.dense[0].missing, std::nullopt);
  EXPECT_EQ(spec.dense[0].transform, Transform::kNone);
  EXPECT_FALSE(spec.categorical[0].multi_valued);
  EXPECT_EQ(spec.categorical[1].separator, ',');
}

TEST_F(DataSpecTest, OneMessagePerError) {
  const auto spec = [](const std::string& dense, const std::string& categorical,
                       const std::string& head = R"("files": ["a"], "label": {"column": "y"})") {
    return "{\"version\": 1, " + head + ", \"dense\": [" + dense + "], \"categorical\": [" + categorical + "]}";
  };
  const std::string dense = R"({"input": "n", "columns": ["a"]})";
  const std::string hash = R"("input": "h", "column": "c", "encoding": "hash", "buckets": 5)";
  const std::pair<std::string, const char*> cases[] = {
      {"[]", "spec.json"},
      {R"({"version": 2, "files": ["a"], "label": {"column": "y"}, "dense": []})", "/version"},
      {spec(dense, "", R"("files": [], "label": {"column": "y"})"), "/files: is empty"},
      {spec(dense, "", R"("files": [""], "label": {"column": "y"})"), "/files/0: is no path"},
      {spec(dense, "", R"("files": ["a"], "label": {"column": true})"), "/label/column: is no column (got true"},
      {spec(dense, "", R"("files": ["a"], "label": {"column": "y", "x": 1})"), "/label"},
      {spec(dense, "", R"("files": ["a"], "header": false, "label": {"column": "y"})"), "no header line"},
      {spec(dense, "", R"("files": ["a"], "label": {"column": -1})"), "/label/column: is no column (got -1"},
      {spec("", ""), "no inputs"},
      {spec(R"({"input": "", "columns": ["a"]})", ""), "/dense/0/input: is empty"},
      {spec(R"({"input": "n", "columns": []})", ""), "/dense/0/columns: is empty"},
      {spec(R"({"input": "n", "columns": [1.5]})", ""), "/dense/0/columns/0: is no column (got 1.5"},
      {spec(R"({"input": "n", "columns": [1], "missing": 1e39})", ""), "/dense/0/missing"},
      {spec(R"({"input": "n", "columns": [1], "missing": -1, "transform": "log1p"})", ""), "has no log1p"},
      {spec(R"({"input": "n", "columns": [1], "transform": "log"})", ""), "/dense/0/transform"},
      {spec(dense + "," + dense, ""), "input is given twice (got n)"},
      {spec(dense, R"({"input": "n", "column": "c", "encoding": "hash", "buckets": 5})"),
       "input is given twice (got n)"},
      {spec("", R"({"input": "h", "column": "c", "encoding": "md5", "buckets": 5})"), "/categorical/0/encoding"},
      {spec("", R"({"input": "h", "column": "c", "encoding": "hash", "buckets": 0})"), "/categorical/0/buckets"},
      {spec("", R"({"input": "h", "column": "c", "encoding": "hash"})"), "buckets"},
      {spec("", "{" + hash + R"(, "vocabulary": "v"})"), "vocabulary"},
      {spec("", R"({"input": "h", "column": "c", "encoding": "vocabulary", "vocabulary": ""})"),
       "vocabulary: is empty"},
      {spec("", R"({"input": "h", "column": "c", "encoding": "vocabulary", "vocabulary": "v", "unknown": -1})"),
       "/categorical/0/unknown"},
      {spec("", "{" + hash + R"(, "multi_valued": true, "missing": 0})"), "missing"},
      {spec("", "{" + hash + R"(, "separator": ","})"), "separator"},
      {spec("", "{" + hash + R"(, "multi_valued": true, "separator": ",,"})"), "separator: is no separator"},
      {spec("", "{" + hash + R"(, "multi_valued": true, "separator": "\t"})"), "separator: is no separator"},
      {spec("", "{" + hash + R"(, "weights_column": null})"), "weights_column: is no column"},
  };
  for (const auto& [json, message] : cases) {
    SCOPED_TRACE(json);
    EXPECT_THAT(ReadDataSpec(Write("spec.json", json)),
                StatusIs(absl::StatusCode::kInvalidArgument, AllOf(HasSubstr("spec.json"), HasSubstr(message))));
  }
  EXPECT_THAT(ReadDataSpec(PathOf("none.json")), StatusIs(absl::StatusCode::kNotFound, HasSubstr("none.json")));
}

}  // namespace
}  // namespace eqat::train
