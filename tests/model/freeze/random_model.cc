#include "tests/model/freeze/random_model.h"

#include <algorithm>
#include <random>
#include <utility>

#include "absl/strings/str_cat.h"
#include "tests/model/freeze/freezing.h"

namespace eqat::model {
namespace {

constexpr int64_t kTableRows = 3;
constexpr int64_t kDim = 4;

// A node whose value is [kTableRows, columns].
struct Value {
  std::string name;
  int64_t columns;
};

class Generator {
 public:
  explicit Generator(uint64_t seed) : random_(seed) {}

  RandomModel Run() {
    MakeInputs();
    if (Chance(2)) MakeNestedModel();
    const int64_t steps = Pick(4, 16);
    for (int64_t i = 0; i < steps; ++i) MakeNode();
    const size_t first = values_.size() - std::min<size_t>(values_.size(), static_cast<size_t>(Pick(1, 3)));
    std::vector<std::string> last;
    for (size_t i = first; i < values_.size(); ++i) last.push_back(values_[i].name);
    nodes_.push_back(Call("all", Function::kCat, last, 1));
    nodes_.push_back(Output("all"));
    EQAT_EXPECT_OK(result_.model.SetGraph({std::move(nodes_)}));
    if (Chance(4)) {
      for (const std::string& name : result_.model.module_names()) {
        if (Chance(4) && !std::holds_alternative<InterfaceModule>(*result_.model.Find(name))) {
          result_.preserve.push_back(name);
        }
      }
    }
    return std::move(result_);
  }

 private:
  int64_t Pick(int64_t low, int64_t high) { return std::uniform_int_distribution<int64_t>(low, high)(random_); }
  bool Chance(int64_t one_in) { return Pick(1, one_in) == 1; }
  float Number() { return static_cast<float>(Pick(-40, 40)) / 16.0f; }
  template <typename T>
  const T& PickOf(const std::vector<T>& from) {
    return from[Pick(0, static_cast<int64_t>(from.size()) - 1)];
  }
  std::string Fresh(const char* base) { return absl::StrCat(base, ++last_name_); }

  Tensor RandomTensor(std::vector<int64_t> shape) {
    Tensor tensor(std::move(shape));
    for (float& value : tensor.values) value = Number();
    return tensor;
  }

  Table RandomTable(int64_t rows, int64_t cols) {
    Table table = *Table::Zeros(rows, cols);
    for (int64_t i = 0; i < rows * cols; ++i) table.data()[i] = Number();
    return table;
  }

  void AddNode(Node node, int64_t columns) {
    values_.push_back({node.name, columns});
    nodes_.push_back(std::move(node));
  }

  void MakeInputs() {
    const int64_t dense = Pick(1, 2);
    for (int64_t i = 0; i < dense; ++i) {
      const int64_t columns = Pick(1, 5);
      Node input = Chance(4) ? Input(Fresh("x")) : MatrixInput(Fresh("x"), columns);
      result_.feed.dense[input.name] = RandomTensor({kTableRows, columns});
      AddNode(std::move(input), columns);
    }
    const int64_t tables = Pick(1, 3);
    for (int64_t i = 0; i < tables; ++i) MakeLookup();
  }

  void MakeLookup() {
    const std::string ids = Fresh("ids"), table = Fresh("table");
    const bool bag = Chance(2);
    nn::EmbeddingBagOptions options = BagOptions(6, kDim, static_cast<PoolMode>(Pick(0, 2)));
    if (Chance(3)) options.padding_idx = 1;
    if (Chance(3)) options.max_norm = 3.0;
    if (Chance(3)) options.requires_grad = false;
    Add(result_.model, table, MakeTableModule(bag, options));
    auto indices = std::make_unique<std::vector<int64_t>>();
    for (int64_t i = 0; i < (bag ? 2 * kTableRows : kTableRows); ++i) indices->push_back(Pick(0, 5));
    result_.feed.lookups[ids] = bag ? Indices(*indices, {kTableRows, 2}) : Indices(*indices);
    result_.indices.push_back(std::move(indices));
    nodes_.insert(nodes_.begin(), Input(ids));
    const int64_t calls = Pick(1, 2);
    for (int64_t i = 0; i < calls; ++i) AddNode(CallModule(Fresh("e"), table, ids), kDim);
  }

