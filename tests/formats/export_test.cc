#include "formats/export.h"

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "formats/format_list.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "io/safetensors.h"
#include "tests/formats/export_models.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"

namespace eqat::formats {
namespace {

using quant::Deploy;
using quant::Dtype;
using ::testing::AllOf;
using testing::ConfigFor;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::IsOk;
using testing::ModelOf;
using testing::PackedTable;
using ::testing::Pair;
using testing::QatTable;
using testing::RandomMatrix;
using ::testing::SizeIs;
using testing::StatusIs;

class ExportTest : public ::testing::Test {
 protected:
  // The error of an export that must not touch the file.
  absl::Status Refused(model::Model&& model, const std::string& format, const ExportOptions& options = {}) {
    folder_.Write("out", "old");
    const absl::Status status = Export(std::move(model), format, folder_ / "out", options).status();
    EXPECT_EQ(folder_.Read("out"), "old");
    EXPECT_THAT(folder_.List(), ElementsAre("out"));
    return status;
  }
  absl::StatusOr<ExportReport> Exported(model::Model&& model, const std::string& format,
                                        const ExportOptions& options = {}) {
    return Export(std::move(model), format, folder_ / "out", options);
  }
  static model::Model Packed(Dtype dtype, std::optional<Deploy> deploy = std::nullopt) {
    return ModelOf(PackedTable(RandomMatrix(7, 32, 1), ConfigFor(dtype, deploy)));
  }

  testing::TempDir folder_;
};

TEST_F(ExportTest, EveryListedFormatIsExported) {
  for (const std::string& format : WritableFormats()) {
    SCOPED_TRACE(format);
    model::Model model = ModelOf(testing::MakeFloat<testing::EmbeddingFamily>(RandomMatrix(7, 32, 1), {}));
    const absl::StatusOr<ExportReport> report = Exported(std::move(model), format, {.requantize = true});
    if (format == "torch" || format == "fbgemm_half") {
      EXPECT_THAT(report, StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("is a float table")));
      continue;
    }
    EQAT_ASSERT_OK(report.status());
    ASSERT_THAT(report->tables, SizeIs(1));
    EXPECT_EQ(report->tables[0].name, "item");
    EXPECT_EQ(report->tables[0].rows, 7);
    EXPECT_EQ(report->tables[0].cols, 32);
    EXPECT_EQ(report->tables[0].errors.values, 224);
  }
}

TEST_F(ExportTest, FormatsThatChangeValuesAreRefusedUnlessAccepted) {
  for (const char* format : {"torch", "fbgemm_half", "gguf_f16", "gguf_q8_0", "gguf_q4_0", "gguf_q4_1"}) {
    SCOPED_TRACE(format);
    EXPECT_THAT(Refused(Packed(Dtype::kQUInt8), format),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         AllOf(HasSubstr("item: "), HasSubstr("values differ, by up to "), HasSubstr("--requantize"))));
    const auto report = Exported(Packed(Dtype::kQUInt8), format, {.requantize = true});
    EQAT_ASSERT_OK(report.status());
    EXPECT_GT(report->tables[0].errors.differing, 0);
  }
}

TEST_F(ExportTest, TablesTrainedForTheFormatPass) {
  const std::pair<const char*, std::pair<Dtype, Deploy>> kCases[] = {
      {"torch", {Dtype::kQUInt8, Deploy::kTorch}},
      {"torch", {Dtype::kQUInt2x4, Deploy::kTorch}},
      {"fbgemm_half", {Dtype::kQUInt4x2, Deploy::kFbgemmHalf}},
      {"gguf_q8_0", {Dtype::kQInt8, Deploy::kGgufQ8_0}},
      {"gguf_q4_0", {Dtype::kQUInt4x2, Deploy::kGgufQ4_0}},
      {"gguf_q4_1", {Dtype::kQUInt4x2, Deploy::kGgufQ4_1}},
      {"gguf", {Dtype::kQUInt4x2, Deploy::kGgufQ4_1}},
  };
  for (const auto& [format, config] : kCases) {
    SCOPED_TRACE(format);
    const auto report = Exported(Packed(config.first, config.second), format);
    EQAT_ASSERT_OK(report.status());
    EXPECT_EQ(report->tables[0].errors.differing, 0);
    // A QAT model is converted on the way: the same bytes.
    const std::string bytes = folder_.Read("out");
    EQAT_ASSERT_OK(
        Exported(ModelOf(QatTable(RandomMatrix(7, 32, 1), ConfigFor(config.first, config.second))), format).status());
    EXPECT_EQ(folder_.Read("out"), bytes);
  }
}

