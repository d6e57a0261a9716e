#include "model/model.h"

#include <algorithm>
#include <cassert>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "core/error.h"
#include "core/status_macros.h"
#include "model/execution.h"
#include "model/inline_calls.h"
#include "model/names.h"

namespace eqat::model {

struct Model::Impl {
  std::vector<std::string> names;
  std::map<std::string, Module> modules;
  std::optional<Graph> graph;
  Graph inlined;
  bool training = false;
  bool frozen = false;
  std::vector<std::string> preserved;
  std::string vocabulary;
  // A new object for every change of modules or graph: a tape holds the one it was made under.
  std::shared_ptr<const int> structure = std::make_shared<const int>();

  void Changed() { structure = std::make_shared<const int>(); }

  // A tensor "fc.weight" beside a module "fc" would share its name in the file with one of that module's.
  absl::Status CheckTensorNames(const std::string& name, const Module& module) const {
    if (AsTensor(module) != nullptr) {
      for (size_t dot = name.find('.'); dot != std::string::npos; dot = name.find('.', dot + 1)) {
        const auto around = modules.find(name.substr(0, dot));
        if (around == modules.end() || std::holds_alternative<GraphModule>(around->second)) continue;
        return InvalidArgument("model", absl::StrCat("a tensor's name lies in module ", around->first), name);
      }
    } else if (!std::holds_alternative<GraphModule>(module)) {
      const std::string prefix = name + ".";
      for (auto it = modules.lower_bound(prefix); it != modules.end() && absl::StartsWith(it->first, prefix); ++it) {
        if (AsTensor(it->second) == nullptr) continue;
        return InvalidArgument("model", absl::StrCat("a module's name is part of tensor ", it->first), name);
      }
    }
    return absl::OkStatus();
  }

