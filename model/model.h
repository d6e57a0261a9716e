// Model: named modules and, for a whole model, the graph that calls them; forward and backward over the graph.
//
// Thread safety: Evaluate is const and may run concurrently; the rest not with anything.
#ifndef EQAT_MODEL_MODEL_H_
#define EQAT_MODEL_MODEL_H_

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "core/lookup.h"
#include "core/tensor.h"
#include "float_modules/gradient.h"
#include "model/graph.h"
#include "model/module.h"

namespace eqat::model {

// Values of the placeholders of one batch. A placeholder used by an embedding is a LookupInput, others are dense.
struct Feed {
  std::map<std::string, LookupInput> lookups;
  std::map<std::string, Tensor> dense;
};

// One parameter's gradient: row-sparse for tables, dense for the rest.
struct ParameterGradient {
  std::optional<nn::SparseGrad> rows;
  std::vector<float> dense;
};
// By parameter name ("item.weight"), ascending; per_sample_weights of jagged input X as "X.per_sample_weights" when
// asked.
using Gradients = std::map<std::string, ParameterGradient>;

// What ForwardTraining leaves for Backward.
struct Tape;
struct PassOptions;

// A parameter as an optimizer sees it.
struct Parameter {
  std::string name;         // "top.0.weight"
  MutableTableView values;  // a vector is [1, n]
  std::vector<int64_t> shape;
  bool is_table = false;  // gradient is row-sparse
  bool sparse = false;    // the table's `sparse` option: how torch's optimizers see its gradient
  bool requires_grad = true;
  Module* module = nullptr;  // for QAT tables: who must be told before rows are written
  // Announces a write (qat::Embedding::WillModifyRows); a no-op for other modules.
  void WillModifyRows(absl::Span<const int64_t> rows) const;
  void WillModifyRows(const nn::SparseGrad& gradient) const;
  void WillModifyAllRows() const;
};

class Model {
 public:
  Model();
  Model(Model&&) noexcept;
  Model& operator=(Model&&) noexcept;
  ~Model();

  // InvalidArgument for a name that is taken, empty or holds characters outside [A-Za-z0-9_.-]. Float tables take the
  // name over for their messages.
  absl::Status AddModule(const std::string& name, Module&& module);
  // Validate()s it and the nested models' graphs, and inlines the calls of those.
  absl::Status SetGraph(Graph graph);
  const std::vector<std::string>& module_names() const;  // in order of addition
  const Module* Find(const std::string& name) const;     // null when absent
  Module* FindMutable(const std::string& name);
  // Replaces a module by another of the same name (its type may change). REQUIRES: neither is a nested model or an
  // interface once there is a graph.
  void Replace(const std::string& name, Module&& module);
  const std::optional<Graph>& graph() const;
  // graph() with the calls of nested models inlined (model/inline_calls.h): what runs. REQUIRES: a graph.
  const Graph& inlined_graph() const;
  // A model of the same content. Float memory is copied; packed rows, which never change, are shared.
  absl::StatusOr<Model> Clone() const;

  // torch's flag of a module. It is kept with the model; what a call does is said by the function that is called.
  bool training() const;
  void Train();
  void Eval();
  // A frozen model (model/freeze/freeze.h) holds constants: no gradient but those of `preserved` modules.
  bool frozen() const;
  const std::vector<std::string>& preserved() const;
  void MarkFrozen(std::vector<std::string> preserved);
  bool IsConstant(const std::string& module) const;

  // The words that the first rows of a table stand for, one a line (vocabulary.txt of an imported model); "": none. The
  // model carries them along and does not look at them.
  const std::string& vocabulary() const;
  void SetVocabulary(std::string words);

  // Every parameter with requires_grad true or false, by name ascending. Valid until a module is added or replaced.
  std::vector<Parameter> Parameters();

  // Evaluation: changes nothing (a max_norm acts on the values read). Errors name node and module.
  absl::StatusOr<Tensor> Evaluate(const Feed& feed) const;
  // torch's model call in eval mode: as Evaluate, but max_norm renormalizes stored rows. `tape` may be null.
  absl::StatusOr<Tensor> ForwardEvaluation(const Feed& feed, std::shared_ptr<Tape>* tape);
  // In training mode: observers observe, dropout drops (masks from `seed` and `step`), batch norm uses the batch. The
  // values of `feed` must outlive the tape. FailedPrecondition for a frozen model. On error the model may have observed
  // or renormalized rows, nothing else.
  absl::StatusOr<Tensor> ForwardTraining(const Feed& feed, uint64_t seed, uint64_t step, std::shared_ptr<Tape>* tape);
  absl::StatusOr<Gradients> Backward(const Tape& tape, const Tensor& grad_output) const;

 private:
  struct Impl;
  absl::StatusOr<Tensor> Forward(const Feed& feed, const PassOptions& options, std::shared_ptr<Tape>* tape);
  std::unique_ptr<Impl> impl_;
};

}  // namespace eqat::model

#endif  // EQAT_MODEL_MODEL_H_
