#include "train/dataset.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>
#include <string>

#include "absl/strings/str_cat.h"
#include "core/parallel_for.h"
#include "gmock/gmock.h"
#include "tests/train/train_fixture.h"

namespace eqat::train {
namespace {

using ::eqat::testing::StatusIs;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class DatasetTest : public ::eqat::testing::TrainTest {
 protected:
  absl::StatusOr<Dataset> ReadSpec(const std::string& json) {
    absl::StatusOr<DataSpec> spec = ReadDataSpec(Write("spec.json", json));
    if (!spec.ok()) return spec.status();
    return Dataset::Read(*spec);
  }
};

constexpr char kMixedSpec[] = R"({
  "version": 1, "files": ["a.tsv", "b.tsv.gz"], "label": {"column": "y"},
  "dense": [{"input": "numbers", "columns": ["n1", "n0"], "missing": 3, "transform": "log1p"}],
  "categorical": [
    {"input": "color", "column": "color", "encoding": "vocabulary", "vocabulary": "colors.txt", "unknown": 9},
    {"input": "site", "column": "site", "encoding": "hexadecimal", "buckets": 100, "missing": 5},
    {"input": "tags", "column": "tags", "encoding": "integer", "buckets": 50, "multi_valued": true, "separator": ";",
     "weights_column": "w"}]})";

TEST_F(DatasetTest, ReadsColumns) {
  Write("colors.txt", "red\ngreen\n");
  Write("a.tsv",
        "y\tn0\tn1\tcolor\tsite\ttags\tw\tunused\n"
        "1\t0\t1\tgreen\tff\t3;1;3\t0.5;1;-2\tx\n"
        "0\t\t2.5\tpink\t\t\t\t\r\n");
  // Columns may stand in another order in each file.
  WriteGzip("b.tsv.gz", "tags\tw\tn1\tn0\tcolor\tsite\ty\n49\t7\t-0.5\t4\tred\t0a\t0.25\n");
  EQAT_ASSERT_OK_AND_ASSIGN(const Dataset data, ReadSpec(kMixedSpec));
  EXPECT_EQ(data.rows(), 3);
  EXPECT_EQ(data.skipped_lines(), 0);
  EXPECT_THAT(data.inputs(), ElementsAre("numbers", "color", "site", "tags"));
  EXPECT_THAT(data.labels(), ElementsAre(1.0f, 0.0f, 0.25f));
  EXPECT_TRUE(data.IsDense("numbers"));
  EXPECT_FALSE(data.IsDense("tags"));
  EXPECT_TRUE(data.IsMultiValued("tags"));
  EXPECT_FALSE(data.IsMultiValued("site"));
  EXPECT_EQ(data.IndexBound("color"), 10);
  EXPECT_EQ(data.IndexBound("site"), 100);
  EXPECT_EQ(data.IndexBound("tags"), 50);
  EXPECT_EQ(data.IndexBound("numbers"), 0);

  const Batch batch = data.MakeBatch(std::vector<int64_t>{2, 0, 1, 0});
  EXPECT_THAT(batch.labels, ElementsAre(0.25f, 1.0f, 0.0f, 1.0f));
  const auto log1p = [](double x) { return static_cast<float>(std::log1p(x)); };
  EXPECT_THAT(batch.dense.at("numbers").shape, ElementsAre(4, 2));
  EXPECT_THAT(batch.dense.at("numbers").values,
              ElementsAre(log1p(-0.5), log1p(4), log1p(1), log1p(0), log1p(2.5), log1p(3), log1p(1), log1p(0)));
  const Batch::Jagged& color = batch.jagged.at("color");
  EXPECT_THAT(color.indices, ElementsAre(0, 1, 9, 1));
  EXPECT_THAT(color.offsets, ElementsAre(0, 1, 2, 3, 4));
  EXPECT_FALSE(color.multi_valued);
  EXPECT_FALSE(color.has_weights);
  EXPECT_THAT(batch.jagged.at("site").indices, ElementsAre(10, 55, 5, 55));
  const Batch::Jagged& tags = batch.jagged.at("tags");
  EXPECT_THAT(tags.indices, ElementsAre(49, 3, 1, 3, 3, 1, 3));
  EXPECT_THAT(tags.offsets, ElementsAre(0, 1, 4, 4, 7));
  EXPECT_THAT(tags.weights, ElementsAre(7.0f, 0.5f, 1.0f, -2.0f, 0.5f, 1.0f, -2.0f));
  EXPECT_TRUE(tags.multi_valued);
  EXPECT_TRUE(tags.has_weights);
}