  // Names and types of the modules in nested model `scope`, without its name; of all for "".
  std::map<std::string, std::string> TypesIn(const std::string& scope) const {
    std::map<std::string, std::string> types;
    const std::string prefix = scope.empty() ? "" : scope + ".";
    for (auto it = modules.lower_bound(prefix); it != modules.end() && absl::StartsWith(it->first, prefix); ++it) {
      types.emplace(it->first.substr(prefix.size()), std::string(TypeName(it->second)));
    }
    return types;
  }
};

Model::Model() : impl_(std::make_unique<Impl>()) {}
Model::Model(Model&&) noexcept = default;
Model& Model::operator=(Model&&) noexcept = default;
Model::~Model() = default;

absl::Status Model::AddModule(const std::string& name, Module&& module) {
  if (!IsValidName(name)) return InvalidArgument("model", "a module's name is not allowed", name, kNameRule);
  if (impl_->modules.contains(name)) return InvalidArgument("model", "a module's name is taken", name);
  EQAT_RETURN_IF_ERROR(impl_->CheckTensorNames(name, module));
  std::visit(
      [&](auto& alternative) {
        if constexpr (kIsFloatTable<std::decay_t<decltype(alternative)>>) alternative.set_name(name);
      },
      impl_->modules.emplace(name, std::move(module)).first->second);
  impl_->names.push_back(name);
  impl_->Changed();
  return absl::OkStatus();
}

absl::Status Model::SetGraph(Graph graph) {
  const std::map<std::string, std::string> types = impl_->TypesIn("");
  EQAT_RETURN_IF_ERROR(Validate(graph, types));
  for (const auto& [name, module] : impl_->modules) {
    const auto* nested = std::get_if<GraphModule>(&module);
    if (nested != nullptr) EQAT_RETURN_IF_ERROR(AtPlace(name, Validate(nested->graph, impl_->TypesIn(name))));
  }
  EQAT_ASSIGN_OR_RETURN(Graph inlined, InlineCalls(graph, [&](const std::string& name) { return Find(name); }));
  EQAT_RETURN_IF_ERROR(Validate(inlined, types));
  impl_->graph = std::move(graph);
  impl_->inlined = std::move(inlined);
  impl_->Changed();
  return absl::OkStatus();
}

const std::vector<std::string>& Model::module_names() const { return impl_->names; }

const Module* Model::Find(const std::string& name) const {
  const auto it = impl_->modules.find(name);
  return it == impl_->modules.end() ? nullptr : &it->second;
}

Module* Model::FindMutable(const std::string& name) { return const_cast<Module*>(Find(name)); }

void Model::Replace(const std::string& name, Module&& module) {
  Module* const old = FindMutable(name);
  assert(old != nullptr);
  *old = std::move(module);
  impl_->Changed();
}

const std::optional<Graph>& Model::graph() const { return impl_->graph; }

const Graph& Model::inlined_graph() const {
  assert(impl_->graph);
  return impl_->inlined;
}

absl::StatusOr<Model> Model::Clone() const {
  Model clone;
  clone.impl_->names = impl_->names;
  for (const auto& [name, module] : impl_->modules) {
    EQAT_ASSIGN_OR_RETURN(Module copy, model::Clone(module));
    clone.impl_->modules.emplace(name, std::move(copy));
  }
  clone.impl_->graph = impl_->graph;
  clone.impl_->inlined = impl_->inlined;
  clone.impl_->training = impl_->training;
  clone.impl_->frozen = impl_->frozen;
  clone.impl_->preserved = impl_->preserved;
  clone.impl_->vocabulary = impl_->vocabulary;
  return clone;
}

bool Model::training() const { return impl_->training; }
void Model::Train() { impl_->training = true; }
void Model::Eval() { impl_->training = false; }
bool Model::frozen() const { return impl_->frozen; }
const std::vector<std::string>& Model::preserved() const { return impl_->preserved; }

void Model::MarkFrozen(std::vector<std::string> preserved) {
  impl_->frozen = true;
  impl_->preserved = std::move(preserved);
}

bool Model::IsConstant(const std::string& module) const {
  return impl_->frozen && std::find(impl_->preserved.begin(), impl_->preserved.end(), module) == impl_->preserved.end();
}

const std::string& Model::vocabulary() const { return impl_->vocabulary; }

void Model::SetVocabulary(std::string words) { impl_->vocabulary = std::move(words); }

namespace {

Parameter VectorParameter(std::string name, std::vector<float>& values) {
  const auto size = static_cast<int64_t>(values.size());
  return {.name = std::move(name), .values = MutableTableView(values.data(), 1, size), .shape = {size}};
}

void AppendParameters(const std::string& name, Module& module, std::vector<Parameter>& parameters) {
  std::visit(
      [&](auto& alternative) {
        using T = std::decay_t<decltype(alternative)>;
        if constexpr (kIsFloatTable<T> || kIsQat<T>) {
          parameters.push_back({.name = name + ".weight",
                                .values = alternative.mutable_weight().mutable_view(),
                                .shape = {alternative.num_embeddings(), alternative.embedding_dim()},
                                .is_table = true,
                                .sparse = alternative.options().sparse,
                                .requires_grad = alternative.options().requires_grad,
                                .module = &module});
        } else if constexpr (std::is_same_v<T, nn::Linear>) {
          parameters.push_back({.name = name + ".weight",
                                .values = alternative.mutable_weight().mutable_view(),
                                .shape = {alternative.options().out_features, alternative.options().in_features}});
          if (alternative.options().bias) {
            parameters.push_back(VectorParameter(name + ".bias", alternative.mutable_bias()));
          }
        } else if constexpr (std::is_same_v<T, ParameterTensor>) {
          Tensor& value = alternative.value;
          parameters.push_back({.name = name,
                                .values = MutableTableView(value.values.data(), 1, value.size()),
                                .shape = value.shape,
                                .requires_grad = alternative.requires_grad});
        } else if constexpr (std::is_same_v<T, nn::BatchNorm1d>) {
          if (!alternative.options().affine) return;
          parameters.push_back(VectorParameter(name + ".weight", alternative.mutable_state().weight));
          parameters.push_back(VectorParameter(name + ".bias", alternative.mutable_state().bias));
        }
      },
      module);
}

template <typename Announce>
void AnnounceToQat(Module* module, const Announce& announce) {
  if (module == nullptr) return;
  std::visit(
      [&](auto& alternative) {
        if constexpr (kIsQat<std::decay_t<decltype(alternative)>>) announce(alternative);
      },
      *module);
}

}  // namespace

std::vector<Parameter> Model::Parameters() {
  std::vector<Parameter> parameters;
  for (auto& [name, module] : impl_->modules) {
    const size_t first = parameters.size();
    AppendParameters(name, module, parameters);
    for (size_t i = first; i < parameters.size(); ++i) parameters[i].requires_grad &= !IsConstant(name);
  }
  std::sort(parameters.begin(), parameters.end(),
            [](const Parameter& a, const Parameter& b) { return a.name < b.name; });
  return parameters;
}

void Parameter::WillModifyRows(absl::Span<const int64_t> rows) const {
  AnnounceToQat(module, [&](auto& table) { table.WillModifyRows(rows); });
}

void Parameter::WillModifyRows(const nn::SparseGrad& gradient) const {
  AnnounceToQat(module, [&](auto& table) { table.WillModifyRows(gradient); });
}

void Parameter::WillModifyAllRows() const {
  AnnounceToQat(module, [](auto& table) { table.WillModifyAllRows(); });
}

absl::StatusOr<Tensor> Model::Evaluate(const Feed& feed) const {
  Tape tape;
  return RunForward(*this, nullptr, feed, {.phase = Phase::kEvaluate}, tape);
}

absl::StatusOr<Tensor> Model::ForwardEvaluation(const Feed& feed, std::shared_ptr<Tape>* tape) {
  return Forward(feed, {.phase = Phase::kForwardEvaluation, .keep_contexts = tape != nullptr}, tape);
}

absl::StatusOr<Tensor> Model::ForwardTraining(const Feed& feed, uint64_t seed, uint64_t step,
                                              std::shared_ptr<Tape>* tape) {
  if (frozen()) return FailedPrecondition("model", "a frozen model has no training mode");
  return Forward(feed, {.phase = Phase::kForwardTraining, .keep_contexts = tape != nullptr, .seed = seed, .step = step},
                 tape);
}

absl::StatusOr<Tensor> Model::Forward(const Feed& feed, const PassOptions& options, std::shared_ptr<Tape>* tape) {
  auto new_tape = std::make_shared<Tape>();
  EQAT_ASSIGN_OR_RETURN(Tensor output, RunForward(*this, this, feed, options, *new_tape));
  if (tape != nullptr) {
    new_tape->structure = impl_->structure;
    *tape = std::move(new_tape);
  }
  return output;
}

absl::StatusOr<Gradients> Model::Backward(const Tape& tape, const Tensor& grad_output) const {
  if (tape.structure != impl_->structure) {
    return FailedPrecondition("backward", "modules or graph have changed since the forward that left this tape");
  }
  return RunBackward(*this, tape, grad_output);
}

}  // namespace eqat::model
