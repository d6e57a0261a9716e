#include <iterator>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/error.h"
#include "core/parallel_for.h"
#include "core/status_macros.h"
#include "float_modules/activation.h"
#include "model/call_function.h"
#include "model/execution.h"
#include "model/names.h"

namespace eqat::model {
namespace {

void AddTo(std::vector<float>& sum, std::vector<float>&& term) {
  if (sum.empty()) {
    sum = std::move(term);
    return;
  }
  for (size_t i = 0; i < sum.size(); ++i) sum[i] += term[i];
}

class BackwardPass {
 public:
  BackwardPass(const Model& model, const Tape& tape) : model_(model), tape_(tape), nodes_(model.inlined_graph().nodes) {
    for (size_t i = 0; i < nodes_.size(); ++i) index_of_.emplace(nodes_[i].name, i);
  }

  absl::StatusOr<Gradients> Run(const Tensor& grad_output) {
    const Tensor& output = *tape_.records.back().value;
    if (grad_output.shape != output.shape || grad_output.size() != output.size()) {
      return InvalidArgument("grad_output", "wrong shape", ShapeText(grad_output.shape), ShapeText(output.shape));
    }
    grads_.resize(nodes_.size());
    grads_.back() = grad_output;
    for (size_t i = nodes_.size(); i-- > 0;) {
      if (!grads_[i] || IsTableCall(nodes_[i])) continue;  // without it: the output does not depend on this node
      EQAT_RETURN_IF_ERROR(AtNode(nodes_[i], Execute(nodes_[i], tape_.records[i], *grads_[i])));
      grads_[i].reset();
    }
    EQAT_RETURN_IF_ERROR(RunTables());
    return std::move(gradients_);
  }

 private:
  bool IsTableCall(const Node& node) const {
    return node.op == Op::kCallModule && AsLookup(*model_.Find(node.target)) != nullptr;
  }

  // Tables pass nothing on, so they come last, side by side. What several calls give to one parameter is added in the
  // order of the other nodes, from the last to the first.
  absl::Status RunTables() {
    std::vector<size_t> calls;
    std::vector<int64_t> costs;
    for (size_t i = nodes_.size(); i-- > 0;) {
      if (!grads_[i] || !IsTableCall(nodes_[i])) continue;
      calls.push_back(i);
      costs.push_back(std::ssize(tape_.records[i].lookup.bags.indices()) * grads_[i]->shape.back());
    }
    std::vector<absl::StatusOr<TableGradient>> computed(calls.size());
    ParallelTasks(costs, [&](int64_t task) {
      const size_t i = calls[task];
      computed[task] = LookUp(nodes_[i], *model_.Find(nodes_[i].target), tape_.records[i].lookup, *grads_[i]);
    });
    for (size_t task = 0; task < calls.size(); ++task) {
      const Node& node = nodes_[calls[task]];
      EQAT_RETURN_IF_ERROR(AtNode(node, computed[task].status()));
      EQAT_RETURN_IF_ERROR(AtNode(node, AddTable(node, *std::move(computed[task]))));
    }
    return absl::OkStatus();
  }

  const Tensor& ValueOf(const std::string& name) const { return *tape_.records[index_of_.at(name)].value; }
  const Tensor& Arg(const Node& node, size_t k) const { return ValueOf(node.args[k]); }

  std::vector<const Tensor*> Args(const Node& node) const {
    std::vector<const Tensor*> args;
    for (size_t k = 0; k < node.args.size(); ++k) args.push_back(&Arg(node, k));
    return args;
  }

  void PassOn(const std::string& arg, Tensor&& grad) {
    const size_t index = index_of_.at(arg);
    if (nodes_[index].op == Op::kPlaceholder) return;
    if (grads_[index]) {
      AddTo(grads_[index]->values, std::move(grad.values));
    } else {
      grads_[index] = std::move(grad);
    }
  }

  void PassOnEach(const Node& node, std::vector<Tensor>&& grads) {
    for (size_t k = 0; k < node.args.size(); ++k) PassOn(node.args[k], std::move(grads[k]));
  }

  void AddDense(const std::string& parameter, std::vector<float>&& grad) {
    AddTo(gradients_[parameter].dense, std::move(grad));
  }

  absl::Status Execute(const Node& node, const Tape::Record& record, Tensor& grad) {
    switch (node.op) {
      case Op::kPlaceholder:
        return absl::OkStatus();
      case Op::kOutput:
        PassOn(node.args[0], std::move(grad));
        return absl::OkStatus();
      case Op::kCallModule:
        return CallModule(node, record, grad);
      case Op::kCallFunction:
        CallFunction(node, record, grad);
        return absl::OkStatus();
      case Op::kGetAttr:
        GetAttr(node, grad);
        return absl::OkStatus();
    }
    return absl::OkStatus();
  }

