#include "model/prepare_qat.h"

#include <limits>

#include "absl/strings/str_cat.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/model/small_models.h"
#include "tests/support/status_matchers.h"

namespace eqat::model {
namespace {

using ::eqat::testing::StatusIs;
using quant::QConfigMapping;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr char kEightBit[] = "default_embedding_qat_qconfig";
constexpr char kFourBit[] = "default_embedding_qat_qconfig_4bit";

Model FloatModel() {
  Model model;
  nn::EmbeddingBagOptions item = BagOptions(6, 5, PoolMode::kSum);
  item.padding_idx = 2;
  item.max_norm = 2.0;
  nn::EmbeddingOptions user = TableOptions(4, 3);
  user.requires_grad = false;
  Add(model, "item", MakeBag(item, 1));
  Add(model, "user", MakeEmbedding(user, 2));
  Add(model, "tags", MakeBag(BagOptions(7, 4), 3));
  Add(model, "fc", MakeLinear(3, 2));
  return model;
}

QConfigMapping TwoRules() {
  QConfigMapping mapping;
  mapping.SetObjectType("nn.EmbeddingBag", Preset(kFourBit));
  mapping.SetObjectType("nn.Embedding", Preset(kEightBit));
  mapping.SetModuleName("tags", std::nullopt);
  return mapping;
}

std::vector<std::string> Types(const Model& model) {
  std::vector<std::string> types;
  for (const std::string& name : model.module_names()) types.emplace_back(TypeName(*model.Find(name)));
  return types;
}

std::string Text(const ModuleChange& c) {
  return absl::StrCat(c.module, ": ", c.type_before, " -> ", c.type_after, " [", c.rule, "] [", c.reason, "] ", c.bits,
                      " bits, ", c.bytes_before, " -> ", c.bytes_after);
}

std::vector<std::string> Texts(const ChangeReport& report) {
  std::vector<std::string> texts;
  for (const ModuleChange& change : report) texts.push_back(Text(change));
  return texts;
}

// Rows 0 .. rows - 1 of table `name`, each looked up alone.
std::vector<float> AllRows(const Model& model, const std::string& name) {
  const EmbeddingLookup& table = *AsLookup(*model.Find(name));
  std::vector<int64_t> ids(table.num_embeddings());
  for (size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<int64_t>(i);
  std::vector<float> out(table.num_embeddings() * table.embedding_dim());
  LookupInput input = Indices(ids);
  if (IsBag(*model.Find(name))) input.shape = {table.num_embeddings(), 1};
  EQAT_EXPECT_OK(table.Lookup(input, MutableTableView(out.data(), table.num_embeddings(), table.embedding_dim())));
  return out;
}

TEST(PrepareQat, ReportsEveryModule) {
  Model model = FloatModel();
  EQAT_ASSERT_OK_AND_ASSIGN(const ChangeReport report, PrepareQat(model, TwoRules()));
  EXPECT_THAT(Types(model), ElementsAre("qat.EmbeddingBag", "qat.Embedding", "nn.EmbeddingBag", "nn.Linear"));
  EXPECT_THAT(
      Texts(report),
      ElementsAre("item: nn.EmbeddingBag -> qat.EmbeddingBag [object_type nn.EmbeddingBag] [] 4 bits, 120 -> 66",
                  "user: nn.Embedding -> qat.Embedding [object_type nn.Embedding] [] 8 bits, 48 -> 44",
                  "tags: nn.EmbeddingBag -> nn.EmbeddingBag [module_name tags] [qconfig is null] 32 bits, 112 -> 112",
                  "fc: nn.Linear -> nn.Linear [no rule] [not a table] 32 bits, 32 -> 32"));
  EXPECT_FALSE(std::get<qat::Embedding>(*model.Find("user")).options().requires_grad) << "a frozen table stays frozen";
}

TEST(PrepareQat, KeepsTheTablesMemoryAndGraph) {
  Model model = FloatModel();
  EQAT_ASSERT_OK(model.SetGraph({{Input("ids"), CallModule("e", "item", "ids"), Output("e")}}));
  const float* const data = std::get<nn::EmbeddingBag>(*model.Find("item")).weight().data();
  EQAT_ASSERT_OK(PrepareQat(model, TwoRules()));
  EXPECT_EQ(std::get<qat::EmbeddingBag>(*model.Find("item")).weight().data(), data);
  EXPECT_TRUE(model.graph().has_value());
  EQAT_ASSERT_OK(ToFloat(model));
  EXPECT_EQ(std::get<nn::EmbeddingBag>(*model.Find("item")).weight().data(), data);
}

TEST(PrepareQat, LeavesTablesThatAreQuantizedInSomeWay) {
  Model model = FloatModel();
  QConfigMapping first;
  first.SetModuleName("item", Preset(kFourBit));
  EQAT_ASSERT_OK(PrepareQat(model, first));
  EQAT_ASSERT_OK(Convert(model));
  QConfigMapping second;
  second.SetModuleName("user", Preset(kFourBit));
  EQAT_ASSERT_OK(PrepareQat(model, second));
  QConfigMapping global;
  global.SetGlobal(Preset(kEightBit));
  EQAT_ASSERT_OK_AND_ASSIGN(const ChangeReport report, PrepareQat(model, global));
  EXPECT_THAT(
      Texts(report),
      ElementsAre(
          "item: quantized.EmbeddingBag -> quantized.EmbeddingBag [global] [already quantized] 4 bits, 66 -> 66",
          "user: qat.Embedding -> qat.Embedding [global] [already qat] 4 bits, 48 -> 40",
          "tags: nn.EmbeddingBag -> qat.EmbeddingBag [global] [] 8 bits, 112 -> 84",
          "fc: nn.Linear -> nn.Linear [global] [not a table] 32 bits, 32 -> 32"));
}

TEST(PrepareQat, RefusesAndLeavesTheModelAlone) {
  struct Case {
    const char* name;
    QConfigMapping mapping;
    const char* message;
  };
  Case cases[] = {
      {"unknown name", QConfigMapping().SetModuleName("itm", Preset(kFourBit)),
       "/module_name/itm: the rule matches no module of the model (got module_name itm, expected item "
       "(nn.EmbeddingBag), "
       "user (nn.Embedding), tags (nn.EmbeddingBag), fc (nn.Linear))"},
      {"odd name", QConfigMapping().SetModuleName("a/b~", std::nullopt),
       "/module_name/a~1b~0: the rule matches no module"},
      {"unmatched pattern", QConfigMapping().SetGlobal(Preset(kFourBit)),
       "/module_name_regex/1/pattern: the rule matches no module of the model (got module_name_regex usr_.*"},
      {"unknown type", QConfigMapping().SetObjectType("nn.LSTM", Preset(kFourBit)),
       "/object_type/nn.LSTM: the rule matches no module"},
      {"nothing", QConfigMapping().SetGlobal(std::nullopt),
       "qconfig mapping: nothing to prepare: no float table gets a qconfig (got item: qconfig is null, user: qconfig "
       "is "
       "null, tags: qconfig is null, fc: not a table)"},
      {"empty", QConfigMapping(), "nothing to prepare"},
      {"observer alone",
       QConfigMapping().SetGlobal(Preset(kFourBit)).SetModuleName("tags", Preset("float_qparams_weight_only_qconfig")),
       "tags: "},
  };
  EQAT_ASSERT_OK(cases[2].mapping.SetModuleNameRegex("us.*", Preset(kFourBit)));
  EQAT_ASSERT_OK(cases[2].mapping.SetModuleNameRegex("usr_.*", Preset(kFourBit)));
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    Model model = FloatModel();
    const std::vector<std::string> types = Types(model);
    EXPECT_THAT(PrepareQat(model, c.mapping), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(c.message)));
    EXPECT_EQ(Types(model), types);
    EXPECT_EQ(AllRows(model, "item"), AllRows(FloatModel(), "item"));
  }
}

TEST(Convert, KeepsTheBitsOfEvaluation) {
  Model model = FloatModel();
  EQAT_ASSERT_OK(PrepareQat(model, TwoRules()));
  const std::vector<float> item = AllRows(model, "item");
  const std::vector<float> user = AllRows(model, "user");
  EQAT_ASSERT_OK_AND_ASSIGN(const ChangeReport report, Convert(model));
  EXPECT_THAT(Types(model),
              ElementsAre("quantized.EmbeddingBag", "quantized.Embedding", "nn.EmbeddingBag", "nn.Linear"));
  EXPECT_EQ(AllRows(model, "item"), item);
  EXPECT_EQ(AllRows(model, "user"), user);
  EXPECT_THAT(Texts(report), ElementsAre("item: qat.EmbeddingBag -> quantized.EmbeddingBag [] [] 4 bits, 120 -> 66",
                                         "user: qat.Embedding -> quantized.Embedding [] [] 8 bits, 48 -> 44",
                                         "tags: nn.EmbeddingBag -> nn.EmbeddingBag [] [not qat] 32 bits, 112 -> 112",
                                         "fc: nn.Linear -> nn.Linear [] [not a table] 32 bits, 32 -> 32"));
}

TEST(Convert, LeavesTheModelAloneOnError) {
  Model model = FloatModel();
  EQAT_ASSERT_OK(PrepareQat(model, TwoRules()));
  auto& user = std::get<qat::Embedding>(*model.FindMutable("user"));
  user.WillModifyAllRows();
  user.mutable_weight().Row(3)[1] = std::numeric_limits<float>::quiet_NaN();
  const std::vector<std::string> types = Types(model);
  EXPECT_THAT(Convert(model), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("user: row 3")));
  EXPECT_EQ(Types(model), types);
}