  Module MakeTableModule(bool is_bag, const nn::EmbeddingBagOptions& options) {
    const char* const presets[] = {"default_embedding_qat_qconfig", "default_embedding_qat_qconfig_4bit"};
    const int64_t kind = Pick(0, 2);
    const quant::QConfig qconfig = Preset(presets[Pick(0, 1)]);
    Table weight = RandomTable(options.num_embeddings, options.embedding_dim);
    if (is_bag) {
      nn::EmbeddingBag bag = *nn::EmbeddingBag::FromWeight(std::move(weight), options);
      if (kind == 0) return bag;
      bag.set_qconfig(qconfig);
      qat::EmbeddingBag qat = *qat::EmbeddingBag::FromFloat(std::move(bag));
      return kind == 1 ? Module(std::move(qat)) : Module(*qat.Convert());
    }
    nn::Embedding table = *nn::Embedding::FromWeight(std::move(weight), options);
    if (kind == 0) return table;
    table.set_qconfig(qconfig);
    qat::Embedding qat = *qat::Embedding::FromFloat(std::move(table));
    return kind == 1 ? Module(std::move(qat)) : Module(*qat.Convert());
  }

  nn::Linear RandomLinear(int64_t in, int64_t out) {
    const bool bias = !Chance(3);
    std::vector<float> biases(bias ? out : 0);
    for (float& value : biases) value = Number();
    return *nn::Linear::FromWeight(RandomTable(out, in), std::move(biases),
                                   {.in_features = in, .out_features = out, .bias = bias});
  }

  nn::BatchNorm1d RandomBatchNorm(int64_t features) {
    nn::BatchNorm1d batch_norm = *nn::BatchNorm1d::Create({.num_features = features, .affine = !Chance(3)});
    nn::BatchNorm1dState& state = batch_norm.mutable_state();
    for (float& value : state.weight) value = Number();
    for (float& value : state.bias) value = Number();
    for (float& value : state.running_mean) value = Number();
    for (float& value : state.running_var) value = 0.25f + std::abs(Number());
    return batch_norm;
  }

  // --- Nested models: from kDim columns to kDim.

  void MakeNestedModel() {
    const std::string name = Fresh("nested");
    Graph graph;
    graph.nodes.push_back(Input("x"));
    std::string last = "x";
    std::vector<std::pair<std::string, Module>> modules;
    const int64_t steps = Pick(1, 4);
    for (int64_t i = 0; i < steps; ++i) {
      const std::string node = absl::StrCat("n", i);
      if (Chance(5)) {
        graph.nodes.push_back(Call(node, Function::kReLU, {last}));
      } else {
        modules.emplace_back(absl::StrCat("m", i), NestedLayer());
        graph.nodes.push_back(CallModule(node, modules.back().first, last));
      }
      last = node;
    }
    graph.nodes.push_back(Output(last));
    Add(result_.model, name, GraphModule{std::move(graph)});
    for (auto& [layer, module] : modules) Add(result_.model, absl::StrCat(name, ".", layer), std::move(module));
    nested_ = name;
    if (!Chance(3)) return;
    nested_ = Fresh("interface");
    Add(result_.model, nested_, InterfaceModule{name});
  }

  Module NestedLayer() {
    switch (Pick(0, 4)) {
      case 0:
      case 1:
        return RandomLinear(kDim, kDim);
      case 2:
        return RandomBatchNorm(kDim);
      case 3:
        return Dropout{.p = 0.25};
      default:
        return ReLU();
    }
  }

  // --- One more node.

  void MakeNode() {
    const Value value = Chance(2) ? values_.back() : PickOf(values_);
    switch (Pick(0, 11)) {
      case 0:
      case 1:
        return CallLinear(value);
      case 2:
      case 3:
        return CallBatchNorm(value);
      case 4: {
        const std::string layer = Fresh("layer");
        Add(result_.model, layer, Chance(2) ? Module(Dropout{}) : Chance(2) ? Module(ReLU()) : Module(Sigmoid()));
        return AddNode(CallModule(Fresh("l"), layer, value.name), value.columns);
      }
      case 5:
        return AddNode(Call(Fresh("f"), Chance(2) ? Function::kReLU : Function::kSigmoid, {value.name}), value.columns);
      case 6:
        return MakeCat(value);
      case 7:
        return MakeSlice(value);
      case 8:
        return AddNode(Call(Fresh("f"), Function::kFlatten, {value.name}, Chance(2) ? 1 : -1), value.columns);
      case 9:
        return CombineWithValue(value);
      case 10:
        return CombineWithConstant(value);
      default:
        return CallNested(value);
    }
  }