  void GetAttr(const Node& node, Tensor& grad) {
    const auto* parameter = std::get_if<ParameterTensor>(model_.Find(node.target));
    if (parameter != nullptr && parameter->requires_grad && Trains(node.target)) {
      AddDense(node.target, std::move(grad.values));
    }
  }

  absl::Status CallModule(const Node& node, const Tape::Record& record, Tensor& grad) {
    const Module& module = *model_.Find(node.target);
    if (const auto* linear = std::get_if<nn::Linear>(&module)) {
      EQAT_ASSIGN_OR_RETURN(nn::LinearGradients grads, linear->Backward(Arg(node, 0), grad));
      if (Trains(node.target)) {
        AddDense(node.target + ".weight", std::move(grads.weight));
        if (linear->options().bias) AddDense(node.target + ".bias", std::move(grads.bias));
      }
      PassOn(node.args[0], std::move(grads.input));
    } else if (const auto* batch_norm = std::get_if<nn::BatchNorm1d>(&module)) {
      EQAT_ASSIGN_OR_RETURN(nn::BatchNorm1dGradients grads,
                            batch_norm->Backward(record.batch_norm, Arg(node, 0), grad));
      if (batch_norm->options().affine && Trains(node.target)) {
        AddDense(node.target + ".weight", std::move(grads.weight));
        AddDense(node.target + ".bias", std::move(grads.bias));
      }
      PassOn(node.args[0], std::move(grads.input));
    } else if (const auto* dropout = std::get_if<Dropout>(&module)) {
      PassOn(node.args[0], record.dropout ? nn::DropoutBackward(grad, dropout->p, *record.dropout) : std::move(grad));
    } else if (std::holds_alternative<ReLU>(module)) {
      PassOn(node.args[0], nn::ReLUBackward(*record.value, grad));
    } else {
      PassOn(node.args[0], nn::SigmoidBackward(*record.value, grad));
    }
    return absl::OkStatus();
  }

  // What one call of a table gives; empty where nothing is wanted.
  struct TableGradient {
    std::optional<nn::SparseGrad> weight;
    std::optional<std::vector<float>> per_sample_weights;
  };

  absl::StatusOr<TableGradient> LookUp(const Node& node, const Module& module, const nn::LookupContext& context,
                                       const Tensor& grad) const {
    return std::visit(
        [&](const auto& table) -> absl::StatusOr<TableGradient> {
          using T = std::decay_t<decltype(table)>;
          if constexpr (kIsFloatTable<T> || kIsQat<T>) {
            return TableBackward(node, table, context, grad);
          } else {
            return TableGradient();  // quantized: nothing to train
          }
        },
        module);
  }

  template <typename T>
  absl::StatusOr<TableGradient> TableBackward(const Node& node, const T& table, const nn::LookupContext& context,
                                              const Tensor& grad) const {
    const bool weighted = context.bags.has_per_sample_weights();
    const bool trains = table.options().requires_grad && Trains(node.target);
    if (!trains && !weighted) return TableGradient();
    const TableView view(grad.values.data(), context.bags.num_bags(), table.embedding_dim());
    absl::StatusOr<nn::EmbeddingGradients> computed;
    if constexpr (kIsBag<T>) {
      computed = table.Backward(context, view, weighted ? nn::WeightsGradient::kCompute : nn::WeightsGradient::kSkip);
    } else {
      computed = table.Backward(context, view);
    }
    EQAT_ASSIGN_OR_RETURN(nn::EmbeddingGradients grads, std::move(computed));
    TableGradient gradient;
    if (trains) gradient.weight = std::move(grads.weight);
    if (weighted) gradient.per_sample_weights = std::move(grads.per_sample_weights);
    return gradient;
  }

  absl::Status AddTable(const Node& node, TableGradient&& gradient) {
    if (gradient.per_sample_weights) {
      AddDense(node.args[0] + kPerSampleWeightsSuffix, *std::move(gradient.per_sample_weights));
    }
    if (!gradient.weight) return absl::OkStatus();
    std::optional<nn::SparseGrad>& sum = gradients_[node.target + ".weight"].rows;
    if (sum) return nn::AddTo(*sum, *gradient.weight);
    sum = std::move(gradient.weight);
    return absl::OkStatus();
  }

  void CallFunction(const Node& node, const Tape::Record& record, Tensor& grad) {
    PassOnEach(node, CallFunctionBackward(node, Args(node), *record.value, std::move(grad)));
  }

  // A frozen model's parameters are constants.
  bool Trains(const std::string& module) const { return !model_.IsConstant(module); }

  const Model& model_;
  const Tape& tape_;
  const std::vector<Node>& nodes_;
  std::map<std::string, size_t> index_of_;
  std::vector<std::optional<Tensor>> grads_;
  Gradients gradients_;
};

}  // namespace

absl::StatusOr<Gradients> RunBackward(const Model& model, const Tape& tape, const Tensor& grad_output) {
  return BackwardPass(model, tape).Run(grad_output);
}

}  // namespace eqat::model
