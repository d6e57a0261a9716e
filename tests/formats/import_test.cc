#include "formats/import.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>

#include "absl/strings/str_cat.h"
#include "configs/qconfig_json.h"
#include "core/rng.h"
#include "core/status_macros.h"
#include "formats/format_list.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "io/npy.h"
#include "io/safetensors.h"
#include "model/model_directory.h"
#include "model/prepare_qat.h"
#include "tests/support/float_bits.h"
#include "tests/support/foreign_files.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"

namespace eqat::formats {
namespace {

using absl::StatusCode;
using eqat::testing::BytesOf;
using eqat::testing::StatusIs;
using eqat::testing::TempDir;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

absl::Status NoProgress(const std::string&, int64_t, int64_t) { return absl::OkStatus(); }

class ImportTest : public ::testing::Test {
 protected:
  absl::StatusOr<ImportReport> Run(const std::string& file, const ImportOptions& options = {}) {
    return Import(file, dir_ / "out", options, NoProgress);
  }
  // "t.safetensors" of two tables, a vector and integers.
  std::string Tensors() const {
    const std::vector<float> values = {1, 2, 3, 4, 5, 6};
    const std::vector<uint16_t> halves = {0x3c00, 0xbc00};
    const std::vector<int64_t> integers = {1, 2};
    const absl::Span<const char> floats = io::AsBytes(absl::MakeConstSpan(values));
    EQAT_EXPECT_OK(
        io::WriteSafetensors(dir_ / "t.safetensors",
                             {{"item.weight", io::TensorDtype::kF32, {2, 3}, floats},
                              {"user.weight", io::TensorDtype::kBF16, {1, 2}, io::AsBytes(absl::MakeConstSpan(halves))},
                              {"bias", io::TensorDtype::kF32, {6}, floats},
                              {"ids", io::TensorDtype::kI64, {1, 2}, io::AsBytes(absl::MakeConstSpan(integers))}},
                             {}));
    return dir_ / "t.safetensors";
  }
  std::string Table(const std::string& name, int64_t rows, int64_t cols, const std::vector<float>& values) const {
    EQAT_EXPECT_OK(io::WriteSafetensors(
        dir_ / name, {{"item.weight", io::TensorDtype::kF32, {rows, cols}, io::AsBytes(absl::MakeConstSpan(values))}},
        {}));
    return dir_ / name;
  }

