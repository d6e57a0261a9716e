#include <algorithm>
#include <map>
#include <new>
#include <set>
#include <stdexcept>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "core/checked_math.h"
#include "core/error.h"
#include "core/parallel_for.h"
#include "core/status_macros.h"
#include "float_modules/activation.h"
#include "model/call_function.h"
#include "model/execution.h"

namespace eqat::model {
namespace {

// A table and the nodes that call it, in order.
struct TableCalls {
  const EmbeddingLookup* lookup = nullptr;
  std::vector<size_t> nodes;
};

// The tables that `graph` calls, in the order of their first calls.
std::vector<TableCalls> TablesOf(const Model& model, const Graph& graph) {
  std::vector<TableCalls> tables;
  std::map<const EmbeddingLookup*, size_t> place_of;
  for (size_t i = 0; i < graph.nodes.size(); ++i) {
    const Node& node = graph.nodes[i];
    const EmbeddingLookup* const lookup = node.op == Op::kCallModule ? AsLookup(*model.Find(node.target)) : nullptr;
    if (lookup == nullptr) continue;
    const auto [place, is_new] = place_of.emplace(lookup, tables.size());
    if (is_new) tables.push_back({lookup, {}});
    tables[place->second].nodes.push_back(i);
  }
  return tables;
}

// Placeholders that hold indices: those that tables are called on.
std::set<std::string> IndexInputs(const std::vector<TableCalls>& tables, const Graph& graph) {
  std::set<std::string> inputs;
  for (const TableCalls& table : tables) {
    for (const size_t i : table.nodes) inputs.insert(graph.nodes[i].args[0]);
  }
  return inputs;
}

absl::Status CheckDense(const std::string& name, const Tensor& value) {
  int64_t size = 1;
  for (const int64_t extent : value.shape) {
    const std::optional<int64_t> product = CheckedMul(size, extent);
    if (extent < 0 || !product) return InvalidArgument(name, "shape is not allowed", ShapeText(value.shape));
    size = *product;
  }
  if (size == value.size()) return absl::OkStatus();
  return InvalidArgument(name, "number of values does not match the shape", absl::StrCat(value.size()),
                         absl::StrCat(size, " for ", ShapeText(value.shape)));
}

// Inputs that some node reads.
std::set<std::string> ReadInputs(const Graph& graph) {
  std::set<std::string> inputs;
  for (const Node& node : graph.nodes) inputs.insert(node.args.begin(), node.args.end());
  return inputs;
}

absl::Status CheckShape(const Node& placeholder, const Feed& feed) {
  if (!placeholder.shape) return absl::OkStatus();
  const auto dense = feed.dense.find(placeholder.name);
  std::vector<int64_t> shape;
  if (dense != feed.dense.end()) {
    shape = dense->second.shape;
  } else {
    const LookupInput& input = feed.lookups.at(placeholder.name);
    shape = input.shape.empty() ? std::vector<int64_t>{input.indices.size()} : input.shape;
  }
  const std::vector<int64_t>& wanted = *placeholder.shape;
  const bool fits = std::equal(shape.begin(), shape.end(), wanted.begin(), wanted.end(),
                               [](int64_t size, int64_t want) { return want == kAnySize || size == want; });
  if (fits) return absl::OkStatus();
  return InvalidArgument(placeholder.name, "the input has the wrong shape", ShapeText(shape), ShapePatternText(wanted));
}

// Every input is fed once, in the form its use asks for (in either if there is none), and nothing else is.
absl::Status CheckFeed(const Graph& graph, const std::set<std::string>& index_inputs, const Feed& feed) {
  const std::vector<std::string> placeholders = graph.Placeholders();
  const std::set<std::string> read = ReadInputs(graph);
  const std::set<std::string> known(placeholders.begin(), placeholders.end());
  const auto check_known = [&](const std::string& name) {
    if (known.contains(name)) return absl::OkStatus();
    return InvalidArgument(name, "the model has no such input", "", absl::StrJoin(placeholders, ", "));
  };
  for (const auto& [name, input] : feed.lookups) EQAT_RETURN_IF_ERROR(check_known(name));
  for (const auto& [name, value] : feed.dense) {
    EQAT_RETURN_IF_ERROR(check_known(name));
    EQAT_RETURN_IF_ERROR(CheckDense(name, value));
    if (index_inputs.contains(name)) return InvalidArgument(name, "input of a table", "dense values", "indices");
  }
  for (const std::string& name : placeholders) {
    if (feed.dense.contains(name)) continue;
    if (!feed.lookups.contains(name)) return InvalidArgument(name, "input is missing");
    if (!index_inputs.contains(name) && read.contains(name))
      return InvalidArgument(name, "input of no table", "indices", "dense values");
  }
  for (const Node& node : graph.nodes) {
    if (node.op == Op::kPlaceholder) EQAT_RETURN_IF_ERROR(CheckShape(node, feed));
  }
  return absl::OkStatus();
}

// No process can address more: asking for it would only end in a failed allocation.
constexpr int64_t kAddressSpaceBytes = int64_t{1} << 47;

absl::StatusOr<Tensor> MakeTensor(std::vector<int64_t> shape) {
  std::optional<int64_t> bytes = sizeof(float);
  for (const int64_t extent : shape) {
    if (bytes) bytes = CheckedMul(*bytes, extent);
  }
  if (!bytes || *bytes > kAddressSpaceBytes) return ResourceExhausted("output", "too large", ShapeText(shape));
  return Tensor(std::move(shape));
}

class ForwardPass {
 public:
  ForwardPass(const Model& model, Model* writable, const Feed& feed, const PassOptions& options, Tape& tape)
      : model_(model),
        writable_(writable),
        feed_(feed),
        options_(options),
        tape_(tape),
        graph_(model.inlined_graph()) {}