  void CallLinear(const Value& value) {
    std::string linear;
    for (const auto& [name, columns] : linears_) {
      if (columns.first == value.columns && Chance(3)) linear = name;
    }
    if (linear.empty()) {
      linear = Fresh("linear");
      const int64_t out = Pick(1, 5);
      Add(result_.model, linear, RandomLinear(value.columns, out));
      linears_[linear] = {value.columns, out};
    }
    AddNode(CallModule(Fresh("h"), linear, value.name), linears_.at(linear).second);
    if (Chance(3)) CallBatchNorm(Value(values_.back()));
    if (Chance(3)) CombineWithConstant(Value(values_.back()));
  }

  void CallBatchNorm(const Value& value) {
    const std::string norm = Fresh("norm");
    Add(result_.model, norm, RandomBatchNorm(value.columns));
    AddNode(CallModule(Fresh("n"), norm, value.name), value.columns);
  }

  void MakeCat(const Value& value) {
    std::vector<std::string> args = {value.name};
    int64_t columns = value.columns;
    while (Chance(2)) {
      const Value& other = PickOf(values_);
      args.push_back(other.name);
      columns += other.columns;
    }
    AddNode(Call(Fresh("c"), Function::kCat, std::move(args), Chance(2) ? 1 : -1), columns);
  }

  // Often two that stand side by side, and their concatenation.
  void MakeSlice(const Value& value) {
    const int64_t middle = Pick(0, value.columns);
    const int64_t begin = Pick(0, middle), dim = Chance(2) ? 1 : -1;
    const std::string left = Fresh("s"), right = Fresh("s");
    if (middle > begin) AddNode(SliceOf(left, value.name, begin, middle, dim), middle - begin);
    if (middle < value.columns) AddNode(SliceOf(right, value.name, middle, kToTheEnd, dim), value.columns - middle);
    if (middle > begin && middle < value.columns && Chance(2)) {
      AddNode(Call(Fresh("c"), Function::kCat, {left, right}, 1), value.columns - begin);
    }
  }

  Function Arithmetic() {
    const Function functions[] = {Function::kAdd, Function::kSub, Function::kMul, Function::kDiv};
    return functions[Pick(0, 3)];
  }

  void CombineWithValue(const Value& value) {
    const Value& other = PickOf(values_);
    if (other.columns != value.columns && other.columns != 1 && value.columns != 1) {
      return AddNode(Call(Fresh("d"), Function::kInteractDot, {value.name, value.name}), 1);
    }
    AddNode(Call(Fresh("a"), Arithmetic(), {value.name, other.name}), std::max(value.columns, other.columns));
  }

  void CombineWithConstant(const Value& value) {
    const std::vector<std::vector<int64_t>> shapes = {{}, {1}, {value.columns}, {1, value.columns}, {kTableRows, 1}};
    const std::string constant = Fresh("constant"), read = Fresh("k"), node = Fresh("a");
    Tensor tensor = RandomTensor(PickOf(shapes));
    const float special[] = {0.0f, -0.0f, 1.0f};
    if (Chance(3)) std::fill(tensor.values.begin(), tensor.values.end(), special[Pick(0, 2)]);
    Add(result_.model, constant,
        Chance(2) ? Module(BufferTensor{std::move(tensor)}) : Module(ParameterTensor{std::move(tensor)}));
    nodes_.push_back(GetAttr(read, constant));
    std::string operand = read;
    if (Chance(4)) {  // something for constant propagation
      operand = Fresh("k");
      nodes_.push_back(Call(operand, Arithmetic(), {read, read}));
    }
    const bool first = Chance(2);
    AddNode(Call(node, Arithmetic(), {first ? value.name : operand, first ? operand : value.name}), value.columns);
  }

  void CallNested(const Value& value) {
    if (nested_.empty() || value.columns != kDim) return;
    AddNode(CallModule(Fresh("t"), nested_, value.name), kDim);
  }

  std::mt19937_64 random_;
  RandomModel result_;
  std::vector<Node> nodes_;
  std::vector<Value> values_;
  std::map<std::string, std::pair<int64_t, int64_t>> linears_;
  std::string nested_;
  int64_t last_name_ = 0;
};

}  // namespace

RandomModel MakeRandomModel(uint64_t seed) { return Generator(seed).Run(); }

}  // namespace eqat::model
