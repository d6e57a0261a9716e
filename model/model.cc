#include "model/model.h"

#include <algorithm>
#include <cassert>

#include "absl/strings/str_cat.h"
#include "core/error.h"
#include "core/status_macros.h"
#include "model/execution.h"
#include "model/names.h"

namespace eqat::model {

struct Model::Impl {
  std::vector<std::string> names;
  std::map<std::string, Module> modules;
  std::optional<Graph> graph;
  // A new object for every change of modules or graph: a tape holds the one it was made under.
  std::shared_ptr<const int> structure = std::make_shared<const int>();

  void Changed() { structure = std::make_shared<const int>(); }
};

Model::Model() : impl_(std::make_unique<Impl>()) {}
Model::Model(Model&&) noexcept = default;
Model& Model::operator=(Model&&) noexcept = default;
Model::~Model() = default;

absl::Status Model::AddModule(const std::string& name, Module&& module) {
  if (!IsValidName(name)) return InvalidArgument("model", "a module's name is not allowed", name, kNameRule);
  if (impl_->modules.contains(name)) return InvalidArgument("model", "a module's name is taken", name);
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
  std::map<std::string, std::string> types;
  for (const auto& [name, module] : impl_->modules) types.emplace(name, std::string(TypeName(module)));
  EQAT_RETURN_IF_ERROR(Validate(graph, types));
  impl_->graph = std::move(graph);
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
  for (auto& [name, module] : impl_->modules) AppendParameters(name, module, parameters);
  std::sort(parameters.begin(), parameters.end(),
            [](const Parameter& a, const Parameter& b) { return a.name < b.name; });
  return parameters;
}

void Parameter::WillModifyRows(absl::Span<const int64_t> rows) const {
  AnnounceToQat(module, [&](auto& table) { table.WillModifyRows(rows); });
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
