#include "configs/qconfig_json.h"

#include <filesystem>
#include <set>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"

namespace eqat::configs {
namespace {

using absl::StatusCode;
using eqat::testing::StatusIs;
using io::Json;
using quant::QConfig;
using quant::QConfigMapping;
using quant::QConfigPreset;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::SizeIs;

const char kData[] = EQAT_TEST_DATA "/data/configs/";

std::vector<std::string> JsonFiles(const std::string& folder) {
  std::vector<std::string> paths;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (entry.path().extension() == ".json") paths.push_back(entry.path().string());
  }
  return paths;
}

QConfigMapping Parsed(const std::string& text) {
  absl::StatusOr<QConfigMapping> mapping = ParseQConfigMapping(text, "q.json");
  EXPECT_TRUE(mapping.ok()) << mapping.status();
  return *std::move(mapping);
}

TEST(QConfigJson, ReadsEveryLevelInOrder) {
  EQAT_ASSERT_OK_AND_ASSIGN(const QConfigMapping mapping,
                            ReadQConfigMapping(std::string(kData) + "valid/contract.json"));
  ASSERT_TRUE(mapping.global().has_value());
  EXPECT_EQ(*mapping.global(), std::nullopt);
  ASSERT_THAT(mapping.object_type(), SizeIs(2));
  EXPECT_EQ(mapping.object_type()[0].first, "nn.EmbeddingBag");
  EXPECT_EQ(mapping.object_type()[0].second, QConfigPreset("default_embedding_qat_qconfig_4bit"));
  EXPECT_EQ(mapping.object_type()[0].second->name, "default_embedding_qat_qconfig_4bit");
  EXPECT_EQ(mapping.object_type()[1].second, QConfigPreset("default_embedding_qat_qconfig"));
  ASSERT_THAT(mapping.module_name_regex(), SizeIs(1));
  EXPECT_EQ(mapping.module_name_regex()[0].first, "user_.*");
  EXPECT_EQ(mapping.module_name_regex()[0].second, QConfigPreset("default_embedding_qat_qconfig_4bit"));
  EXPECT_EQ(mapping.module_name_regex()[0].second->name, "");
  ASSERT_THAT(mapping.module_name(), SizeIs(1));
  EXPECT_EQ(mapping.module_name()[0], (QConfigMapping::Entry{"item", std::nullopt}));
  EXPECT_EQ(mapping.Resolve("user_id", "nn.Embedding").rule, "module_name_regex user_.*");
}

TEST(QConfigJson, AbsentGlobalIsNoRule) { EXPECT_FALSE(Parsed(R"({"version": 1})").global().has_value()); }

TEST(QConfigJson, ReadsEveryFieldOfASpelledOutConfig) {
  const QConfigMapping mapping = Parsed(R"({"version": 1, "global": {"activation": "PlaceholderObserver", "weight": {
      "fake_quantize": "FakeQuantize", "observer": "MovingAveragePerChannelMinMaxObserver", "dtype": "qint8",
      "qscheme": "per_channel_symmetric", "quant_min": -100, "quant_max": 99, "ch_axis": 1,
      "averaging_constant": 0.25, "reduce_range": true, "eps": 0.001}}})");
  QConfig expected;
  expected.activation = quant::ObserverKind::kPlaceholder;
  expected.weight.fake_quantize = true;
  expected.weight.observer = {.kind = quant::ObserverKind::kMovingAveragePerChannelMinMax,
                              .dtype = quant::Dtype::kQInt8,
                              .qscheme = quant::QScheme::kPerChannelSymmetric,
                              .reduce_range = true,
                              .quant_min = -100,
                              .quant_max = 99,
                              .averaging_constant = 0.25,
                              .ch_axis = 1,
                              .eps = 0.001};
  EXPECT_EQ(*mapping.global(), expected);
}

TEST(QConfigJson, DefaultsAreTorchs) {
  QConfig expected;
  expected.weight.fake_quantize = false;
  expected.weight.observer.kind = quant::ObserverKind::kMinMax;
  expected.weight.observer.qscheme = quant::QScheme::kPerTensorAffine;
  EXPECT_EQ(*Parsed(R"({"version": 1, "global": {"weight": {"observer": "MinMaxObserver"}}})").global(), expected);
  expected.weight.observer.kind = quant::ObserverKind::kPerChannelMinMax;
  expected.weight.observer.qscheme = quant::QScheme::kPerChannelAffine;
  EXPECT_EQ(*Parsed(R"({"version": 1, "global": {"weight": {"observer": "PerChannelMinMaxObserver"}}})").global(),
            expected);
}

TEST(QConfigJson, ShippedFilesAreValid) {
  const std::vector<std::string> paths = JsonFiles(EQAT_CONFIGS);
  EXPECT_THAT(paths, SizeIs(12));
  for (const std::string& path : paths) EQAT_EXPECT_OK(ReadQConfigMapping(path));
}