constexpr char kPlainSpec[] = R"({
  "version": 1, "files": ["a.tsv"], "header": false, "label": {"column": 0},
  "dense": [{"input": "n", "columns": [1]}],
  "categorical": [
    {"input": "c", "column": 2, "encoding": "integer", "buckets": 10, "weights_column": 3},
    {"input": "t", "column": 4, "encoding": "integer", "buckets": 10, "multi_valued": true, "weights_column": 5}]})";

TEST_F(DatasetTest, WithoutHeader) {
  Write("a.tsv", "1\t2\t3\t0.5\t4,5\t6,7\n");
  EQAT_ASSERT_OK_AND_ASSIGN(const Dataset data, ReadSpec(kPlainSpec));
  const Batch batch = data.MakeBatch(std::vector<int64_t>{0});
  EXPECT_THAT(batch.jagged.at("c").indices, ElementsAre(3));
  EXPECT_THAT(batch.jagged.at("c").weights, ElementsAre(0.5f));
  EXPECT_THAT(batch.jagged.at("t").weights, ElementsAre(6.0f, 7.0f));
}

constexpr std::pair<const char*, const char*> kBadLines[] = {
    {"1\t2\t3\t1\t4", "wrong number of columns (got 5, expected 6)"},
    {"1\t2\t3\t1\t4\t1\t9", "wrong number of columns (got 7, expected 6)"},
    {"", "wrong number of columns (got 1, expected 6)"},
    {"x\t2\t3\t1\t4\t1", "column 0 is invalid (got 'x', expected a finite number)"},
    {"nan\t2\t3\t1\t4\t1", "column 0 is invalid"},
    {"1\t\t3\t1\t4\t1", "column 1 is invalid (got '', expected a finite number)"},
    {"1\tinf\t3\t1\t4\t1", "column 1 is invalid (got 'inf'"},
    {"1\t2\t10\t1\t4\t1", "column 2 is invalid (got '10', expected a whole number from 0 to below \"buckets\")"},
    {"1\t2\t\t1\t4\t1", "column 2 is invalid (got '', expected a value that is not empty)"},
    {"1\t2\t3\t\t4\t1", "column 3 has the wrong number of weights (got 0, expected 1, as column 2)"},
    {"1\t2\t3\t1\t4,,5\t1,1,1", "column 4 is invalid (got '', expected a value that is not empty)"},
    {"1\t2\t3\t1\t4,5\t1", "column 5 has the wrong number of weights (got 1, expected 2, as column 4)"},
    {"1\t2\t3\t1\t\t1", "column 5 has the wrong number of weights (got 1, expected 0, as column 4)"},
    {"1\t2\t3\t1\t4,5\t1,nan", "column 5 is invalid (got 'nan', expected finite numbers)"},
};

TEST_F(DatasetTest, BadLinesAreErrors) {
  for (const auto& [line, message] : kBadLines) {
    SCOPED_TRACE(line);
    Write("a.tsv", absl::StrCat("1\t2\t3\t1\t\t\n", line, "\n1\t2\t3\t1\t4\t1\n"));
    EXPECT_THAT(ReadSpec(kPlainSpec),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(absl::StrCat("a.tsv:2: ", message))));
  }
}

TEST_F(DatasetTest, BadLinesAreSkippedWithoutTrace) {
  std::string with_bad_lines, good_lines;
  int64_t number = 0;
  for (const auto& [line, message] : kBadLines) {
    const std::string good = absl::StrCat("0.5\t", number, "\t", number % 10, "\t1\t", number % 7, ",1\t2,3\n");
    absl::StrAppend(&good_lines, good);
    absl::StrAppend(&with_bad_lines, good, line, "\n");
    ++number;
  }
  std::string spec = kPlainSpec;
  spec.insert(spec.find("\"header\""), "\"bad_lines\": \"skip\", ");
  Write("a.tsv", good_lines);
  EQAT_ASSERT_OK_AND_ASSIGN(const Dataset good, ReadSpec(spec));
  Write("a.tsv", with_bad_lines);
  EQAT_ASSERT_OK_AND_ASSIGN(const Dataset data, ReadSpec(spec));
  EXPECT_EQ(data.rows(), good.rows());
  EXPECT_EQ(data.skipped_lines(), number);
  EXPECT_EQ(data.Fingerprint(), good.Fingerprint());
}