TEST(Convert, NeedsAQatTable) {
  for (const auto change : {&Convert, &ToFloat}) {
    Model model = FloatModel();
    EXPECT_THAT(change(model),
                StatusIs(absl::StatusCode::kFailedPrecondition,
                         HasSubstr("it has no qat table (got item (nn.EmbeddingBag), user (nn.Embedding)")));
  }
}

TEST(ToFloat, GivesTheUnquantizedTableBack) {
  Model model = FloatModel();
  EQAT_ASSERT_OK(PrepareQat(model, TwoRules()));
  EQAT_ASSERT_OK_AND_ASSIGN(const ChangeReport report, ToFloat(model));
  const Model expected = FloatModel();
  EXPECT_EQ(Types(model), Types(expected));
  for (const char* name : {"item", "user", "tags"}) EXPECT_EQ(AllRows(model, name), AllRows(expected, name)) << name;
  EXPECT_EQ(std::get<nn::EmbeddingBag>(*model.Find("item")).options(),
            std::get<nn::EmbeddingBag>(*expected.Find("item")).options());
  EXPECT_EQ(Text(report[0]), "item: qat.EmbeddingBag -> nn.EmbeddingBag [] [] 32 bits, 120 -> 120");
}

template <typename Table>
void ExpectSameCodes(const Module& a, const Module& b) {
  const quant::QuantizedTable& left = std::get<Table>(a).weight();
  const quant::QuantizedTable& right = std::get<Table>(b).weight();
  ASSERT_EQ(left.rows(), right.rows());
  for (int64_t row = 0; row < left.rows(); ++row) {
    SCOPED_TRACE(row);
    EXPECT_EQ(left.codes(row), right.codes(row));
    EXPECT_EQ(left.scale(row), right.scale(row));
    EXPECT_EQ(left.zero_point(row), right.zero_point(row));
  }
  EXPECT_EQ(std::get<Table>(a).options(), std::get<Table>(b).options());
}