TEST(QConfigJson, ShippedFilesDoWhatTheirNamesSay) {
  const auto resolved = [](const std::string& file, const std::string& type) {
    absl::StatusOr<QConfigMapping> mapping = ReadQConfigMapping(std::string(EQAT_CONFIGS "/") + file);
    EXPECT_TRUE(mapping.ok()) << mapping.status();
    return mapping->Resolve("any", type).qconfig->name;
  };
  for (const char* type : {"nn.Embedding", "nn.EmbeddingBag"}) {
    EXPECT_EQ(resolved("embedding_8bit.json", type), "default_embedding_qat_qconfig");
    EXPECT_EQ(resolved("embedding_4bit.json", type), "default_embedding_qat_qconfig_4bit");
    EXPECT_EQ(resolved("embedding_2bit.json", type), "default_embedding_qat_qconfig_2bit");
    EXPECT_EQ(resolved("weight_only_8bit.json", type), "float_qparams_weight_only_qconfig");
    EXPECT_EQ(resolved("weight_only_4bit.json", type), "float_qparams_weight_only_qconfig_4bit");
    EXPECT_EQ(resolved("weight_only_2bit.json", type), "float_qparams_weight_only_qconfig_2bit");
  }
  EXPECT_EQ(resolved("mixed_precision.json", "nn.Embedding"), "default_embedding_qat_qconfig");
  EXPECT_EQ(resolved("mixed_precision.json", "nn.EmbeddingBag"), "default_embedding_qat_qconfig_4bit");
}

TEST(QConfigJson, ToJsonRoundTripsEveryValidFile) {
  for (const std::string& path : JsonFiles(std::string(kData) + "valid")) {
    SCOPED_TRACE(path);
    EQAT_ASSERT_OK_AND_ASSIGN(const QConfigMapping mapping, ReadQConfigMapping(path));
    const std::string text = io::JsonText(ToJson(mapping));
    EQAT_ASSERT_OK_AND_ASSIGN(const QConfigMapping again, ParseQConfigMapping(text, "again"));
    EXPECT_EQ(again.global(), mapping.global());
    EXPECT_EQ(again.object_type(), mapping.object_type());
    EXPECT_EQ(again.module_name_regex(), mapping.module_name_regex());
    EXPECT_EQ(again.module_name(), mapping.module_name());
    EXPECT_EQ(io::JsonText(ToJson(again)), text);
  }
}

TEST(QConfigJson, ToJsonNamesPresetsAndSpellsOutTheRest) {
  EXPECT_EQ(ToJson(std::optional<QConfig>()), Json(nullptr));
  for (const QConfig& preset : quant::QConfigPresets()) {
    QConfig unnamed = preset;
    unnamed.name.clear();
    EXPECT_EQ(ToJson(unnamed), Json(preset.name));
  }
  QConfig other = *QConfigPreset("default_embedding_qat_qconfig");
  other.weight.observer.averaging_constant = 0.5;
  EXPECT_EQ(ToJson(other).dump(),
            R"({"activation":"NoopObserver","weight":{"fake_quantize":"FakeQuantize",)"
            R"("observer":"MovingAveragePerChannelMinMaxObserver","dtype":"quint8",)"
            R"("qscheme":"per_channel_affine_float_qparams","quant_min":0,"quant_max":255,"ch_axis":0,)"
            R"("averaging_constant":0.5,"reduce_range":false,"eps":1.1920928955078125e-07}})");
}

TEST(QConfigJson, RefusesEveryInvalidFileWithItsMessage) {
  EQAT_ASSERT_OK_AND_ASSIGN(const Json messages, io::ReadJsonFile(std::string(kData) + "messages.json"));
  std::set<std::string> listed;
  for (const auto& [file, message] : messages.items()) {
    SCOPED_TRACE(file);
    const std::string path = kData + file;
    listed.insert(path);
    const absl::StatusOr<QConfigMapping> mapping = ReadQConfigMapping(path);
    EXPECT_THAT(mapping,
                StatusIs(StatusCode::kInvalidArgument, AllOf(HasSubstr(path), HasSubstr(message.get<std::string>()))));
  }
  std::set<std::string> present;
  for (const char* folder : {"invalid", "invalid_beyond_schema"}) {
    for (const std::string& path : JsonFiles(std::string(kData) + folder)) present.insert(path);
  }
  EXPECT_EQ(present, listed);
}

TEST(QConfigJson, ErrorsStayOnOneLine) {
  for (const char* text : {R"({"version": 1, "module_name": {"a\nb": 1}})", R"({"version": 1, "a\nb": 1})",
                           R"({"version": 1, "module_name_regex": [{"pattern": "a\n(", "qconfig": null}]})",
                           R"({"version": 1, "global": "a\nb"})"}) {
    const auto mapping = ParseQConfigMapping(text, "q.json");
    EXPECT_THAT(mapping, StatusIs(StatusCode::kInvalidArgument, ::testing::Not(HasSubstr("\n")))) << text;
  }
}

TEST(QConfigJson, NamesMissingFiles) {
  EXPECT_THAT(ReadQConfigMapping("/none/q.json"), StatusIs(StatusCode::kNotFound, HasSubstr("/none/q.json")));
}

}  // namespace
}  // namespace eqat::configs