  absl::StatusOr<Tensor> Run() {
    const std::vector<TableCalls> tables = TablesOf(model_, graph_);
    EQAT_RETURN_IF_ERROR(CheckFeed(graph_, IndexInputs(tables, graph_), feed_));
    tape_.records.resize(graph_.nodes.size());
    EQAT_RETURN_IF_ERROR(LookUpAll(tables));
    for (size_t i = 0; i < graph_.nodes.size(); ++i) {
      const Node& node = graph_.nodes[i];
      EQAT_RETURN_IF_ERROR(AtNode(node, Execute(node, tape_.records[i])));
      record_of_.emplace(node.name, &tape_.records[i]);
    }
    Tape::Record& output = tape_.records.back();
    return options_.keep_contexts ? *output.value : TakeOrCopy(*output.value);
  }

 private:
  // Tables read inputs alone, so they come first, side by side. Each takes its calls in order: one may move its
  // observer.
  absl::Status LookUpAll(const std::vector<TableCalls>& tables) {
    std::vector<int64_t> costs;
    for (const TableCalls& table : tables) {
      costs.push_back(0);
      for (const size_t i : table.nodes) {
        costs.back() += feed_.lookups.at(graph_.nodes[i].args[0]).indices.size() * table.lookup->embedding_dim();
      }
    }
    std::vector<absl::Status> statuses(graph_.nodes.size());
    ParallelTasks(costs, [&](int64_t task) {
      for (const size_t i : tables[task].nodes) {
        Tape::Record& record = tape_.records[i];
        statuses[i] = Keep(LookUp(graph_.nodes[i], *tables[task].lookup, record), record);
        if (!statuses[i].ok()) return;
      }
    });
    for (size_t i = 0; i < statuses.size(); ++i) EQAT_RETURN_IF_ERROR(AtNode(graph_.nodes[i], statuses[i]));
    return absl::OkStatus();
  }

  const Tensor& Arg(const Node& node, size_t k) const { return *record_of_.at(node.args[k])->value; }

  std::vector<const Tensor*> Args(const Node& node) const {
    std::vector<const Tensor*> args;
    for (size_t k = 0; k < node.args.size(); ++k) args.push_back(&Arg(node, k));
    return args;
  }

  Tensor TakeOrCopy(const Tensor& value) {
    for (Tape::Record& record : tape_.records) {
      if (&record.computed == &value) return std::move(record.computed);
    }
    return value;
  }

  absl::Status Execute(const Node& node, Tape::Record& record) {
    record.is_constant = !node.args.empty() && std::all_of(node.args.begin(), node.args.end(), [&](const auto& arg) {
      return record_of_.at(arg)->is_constant;
    });
    switch (node.op) {
      case Op::kPlaceholder: {
        const auto it = feed_.dense.find(node.name);
        if (it != feed_.dense.end()) record.value = &it->second;
        return absl::OkStatus();
      }
      case Op::kCallModule:
        return CallModule(node, record);
      case Op::kCallFunction:
        return Keep(CallFunction(node), record);
      case Op::kGetAttr:
        record.value = AsTensor(*model_.Find(node.target));
        record.is_constant = true;
        return absl::OkStatus();
      case Op::kOutput:
        record.value = &Arg(node, 0);
        return absl::OkStatus();
    }
    return absl::OkStatus();
  }

  static absl::Status Keep(absl::StatusOr<Tensor> computed, Tape::Record& record) {
    EQAT_ASSIGN_OR_RETURN(record.computed, std::move(computed));
    record.value = &record.computed;
    return absl::OkStatus();
  }

  absl::Status CallModule(const Node& node, Tape::Record& record) {
    const Module& module = *model_.Find(node.target);
    if (AsLookup(module) != nullptr) return absl::OkStatus();  // of LookUpAll
    const Tensor& x = Arg(node, 0);
    if (const auto* linear = std::get_if<nn::Linear>(&module)) return Keep(linear->Forward(x), record);
    if (std::holds_alternative<ReLU>(module)) return Keep(nn::ReLU(x), record);
    if (std::holds_alternative<Sigmoid>(module)) return Keep(nn::Sigmoid(x), record);
    if (const auto* dropout = std::get_if<Dropout>(&module)) return Drop(node, *dropout, x, record);
    return Keep(Normalize(node, std::get<nn::BatchNorm1d>(module), x, record), record);
  }

