// Where data meets a model: batches as feeds, and the check that columns and placeholders fit.
#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <variant>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "core/error.h"
#include "core/status_macros.h"
#include "train/dataset.h"

namespace eqat::train {
namespace {

struct BagTraits {
  bool is_bag = false;
  bool include_last_offset = false;
};

BagTraits BagTraitsOf(const model::Module& module) {
  if (const auto* bag = std::get_if<nn::EmbeddingBag>(&module)) return {true, bag->options().include_last_offset};
  if (const auto* bag = std::get_if<qat::EmbeddingBag>(&module)) return {true, bag->options().include_last_offset};
  if (const auto* bag = std::get_if<quantized::EmbeddingBag>(&module)) {
    return {true, bag->options().include_last_offset};
  }
  return {};
}

std::string InputText(const std::string& input) { return absl::StrCat("input '", input, "'"); }

// The table that node `node` looks up, or null.
const model::Module* TableOf(const model::Model& model, const model::Node& node) {
  if (node.op != model::Op::kCallModule) return nullptr;
  const model::Module* module = model.Find(node.target);
  return module != nullptr && model::AsLookup(*module) != nullptr ? module : nullptr;
}

absl::Status CheckTable(const model::Module& module, const model::Node& node, const Dataset& data) {
  const std::string& input = node.args.front();
  if (data.IsDense(input)) {
    return InvalidArgument(InputText(input), absl::StrCat("feeds table '", node.target, "'"), "a dense column",
                           "a categorical one");
  }
  const int64_t num_embeddings = model::AsLookup(module)->num_embeddings();
  if (data.IndexBound(input) > num_embeddings) {
    return InvalidArgument(InputText(input), absl::StrCat("has indices that table '", node.target, "' cannot hold"),
                           absl::StrCat("indices below ", data.IndexBound(input)),
                           absl::StrCat("at most the ", num_embeddings, " rows of the table"));
  }
  if (!BagTraitsOf(module).is_bag && data.IsMultiValued(input)) {
    return InvalidArgument(InputText(input),
                           absl::StrCat("is multi-valued and feeds '", node.target, "', which takes one index a row"),
                           model::TypeName(module), "an EmbeddingBag");
  }
  return absl::OkStatus();
}

// One feed has one form of each input, so all tables on it must want the same.
absl::Status CheckForms(const model::Model& model) {
  std::map<std::string, std::pair<const model::Node*, BagTraits>> first_use;
  for (const model::Node& node : model.inlined_graph().nodes) {
    const model::Module* table = TableOf(model, node);
    if (table == nullptr) continue;
    const BagTraits traits = BagTraitsOf(*table);
    const auto [entry, inserted] = first_use.try_emplace(node.args.front(), &node, traits);
    const BagTraits& other = entry->second.second;
    if (other.is_bag != traits.is_bag || other.include_last_offset != traits.include_last_offset) {
      return InvalidArgument(InputText(node.args.front()), "feeds tables that take different forms of it",
                             absl::StrCat("'", entry->second.first->target, "' and '", node.target, "'"),
                             "both Embedding or both EmbeddingBag, with the same include_last_offset");
    }
  }
  return absl::OkStatus();
}

absl::Status CheckNames(const std::vector<std::string>& placeholders, const std::vector<std::string>& inputs) {
  for (const std::string& placeholder : placeholders) {
    if (std::find(inputs.begin(), inputs.end(), placeholder) == inputs.end()) {
      return InvalidArgument(InputText(placeholder), "the model needs it and the data does not feed it",
                             absl::StrJoin(inputs, ", "));
    }
  }
  for (const std::string& input : inputs) {
    if (std::find(placeholders.begin(), placeholders.end(), input) == placeholders.end()) {
      return InvalidArgument(InputText(input), "the data feeds it and the model has no such input", "",
                             absl::StrCat("one of ", absl::StrJoin(placeholders, ", ")));
    }
  }
  return absl::OkStatus();
}

}  // namespace

std::vector<BagInput> BagInputs(const model::Model& model) {
  std::map<std::string, bool> include_last_offset;
  if (model.graph()) {
    for (const model::Node& node : model.inlined_graph().nodes) {
      const model::Module* table = TableOf(model, node);
      if (table == nullptr) continue;
      const BagTraits traits = BagTraitsOf(*table);
      if (traits.is_bag) include_last_offset.emplace(node.args.front(), traits.include_last_offset);
    }
  }
  std::vector<BagInput> inputs;
  for (const auto& [name, include] : include_last_offset) inputs.push_back({name, include});
  return inputs;
}

model::Feed FeedOf(const Batch& batch, const std::vector<BagInput>& bag_inputs) {
  model::Feed feed;
  feed.dense = batch.dense;
  for (const auto& entry : batch.jagged) {
    const auto& [name, jagged] = entry;
    LookupInput& input = feed.lookups[name];
    input.indices = IndexSpan(jagged.indices);
    if (jagged.has_weights) input.per_sample_weights = absl::MakeConstSpan(jagged.weights);
    const auto bag = std::find_if(bag_inputs.begin(), bag_inputs.end(),
                                  [&](const BagInput& candidate) { return candidate.name == entry.first; });
    if (bag == bag_inputs.end()) continue;
    absl::Span<const int64_t> offsets = absl::MakeConstSpan(jagged.offsets);
    if (!bag->include_last_offset) offsets.remove_suffix(1);
    input.offsets = IndexSpan(offsets);
  }
  return feed;
}

absl::Status CheckInputs(const model::Model& model, const Dataset& data) {
  if (!model.graph()) {
    return InvalidArgument("model.json", "the model has no graph", "tables alone", "a graph that ends in an output");
  }
  EQAT_RETURN_IF_ERROR(CheckNames(model.graph()->Placeholders(), data.inputs()));
  const std::vector<std::string> inputs = data.inputs();
  for (const model::Node& node : model.inlined_graph().nodes) {
    if (const model::Module* table = TableOf(model, node)) {
      EQAT_RETURN_IF_ERROR(CheckTable(*table, node, data));
      continue;
    }
    for (const std::string& arg : node.args) {
      if (std::find(inputs.begin(), inputs.end(), arg) == inputs.end() || data.IsDense(arg)) continue;
      return InvalidArgument(InputText(arg), absl::StrCat("feeds '", node.name, "', which takes numbers"),
                             "a categorical column", "a dense one");
    }
  }
  return CheckForms(model);
}

}  // namespace eqat::train
