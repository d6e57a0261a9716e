// FeedOf, BagInputs and CheckInputs.
#include <string>

#include "gmock/gmock.h"
#include "tests/train/train_fixture.h"
#include "train/dataset.h"

namespace eqat::train {
namespace {

using ::eqat::testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;

class FeedTest : public ::eqat::testing::TrainTest {
 protected:
  absl::StatusOr<Dataset> Data(const std::string& replace = "", const std::string& with = "") {
    std::string json = testing::kSampleSpec;
    if (!replace.empty()) json.replace(json.find(replace), replace.size(), with);
    Write("sample.tsv", testing::SampleLines(30, 1));
    absl::StatusOr<DataSpec> spec = ReadDataSpec(Write("spec.json", json));
    if (!spec.ok()) return spec.status();
    return Dataset::Read(*spec);
  }
};

TEST_F(FeedTest, OffsetsForBagsAlone) {
  for (const bool include_last_offset : {false, true}) {
    SCOPED_TRACE(include_last_offset);
    const model::Model model = testing::MakeModel({.include_last_offset = include_last_offset});
    EQAT_ASSERT_OK_AND_ASSIGN(const Dataset data, Data());
    EQAT_EXPECT_OK(CheckInputs(model, data));
    const std::vector<BagInput> bags = BagInputs(model);
    ASSERT_EQ(bags.size(), 1u);
    EXPECT_EQ(bags[0].name, "tag_ids");
    const Batch batch = data.MakeBatch(std::vector<int64_t>{0, 1, 2});
    const model::Feed feed = FeedOf(batch, bags);
    EXPECT_FALSE(feed.lookups.at("user_ids").offsets.has_value());
    EXPECT_EQ(feed.lookups.at("user_ids").indices.size(), 3);
    EXPECT_EQ(feed.lookups.at("tag_ids").offsets->size(), include_last_offset ? 4 : 3);
    EXPECT_EQ(feed.dense.at("numbers").size(), 6);
    EQAT_ASSERT_OK_AND_ASSIGN(const Tensor output, model.Evaluate(feed));
    EXPECT_EQ(output.shape, (std::vector<int64_t>{3, 1}));
  }
}

TEST_F(FeedTest, SingleValuedColumnFeedsABag) {
  const model::Model model = testing::MakeModel({});
  EQAT_ASSERT_OK_AND_ASSIGN(const Dataset data,
                            Data(R"("column": "tags", "encoding": "integer", "buckets": 50, "multi_valued": true)",
                                 R"("column": "user", "encoding": "integer", "buckets": 50)"));
  EQAT_EXPECT_OK(CheckInputs(model, data));
  const Batch batch = data.MakeBatch(std::vector<int64_t>{4, 5});
  EQAT_EXPECT_OK(model.Evaluate(FeedOf(batch, BagInputs(model))));
}

TEST_F(FeedTest, WhatDoesNotFit) {
  struct Case {
    const char* replace;
    const char* with;
    const char* message;
  };
  const Case cases[] = {
      {"tag_ids", "other", "input 'tag_ids': the model needs it and the data does not feed it"},
      {R"("dense": [)", R"("dense": [{"input": "more", "columns": ["n0"]}, )",
       "input 'more': the data feeds it and the model has no such input (expected one of user_ids, tag_ids, numbers)"},
      {R"("buckets": 40)", R"("buckets": 41)",
       "input 'user_ids': has indices that table 'user' cannot hold (got indices below 41, expected at most the 40"},
      {R"("buckets": 40)", R"("buckets": 40, "multi_valued": true)", "which takes one index a row (got nn.Embedding"},
      {R"("dense": [{"input": "numbers", "columns": ["n0", "n1"]}],
  "categorical": [
    {"input": "user_ids", "column": "user", "encoding": "integer", "buckets": 40},)",
       R"("dense": [{"input": "user_ids", "columns": ["n0", "n1"]}],
  "categorical": [
    {"input": "numbers", "column": "user", "encoding": "integer", "buckets": 40},)",
       "input 'user_ids': feeds table 'user' (got a dense column, expected a categorical one)"},
      {R"("dense": [{"input": "numbers", "columns": ["n0", "n1"]}],
  "categorical": [)",
       R"("categorical": [{"input": "numbers", "column": "user", "encoding": "integer", "buckets": 40},)",
       "input 'numbers': feeds 'x', which takes numbers"},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.message);
    EQAT_ASSERT_OK_AND_ASSIGN(const Dataset data, Data(c.replace, c.with));
    EXPECT_THAT(CheckInputs(testing::MakeModel({}), data),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(c.message)));
  }
}

TEST_F(FeedTest, ModelWithoutGraph) {
  model::Model model;
  nn::EmbeddingOptions options;
  options.num_embeddings = 40;
  options.embedding_dim = 2;
  EQAT_ASSERT_OK(model.AddModule("t", model::Module(*nn::Embedding::Create(options, 1, "t"))));
  EQAT_ASSERT_OK_AND_ASSIGN(const Dataset data, Data());
  EXPECT_THAT(CheckInputs(model, data), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("has no graph")));
}

TEST_F(FeedTest, OneInputInTwoForms) {
  model::Model model = testing::MakeModel({});
  model::Graph graph = *model.graph();
  graph.nodes[4].args = {"user_ids"};  // the bag now looks up what the Embedding does
  graph.nodes.erase(graph.nodes.begin() + 1);
  EQAT_ASSERT_OK(model.SetGraph(graph));
  EQAT_ASSERT_OK_AND_ASSIGN(const Dataset data, Data(R"(,
    {"input": "tag_ids", "column": "tags", "encoding": "integer", "buckets": 50, "multi_valued": true})"));
  EXPECT_THAT(CheckInputs(model, data),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("feeds tables that take different forms"), HasSubstr("'user' and 'tag'"))));
}

}  // namespace
}  // namespace eqat::train