  absl::StatusOr<Tensor> LookUp(const Node& node, const EmbeddingLookup& table, Tape::Record& record) {
    const LookupInput& input = feed_.lookups.at(node.args[0]);
    EQAT_ASSIGN_OR_RETURN(const int64_t rows, table.NumOutputs(input));
    std::vector<int64_t> shape = {rows};
    if (!IsBag(*model_.Find(node.target)) && !input.shape.empty()) shape = input.shape;
    shape.push_back(table.embedding_dim());
    EQAT_ASSIGN_OR_RETURN(Tensor out, MakeTensor(std::move(shape)));
    const MutableTableView view(out.values.data(), rows, table.embedding_dim());
    EQAT_RETURN_IF_ERROR(writable_ == nullptr ? table.Lookup(input, view)
                                              : ForwardTable(*writable_->FindMutable(node.target), input, view,
                                                             options_.keep_contexts ? &record.lookup : nullptr));
    return out;
  }

  absl::Status ForwardTable(Module& module, const LookupInput& input, MutableTableView out,
                            nn::LookupContext* context) const {
    return std::visit(
        [&](auto& table) {
          using T = std::decay_t<decltype(table)>;
          if constexpr (kIsFloatTable<T>) {
            return table.Forward(input, out, context);
          } else if constexpr (kIsQat<T>) {
            return options_.phase == Phase::kForwardTraining ? table.Forward(input, out, context)
                                                             : table.ForwardEvaluation(input, out, context);
          } else if constexpr (kIsQuantized<T>) {
            return table.Lookup(input, out);
          } else {
            return absl::OkStatus();  // not a table: never called
          }
        },
        module);
  }

  // Masks are a function of seed, node and step alone.
  absl::Status Drop(const Node& node, const Dropout& dropout, const Tensor& x, Tape::Record& record) const {
    if (options_.phase != Phase::kForwardTraining) {
      record.value = &x;
      return absl::OkStatus();
    }
    record.dropout.emplace(options_.seed, StreamOf(absl::StrCat(node.name, "/", options_.step)));
    return Keep(nn::Dropout(x, dropout.p, *record.dropout), record);
  }

  absl::StatusOr<Tensor> Normalize(const Node& node, const nn::BatchNorm1d& batch_norm, const Tensor& x,
                                   Tape::Record& record) const {
    if (options_.phase != Phase::kForwardTraining) return batch_norm.ForwardEvaluation(x, &record.batch_norm);
    return std::get<nn::BatchNorm1d>(*writable_->FindMutable(node.target)).ForwardTraining(x, &record.batch_norm);
  }

  absl::StatusOr<Tensor> CallFunction(const Node& node) const {
    const std::vector<const Tensor*> args = Args(node);
    if (CombinesRows(node)) EQAT_RETURN_IF_ERROR(CheckEqualRows(node));
    return model::CallFunction(node, args);
  }

  // Whether row i of the result is made of row i of each argument.
  bool CombinesRows(const Node& node) const {
    if (node.function == Function::kCat) return node.int_arg != 0 && node.int_arg != -Arg(node, 0).rank();
    return node.args.size() > 1;
  }

  // Values that disagree in how many rows the batch has meet here; say which they are. Constants belong to no batch,
  // nor does what broadcasting repeats for every row because it lacks that dimension.
  absl::Status CheckEqualRows(const Node& node) const {
    int64_t rank = 0;
    for (size_t k = 0; k < node.args.size(); ++k) rank = std::max(rank, Arg(node, k).rank());
    std::optional<size_t> first;
    for (size_t k = 0; k < node.args.size(); ++k) {
      if (Arg(node, k).rank() < std::max<int64_t>(rank, 1) || record_of_.at(node.args[k])->is_constant) continue;
      if (!first) first = k;
      const int64_t rows = Arg(node, k).shape[0], expected = Arg(node, *first).shape[0];
      if (rows == expected) continue;
      return InvalidArgument(node.args[k], "number of rows differs", absl::StrCat(rows),
                             absl::StrCat(expected, " as ", node.args[*first]));
    }
    return absl::OkStatus();
  }

  const Model& model_;
  Model* const writable_;
  const Feed& feed_;
  const PassOptions options_;
  Tape& tape_;
  const Graph& graph_;
  std::map<std::string, const Tape::Record*> record_of_;
};

}  // namespace

absl::StatusOr<Tensor> RunForward(const Model& model, Model* writable, const Feed& feed, const PassOptions& options,
                                  Tape& tape) {
  if (!model.graph()) return FailedPrecondition("model", "it has no graph to run");
  // The sizes of a batch's intermediate values come from its input; everything below reports errors as Status but for
  // std::vector's.
  try {
    return ForwardPass(model, writable, feed, options, tape).Run();
  } catch (const std::bad_alloc&) {
    return ResourceExhausted("model", "the batch does not fit into memory");
  } catch (const std::length_error&) {
    return ResourceExhausted("model", "the batch does not fit into memory");
  }
}

}  // namespace eqat::model