  TempDir dir_;
};

TEST_F(ImportTest, WritesAModelThatLoadsAndSavesAsItIs) {
  EQAT_ASSERT_OK_AND_ASSIGN(const ImportReport report,
                            Run(Tensors(), {.tables = {"*.weight"}, .bag_mode = PoolMode::kMax, .padding_idx = -1}));
  EXPECT_EQ(report.format, "safetensors");
  ASSERT_EQ(report.tables.size(), 2);
  EXPECT_EQ(report.tables[1].module, "user");
  EXPECT_EQ(report.tables[1].dtype, "BF16");
  EXPECT_THAT(report.left, ElementsAre("bias", "ids"));
  EQAT_ASSERT_OK_AND_ASSIGN(const model::Model model, model::LoadModel(dir_ / "out"));
  EXPECT_THAT(model.module_names(), ElementsAre("item", "user"));
  const auto& item = std::get<nn::EmbeddingBag>(*model.Find("item"));
  EXPECT_EQ(item.options().mode, PoolMode::kMax);
  EXPECT_EQ(item.options().padding_idx, 1);
  EXPECT_EQ(item.weight().Row(1)[2], 6);
  EXPECT_EQ(std::get<nn::EmbeddingBag>(*model.Find("user")).weight().Row(0)[1], -0.0078125f);  // BF16 0xbc00
  EQAT_ASSERT_OK(model::SaveModel(model, dir_ / "again"));
  for (const char* file : {"model.json", "model.safetensors"}) {
    EXPECT_EQ(dir_.Read(absl::StrCat("again/", file)), dir_.Read(absl::StrCat("out/", file))) << file;
  }
}

TEST_F(ImportTest, RecognisesEveryFormatByItsContent) {
  const std::string npy =
      eqat::testing::NpyFile("{'descr': '<f4', 'fortran_order': False, 'shape': (1, 2)}", BytesOf(1.0f, 2.0f));
  const std::string pickle = eqat::testing::PickleOf(eqat::testing::PickleDictionary(
      {{"w", eqat::testing::PickleTensor({.elements = 2, .shape = {1, 2}, .strides = {2, 1}})}}));
  const std::map<std::string, std::string> files = {
      {"npy", npy},
      {"npz", eqat::testing::ZipFile({{"w.npy", npy}})},
      {"torch_state_dict", eqat::testing::TorchFile(pickle, BytesOf(1.0f, 2.0f))},
      {"vec", "1 2\nw 1 2\n"},
      {"glove", "w 1 2\n"},
      {"word2vec", "1 2\nw " + BytesOf(1.0f, 2.0f)},
      {"fasttext", eqat::testing::FastTextModel({})},
      {"safetensors", dir_.Read(std::filesystem::path(Table("s", 1, 2, {1, 2})).filename().string())},
  };
  for (const std::string& format : ReadableFormats()) {
    SCOPED_TRACE(format);
    ASSERT_TRUE(files.contains(format));
    const std::string path = dir_.Write("f", files.at(format));
    EXPECT_EQ(*RecogniseFormat(path), format);
    for (const std::string& said : {std::string(), format}) {
      EQAT_ASSERT_OK_AND_ASSIGN(const ImportReport report, Run(path, {.format = said}));
      EXPECT_EQ(report.format, format);
      EQAT_ASSERT_OK_AND_ASSIGN(const model::Model model, model::LoadModel(dir_ / "out"));
      const auto& table = std::get<nn::Embedding>(*model.Find(report.tables[0].module));
      EXPECT_EQ(table.weight().Row(0)[0], 1);
      EXPECT_EQ(table.weight().Row(0)[1], 2);
    }
    // Read as any other format it is an error or a table, never a crash.
    for (const std::string& other : ReadableFormats()) (void)Run(path, {.format = other});
  }
  EXPECT_THAT(RecogniseFormat(dir_.Write("f", "# notes\n")),
              StatusIs(StatusCode::kInvalidArgument,
                       HasSubstr("f: its format is not recognised; say it with --format (expected safetensors, ")));
  EXPECT_THAT(RecogniseFormat(dir_.Write("f", "\x80\x02}.")),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("f: is a bare pickle")));
}

TEST_F(ImportTest, KeepsTheWords) {
  EQAT_ASSERT_OK_AND_ASSIGN(ImportReport report, Run(dir_.Write("v", "3 1\n</s> 1\nw\xff 2\n</s> 3\n")));
  EXPECT_EQ(report.words, 3);
  EXPECT_EQ(dir_.Read("out/vocabulary.txt"), "</s>\nw\xff\n</s>\n");
  EXPECT_THAT(report.notes, ElementsAre("1 row repeats a word of an earlier row: row 2 '</s>' that of row 0"));
  // The words are the input's; the bucket behind them has none.
  EQAT_ASSERT_OK_AND_ASSIGN(
      report, Run(dir_.Write("m.bin", eqat::testing::FastTextModel({})), {.tables = {"input", "output"}}));
  EXPECT_EQ(report.words, 2);
  EXPECT_EQ(dir_.Read("out/vocabulary.txt"), "</s>\na\n");
  EXPECT_THAT(report.notes, ElementsAre(HasSubstr("rows 2 to 2 are buckets of subwords of 3 to 6 characters")));
}

TEST_F(ImportTest, SaysWhichTableIsMeant) {
  const std::string file = Tensors();
  const auto expect = [&](const ImportOptions& options, const std::string& part) {
    EXPECT_THAT(std::string(Run(file, options).status().message()), HasSubstr(part));
    EXPECT_THAT(dir_.List(), ElementsAre("t.safetensors"));
  };
  expect({},
         "t.safetensors: does not say which table is meant; choose with --table NAME (or a pattern with *) (got bias "
         "F32 [6], ids I64 [1, 2], item.weight F32 [2, 3], user.weight BF16 [1, 2]");
  expect({.tables = {"thing"}}, "t.safetensors: holds no table thing (got bias F32 [6]");
  expect({.tables = {"th*"}}, "t.safetensors: holds no table th*");
  expect({.tables = {"bias"}}, "t.safetensors: bias: is no table (got F32 [6]");
  expect({.tables = {"ids"}}, "t.safetensors: ids: is no table (got I64 [1, 2]");
  expect({.tables = {"*"}, .module = "m"}, "--module: names one module, but several tables are imported (got 2 tables");
  expect({.tables = {"item.weight"}, .module = "a/b"},
         "item.weight: a module cannot be called so; name it with --module (got a/b");
  expect({.tables = {"item.weight"}, .padding_idx = 2}, "item: padding_idx");
}

TEST_F(ImportTest, RefusesNumbersThatNoModelMayHold) {
  std::vector<float> values(100 * 1000, 1.0f);
  values[77 * 1000 + 3] = NAN;
  const std::string file = Table("t", 100, 1000, values);
  for (const int64_t limit : {int64_t{1}, int64_t{100'000}, int64_t{1} << 30}) {
    EXPECT_THAT(Run(file, {.buffer_bytes = limit}),
                StatusIs(StatusCode::kInvalidArgument,
                         HasSubstr("t: item.weight: row 77, column 3 is no finite float32 (got nan")));
  }
  const std::string wide =
      eqat::testing::NpyFile("{'descr': '<f8', 'fortran_order': False, 'shape': (1, 2)}", BytesOf(1.0, 1e39));
  EXPECT_THAT(
      Run(dir_.Write("w", wide)),
      StatusIs(StatusCode::kInvalidArgument, HasSubstr("w: weight: row 0, column 1 is no finite float32 (got inf")));
  const std::string no_columns =
      eqat::testing::NpyFile("{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000, 0)}", "");
  EXPECT_THAT(Run(dir_.Write("w", no_columns)),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("w: weight: is no table")));
  EXPECT_THAT(dir_.List(), ElementsAre("t", "w"));
}

TEST_F(ImportTest, EndsWhenItIsTold) {
  const std::string file = Table("t", 4, 1, {1, 2, 3, 4});
  std::vector<int64_t> done;
  const auto stop = [&](const std::string& table, int64_t rows, int64_t total) {
    EXPECT_EQ(table, "item.weight");
    EXPECT_EQ(total, 4);
    done.push_back(rows);
    return rows == 2 ? absl::CancelledError("stop") : absl::OkStatus();
  };
  EXPECT_THAT(Import(file, dir_ / "out", {.buffer_bytes = 4}, stop), StatusIs(StatusCode::kCancelled, "stop"));
  EXPECT_THAT(done, ElementsAre(1, 2));
  EXPECT_THAT(dir_.List(), ElementsAre("t"));
}

TEST_F(ImportTest, LeavesTheOldModelWhole) {
  EQAT_ASSERT_OK(Run(Table("t", 1, 2, {1, 2})));
  const std::string old = dir_.Read("out/model.safetensors");
  EXPECT_FALSE(Run(Table("u", 1, 2, {1, INFINITY})).ok());
  EXPECT_EQ(dir_.Read("out/model.safetensors"), old);
  dir_.Write("out/notes.txt", "mine");
  EXPECT_THAT(Run(Table("t", 1, 2, {3, 4})), StatusIs(StatusCode::kFailedPrecondition, HasSubstr("notes.txt")));
  EXPECT_EQ(dir_.Read("out/model.safetensors"), old);
  EXPECT_THAT(dir_.List(), ElementsAre("out", "t", "u"));
}

// Rows of every kind: constant, denormal, both zeros, extreme, ordinary.
std::vector<float> ManyRows(int64_t rows, int64_t cols) {
  const Rng rng(3, 0);
  std::vector<float> values(rows * cols);
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t j = 0; j < cols; ++j) {
      const uint64_t position = i * cols + j;
      const float normal = rng.Normal(position);
      const float kinds[] = {2.5f,
                             1e-44f * static_cast<float>(rng.Below(position, 8)),
                             (rng.Bits(position) & 1) != 0 ? 0.0f : -0.0f,
                             1e37f * normal,
                             normal,
                             1e-30f * normal};
      values[position] = kinds[i % 6];
    }
  }
  return values;
}

