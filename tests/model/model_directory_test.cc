#include "model/model_directory.h"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <functional>
#include <limits>
#include <memory>
#include <sstream>
#include <thread>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/prepare_qat.h"
#include "tests/model/small_models.h"
#include "tests/support/status_matchers.h"

namespace eqat::model {
namespace {

using ::eqat::testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr double kInfinity = std::numeric_limits<double>::infinity();

class ModelDirectory : public ModelDirectoryFixture {
 protected:
  // Saves `model` and loads it again; saving that gives the same bytes.
  Model RoundTrip(const Model& model) {
    EQAT_EXPECT_OK(SaveModel(model, Path("first")));
    absl::StatusOr<Model> loaded = LoadModel(Path("first"));
    EQAT_EXPECT_OK(loaded);
    if (!loaded.ok()) return Model();
    EQAT_EXPECT_OK(SaveModel(*loaded, Path("second")));
    for (const char* file : {"model.json", "model.safetensors"}) {
      EXPECT_EQ(ReadText(root_ / "first" / file), ReadText(root_ / "second" / file)) << file;
    }
    return *std::move(loaded);
  }
};

// The default recipe with the whole code range of `dtype`.
quant::QConfig QConfigOf(quant::Dtype dtype) {
  quant::QConfig qconfig = Preset("default_embedding_qat_qconfig");
  qconfig.name.clear();
  qconfig.weight.observer.dtype = dtype;
  qconfig.weight.observer.quant_min.reset();
  qconfig.weight.observer.quant_max.reset();
  return qconfig;
}

quant::QConfig UnusualQConfig() {
  quant::QConfig qconfig = QConfigOf(quant::Dtype::kUInt3);
  qconfig.weight.observer.averaging_constant = 0.125;
  return qconfig;
}

nn::EmbeddingBagOptions EveryOption() {
  nn::EmbeddingBagOptions options = BagOptions(6, 5, PoolMode::kSum);
  options.padding_idx = 4;
  options.max_norm = 1.5;
  options.norm_type = 3.0;
  options.scale_grad_by_freq = true;
  options.requires_grad = false;
  options.include_last_offset = true;
  return options;
}

// Every type of module, each option away from its default at least once, every function, and tables without rows or
// columns.
Model EveryModule() {
  Model model;
  nn::EmbeddingOptions sparse = TableOptions(4, 3);
  sparse.sparse = true;
  sparse.norm_type = -kInfinity;
  Add(model, "plain", MakeEmbedding(TableOptions(3, 2)));
  Add(model, "sparse", MakeEmbedding(sparse, 1));
  Add(model, "bag", MakeBag(EveryOption(), 2));
  Add(model, "max", MakeBag(BagOptions(3, 7, PoolMode::kMax), 3));
  Add(model, "no_rows", MakeBag(BagOptions(0, 4)));
  Add(model, "no_columns", MakeBag(BagOptions(4, 0)));
  Add(model, "qat.user", MakeQatEmbedding(TableOptions(4, 3), Preset("default_embedding_qat_qconfig_4bit"), 4));
  Add(model, "qat.bag", MakeQatBag(EveryOption(), UnusualQConfig(), 5));
  nn::EmbeddingBagOptions packed = EveryOption();
  packed.max_norm.reset();
  for (const quant::DtypeTraits& traits : quant::kDtypes) {
    Add(model, absl::StrCat("packed_", traits.name), *MakeQatBag(packed, QConfigOf(traits.dtype), 6).Convert());
  }
  Add(model, "packed", *MakeQatEmbedding(TableOptions(4, 3), UnusualQConfig(), 7).Convert());
  Add(model, "fc", MakeLinear(6, 2, true, 8));
  Add(model, "fc_no_bias", MakeLinear(2, 1, false, 9));
  Add(model, "relu", ReLU());
  Add(model, "sigmoid", Sigmoid());
  Add(model, "drop", Dropout());
  Add(model, "drop_less", Dropout{.p = 0.125});
  nn::BatchNorm1d norm = *nn::BatchNorm1d::Create({.num_features = 2});
  norm.mutable_state() = {.weight = {1.5f, -2.0f},
                          .bias = {0.25f, 0.0f},
                          .running_mean = {3.0f, -1.0f},
                          .running_var = {0.5f, 4.0f},
                          .num_batches_tracked = 77};
  Add(model, "norm", std::move(norm));
  Add(model, "bare_norm",
      *nn::BatchNorm1d::Create(
          {.num_features = 2, .eps = 0.5, .momentum = std::nullopt, .affine = false, .track_running_stats = false}));
  Add(model, "slow_norm", *nn::BatchNorm1d::Create({.num_features = 2, .momentum = 0.25}));
  const absl::Status status = model.SetGraph({{
      Input("a"),
      Input("b"),
      Input("dense"),
      CallModule("e0", "plain", "a"),
      CallModule("e1", "plain", "b"),
      Call("all", Function::kCat, {"e0", "e1", "dense"}, -1),
      Call("rows", Function::kCat, {"e0", "e1"}),
      CallModule("fc", "fc", "all"),
      Call("dots", Function::kInteractDot, {"e0", "e1"}),
      Call("sum", Function::kAdd, {"fc", "dots"}),
      Call("product", Function::kMul, {"sum", "fc"}),
      Call("r", Function::kReLU, {"product"}),
      Call("s", Function::kSigmoid, {"r"}),
      Call("f0", Function::kFlatten, {"s"}),
      Call("f1", Function::kFlatten, {"s"}, 1),
      Output("f1"),
  }});
  EQAT_EXPECT_OK(status);
  return model;
}

template <typename T>
void ExpectSameOptions(const Model& a, const Model& b, const std::string& name) {
  EXPECT_EQ(std::get<T>(*a.Find(name)).options(), std::get<T>(*b.Find(name)).options()) << name;
}

TEST_F(ModelDirectory, KeepsEveryModuleOptionTensorAndNode) {
  const Model model = EveryModule();
  const Model loaded = RoundTrip(model);
  ASSERT_EQ(loaded.module_names(), model.module_names());
  for (const std::string& name : model.module_names()) {
    EXPECT_EQ(TypeName(*loaded.Find(name)), TypeName(*model.Find(name))) << name;
    EXPECT_EQ(ToString(*loaded.Find(name)), ToString(*model.Find(name))) << name;
  }
  for (const char* name : {"plain", "sparse"}) ExpectSameOptions<nn::Embedding>(model, loaded, name);
  for (const char* name : {"bag", "max", "no_rows", "no_columns"}) {
    ExpectSameOptions<nn::EmbeddingBag>(model, loaded, name);
  }
  ExpectSameOptions<qat::Embedding>(model, loaded, "qat.user");
  ExpectSameOptions<qat::EmbeddingBag>(model, loaded, "qat.bag");
  EXPECT_EQ(std::get<qat::EmbeddingBag>(*loaded.Find("qat.bag")).qconfig(), UnusualQConfig());
  ExpectSameOptions<quantized::EmbeddingBag>(model, loaded, "packed_uint5");
  ExpectSameOptions<nn::Linear>(model, loaded, "fc_no_bias");
  for (const char* name : {"norm", "bare_norm", "slow_norm"}) ExpectSameOptions<nn::BatchNorm1d>(model, loaded, name);
  EXPECT_EQ(std::get<nn::BatchNorm1d>(*loaded.Find("norm")).state().num_batches_tracked, 77);
  ASSERT_EQ(loaded.graph()->nodes.size(), model.graph()->nodes.size());
  for (size_t i = 0; i < model.graph()->nodes.size(); ++i) {
    const Node& node = loaded.graph()->nodes[i];
    const Node& expected = model.graph()->nodes[i];
    EXPECT_EQ(
        std::tie(node.name, node.op, node.target, node.function, node.args, node.int_arg),
        std::tie(expected.name, expected.op, expected.target, expected.function, expected.args, expected.int_arg));
  }
}

TEST_F(ModelDirectory, KeepsTheStateOfObservers) {
  for (const bool freeze : {false, true}) {
    Model model;
    nn::EmbeddingBagOptions options = BagOptions(4, 3);
    qat::EmbeddingBag bag = MakeQatBag(options, UnusualQConfig());
    const std::vector<int64_t> ids = {2, 0};
    std::vector<float> out(6);
    EQAT_ASSERT_OK(bag.Forward(Indices(ids, {2, 1}), MutableTableView(out.data(), 2, 3), nullptr));
    bag.WillModifyAllRows();
    bag.mutable_weight().Row(0)[0] = 9.0f;
    EQAT_ASSERT_OK(bag.Forward(Indices(ids, {2, 1}), MutableTableView(out.data(), 2, 3), nullptr));
    if (freeze) {
      EQAT_ASSERT_OK(bag.DisableObserver());
      bag.DisableFakeQuant();
    }
    const quant::FakeQuantizeState expected = *bag.FakeQuantState();
    ASSERT_EQ(expected.min_val.size(), 4);
    Add(model, "bag", std::move(bag));
    const Model loaded = RoundTrip(model);
    const quant::FakeQuantizeState state = *std::get<qat::EmbeddingBag>(*loaded.Find("bag")).FakeQuantState();
    EXPECT_EQ(state.observer_enabled, !freeze);
    EXPECT_EQ(state.fake_quant_enabled, !freeze);
    EXPECT_EQ(state.scale, expected.scale);
    EXPECT_EQ(state.zero_point, expected.zero_point);
    EXPECT_EQ(state.min_val, expected.min_val);
    EXPECT_EQ(state.max_val, expected.max_val);
  }
}

TEST_F(ModelDirectory, LoadsModelsWithoutModulesOrGraph) {
  const Model loaded = RoundTrip(Model());
  EXPECT_TRUE(loaded.module_names().empty());
  EXPECT_FALSE(loaded.graph().has_value());
}

TEST_F(ModelDirectory, NamesAndMetadataAreThoseOfTheFormat) {
  Model model;
  Add(model, "user", MakeQatEmbedding(TableOptions(4, 3), Preset("default_embedding_qat_qconfig")));
  EQAT_ASSERT_OK(SaveModel(model, Path("m")));
  EXPECT_EQ(ReadText(root_ / "m" / "model.json"), R"({
  "format": "eqat.model",
  "version": 1,
  "modules": {
    "user": {
      "type": "qat.Embedding",
      "num_embeddings": 4,
      "embedding_dim": 3,
      "qconfig": "default_embedding_qat_qconfig"
    }
  }
}
)");
  const auto tensors = *io::SafetensorsReader::Open(Path("m/model.safetensors"));
  EXPECT_THAT(tensors.metadata(), ElementsAre(std::pair("format", "eqat.model"), std::pair("version", "1")));
  std::vector<std::string> described;
  for (const io::TensorInfo& tensor : tensors.tensors()) {
    described.push_back(
        absl::StrCat(tensor.name, " ", std::string(io::TensorDtypeName(tensor.dtype)), " ", ShapeText(tensor.shape)));
  }
  EXPECT_THAT(
      described,
      ElementsAre("user.weight F32 [4, 3]", "user.weight_fake_quant.activation_post_process.eps F32 [1]",
                  "user.weight_fake_quant.activation_post_process.max_val F32 [0]",
                  "user.weight_fake_quant.activation_post_process.min_val F32 [0]",
                  "user.weight_fake_quant.fake_quant_enabled U8 [1]", "user.weight_fake_quant.observer_enabled U8 [1]",
                  "user.weight_fake_quant.scale F32 [1]", "user.weight_fake_quant.zero_point F32 [1]"));
}

TEST_F(ModelDirectory, FloatTablesAreWrittenAndReadIn16Bits) {
  for (const io::TensorDtype dtype : {io::TensorDtype::kF16, io::TensorDtype::kBF16}) {
    SCOPED_TRACE(std::string(io::TensorDtypeName(dtype)));
    Model model;
    Add(model, "item", MakeBag(BagOptions(5, 3)));
    Add(model, "user", MakeQatEmbedding(TableOptions(4, 3), Preset("default_embedding_qat_qconfig")));
    EQAT_ASSERT_OK(SaveModel(model, Path("m"), {.weight_dtype = dtype}));
    const auto tensors = *io::SafetensorsReader::Open(Path("m/model.safetensors"));
    EXPECT_EQ(tensors.Find("item.weight")->dtype, dtype);
    EXPECT_EQ(tensors.Find("user.weight")->dtype, io::TensorDtype::kF32);
    EQAT_ASSERT_OK_AND_ASSIGN(const Model loaded, LoadModel(Path("m")));
    const Table& table = std::get<nn::EmbeddingBag>(*loaded.Find("item")).weight();
    const Table expected = MakeTable(5, 3);
    EXPECT_TRUE(std::equal(table.data(), table.data() + 15, expected.data()));
  }
}

TEST_F(ModelDirectory, RefusesValuesThat16BitsCannotHold) {
  Model model;
  Add(model, "item", MakeBag(BagOptions(5, 3)));
  std::get<nn::EmbeddingBag>(*model.FindMutable("item")).mutable_weight().Row(3)[1] = 70000.0f;
  EXPECT_THAT(SaveModel(model, Path("m"), {.weight_dtype = io::TensorDtype::kF16}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("item.weight: row 3, column 1 does not fit into F16 (got 70000)")));
  EXPECT_TRUE(std::filesystem::is_empty(root_)) << "an error leaves nothing behind";
  EQAT_EXPECT_OK(SaveModel(model, Path("m"), {.weight_dtype = io::TensorDtype::kBF16}));
}

TEST_F(ModelDirectory, MapsFloat32TablesPrivately) {
  Model model;
  Add(model, "item", MakeBag(BagOptions(5, 3)));
  std::get<nn::EmbeddingBag>(*model.FindMutable("item")).mutable_weight().Row(3)[1] =
      std::numeric_limits<float>::quiet_NaN();
  EQAT_ASSERT_OK(SaveModel(model, Path("m")));
  const std::string bytes = ReadText(root_ / "m" / "model.safetensors");
  EQAT_ASSERT_OK_AND_ASSIGN(Model loaded, LoadModel(Path("m")));
  Table& table = std::get<nn::EmbeddingBag>(*loaded.FindMutable("item")).mutable_weight();
  EXPECT_TRUE(std::isnan(table.Row(3)[1])) << "loading does not read a mapped table";
  table.Row(0)[0] = 1234.0f;
  EXPECT_EQ(ReadText(root_ / "m" / "model.safetensors"), bytes);
  EQAT_ASSERT_OK(SaveModel(loaded, Path("m")));
  EQAT_ASSERT_OK_AND_ASSIGN(const Model again, LoadModel(Path("m")));
  EXPECT_EQ(std::get<nn::EmbeddingBag>(*again.Find("item")).weight().Row(0)[0], 1234.0f);
}

TEST_F(ModelDirectory, NamesTheFileThatMayNotBeRead) {
  if (geteuid() != 0) GTEST_SKIP() << "only root can become another user";
  EQAT_ASSERT_OK(SaveModel(Model(), Path("model")));
  std::filesystem::permissions(root_, std::filesystem::perms::all);
  std::filesystem::permissions(Path("model"), std::filesystem::perms::none);
  ASSERT_EQ(seteuid(65534), 0);
  const absl::Status status = LoadModel(Path("model")).status();
  ASSERT_EQ(seteuid(0), 0);
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kPermissionDenied, HasSubstr("model/model.json: cannot open: ")));
}

