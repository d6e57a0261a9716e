// Model directories whose tables are trained for the formats of other programs.
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "io/safetensors.h"
#include "model/model_directory.h"
#include "model/prepare_qat.h"
#include "tests/model/small_models.h"
#include "tests/support/float_bits.h"
#include "tests/support/status_matchers.h"

namespace eqat::model {
namespace {

using eqat::testing::BitsOf;
using eqat::testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr int64_t kRows = 5;
constexpr int64_t kCols = 64;

quant::QConfig ConfigFor(const quant::DeployTraits& deploy) {
  quant::QConfig config = Preset("default_embedding_qat_qconfig");
  config.name.clear();
  config.weight.observer.dtype = quant::DtypeOf(deploy);
  config.weight.observer.quant_min.reset();
  config.weight.observer.quant_max.reset();
  config.weight.deploy = deploy.deploy;
  return config;
}

std::vector<float> RowsOf(const Model& model) {
  std::vector<float> values(kRows * kCols);
  const std::vector<int64_t> ids = {0, 1, 2, 3, 4};
  EQAT_EXPECT_OK(AsLookup(*model.Find("item"))->Lookup(Indices(ids), MutableTableView(values.data(), kRows, kCols)));
  return values;
}

class DeployedModelTest : public ModelDirectoryFixture {
 protected:
  Model QatModel(const quant::DeployTraits& deploy) const {
    Model model;
    Add(model, "item", MakeQatEmbedding(TableOptions(kRows, kCols), ConfigFor(deploy)));
    return model;
  }
};

TEST_F(DeployedModelTest, EveryArithmeticIsSavedAndLoaded) {
  for (const quant::DeployTraits& deploy : quant::kDeploys) {
    SCOPED_TRACE(absl::StrCat(deploy.name, " ", deploy.bits));
    Model model = QatModel(deploy);
    const std::vector<uint32_t> expected = BitsOf(RowsOf(model));
    EQAT_ASSERT_OK(SaveModel(model, Path("qat")));
    EXPECT_THAT(ReadText(Path("qat/model.json")), HasSubstr(absl::StrCat("\"deploy\": \"", deploy.name, "\"")));
    EQAT_ASSERT_OK_AND_ASSIGN(Model loaded, LoadModel(Path("qat")));
    EXPECT_EQ(BitsOf(RowsOf(loaded)), expected);

    const int64_t foretold = ParameterBytesConverted(*loaded.Find("item"));
    EQAT_ASSERT_OK(Convert(loaded).status());
    EXPECT_EQ(BitsOf(RowsOf(loaded)), expected);
    EXPECT_EQ(ParameterBytes(*loaded.Find("item")), foretold);
    EQAT_ASSERT_OK(SaveModel(loaded, Path("packed")));
    EQAT_ASSERT_OK_AND_ASSIGN(const Model packed, LoadModel(Path("packed")));
    const quant::QuantizedTable& table = std::get<quantized::Embedding>(*packed.Find("item")).weight();
    EXPECT_EQ(table.deploy(), &deploy);
    EXPECT_EQ(table.groups(), deploy.group == 0 ? 1 : 2);
    EXPECT_EQ(BitsOf(RowsOf(packed)), expected);
    // Written again, the same bytes.
    EQAT_ASSERT_OK(SaveModel(packed, Path("again")));
    EXPECT_EQ(ReadText(Path("again/model.safetensors")), ReadText(Path("packed/model.safetensors")));
    EXPECT_EQ(ReadText(Path("again/model.json")), ReadText(Path("packed/model.json")));
  }
}

TEST_F(DeployedModelTest, TensorsAreThoseOfTheFormat) {
  Model model = QatModel(*quant::FindDeploy(quant::Deploy::kGgufQ4_1, quant::Dtype::kQUInt4x2));
  EQAT_ASSERT_OK(Convert(model).status());
  EXPECT_EQ(ParameterBytes(*model.Find("item")), kRows * (kCols / 2 + 2 * 4));
  EQAT_ASSERT_OK(SaveModel(model, Path("packed")));
  EQAT_ASSERT_OK_AND_ASSIGN(const io::SafetensorsReader file,
                            io::SafetensorsReader::Open(Path("packed/model.safetensors")));
  for (const char* name : {"item.weight.scale", "item.weight.bias"}) {
    ASSERT_NE(file.Find(name), nullptr) << name;
    EXPECT_EQ(file.Find(name)->dtype, io::TensorDtype::kF16);
    EXPECT_EQ(file.Find(name)->shape, (std::vector<int64_t>{kRows, 2}));
  }
  EXPECT_EQ(file.Find("item.weight.zero_point"), nullptr);
}

TEST_F(DeployedModelTest, DirectoriesThatContradictThemselves) {
  Model model = QatModel(*quant::FindDeploy(quant::Deploy::kTorch, quant::Dtype::kQUInt4x2));
  EQAT_ASSERT_OK(Convert(model).status());
  EQAT_ASSERT_OK(SaveModel(model, Path("packed")));
  const std::string json = ReadText(Path("packed/model.json"));
  const auto load_with = [&](const std::string& from, const std::string& to) {
    EXPECT_THAT(json, HasSubstr(from));
    WriteText(Path("packed/model.json"), absl::StrReplaceAll(json, {{from, to}}));
    return LoadModel(Path("packed")).status();
  };
  const auto invalid = absl::StatusCode::kInvalidArgument;
  EXPECT_THAT(load_with("\"torch\"", "\"tflite\""),
              StatusIs(invalid, AllOf(HasSubstr("/modules/item/deploy"), HasSubstr("gguf_q4_1"))));
  EXPECT_THAT(load_with("\"torch\"", "\"gguf_q8_0\""), StatusIs(invalid, HasSubstr("/modules/item/deploy")));
  EXPECT_THAT(load_with(",\n      \"deploy\": \"torch\"", ""),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("item.weight.zero_point")));
  EXPECT_THAT(load_with("\"torch\"", "\"onnx_qdq\""),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("item.weight.zero_point")));
  EXPECT_THAT(load_with("\"torch\"", "\"gguf_q4_1\""), StatusIs(invalid, HasSubstr("wrong shape")));
}

