#include "gmock/gmock.h"
#include "model/freeze/passes.h"
#include "tests/model/freeze/freezing.h"

namespace eqat::model {
namespace {

using ::eqat::testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

// A bag and an embedding, whose rows are added.
Model TwoTables(Module bag, Module embedding) {
  Model model;
  Add(model, "bag", std::move(bag));
  Add(model, "user", std::move(embedding));
  EXPECT_TRUE(model
                  .SetGraph({{Input("tags"), Input("ids"), CallModule("a", "bag", "tags"),
                              CallModule("b", "user", "ids"), Call("y", Function::kAdd, {"a", "b"}), Output("y")}})
                  .ok());
  return model;
}

struct Batch {
  std::vector<int64_t> tags = {3, 1, 1, 4, 0, 2}, offsets = {0, 2, 5}, ids = {2, 0, 4};
  std::vector<float> weights = {0.5f, -1.0f, 2.0f, 0.25f, 1.5f, 1.0f};
  Feed feed;
  explicit Batch(bool weighted) {
    feed.lookups["tags"] = Jagged(tags, offsets);
    if (weighted) feed.lookups["tags"].per_sample_weights = weights;
    feed.lookups["ids"] = Indices(ids);
  }
};

TEST(FreezeParameters, QatTablesKeepEveryBitPackedAndInFloat) {
  for (const char* preset :
       {"default_embedding_qat_qconfig", "default_embedding_qat_qconfig_4bit", "default_embedding_qat_qconfig_2bit"}) {
    for (const PoolMode mode : {PoolMode::kSum, PoolMode::kMean, PoolMode::kMax}) {
      for (const bool max_norm : {false, true}) {
        for (const FrozenTables tables : {FrozenTables::kPacked, FrozenTables::kFloat}) {
          SCOPED_TRACE(::testing::Message() << preset << " mode " << static_cast<int>(mode) << " max_norm " << max_norm
                                            << " tables " << static_cast<int>(tables));
          nn::EmbeddingBagOptions bag = BagOptions(5, 6, mode);
          bag.padding_idx = 1;
          nn::EmbeddingOptions user = TableOptions(6, 6);
          if (max_norm) bag.max_norm = user.max_norm = 2.0;
          const Model model = TwoTables(MakeQatBag(bag, Preset(preset)), MakeQatEmbedding(user, Preset(preset), 1));
          Workspace workspace = WorkspaceOf(model);
          EXPECT_EQ(*FreezeParameters(workspace, tables), 2);
          const bool packed = tables == FrozenTables::kPacked;
          EXPECT_EQ(TypeName(*workspace.Find("bag")), packed ? "quantized.EmbeddingBag" : "nn.EmbeddingBag");
          EXPECT_EQ(TypeName(*workspace.Find("user")), packed ? "quantized.Embedding" : "nn.Embedding");
          const Batch batch(mode == PoolMode::kSum);
          EXPECT_EQ(OutputBits(ModelOf(workspace), batch.feed), OutputBits(model, batch.feed));
          EXPECT_EQ(*FreezeParameters(workspace, tables), 0);
        }
      }
    }
  }
}

TEST(FreezeParameters, FloatTablesLoseTrainingOptionsAndKeepEveryBit) {
  nn::EmbeddingBagOptions bag = BagOptions(5, 4, PoolMode::kMean);
  bag.max_norm = 1.5;
  bag.norm_type = 1.0;
  bag.sparse = true;
  bag.scale_grad_by_freq = true;
  nn::EmbeddingOptions user = TableOptions(6, 4);
  user.padding_idx = 2;
  user.requires_grad = false;
  const Model model = TwoTables(MakeBag(bag), MakeEmbedding(user, 1));
  Workspace workspace = WorkspaceOf(model);
  EXPECT_EQ(*FreezeParameters(workspace, FrozenTables::kPacked), 2);
  EXPECT_EQ(std::get<nn::EmbeddingBag>(*workspace.Find("bag")).options(), BagOptions(5, 4, PoolMode::kMean));
  nn::EmbeddingOptions expected = TableOptions(6, 4);
  expected.padding_idx = 2;
  EXPECT_EQ(std::get<nn::Embedding>(*workspace.Find("user")).options(), expected);
  const Batch batch(false);
  EXPECT_EQ(OutputBits(ModelOf(workspace), batch.feed), OutputBits(model, batch.feed));
}

TEST(FreezeParameters, WithoutFakeQuantizationTheFloatRowsCount) {
  qat::EmbeddingBag bag = MakeQatBag(BagOptions(5, 4), Preset("default_embedding_qat_qconfig_4bit"));
  bag.DisableFakeQuant();
  const Model model = TwoTables(std::move(bag), MakeEmbedding(TableOptions(6, 4)));
  Workspace in_float = WorkspaceOf(model);
  EXPECT_EQ(*FreezeParameters(in_float, FrozenTables::kFloat), 1);
  const Batch batch(false);
  EXPECT_EQ(OutputBits(ModelOf(in_float), batch.feed), OutputBits(model, batch.feed));
  Workspace packed = WorkspaceOf(model);
  EXPECT_THAT(FreezeParameters(packed, FrozenTables::kPacked),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("fake quantization")));
}

TEST(FreezeParameters, ParametersBecomeBuffersAndLayersWithoutThemFunctions) {
  Model model;
  Add(model, "scale", ParameterTensor{MakeTensor({2}, {1, 2})});
  Add(model, "relu", ReLU());
  Add(model, "gate", Sigmoid());
  Add(model, "kept", ParameterTensor{MakeTensor({2}, {3, 4})});
  EQAT_ASSERT_OK(model.SetGraph({{Input("x"), GetAttr("s", "scale"), GetAttr("k", "kept"),
                                  Call("a", Function::kMul, {"x", "s"}), CallModule("b", "relu", "a"),
                                  CallModule("c", "gate", "b"), Call("y", Function::kAdd, {"c", "k"}), Output("y")}}));
  Workspace workspace = WorkspaceOf(model, {"kept"});
  EXPECT_EQ(*FreezeParameters(workspace, FrozenTables::kPacked), 3);
  EXPECT_TRUE(std::holds_alternative<BufferTensor>(*workspace.Find("scale")));
  EXPECT_TRUE(std::holds_alternative<ParameterTensor>(*workspace.Find("kept")));
  EXPECT_THAT(LinesOf(workspace.graph), ElementsAre("x", "s = @scale", "k = @kept", "a = mul(x, s)", "b = relu(a)",
                                                    "c = sigmoid(b)", "y = add(c, k)", "output = output(y)"));
  Feed feed;
  feed.dense["x"] = MakeRows(2);
  EXPECT_EQ(OutputBits(ModelOf(workspace), feed), OutputBits(model, feed));
}

TEST(FreezeParameters, PreservedTablesStayAsTheyAre) {
  nn::EmbeddingBagOptions bag = BagOptions(5, 4);
  bag.max_norm = 1.5;
  const Model model =
      TwoTables(MakeBag(bag), MakeQatEmbedding(TableOptions(6, 4), Preset("default_embedding_qat_qconfig")));
  Workspace workspace = WorkspaceOf(model, {"bag", "user"});
  EXPECT_EQ(*FreezeParameters(workspace, FrozenTables::kPacked), 0);
  EXPECT_EQ(std::get<nn::EmbeddingBag>(*workspace.Find("bag")).options().max_norm, 1.5);
  EXPECT_TRUE(IsQat(*workspace.Find("user")));
}

}  // namespace
}  // namespace eqat::model