TEST_F(ModelDirectory, ReadersSeeOneStateWhileItIsReplaced) {
  // The two states differ in width: half of one and half of the other would not load.
  Model narrow, wide;
  Add(narrow, "item", MakeBag(BagOptions(5, 3)));
  Add(wide, "item", MakeBag(BagOptions(5, 4)));
  // A long model.json, so that replacements fall between the reading of the two files.
  for (int i = 0; i < 1000; ++i) {
    for (Model* model : {&narrow, &wide}) Add(*model, absl::StrCat("relu.", i), ReLU());
  }
  EQAT_ASSERT_OK(SaveModel(narrow, Path("m")));
  std::atomic<bool> stop = false;
  absl::Status written;
  std::thread writer([&] {
    for (int i = 0; !stop && written.ok(); ++i) {
      const auto begin = std::chrono::steady_clock::now();
      written = SaveModel(i % 2 == 0 ? wide : narrow, Path("m"));
      // However slow the build, some reads must fall between two replacements.
      std::this_thread::sleep_for(2 * (std::chrono::steady_clock::now() - begin));
    }
  });
  for (int i = 0; i < 60; ++i) {
    const absl::StatusOr<Model> loaded = LoadModel(Path("m"));
    EXPECT_THAT(loaded, ::eqat::testing::IsOk()) << "read " << i;
    if (!loaded.ok()) break;
  }
  stop = true;
  writer.join();
  EQAT_EXPECT_OK(written);
}