TEST(Ptq, EqualsPrepareAndConvertForMemorylessObservers) {
  Model prepared = FloatModel();
  EQAT_ASSERT_OK(PrepareQat(prepared, TwoRules()));
  EQAT_ASSERT_OK(Convert(prepared));
  Model ptq = FloatModel();
  EQAT_ASSERT_OK_AND_ASSIGN(const ChangeReport report, Ptq(ptq, TwoRules()));
  EXPECT_EQ(Types(ptq), Types(prepared));
  ExpectSameCodes<quantized::EmbeddingBag>(*ptq.Find("item"), *prepared.Find("item"));
  ExpectSameCodes<quantized::Embedding>(*ptq.Find("user"), *prepared.Find("user"));
  EXPECT_EQ(Text(report[0]),
            "item: nn.EmbeddingBag -> quantized.EmbeddingBag [object_type nn.EmbeddingBag] [] 4 bits, 120 -> 66");
  EXPECT_EQ(report[2].reason, "qconfig is null");
}

TEST(Ptq, TakesObserversAlone) {
  Model observed = FloatModel();
  QConfigMapping weight_only;
  weight_only.SetGlobal(Preset("float_qparams_weight_only_qconfig_4bit"));
  EQAT_ASSERT_OK(Ptq(observed, weight_only));
  Model fake_quantized = FloatModel();
  QConfigMapping qat;
  qat.SetGlobal(Preset(kFourBit));
  EQAT_ASSERT_OK(Ptq(fake_quantized, qat));
  ExpectSameCodes<quantized::EmbeddingBag>(*observed.Find("tags"), *fake_quantized.Find("tags"));
  ExpectSameCodes<quantized::Embedding>(*observed.Find("user"), *fake_quantized.Find("user"));
}

TEST(Ptq, LeavesTheModelAloneOnError) {
  Model model = FloatModel();
  std::get<nn::EmbeddingBag>(*model.FindMutable("tags")).mutable_weight().Row(5)[0] =
      std::numeric_limits<float>::infinity();
  QConfigMapping mapping;
  mapping.SetGlobal(Preset(kFourBit));
  EXPECT_THAT(Ptq(model, mapping), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("tags: row 5")));
  const Model expected = FloatModel();
  EXPECT_EQ(Types(model), Types(expected));
  EXPECT_EQ(AllRows(model, "item"), AllRows(expected, "item"));
  EXPECT_FALSE(std::get<nn::EmbeddingBag>(*model.Find("item")).qconfig().has_value());
  EXPECT_EQ(std::get<nn::EmbeddingBag>(*model.Find("tags")).name(), "tags");
}

}  // namespace
}  // namespace eqat::model