TEST_F(DeployedModelTest, ParametersThatTheFormatCannotHold) {
  Model model = QatModel(*quant::FindDeploy(quant::Deploy::kOnnxQdq, quant::Dtype::kQUInt8));
  EQAT_ASSERT_OK(Convert(model).status());
  EQAT_ASSERT_OK(SaveModel(model, Path("packed")));
  const std::string path = Path("packed/model.safetensors");
  EQAT_ASSERT_OK_AND_ASSIGN(const io::SafetensorsReader file, io::SafetensorsReader::Open(path));
  std::vector<float> zero_points = *file.ReadFloats("item.weight.zero_point");
  zero_points[3] = 1.5f;
  std::vector<io::TensorToWrite> tensors;
  for (const io::TensorInfo& info : file.tensors()) {
    tensors.push_back({info.name, info.dtype, info.shape, file.Bytes(info)});
    if (info.name == "item.weight.zero_point") tensors.back().bytes = io::AsBytes(absl::MakeConstSpan(zero_points));
  }
  EQAT_ASSERT_OK(io::WriteSafetensors(path, std::move(tensors), {}));
  EXPECT_THAT(LoadModel(Path("packed")),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("item: row 3: parameters that onnx_qdq cannot hold"), HasSubstr("1.5"))));
}

TEST_F(DeployedModelTest, PrepareChecksWidthsBeforeItChangesAnything) {
  Model model;
  Add(model, "wide", MakeEmbedding(TableOptions(kRows, 32)));
  Add(model, "narrow", MakeEmbedding(TableOptions(kRows, 31)));
  quant::QConfigMapping mapping;
  mapping.SetGlobal(ConfigFor(*quant::FindDeploy(quant::Deploy::kGgufQ8_0, quant::Dtype::kQInt8)));
  EXPECT_THAT(PrepareQat(model, mapping), StatusIs(absl::StatusCode::kInvalidArgument,
                                                   AllOf(HasSubstr("narrow: "), HasSubstr("a multiple of 32"))));
  EXPECT_EQ(TypeName(*model.Find("wide")), "nn.Embedding");
  EXPECT_THAT(Ptq(model, mapping), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("narrow: ")));
}

}  // namespace
}  // namespace eqat::model