// What model.json says, as text to be damaged.
constexpr char kJson[] = R"({"format": "eqat.model", "version": 1,
 "modules": {
  "item": {"type": "nn.EmbeddingBag", "num_embeddings": 5, "embedding_dim": 3, "mode": "sum", "padding_idx": null},
  "user": {"type": "qat.Embedding", "num_embeddings": 4, "embedding_dim": 3, "qconfig": "default_embedding_qat_qconfig"},
  "tags": {"type": "quantized.Embedding", "num_embeddings": 4, "embedding_dim": 3, "bits": 4},
  "fc": {"type": "nn.Linear", "in_features": 3, "out_features": 2},
  "norm": {"type": "nn.BatchNorm1d", "num_features": 2}},
 "graph": [
  {"name": "ids", "op": "placeholder"},
  {"name": "e", "op": "call_module", "target": "item", "args": ["ids"]},
  {"name": "c", "op": "call_function", "target": "cat", "args": [["e", "e"]], "kwargs": {"dim": 1}},
  {"name": "output", "op": "output", "args": ["c"]}]}
)";

Model DamageableModel() {
  Model model;
  Add(model, "item", MakeBag(BagOptions(5, 3, PoolMode::kSum)));
  Add(model, "user", MakeQatEmbedding(TableOptions(4, 3), Preset("default_embedding_qat_qconfig")));
  Add(model, "tags", *MakeQatEmbedding(TableOptions(4, 3), Preset("default_embedding_qat_qconfig_4bit")).Convert());
  Add(model, "fc", MakeLinear(3, 2));
  Add(model, "norm", *nn::BatchNorm1d::Create({.num_features = 2}));
  return model;
}