// What a row shares with the one before is not parsed again.
TEST_F(DatasetTest, RowsMayRepeatTheRowBefore) {
  constexpr char kSpec[] = R"({
    "version": 1, "files": ["a.tsv"], "header": false, "bad_lines": "skip", "label": {"column": 0},
    "categorical": [
      {"input": "word", "column": 1, "encoding": "vocabulary", "vocabulary": "words.txt", "unknown": 7},
      {"input": "site", "column": 2, "encoding": "hexadecimal", "buckets": 100, "missing": 5},
      {"input": "tags", "column": 3, "encoding": "integer", "buckets": 50, "multi_valued": true, "weights_column": 4},
      {"input": "same tags", "column": 3, "encoding": "integer", "buckets": 20, "multi_valued": true}]})";
  Write("words.txt", "a\nb\n");
  Write("a.tsv",
        "0\ta\tff\t3,4,5\t1,2,3\n"
        "1\ta\tff\t3,4,5\t1,2,3\n"
        "2\ta\t\t3,4,5\t4,5,6\n"  // a part repeats
        "3\tb\tff\t30\t7\n"       // bad in the last column, after the others were added
        "4\tb\tff\t3,4,5\t7,8\n"  // bad in its weights
        "5\tb\t\t3,4,5\t7,8,9\n"  // in part as the last good row, in part as a bad one
        "6\tx\t\t\t\n"
        "7\tx\t\t\t\n"
        "8\tb\t0\t3\t0\n"
        "9\tb\t00\t3,4\t0,1\n");  // one begins like the other
  EQAT_ASSERT_OK_AND_ASSIGN(const Dataset data, ReadSpec(kSpec));
  EXPECT_EQ(data.skipped_lines(), 2);
  EXPECT_THAT(data.labels(), ElementsAre(0, 1, 2, 5, 6, 7, 8, 9));
  std::vector<int64_t> rows(data.rows());
  std::iota(rows.begin(), rows.end(), 0);
  const Batch batch = data.MakeBatch(rows);
  EXPECT_THAT(batch.jagged.at("word").indices, ElementsAre(0, 0, 0, 1, 7, 7, 1, 1));
  EXPECT_THAT(batch.jagged.at("site").indices, ElementsAre(55, 55, 5, 5, 5, 5, 0, 0));
  for (const char* input : {"tags", "same tags"}) {
    EXPECT_THAT(batch.jagged.at(input).indices, ElementsAre(3, 4, 5, 3, 4, 5, 3, 4, 5, 3, 4, 5, 3, 3, 4));
    EXPECT_THAT(batch.jagged.at(input).offsets, ElementsAre(0, 3, 6, 9, 12, 12, 12, 13, 15));
  }
  EXPECT_THAT(batch.jagged.at("tags").weights, ElementsAre(1, 2, 3, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 0, 1));
}

// Files are read in blocks of about 256 KiB, as many at a time as keep all threads busy.
class DatasetOfManyBlocksTest : public DatasetTest {
 protected:
  static constexpr int64_t kLines = 50000;

  ~DatasetOfManyBlocksTest() override { SetNumThreads(0); }

  static std::string Line(int64_t i) {
    return absl::StrCat(i % 2, "\t0.", i, "\t", i % 10, "\t", i,
                        i % 3 == 0 ? "\t\t" : absl::StrCat("\t", i % 7, ",1\t2,", i), "\n");
  }
};

TEST_F(DatasetOfManyBlocksTest, RowsAreThoseOfTheFile) {
  std::string lines;
  for (int64_t i = 0; i < kLines; ++i) absl::StrAppend(&lines, Line(i));
  std::string spec = kPlainSpec;
  spec.insert(spec.find("]"), ", \"b.tsv.gz\"");
  Write("a.tsv", lines);
  WriteGzip("b.tsv.gz", lines);
  std::set<uint64_t> fingerprints;
  for (const int num_threads : {1, 2, 5}) {
    SetNumThreads(num_threads);
    EQAT_ASSERT_OK_AND_ASSIGN(const Dataset data, ReadSpec(spec));
    ASSERT_EQ(data.rows(), 2 * kLines);
    const Batch batch = data.MakeBatch(data.Order(0, 0, /*shuffle=*/false));
    const Batch::Jagged& values = batch.jagged.at("t");
    for (int64_t row = 0; row < data.rows(); ++row) {
      const int64_t i = row % kLines;
      ASSERT_EQ(batch.labels[row], static_cast<float>(i % 2)) << row;
      ASSERT_EQ(batch.jagged.at("c").indices[row], i % 10) << row;
      ASSERT_EQ(batch.jagged.at("c").weights[row], static_cast<float>(i)) << row;
      const int64_t first = values.offsets[row];
      ASSERT_EQ(values.offsets[row + 1] - first, i % 3 == 0 ? 0 : 2) << row;
      if (i % 3 == 0) continue;
      ASSERT_EQ(values.indices[first], i % 7) << row;
      ASSERT_EQ(values.weights[first + 1], static_cast<float>(i)) << row;
    }
    fingerprints.insert(data.Fingerprint());
  }
  EXPECT_EQ(fingerprints.size(), 1u);
}