TEST_F(ExportTest, SafetensorsHoldsTheModelsTensorsAndTheirDescription) {
  model::Model model = Packed(Dtype::kQUInt4x2, Deploy::kGgufQ4_1);
  testing::Add(model, "top", *nn::Linear::Create({.in_features = 32, .out_features = 2}, 1));
  const auto report = Exported(std::move(model), "safetensors");
  EQAT_ASSERT_OK(report.status());
  EXPECT_THAT(report->left_out, SizeIs(0));
  const auto reader = io::SafetensorsReader::Open(folder_ / "out");
  EQAT_ASSERT_OK(reader.status());
  for (const char* name : {"item.weight.codes", "item.weight.scale", "item.weight.bias", "top.weight", "top.bias"}) {
    EXPECT_NE(reader->Find(name), nullptr) << name;
  }
  EXPECT_EQ(reader->Find("item.weight.scale")->dtype, io::TensorDtype::kF16);
  EXPECT_THAT(reader->metadata().at("tables"),
              AllOf(HasSubstr(R"("bits":4)"), HasSubstr(R"("deploy":"gguf_q4_1")"), HasSubstr("code * scale + bias")));
}

TEST_F(ExportTest, OneTableOfSeveral) {
  const auto model = [] {
    model::Model several = Packed(Dtype::kQUInt8);
    testing::Add(several, "user", PackedTable(RandomMatrix(3, 4, 2), ConfigFor(Dtype::kQUInt8)));
    testing::Add(several, "top", *nn::Linear::Create({.in_features = 4, .out_features = 2}, 1));
    return several;
  };
  auto report = Exported(model(), "gguf_f32", {.modules = {"user"}});
  EQAT_ASSERT_OK(report.status());
  ASSERT_THAT(report->tables, SizeIs(1));
  EXPECT_EQ(report->tables[0].name, "user");
  EXPECT_THAT(report->left_out, SizeIs(0));
  report = Exported(model(), "gguf_f32");
  EQAT_ASSERT_OK(report.status());
  EXPECT_THAT(report->left_out, ElementsAre(Pair("top", "not a table")));
  report = Exported(model(), "safetensors", {.modules = {"user"}});
  EQAT_ASSERT_OK(report.status());
  const auto reader = io::SafetensorsReader::Open(folder_ / "out");
  EXPECT_THAT(reader->tensors(), SizeIs(3));
  EXPECT_THAT(Refused(model(), "gguf_f32", {.modules = {"nobody"}}),
              StatusIs(absl::StatusCode::kInvalidArgument, AllOf(HasSubstr("nobody"), HasSubstr("item, user"))));
  EXPECT_THAT(Refused(model(), "gguf_f32", {.modules = {"top"}}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("the module is no table")));
}

TEST_F(ExportTest, Refusals) {
  const auto invalid = absl::StatusCode::kInvalidArgument;
  EXPECT_THAT(Refused(Packed(Dtype::kQUInt8), "tflite"),
              StatusIs(invalid, AllOf(HasSubstr("tflite"), HasSubstr("safetensors, npz"))));
  EXPECT_THAT(Refused(Packed(Dtype::kUInt3), "torch", {.requantize = true}),
              StatusIs(invalid, AllOf(HasSubstr("item: torch has no rows of this many bits"), HasSubstr("got 3"))));
  EXPECT_THAT(Refused(Packed(Dtype::kQUInt8), "torch", {.params_last = true}),
              StatusIs(invalid, HasSubstr("--scale-bias-last: has no meaning for torch")));
  EXPECT_THAT(Refused(Packed(Dtype::kQUInt8), "torch", {.row_alignment = 16}),
              StatusIs(invalid, HasSubstr("--row-alignment: has no meaning for torch")));
  EXPECT_THAT(Refused(Packed(Dtype::kQUInt8), "torch", {.words = "words.txt"}),
              StatusIs(invalid, HasSubstr("--words: has no meaning for torch")));
  model::Model no_table;
  testing::Add(no_table, "top", *nn::Linear::Create({.in_features = 4, .out_features = 2}, 1));
  EXPECT_THAT(Refused(std::move(no_table), "gguf"),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("holds no table")));
  EXPECT_THAT(Refused(Packed(Dtype::kQUInt8), "torch_state_dict"),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("item: is quantized")));
  EXPECT_THAT(
      Refused(ModelOf(QatTable(RandomMatrix(3, 4, 1), ConfigFor(Dtype::kQUInt8, Deploy::kTorch))), "torch_state_dict"),
      StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("trained for a deployed format")));
}

}  // namespace
}  // namespace eqat::formats