TEST_F(ModelDirectory, RefusesMistakesInModelJsonByPointer) {
  EQAT_ASSERT_OK(SaveModel(DamageableModel(), Path("m")));
  WriteText(root_ / "m" / "model.json", kJson);
  EQAT_ASSERT_OK(LoadModel(Path("m")));
  struct Case {
    const char* from;
    const char* to;
    const char* message;
  };
  const Case cases[] = {
      {"eqat.model", "eqat.modem", "/format: "},
      {"\"version\": 1", "\"version\": 2", "/version: "},
      {"\"version\": 1", "\"version\": 1, \"extra\": 0", "/extra: "},
      {"\"modules\"", "\"module\"", "/modules: "},
      {"\"graph\": [", "\"graph\": {}, \"x\": [", "/graph: "},
      {"{\"format\"", "[{\"format\"", "model.json: "},
      {"\"item\": {", "\"it em\": {", "/modules/it em: a module's name is not allowed"},
      {"nn.EmbeddingBag", "nn.Embeddingbag", "/modules/item/type: "},
      {"\"mode\": \"sum\"", "\"mode\": \"avg\"", "/modules/item/mode: "},
      {"\"mode\": \"sum\"", "\"mod\": \"sum\"", "/modules/item/mod: "},
      {"\"mode\": \"sum\"", "\"sparse\": 1", "/modules/item/sparse: "},
      {"\"mode\": \"sum\"", "\"norm_type\": \"infinity\"", "/modules/item/norm_type: "},
      {"\"mode\": \"sum\"", "\"max_norm\": \"1\"", "/modules/item/max_norm: "},
      {"\"mode\": \"sum\"", "\"bits\": 8", "/modules/item/bits: "},
      {"\"mode\": \"sum\"", "\"qconfig\": null", "/modules/item/qconfig: "},
      {"\"mode\": \"sum\"", "\"mode\": \"max\", \"scale_grad_by_freq\": true", "/modules/item: "},
      {"\"padding_idx\": null", "\"padding_idx\": 5", "/modules/item: padding_idx"},
      {"\"padding_idx\": null", "\"padding_idx\": 1.5", "/modules/item/padding_idx: "},
      {"\"num_embeddings\": 5", "\"num_embeddings\": -5", "/modules/item/num_embeddings: "},
      {"\"num_embeddings\": 5, ", "", "/modules/item/num_embeddings: "},
      {"\"qconfig\": \"default_embedding_qat_qconfig\"", "\"qconfig\": \"default\"", "/modules/user/qconfig: "},
      {"\"qconfig\": \"default_embedding_qat_qconfig\"", "\"qconfig\": null",
       "/modules/user/qconfig: a qat module has no qconfig"},
      {", \"qconfig\": \"default_embedding_qat_qconfig\"", "", "/modules/user/qconfig: "},
      {"\"default_embedding_qat_qconfig\"", "\"float_qparams_weight_only_qconfig\"", "/modules/user: "},
      {"\"bits\": 4", "\"bits\": 9", "/modules/tags/bits: "},
      {"\"bits\": 4", "\"bits\": 4, \"dtype\": \"quint8\"", "/modules/tags/dtype: "},
      {"\"bits\": 4", "\"bits\": 4, \"max_norm\": 1", "/modules/tags/max_norm: conversion has applied it"},
      {", \"bits\": 4", "", "/modules/tags/bits: "},
      {"\"in_features\": 3", "\"in_features\": -3", "/modules/fc/in_features: "},
      {"\"out_features\": 2", "\"out_features\": 2, \"requires_grad\": false", "/modules/fc/requires_grad: "},
      {"\"num_features\": 2", "\"num_features\": 2, \"eps\": -1", "/modules/norm/eps: "},
      {"\"num_features\": 2", "\"num_features\": 2, \"momentum\": \"none\"", "/modules/norm/momentum: "},
      {"\"type\": \"nn.Linear\", \"in_features\": 3, \"out_features\": 2", "\"type\": \"nn.Dropout\", \"p\": 1.5",
       "/modules/fc/p: "},
      {"\"op\": \"placeholder\"", "\"op\": \"input\"", "/graph/0/op: "},
      {"\"op\": \"placeholder\"", "\"op\": \"placeholder\", \"args\": []", "/graph/0/args: "},
      {"\"target\": \"item\", ", "", "/graph/1/target: "},
      {"\"target\": \"item\"", "\"target\": \"itm\"", "model.json: graph node e: no module of this name (got itm"},
      {"\"args\": [\"ids\"]", "\"args\": \"ids\"", "/graph/1/args: "},
      {"\"args\": [\"ids\"]", "\"args\": [\"ids\"], \"kwargs\": {}", "/graph/1/kwargs: "},
      {"\"args\": [\"ids\"]", "\"args\": [7]", "/graph/1/args: an argument is not a name"},
      {"\"target\": \"cat\"", "\"target\": \"concat\"", "/graph/2/target: "},
      {"[[\"e\", \"e\"]]", "[\"e\", \"e\"]", "/graph/2/args: not the arguments of this function"},
      {"{\"dim\": 1}", "{\"axis\": 1}", "/graph/2/kwargs/axis: "},
      {"{\"dim\": 1}", "{\"dim\": 1.5}", "/graph/2/kwargs/dim: "},
      {"\"op\": \"output\"", "\"op\": \"placeholder\"", "/graph/3/args: "},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.to);
    ASSERT_TRUE(absl::StrContains(kJson, c.from));
    std::string json = kJson;
    json.replace(json.find(c.from), std::string(c.from).size(), c.to);
    WriteText(root_ / "m" / "model.json", json);
    const absl::StatusOr<Model> loaded = LoadModel(Path("m"));
    EXPECT_THAT(loaded, StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(c.message)));
    EXPECT_THAT(std::string(loaded.status().message()), HasSubstr("model.json"));
  }
}