TEST_F(ImportTest, QuantizesOnTheWayAsPtqDoes) {
  for (const int64_t cols : {1, 2, 3, 7, 16, 33, 130}) {
    for (const char* preset : {"default_embedding_qat_qconfig", "float_qparams_weight_only_qconfig_4bit",
                               "default_embedding_qat_qconfig_2bit"}) {
      SCOPED_TRACE(absl::StrCat(preset, ", ", cols, " columns"));
      const int64_t rows = 61;
      const std::string file = Table("t", rows, cols, ManyRows(rows, cols));
      const std::string json = absl::StrCat(R"({"version": 1, "global": ")", preset, "\"}");
      EQAT_ASSERT_OK_AND_ASSIGN(const quant::QConfigMapping mapping, configs::ParseQConfigMapping(json, "q.json"));
      EQAT_ASSERT_OK(Run(file, {.bag_mode = PoolMode::kSum, .padding_idx = 3}));
      EQAT_ASSERT_OK_AND_ASSIGN(model::Model model, model::LoadModel(dir_ / "out"));
      EQAT_ASSERT_OK(model::Ptq(model, mapping));
      EQAT_ASSERT_OK(model::SaveModel(model, dir_ / "ptq"));
      for (const int64_t limit : {int64_t{1}, int64_t{5000}, int64_t{1} << 28}) {
        EQAT_ASSERT_OK(
            Run(file, {.bag_mode = PoolMode::kSum, .padding_idx = 3, .qconfig = mapping, .buffer_bytes = limit}));
        for (const char* name : {"model.json", "model.safetensors"}) {
          EXPECT_EQ(dir_.Read(absl::StrCat("out/", name)), dir_.Read(absl::StrCat("ptq/", name))) << name;
        }
      }
    }
  }
}

