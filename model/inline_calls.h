// InlineCalls: a graph whose calls of nested models are replaced by what those models do; what a model runs.
#ifndef EQAT_MODEL_INLINE_CALLS_H_
#define EQAT_MODEL_INLINE_CALLS_H_

#include <string>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "model/graph.h"
#include "model/module.h"

namespace eqat::model {

// Null for a name that no module has.
using FindModule = absl::FunctionRef<const Module*(const std::string& name)>;

// The nested model that module `name` lies in ("tower" for "tower.fc"), or "" for one of the model itself.
std::string EnclosingModel(absl::string_view name, FindModule find);

// The module that a call of `name` means: itself, or what implements that interface. InvalidArgument: there is none.
absl::StatusOr<std::string> ResolveCall(std::string name, FindModule find);

// Nodes of a nested model come out as CALL.NODE, with a number behind the name should that be taken. Targets become
// full names of modules; interfaces become what implements them. `graph` is that of the whole model; it and the nested
// graphs have passed Validate(). InvalidArgument: wrong numbers of arguments, interfaces without implementation, models
// that call themselves. ResourceExhausted: more than a million nodes.
absl::StatusOr<Graph> InlineCalls(const Graph& graph, FindModule find);

}  // namespace eqat::model

#endif  // EQAT_MODEL_INLINE_CALLS_H_