// The tensors of a file, to be damaged and written again.
struct EditableTensors {
  struct Entry {
    io::TensorDtype dtype;
    std::vector<int64_t> shape;
    std::string bytes;
  };
  std::map<std::string, Entry> entries;

  explicit EditableTensors(const std::string& path) {
    const auto reader = *io::SafetensorsReader::Open(path);
    for (const io::TensorInfo& tensor : reader.tensors()) {
      const absl::Span<const char> bytes = reader.Bytes(tensor);
      entries[tensor.name] = {tensor.dtype, tensor.shape, std::string(bytes.begin(), bytes.end())};
    }
  }
  absl::Status Write(const std::string& path) const {
    std::vector<io::TensorToWrite> tensors;
    for (const auto& [name, entry] : entries)
      tensors.push_back({name, entry.dtype, entry.shape, absl::MakeConstSpan(entry.bytes)});
    return io::WriteSafetensors(path, std::move(tensors), {});
  }
  // All bytes `byte`.
  void Set(const std::string& name, io::TensorDtype dtype, std::vector<int64_t> shape, char byte = 0) {
    int64_t size = io::TensorDtypeBytes(dtype);
    for (const int64_t extent : shape) size *= extent;
    entries[name] = {dtype, std::move(shape), std::string(size, byte)};
  }
};