TEST_F(ImportTest, QuantizesForDeployedFormatsAsPtqDoes) {
  constexpr int64_t kRows = 61, kCols = 64;
  std::vector<float> values = ManyRows(kRows, kCols);
  for (float& value : values) value = std::clamp(value, -60000.0f, 60000.0f);
  const std::string file = Table("t", kRows, kCols, values);
  for (const quant::DeployTraits& deploy : quant::kDeploys) {
    SCOPED_TRACE(absl::StrCat(deploy.name, " ", deploy.bits));
    const std::string json = absl::StrCat(
        R"({"version": 1, "global": {"deploy": ")", deploy.name,
        R"(", "weight": {"observer": "MovingAveragePerChannelMinMaxObserver", "averaging_constant": 1, "dtype": ")",
        quant::TraitsOf(quant::DtypeOf(deploy)).name, R"(", "qscheme": "per_channel_affine_float_qparams"}}})");
    EQAT_ASSERT_OK_AND_ASSIGN(const quant::QConfigMapping mapping, configs::ParseQConfigMapping(json, "q.json"));
    EQAT_ASSERT_OK(Run(file, {}));
    EQAT_ASSERT_OK_AND_ASSIGN(model::Model model, model::LoadModel(dir_ / "out"));
    EQAT_ASSERT_OK(model::Ptq(model, mapping));
    EQAT_ASSERT_OK(model::SaveModel(model, dir_ / "ptq"));
    for (const int64_t limit : {int64_t{1}, int64_t{5000}, int64_t{1} << 28}) {
      EQAT_ASSERT_OK_AND_ASSIGN(const ImportReport report, Run(file, {.qconfig = mapping, .buffer_bytes = limit}));
      EXPECT_EQ(report.tables[0].bytes, model::ParameterBytes(*model.Find("item")));
      for (const char* name : {"model.json", "model.safetensors"}) {
        EXPECT_EQ(dir_.Read(absl::StrCat("out/", name)), dir_.Read(absl::StrCat("ptq/", name))) << name;
      }
    }
  }
}

TEST_F(ImportTest, ResolvesQConfigsByModule) {
  const auto run = [&](const std::string& json) -> absl::StatusOr<ImportReport> {
    EQAT_ASSIGN_OR_RETURN(const quant::QConfigMapping mapping, configs::ParseQConfigMapping(json, "q.json"));
    return Run(Tensors(), {.tables = {"*.weight"}, .qconfig = mapping});
  };
  EQAT_ASSERT_OK_AND_ASSIGN(
      const ImportReport report,
      run(R"({"version": 1, "global": "default_embedding_qat_qconfig", "module_name": {"user": null}})"));
  EXPECT_EQ(report.tables[0].bits, 8);
  EXPECT_EQ(report.tables[0].bytes, 2 * (3 + 8));
  EXPECT_EQ(report.tables[1].bits, 32);
  EQAT_EXPECT_OK(model::LoadModel(dir_ / "out"));
  EXPECT_THAT(run(R"({"version": 1, "module_name": {"thing": "default_embedding_qat_qconfig"}})"),
              StatusIs(StatusCode::kInvalidArgument,
                       HasSubstr("--qconfig: a rule matches no imported module (got module_name thing, expected item "
                                 "of type nn.Embedding, user of type nn.Embedding)")));
  EXPECT_THAT(
      run(R"({"version": 1, "global": {"weight": {"observer": "MinMaxObserver", "dtype": "quint8", "qscheme": "per_tensor_affine"}}})"),
      StatusIs(StatusCode::kInvalidArgument, HasSubstr("item: ")));
  // A range that float32 cannot hold, in a later block.
  std::vector<float> values(40, 1.0f);
  values[38] = -3e38f;
  values[39] = 3e38f;
  EQAT_ASSERT_OK_AND_ASSIGN(
      const quant::QConfigMapping all,
      configs::ParseQConfigMapping(R"({"version": 1, "global": "default_embedding_qat_qconfig"})", "q"));
  EXPECT_THAT(Run(Table("t", 20, 2, values), {.qconfig = all, .buffer_bytes = 1}),
              StatusIs(StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("t: item.weight: counted from row 19: "), HasSubstr("row 0"))));
}

}  // namespace
}  // namespace eqat::formats
