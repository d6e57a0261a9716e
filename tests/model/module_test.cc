#include "model/module.h"

#include "gtest/gtest.h"
#include "tests/model/small_models.h"

namespace eqat::model {
namespace {

struct Expected {
  Module module;
  const char* type;
  bool table, qat, float_table, quantized, bag;
  int bits;
  int64_t bytes, bytes_converted;
};

std::vector<Expected> AllModules() {
  const quant::QConfig four_bit = Preset("default_embedding_qat_qconfig_4bit");
  std::vector<Expected> modules;
  const auto add = [&](auto&& module, Expected rest) {
    rest.module = Module(std::move(module));
    modules.push_back(std::move(rest));
  };
  add(MakeEmbedding(TableOptions(5, 3)), {ReLU(), "nn.Embedding", true, false, true, false, false, 32, 60, 60});
  add(MakeBag(BagOptions(5, 3)), {ReLU(), "nn.EmbeddingBag", true, false, true, false, true, 32, 60, 60});
  // Three 4-bit codes are two bytes; scale and zero point eight.
  add(MakeQatEmbedding(TableOptions(5, 3), four_bit),
      {ReLU(), "qat.Embedding", true, true, false, false, false, 4, 60, 50});
  add(MakeQatBag(BagOptions(5, 3), four_bit), {ReLU(), "qat.EmbeddingBag", true, true, false, false, true, 4, 60, 50});
  add(*MakeQatEmbedding(TableOptions(5, 3), four_bit).Convert(),
      {ReLU(), "quantized.Embedding", true, false, false, true, false, 4, 50, 50});
  add(*MakeQatBag(BagOptions(5, 3), four_bit).Convert(),
      {ReLU(), "quantized.EmbeddingBag", true, false, false, true, true, 4, 50, 50});
  add(MakeLinear(3, 2), {ReLU(), "nn.Linear", false, false, false, false, false, 32, 32, 32});
  add(ReLU(), {ReLU(), "nn.ReLU", false, false, false, false, false, 32, 0, 0});
  add(Sigmoid(), {ReLU(), "nn.Sigmoid", false, false, false, false, false, 32, 0, 0});
  add(Dropout(), {ReLU(), "nn.Dropout", false, false, false, false, false, 32, 0, 0});
  add(*nn::BatchNorm1d::Create({.num_features = 4}),
      {ReLU(), "nn.BatchNorm1d", false, false, false, false, false, 32, 32, 32});
  add(ParameterTensor{Tensor({2, 3})}, {ReLU(), "nn.Parameter", false, false, false, false, false, 32, 24, 24});
  add(BufferTensor{Tensor({5})}, {ReLU(), "nn.Buffer", false, false, false, false, false, 32, 20, 20});
  add(GraphModule{}, {ReLU(), "model.Graph", false, false, false, false, false, 32, 0, 0});
  add(InterfaceModule{"item"}, {ReLU(), "model.Interface", false, false, false, false, false, 32, 0, 0});
  return modules;
}

TEST(Module, AnswersTheSmallQuestions) {
  const std::vector<Expected> modules = AllModules();
  ASSERT_EQ(modules.size(), std::variant_size_v<Module>);
  for (size_t i = 0; i < modules.size(); ++i) {
    const Expected& expected = modules[i];
    SCOPED_TRACE(expected.type);
    EXPECT_EQ(expected.module.index(), i);
    EXPECT_EQ(TypeName(expected.module), expected.type);
    EXPECT_EQ(AsLookup(expected.module) != nullptr, expected.table);
    EXPECT_EQ(IsQat(expected.module), expected.qat);
    EXPECT_EQ(IsFloatTable(expected.module), expected.float_table);
    EXPECT_EQ(IsQuantized(expected.module), expected.quantized);
    EXPECT_EQ(IsBag(expected.module), expected.bag);
    EXPECT_EQ(WeightBits(expected.module), expected.bits);
    EXPECT_EQ(ParameterBytes(expected.module), expected.bytes);
    EXPECT_EQ(ParameterBytesConverted(expected.module), expected.bytes_converted);
  }
}

TEST(Module, SizesOfTablesWithoutRowsOrColumnsDoNotOverflow) {
  const quant::QConfig eight_bit = Preset("default_embedding_qat_qconfig");
  EXPECT_EQ(ParameterBytesConverted(MakeQatBag(BagOptions(0, int64_t{1} << 60), eight_bit)), 0);
  const Module no_columns = MakeQatBag(BagOptions(int64_t{1} << 61, 0), eight_bit);
  EXPECT_EQ(ParameterBytes(no_columns), 0);
  EXPECT_EQ(ParameterBytesConverted(no_columns), INT64_MAX);
}

TEST(Module, LookupIsTheTableItself) {
  const Module module = MakeEmbedding(TableOptions(5, 3));
  EXPECT_EQ(AsLookup(module), &std::get<nn::Embedding>(module));
}

TEST(Module, TensorsAreThoseThatGetAttrReads) {
  const Module parameter = ParameterTensor{Tensor({2, 3})}, buffer = BufferTensor{Tensor({5})}, other = ReLU();
  EXPECT_EQ(AsTensor(parameter), &std::get<ParameterTensor>(parameter).value);
  EXPECT_EQ(AsTensor(buffer), &std::get<BufferTensor>(buffer).value);
  EXPECT_EQ(AsTensor(other), nullptr);
}

TEST(Module, PrintsAsTorchDoes) {
  EXPECT_EQ(ToString(MakeBag(BagOptions(10, 3))), "EmbeddingBag(10, 3, mode=mean)");
  EXPECT_EQ(ToString(MakeLinear(3, 2, false)), "Linear(in_features=3, out_features=2, bias=False)");
  EXPECT_EQ(ToString(ReLU()), "ReLU()");
  EXPECT_EQ(ToString(Sigmoid()), "Sigmoid()");
  EXPECT_EQ(ToString(Dropout{.p = 0.25}), "Dropout(p=0.25, inplace=False)");
  EXPECT_EQ(ToString(*nn::BatchNorm1d::Create({.num_features = 3})),
            "BatchNorm1d(3, eps=1e-05, momentum=0.1, affine=True, track_running_stats=True)");
  EXPECT_EQ(ToString(*nn::BatchNorm1d::Create(
                {.num_features = 3, .momentum = std::nullopt, .affine = false, .track_running_stats = false})),
            "BatchNorm1d(3, eps=1e-05, momentum=None, affine=False, track_running_stats=False)");
}

}  // namespace
}  // namespace eqat::model