TEST_F(ModelDirectory, RefusesMistakesInTensorsByName) {
  EQAT_ASSERT_OK(SaveModel(DamageableModel(), Path("m")));
  WriteText(root_ / "m" / "model.json", kJson);
  const std::string file = Path("m/model.safetensors");
  const EditableTensors original(file);
  constexpr auto kF32 = io::TensorDtype::kF32;
  constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
  const std::string fake_quant = "user.weight_fake_quant.";
  const std::string observer = "user.weight_fake_quant.activation_post_process.";
  struct Case {
    const char* name;
    std::function<void(EditableTensors&)> damage;
    absl::StatusCode code;
    std::string message;
  };
  const Case cases[] = {
      {"missing weight", [](auto& t) { t.entries.erase("item.weight"); }, absl::StatusCode::kNotFound,
       "item.weight: tensor is missing (expected F32 or F16 or BF16 [5, 3])"},
      {"missing state", [&](auto& t) { t.entries.erase(observer + "eps"); }, absl::StatusCode::kNotFound,
       observer + "eps: tensor is missing (expected F32 [1])"},
      {"extra", [&](auto& t) { t.Set("itm.weight", kF32, {1}); }, kInvalid, "itm.weight: tensor belongs to no module"},
      {"extra of a float table", [&](auto& t) { t.Set("item.weight_fake_quant.scale", kF32, {1}); }, kInvalid,
       "item.weight_fake_quant.scale: tensor belongs to no module"},
      {"dtype",
       [](auto& t) {
         t.Set("item.weight", io::TensorDtype::kF64, {5, 3});
       },
       kInvalid, "item.weight: wrong dtype (got F64, expected F32 or F16 or BF16)"},
      {"shape",
       [&](auto& t) {
         t.Set("item.weight", kF32, {3, 5});
       },
       kInvalid, "item.weight: wrong shape (got [3, 5], expected [5, 3])"},
      {"rank", [&](auto& t) { t.Set("item.weight", kF32, {15}); }, kInvalid, "item.weight: wrong shape (got [15]"},
      {"infinity in F16",
       [](auto& t) {
         t.Set("item.weight", io::TensorDtype::kF16, {5, 3}, '\x7c');
       },
       kInvalid, "item.weight: row 0, column 0 is not finite (got nan, expected a finite number)"},
      {"flag dtype", [&](auto& t) { t.Set(fake_quant + "observer_enabled", io::TensorDtype::kI64, {1}); }, kInvalid,
       "observer_enabled: wrong dtype (got I64, expected U8)"},
      {"flag value", [&](auto& t) { t.Set(fake_quant + "observer_enabled", io::TensorDtype::kU8, {1}, 2); }, kInvalid,
       "observer_enabled: not a flag (got 2, expected 0 or 1)"},
      {"scale size", [&](auto& t) { t.Set(fake_quant + "scale", kF32, {3}); }, kInvalid,
       fake_quant + "scale: wrong shape (got [3], expected [1] or [4])"},
      {"bounds size", [&](auto& t) { t.Set(observer + "min_val", kF32, {1}); }, kInvalid,
       observer + "min_val: wrong shape (got [1], expected [0] or [4])"},
      {"one bound alone", [&](auto& t) { t.Set(observer + "min_val", kF32, {4}); }, kInvalid, "safetensors: user: "},
      {"infinite scale", [&](auto& t) { t.Set(fake_quant + "scale", kF32, {1}, '\xff'); }, kInvalid,
       "safetensors: user: "},
      {"codes",
       [](auto& t) {
         t.Set("tags.weight.codes", io::TensorDtype::kU8, {4, 3});
       },
       kInvalid, "tags.weight.codes: wrong shape (got [4, 3], expected [4, 2])"},
      {"bits behind the last column", [](auto& t) { t.entries["tags.weight.codes"].bytes[1] |= '\x10'; }, kInvalid,
       "safetensors: tags: "},
      {"groups",
       [&](auto& t) {
         t.Set("tags.weight.scale", kF32, {4, 2});
       },
       absl::StatusCode::kUnimplemented, "tags.weight.scale: several groups of columns in a row (got [4, 2]"},
      {"groups of zero points",
       [&](auto& t) {
         t.Set("tags.weight.zero_point", kF32, {4, 1});
       },
       absl::StatusCode::kUnimplemented, "tags.weight.zero_point: several groups"},
      {"parameter dtype", [](auto& t) { t.Set("tags.weight.scale", io::TensorDtype::kBF16, {4}); }, kInvalid,
       "tags.weight.scale: wrong dtype (got BF16, expected F32 or F16)"},
      {"NaN scale", [&](auto& t) { t.Set("tags.weight.scale", kF32, {4}, '\xff'); }, kInvalid, "safetensors: tags: "},
      {"bias", [&](auto& t) { t.Set("fc.bias", kF32, {3}); }, kInvalid, "fc.bias: wrong shape (got [3], expected [2])"},
      {"bias dtype", [](auto& t) { t.Set("fc.bias", io::TensorDtype::kF16, {2}); }, kInvalid, "fc.bias: wrong dtype"},
      {"count shape", [](auto& t) { t.Set("norm.num_batches_tracked", io::TensorDtype::kI64, {1}); }, kInvalid,
       "norm.num_batches_tracked: wrong shape (got [1], expected [])"},
      {"count", [](auto& t) { t.Set("norm.num_batches_tracked", io::TensorDtype::kI64, {}, '\xff'); }, kInvalid,
       "norm.num_batches_tracked: a count is negative (got -1, expected at least 0)"},
      {"running variance", [](auto& t) { t.entries.erase("norm.running_var"); }, absl::StatusCode::kNotFound,
       "norm.running_var: tensor is missing"},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    EditableTensors tensors = original;
    c.damage(tensors);
    EQAT_ASSERT_OK(tensors.Write(file));
    const absl::StatusOr<Model> loaded = LoadModel(Path("m"));
    EXPECT_THAT(loaded, StatusIs(c.code, HasSubstr(c.message)));
    EXPECT_THAT(std::string(loaded.status().message()), HasSubstr(file));
  }
}