TEST_F(DatasetOfManyBlocksTest, TheFirstBadLineIsReportedAndAllAreSkipped) {
  const std::set<int64_t> bad = {30000, 30001, 45000, kLines - 1};
  std::string lines;
  for (int64_t i = 0; i < kLines; ++i) absl::StrAppend(&lines, bad.count(i) != 0 ? "1\t2\n" : Line(i));
  Write("a.tsv", lines);
  std::string skipping = kPlainSpec;
  skipping.insert(skipping.find("\"header\""), "\"bad_lines\": \"skip\", ");
  for (const int num_threads : {1, 2, 5}) {
    SetNumThreads(num_threads);
    EXPECT_THAT(ReadSpec(kPlainSpec), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("a.tsv:30001: wrong")));
    EQAT_ASSERT_OK_AND_ASSIGN(const Dataset data, ReadSpec(skipping));
    EXPECT_EQ(data.skipped_lines(), 4);
    EXPECT_EQ(data.rows(), kLines - 4);
  }
}

// What cannot be read is reported after the bad lines before it, and not instead of them.
TEST_F(DatasetOfManyBlocksTest, ErrorsOfTheFileComeAfterThoseOfItsLines) {
  std::string lines;
  for (int64_t i = 0; i < kLines; ++i) absl::StrAppend(&lines, Line(i));
  const std::string path = WriteGzip("a.tsv.gz", lines);
  std::string spec = kPlainSpec;
  spec.insert(spec.find(".tsv") + 4, ".gz");
  std::filesystem::resize_file(path, std::filesystem::file_size(path) - 100);
  EXPECT_THAT(ReadSpec(spec), StatusIs(absl::StatusCode::kDataLoss, HasSubstr("a.tsv.gz")));
  lines.insert(0, "1\t2\t3\t1\t4\t1\n1\t2\n");
  WriteGzip("a.tsv.gz", lines);
  std::filesystem::resize_file(path, std::filesystem::file_size(path) - 100);
  EXPECT_THAT(ReadSpec(spec), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("a.tsv.gz:2: wrong number")));
}

TEST_F(DatasetTest, ErrorsOfWholeFiles) {
  const std::string spec = R"({"version": 1, "files": ["a.tsv"], "label": {"column": "y"},
                              "dense": [{"input": "n", "columns": ["z"]}]})";
  EXPECT_THAT(ReadSpec(spec), StatusIs(absl::StatusCode::kNotFound, HasSubstr("a.tsv")));
  Write("a.tsv", "");
  EXPECT_THAT(ReadSpec(spec), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("a.tsv:1: no header line")));
  Write("a.tsv", "x\ty\n1\t2\n");
  EXPECT_THAT(ReadSpec(spec), StatusIs(absl::StatusCode::kInvalidArgument,
                                       AllOf(HasSubstr("no such column (got 'z'"), HasSubstr("one of 'x', 'y'"))));
  Write("a.tsv", "y\tz\tz\n1\t2\t3\n");
  EXPECT_THAT(ReadSpec(spec), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("in the header twice (got 'z')")));
  Write("a.tsv", "1\t2\t3\n");
  EXPECT_THAT(ReadSpec(kPlainSpec), StatusIs(absl::StatusCode::kInvalidArgument,
                                             AllOf(HasSubstr("no such column (got position"), HasSubstr("below 3"))));
}

