// Everything here is compared with torch bit for bit; tests/golden/make_quant_golden.py says what the file holds.
#include <algorithm>
#include <fstream>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "quant/fake_quantize.h"
#include "quant/observer.h"
#include "quant/tensor_text.h"
#include "tests/support/float_bits.h"
#include "tests/support/simd_targets.h"
#include "tests/support/status_matchers.h"

namespace eqat::quant {
namespace {

using eqat::testing::BitsOf;
using eqat::testing::FloatsOf;

std::vector<uint32_t> ParseBits(const std::string& field) {
  std::vector<uint32_t> bits;
  std::istringstream words(field);
  for (std::string word; words >> word;) bits.push_back(static_cast<uint32_t>(std::stoul(word, nullptr, 16)));
  return bits;
}

std::vector<uint8_t> ParseMask(const std::string& field) {
  std::vector<uint8_t> mask;
  for (const char c : field) {
    if (c == '0' || c == '1') mask.push_back(c == '1');
  }
  return mask;
}

// The lines of one kind ("module" with its "forward" lines) without the leading word.
std::vector<std::string> GoldenLines(const std::vector<std::string>& kinds) {
  std::ifstream file(EQAT_TEST_DATA "/golden/quant_golden.txt");
  std::vector<std::string> lines;
  for (std::string line; std::getline(file, line);) {
    const std::string kind = line.substr(0, line.find(' '));
    if (std::find(kinds.begin(), kinds.end(), kind) != kinds.end()) lines.push_back(line);
  }
  return lines;
}

std::vector<std::string> Fields(const std::string& line) {
  return absl::StrSplit(line.substr(line.find(' ') + 1), '|');
}

struct Module {
  std::string line;
  WeightConfig config;
  int64_t rows = 0;
  int64_t cols = 0;
};

Module ParseModule(const std::string& line) {
  std::istringstream words(line);
  std::string word, name, kind, dtype, qscheme, quant_min, quant_max;
  bool reduce_range;
  Module module;
  module.line = line;
  ObserverConfig& observer = module.config.observer;
  words >> word >> name >> kind >> dtype >> qscheme >> quant_min >> quant_max >> reduce_range >>
      observer.averaging_constant >> observer.ch_axis >> module.rows >> module.cols;
  for (const ObserverKindTraits& traits : kObserverKinds) {
    if (traits.name == kind) observer.kind = traits.kind;
  }
  if (!TraitsOf(observer.kind).moving_average) observer.averaging_constant = ObserverConfig().averaging_constant;
  observer.dtype = *DtypeFromName(dtype);
  observer.qscheme = *QSchemeFromName(qscheme);
  observer.reduce_range = reduce_range;
  if (quant_min != "-") observer.quant_min = std::stoi(quant_min);
  if (quant_max != "-") observer.quant_max = std::stoi(quant_max);
  return module;
}

struct GoldenForward {
  std::vector<float> x;
  std::vector<uint32_t> min_val, max_val, scale, zero_point, y;
  std::vector<uint8_t> mask;
};

GoldenForward ParseForward(const std::string& line) {
  const std::vector<std::string> fields = Fields(line);
  return {FloatsOf(ParseBits(fields[0])), ParseBits(fields[1]), ParseBits(fields[2]), ParseBits(fields[3]),
          ParseBits(fields[4]),           ParseBits(fields[5]), ParseMask(fields[6])};
}

void CheckForward(FakeQuantize& fake_quantize, Observer& observer, const Module& module, const GoldenForward& want,
                  bool by_rows) {
  const TableView x(want.x.data(), module.rows, module.cols);
  std::vector<float> y(want.x.size());
  std::vector<uint8_t> mask(want.x.size());
  const MutableTableView y_view(y.data(), module.rows, module.cols);
  if (by_rows) {
    std::vector<int64_t> rows(module.rows);
    for (int64_t row = 0; row < module.rows; ++row) rows[row] = row;
    EQAT_ASSERT_OK(fake_quantize.ForwardRows(x, rows, y_view, mask.data()));
  } else {
    EQAT_ASSERT_OK(fake_quantize.Forward(x, y_view, mask.data()));
  }
  EQAT_ASSERT_OK_AND_ASSIGN(const FakeQuantizeState state, fake_quantize.State(&x));
  EXPECT_EQ(BitsOf(state.min_val), want.min_val);
  EXPECT_EQ(BitsOf(state.max_val), want.max_val);
  EXPECT_EQ(BitsOf(state.scale), want.scale);
  // The integer zero points of the golden file come without sign.
  for (size_t i = 0; i < want.zero_point.size(); ++i) {
    if (TraitsOf(module.config.observer.qscheme).float_zero_point) {
      EXPECT_EQ(BitsOf({state.zero_point[i]})[0], want.zero_point[i]);
    } else {
      EXPECT_EQ(state.zero_point[i], FloatsOf({want.zero_point[i]})[0]);
    }
  }
  EXPECT_EQ(BitsOf(y), want.y);
  EXPECT_EQ(mask, want.mask);

  EQAT_ASSERT_OK(observer.Observe(x));
  EXPECT_EQ(BitsOf(observer.min_val()), want.min_val);
  EXPECT_EQ(BitsOf(observer.max_val()), want.max_val);
  EQAT_ASSERT_OK_AND_ASSIGN(const std::vector<QParams> qparams, observer.CalculateQParams());
  for (size_t i = 0; i < qparams.size(); ++i) EXPECT_EQ(BitsOf({qparams[i].scale})[0], want.scale[i]);
}

void CheckModules(bool by_rows) {
  std::optional<Module> module;
  std::optional<FakeQuantize> fake_quantize;
  std::optional<Observer> observer;
  int checked = 0;
  for (const std::string& line : GoldenLines({"module", "forward"})) {
    if (line.rfind("module", 0) == 0) {
      module = ParseModule(line);
      EQAT_ASSERT_OK_AND_ASSIGN(fake_quantize, FakeQuantize::Create(module->config));
      EQAT_ASSERT_OK_AND_ASSIGN(observer, Observer::Create(module->config.observer));
      continue;
    }
    SCOPED_TRACE(module->line);
    if (by_rows && !fake_quantize->IsRowWise()) continue;
    CheckForward(*fake_quantize, *observer, *module, ParseForward(line), by_rows);
    ++checked;
  }
  EXPECT_GE(checked, by_rows ? 100 : 180);
}

// A new table for each forward, and no announcement: legal for a whole forward, which needs no lazy accounting.
TEST(QuantGoldenTest, WholeForwardEqualsTorch) { CheckModules(/*by_rows=*/false); }

TEST(QuantGoldenTest, ForwardOfAllRowsEqualsTorch) { CheckModules(/*by_rows=*/true); }

TEST(QuantGoldenTest, OperatorEqualsTorchOnEveryTarget) {
  const std::vector<std::string> lines = GoldenLines({"operator"});
  ASSERT_GE(lines.size(), 100);
  eqat::testing::ForEachSimdTarget([&] {
    for (const std::string& line : lines) {
      const std::vector<std::string> fields = Fields(line);
      std::istringstream words(fields[0]);
      std::string kind, scale, zero_point;
      kernels::AffineParams params;
      words >> kind >> params.quant_min >> params.quant_max >> scale >> zero_point;
      params.scale = FloatsOf(ParseBits(scale))[0];
      params.zero_point = FloatsOf(ParseBits(zero_point))[0];
      params.float_zero_point = kind == "float";
      const std::vector<float> x = FloatsOf(ParseBits(fields[1]));
      std::vector<float> y(x.size());
      std::vector<uint8_t> mask(x.size());
      kernels::FakeQuantizeRow(x.data(), x.size(), params, y.data(), mask.data(), nullptr);
      ASSERT_EQ(BitsOf(y), ParseBits(fields[2])) << fields[0];
      ASSERT_EQ(mask, ParseMask(fields[3])) << fields[0];
    }
  });
}

TEST(QuantGoldenTest, PrintedTensorsEqualTorch) {
  const std::vector<std::string> lines = GoldenLines({"text"});
  ASSERT_GE(lines.size(), 20);
  for (const std::string& line : lines) {
    const std::vector<std::string> fields = Fields(line);
    const std::string dtype = fields[0].substr(0, fields[0].find(' '));
    const std::string values = fields[0].substr(dtype.size());
    const std::string want = absl::StrReplaceAll(fields[1].substr(1), {{"\\n", "\n"}});
    if (dtype == "float32") {
      EXPECT_EQ(FloatTensorText(FloatsOf(ParseBits(values))), want);
      continue;
    }
    std::vector<int64_t> integers;
    std::istringstream words(values);
    for (int64_t value; words >> value;) integers.push_back(value);
    EXPECT_EQ(IntTensorText(integers, "torch." + dtype), want);
  }
}

// Appendix A.1 of the reference semantics: the table W and its 8-bit and 4-bit presets.
struct PresetCase {
  const char* preset;
  std::vector<uint32_t> scale, zero_point;
  std::vector<int32_t> codes;
  std::vector<uint32_t> y;
};

TEST(QuantGoldenTest, PresetsOnTheReferenceTable) {
  const std::vector<float> w =
      FloatsOf({0xbfeccccd, 0xbf3d70a4, 0x3ebd70a4, 0x3fbd70a4, 0x3f3d70a4, 0x3feccccd, 0xbf8e147b, 0x00000000,
                0xbf2147ae, 0x3ef5c28f, 0x3fcb851f, 0xbfaf5c29, 0x3f333333, 0x3f333333, 0x3f333333, 0x3f333333});
  const PresetCase cases[] = {
      {"default_embedding_qat_qconfig",
       {0x3c55f4ad, 0x3c3e2ed3, 0x3c3e2ed3, 0x3f800000},
       {0x430daaab, 0x42bf4000, 0x42ec0c1b, 0xbf333333},
       {0, 85, 170, 255, 159, 255, 0, 96, 64, 159, 255, 0, 0, 0, 0, 0},
       {0xbfeccccd, 0xbf3d70a5, 0x3ebd70a2, 0x3fbd70a3, 0x3f3c535e, 0x3feccccd, 0xbf8e147b, 0x3b8ea31e, 0xbf20897f,
        0x3ef38805, 0x3fcb8520, 0xbfaf5c29, 0x3f333333, 0x3f333333, 0x3f333333, 0x3f333333}},
      {"default_embedding_qat_qconfig_4bit",
       {0x3e6353f7, 0x3e4a11c0, 0x3e4a11c0, 0x3f800000},
       {0x41055556, 0x40b40000, 0x40de2983, 0xbf333333},
       {0, 5, 10, 15, 9, 15, 0, 6, 4, 9, 15, 0, 0, 0, 0, 0},
       {0xbfeccccd, 0xbf3d70a6, 0x3ebd709e, 0x3fbd70a2, 0x3f2a7efa, 0x3feccccd, 0xbf8e147b, 0x3d978d50, 0xbf14a691,
        0x3ecfdf3d, 0x3fcb851f, 0xbfaf5c29, 0x3f333333, 0x3f333333, 0x3f333333, 0x3f333333}}};
  const TableView table(w.data(), 4, 4);
  const std::vector<int64_t> rows = {0, 1, 2, 3};
  for (const PresetCase& preset : cases) {
    SCOPED_TRACE(preset.preset);
    const std::optional<QConfig> qconfig = QConfigPreset(preset.preset);
    ASSERT_TRUE(qconfig.has_value());
    EQAT_ASSERT_OK_AND_ASSIGN(FakeQuantize fake_quantize, FakeQuantize::Create(qconfig->weight));
    std::vector<float> y(16);
    std::vector<uint8_t> mask(16);
    EQAT_ASSERT_OK(fake_quantize.ForwardRows(table, rows, MutableTableView(y.data(), 4, 4), mask.data()));
    EXPECT_EQ(BitsOf(y), preset.y);
    EXPECT_THAT(mask, ::testing::Each(1));
    EQAT_ASSERT_OK_AND_ASSIGN(const FakeQuantizeState state, fake_quantize.State(&table));
    EXPECT_EQ(BitsOf(state.scale), preset.scale);
    EXPECT_EQ(BitsOf(state.zero_point), preset.zero_point);
    std::vector<int32_t> codes(16);
    EQAT_ASSERT_OK(fake_quantize.EvaluateContent(table, rows, table, MutableTableView(), codes.data(), nullptr));
    EXPECT_EQ(codes, preset.codes);
  }
}

}  // namespace
}  // namespace eqat::quant