TEST_F(ModelDirectory, ReadsF16ParametersAndF16TablesOfQatModules) {
  EQAT_ASSERT_OK(SaveModel(DamageableModel(), Path("m")));
  WriteText(root_ / "m" / "model.json", kJson);
  const std::string file = Path("m/model.safetensors");
  EditableTensors tensors(file);
  tensors.Set("tags.weight.scale", io::TensorDtype::kF16, {4}, '\x3c');
  tensors.Set("tags.weight.zero_point", io::TensorDtype::kF16, {4}, '\x00');
  tensors.Set("user.weight", io::TensorDtype::kBF16, {4, 3}, '\x3f');
  EQAT_ASSERT_OK(tensors.Write(file));
  EQAT_ASSERT_OK_AND_ASSIGN(const Model loaded, LoadModel(Path("m")));
  EXPECT_EQ(std::get<quantized::Embedding>(*loaded.Find("tags")).weight().scale(2), 1.05859375f);  // 0x3c3c
  EXPECT_EQ(std::get<qat::Embedding>(*loaded.Find("user")).weight().Row(2)[1], 0.74609375f);       // 0x3f3f
}

TEST_F(ModelDirectory, NamesTheFileThatIsMissing) {
  EXPECT_THAT(LoadModel(Path("m")), StatusIs(absl::StatusCode::kNotFound, HasSubstr(Path("m"))));
  EQAT_ASSERT_OK(SaveModel(DamageableModel(), Path("m")));
  std::filesystem::remove(root_ / "m" / "model.safetensors");
  EXPECT_THAT(LoadModel(Path("m")), StatusIs(absl::StatusCode::kNotFound, HasSubstr("m/model.safetensors")));
  std::filesystem::remove(root_ / "m" / "model.json");
  EXPECT_THAT(LoadModel(Path("m")), StatusIs(absl::StatusCode::kNotFound, HasSubstr("m/model.json")));
}