TEST_F(DatasetTest, ProgressEndsAtTheTotal) {
  Write("sample.tsv", testing::SampleLines(20000, 1));
  EQAT_ASSERT_OK_AND_ASSIGN(const DataSpec spec, ReadDataSpec(Write("spec.json", testing::kSampleSpec)));
  int64_t last = -1;
  int64_t calls = 0;
  SetNumThreads(1);  // more read more at a time
  EQAT_ASSERT_OK_AND_ASSIGN(const Dataset data, Dataset::Read(spec, [&](int64_t done, int64_t total) {
                              EXPECT_GE(done, last);
                              EXPECT_LE(done, total);
                              last = done;
                              ++calls;
                            }));
  SetNumThreads(0);
  EXPECT_EQ(data.rows(), 20000);
  EXPECT_EQ(last, static_cast<int64_t>(std::filesystem::file_size(PathOf("sample.tsv"))));
  EXPECT_GE(calls, 3);
}

TEST_F(DatasetTest, FingerprintSeesEveryValue) {
  std::set<uint64_t> fingerprints;
  const char* const variants[] = {"1\t2\t3\t1\t4\t1\n",
                                  "0\t2\t3\t1\t4\t1\n",
                                  "1\t2.5\t3\t1\t4\t1\n",
                                  "1\t2\t4\t1\t4\t1\n",
                                  "1\t2\t3\t2\t4\t1\n",
                                  "1\t2\t3\t1\t5\t1\n",
                                  "1\t2\t3\t1\t4\t2\n",
                                  "1\t2\t3\t1\t4,4\t1,1\n",
                                  "1\t2\t3\t1\t4\t1\n1\t2\t3\t1\t4\t1\n",
                                  "1\t2\t3\t1\t4,5\t1,2\n1\t2\t3\t1\t\t\n",
                                  "1\t2\t3\t1\t4\t1\n1\t2\t3\t1\t5\t2\n"};
  for (const char* lines : variants) {
    Write("a.tsv", lines);
    EQAT_ASSERT_OK_AND_ASSIGN(const Dataset data, ReadSpec(kPlainSpec));
    fingerprints.insert(data.Fingerprint());
  }
  EXPECT_EQ(fingerprints.size(), std::size(variants));
}

TEST_F(DatasetTest, OrderIsAPermutationOfSeedAndEpoch) {
  Write("sample.tsv", testing::SampleLines(200, 1));
  EQAT_ASSERT_OK_AND_ASSIGN(const Dataset data, ReadSpec(testing::kSampleSpec));
  std::vector<int64_t> sorted(200);
  std::iota(sorted.begin(), sorted.end(), 0);
  EXPECT_EQ(data.Order(1, 0, false), sorted);
  std::set<std::vector<int64_t>> orders;
  for (uint64_t seed = 0; seed < 4; ++seed) {
    for (int64_t epoch = 0; epoch < 4; ++epoch) {
      std::vector<int64_t> order = data.Order(seed, epoch, true);
      EXPECT_EQ(order, data.Order(seed, epoch, true));
      orders.insert(order);
      std::sort(order.begin(), order.end());
      EXPECT_EQ(order, sorted);
    }
  }
  EXPECT_EQ(orders.size(), 16u);
}

// Each of the 6 orders of 3 rows is as likely as any other: 6000 draws, standard deviation sqrt(6000/6*5/6) = 29.
TEST_F(DatasetTest, OrderIsUniform) {
  Write("sample.tsv", testing::SampleLines(3, 1));
  EQAT_ASSERT_OK_AND_ASSIGN(const Dataset data, ReadSpec(testing::kSampleSpec));
  std::map<std::vector<int64_t>, int> counts;
  for (int64_t epoch = 0; epoch < 6000; ++epoch) ++counts[data.Order(5, epoch, true)];
  EXPECT_EQ(counts.size(), 6u);
  for (const auto& [order, count] : counts) EXPECT_NEAR(count, 1000, 5 * 29);
}

TEST_F(DatasetTest, BatchesDoNotDependOnThreads) {
  Write("sample.tsv", testing::SampleLines(300, 1));
  EQAT_ASSERT_OK_AND_ASSIGN(const Dataset data, ReadSpec(testing::kSampleSpec));
  const std::vector<int64_t> order = data.Order(3, 0, true);
  SetNumThreads(1);
  const Batch one = data.MakeBatch(order);
  SetNumThreads(4);
  const Batch four = data.MakeBatch(order);
  SetNumThreads(0);
  EXPECT_EQ(one.labels, four.labels);
  EXPECT_EQ(one.dense.at("numbers").values, four.dense.at("numbers").values);
  for (const auto& [input, jagged] : one.jagged) {
    EXPECT_EQ(jagged.indices, four.jagged.at(input).indices);
    EXPECT_EQ(jagged.offsets, four.jagged.at(input).offsets);
  }
}

}  // namespace
}  // namespace eqat::train