TEST_F(ModelDirectory, CarriesTheVocabularyAlong) {
  const std::string words("</s>\n\xff\0\n", 8);
  EQAT_EXPECT_OK(SaveModel(DamageableModel(), Path("m")));
  EXPECT_FALSE(std::filesystem::exists(root_ / "m" / "vocabulary.txt"));
  WriteText(root_ / "m" / "vocabulary.txt", words);
  EQAT_ASSERT_OK_AND_ASSIGN(const Model model, LoadModel(Path("m")));
  EXPECT_EQ(model.vocabulary(), words);
  EQAT_EXPECT_OK(SaveModel(model, Path("other")));
  EQAT_ASSERT_OK_AND_ASSIGN(const Model again, LoadModel(Path("other")));
  EXPECT_EQ(again.vocabulary(), words);
}

TEST_F(ModelDirectory, ReplacesModelDirectoriesOnly) {
  EXPECT_THAT(ModelDirectoryFiles(), ElementsAre("model.json", "model.safetensors", "optimizer.safetensors",
                                                 "trainer.json", "metrics.jsonl", "vocabulary.txt"));
  WriteText(root_ / "m" / "trainer.json", "{}");
  EQAT_EXPECT_OK(SaveModel(DamageableModel(), Path("m")));
  EXPECT_FALSE(std::filesystem::exists(root_ / "m" / "trainer.json")) << "the state belonged to another model";
  WriteText(root_ / "m" / "notes.txt", "mine");
  EXPECT_THAT(SaveModel(DamageableModel(), Path("m")),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("notes.txt")));
  EXPECT_EQ(ReadText(root_ / "m" / "notes.txt"), "mine");
}

// The text between "```LANGUAGE" after `marker` and the closing fence.
std::string CodeBlock(const std::string& page, const std::string& marker) {
  const size_t begin = page.find('\n', page.find("```", page.find(marker))) + 1;
  return page.substr(begin, page.find("```", begin) - begin);
}

TEST_F(ModelDirectory, TheDocumentsExampleLoads) {
  const std::string page = ReadText(EQAT_TEST_DATA "/../docs/model_directory.md");
  WriteText(root_ / "m" / "model.json", CodeBlock(page, "<!-- example: model.json -->"));
  const std::map<std::string, io::TensorDtype> dtypes = {
      {"F32", io::TensorDtype::kF32}, {"U8", io::TensorDtype::kU8}, {"I64", io::TensorDtype::kI64}};
  std::vector<io::TensorToWrite> tensors;
  std::vector<std::unique_ptr<std::string>> bytes;
  std::istringstream lines(CodeBlock(page, "<!-- example: tensors -->"));
  for (std::string name, dtype, shape_text; lines >> name >> dtype && std::getline(lines, shape_text);) {
    std::replace_if(
        shape_text.begin(), shape_text.end(), [](char c) { return c < '0' || c > '9'; }, ' ');
    std::istringstream extents(shape_text);
    std::vector<int64_t> shape;
    int64_t size = 1;
    for (int64_t extent; extents >> extent;) {
      shape.push_back(extent);
      size *= extent;
    }
    // All 1.0, or all zero for integers.
    const std::vector<float> ones(dtype == "F32" ? size : 0, 1.0f);
    const absl::Span<const char> one_bytes = io::AsBytes(absl::MakeConstSpan(ones));
    bytes.push_back(std::make_unique<std::string>(one_bytes.begin(), one_bytes.end()));
    bytes.back()->resize(size * io::TensorDtypeBytes(dtypes.at(dtype)));
    tensors.push_back({name, dtypes.at(dtype), std::move(shape), absl::MakeConstSpan(*bytes.back())});
  }
  EQAT_ASSERT_OK(io::WriteSafetensors(Path("m/model.safetensors"), std::move(tensors), {}));
  EQAT_ASSERT_OK_AND_ASSIGN(const Model model, LoadModel(Path("m")));
  EXPECT_TRUE(model.graph().has_value());
  for (const std::string& type : TypeNames()) EXPECT_THAT(page, HasSubstr("`" + type + "`"));
  for (const FunctionTraits& traits : kFunctions) EXPECT_THAT(page, HasSubstr(absl::StrCat("`", traits.name, "`")));
}

}  // namespace
}  // namespace eqat::model
