#include "model/shape_inference.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/checked_math.h"
#include "core/error.h"
#include "core/status_macros.h"
#include "core/tensor.h"
#include "float_modules/activation.h"

namespace eqat::model {
namespace {

using Sizes = std::vector<int64_t>;

// Sweeps back and forth until nothing new is learned; what takes longer stays unknown.
constexpr int kMaxSweeps = 16;

// What is known of one shape. Without a rank at least its last size may be known.
struct Fact {
  std::optional<Sizes> sizes;
  int64_t last = kAnySize;

  bool operator==(const Fact&) const = default;
  static Fact Of(Sizes sizes) {
    Fact fact;
    fact.sizes = std::move(sizes);
    fact.last = fact.sizes->empty() ? kAnySize : fact.sizes->back();
    return fact;
  }
  static Fact WithLast(int64_t last) {
    Fact fact;
    fact.last = last;
    return fact;
  }
};

std::string TextOf(const Fact& fact) {
  if (fact.sizes) return ShapePatternText(*fact.sizes);
  return fact.last == kAnySize ? "any shape" : absl::StrCat("[..., ", fact.last, "]");
}

// Whether both can be true of one size; `size` becomes what is then known.
bool MergeSize(int64_t& size, int64_t other) {
  if (size == kAnySize) size = other;
  return other == kAnySize || size == other;
}

bool Merge(Fact& fact, const Fact& other) {
  if (!fact.sizes && other.sizes) fact.sizes = Sizes(other.sizes->size(), kAnySize);
  if (!MergeSize(fact.last, other.last)) return false;
  if (!fact.sizes) return true;
  Sizes& sizes = *fact.sizes;
  if (other.sizes) {
    if (sizes.size() != other.sizes->size()) return false;
    for (size_t i = 0; i < sizes.size(); ++i) {
      if (!MergeSize(sizes[i], (*other.sizes)[i])) return false;
    }
  }
  if (sizes.empty()) return fact.last == kAnySize;
  if (!MergeSize(sizes.back(), fact.last)) return false;
  fact.last = sizes.back();
  return true;
}

// `dim` from the front for a value of `rank` dimensions, or nullopt if it has no such dimension.
std::optional<size_t> DimOf(int64_t dim, size_t rank) {
  const auto dims = static_cast<int64_t>(std::max<size_t>(rank, 1));
  if (dim < -dims || dim >= dims) return std::nullopt;
  return static_cast<size_t>(dim < 0 ? dim + dims : dim);
}

class Inferrer {
 public:
  Inferrer(const Graph& graph, FindModule find) : graph_(graph), find_(find) {}

  absl::StatusOr<Shapes> Run(Inference inference) {
    for (const Node& node : graph_.nodes) facts_.emplace(node.name, Fact());
    do {
      changed_ = false;
      for (const Node& node : graph_.nodes) EQAT_RETURN_IF_ERROR(Forward(node));
      if (inference == Inference::kForward) break;
      for (auto node = graph_.nodes.rbegin(); node != graph_.nodes.rend(); ++node) {
        EQAT_RETURN_IF_ERROR(Backward(*node));
      }
    } while (changed_ && ++sweeps_ < kMaxSweeps);
    Shapes shapes;
    for (auto& [name, fact] : facts_) shapes.emplace(name, std::move(fact.sizes));
    return shapes;
  }

 private:
  const Fact& FactOf(const std::string& name) const { return facts_.at(name); }
  const Fact& Arg(const Node& node, size_t k) const { return FactOf(node.args[k]); }

  // `name` is of the shape `fact`, says `node`.
  absl::Status Learn(const Node& node, const std::string& name, const Fact& fact) {
    Fact& known = facts_.at(name);
    Fact merged = known;
    if (!Merge(merged, fact)) {
      return InvalidArgument(absl::StrCat("node ", node.name), absl::StrCat("the shape of ", name, " does not fit"),
                             TextOf(known), TextOf(fact));
    }
    changed_ |= !(merged == known);
    known = std::move(merged);
    return absl::OkStatus();
  }

  absl::Status Mismatch(const Node& node, absl::string_view what, const std::string& got, const std::string& expected) {
    return InvalidArgument(absl::StrCat("node ", node.name), what, got, expected);
  }

  absl::Status Forward(const Node& node) {
    switch (node.op) {
      case Op::kPlaceholder:
        return node.shape ? Learn(node, node.name, Fact::Of(*node.shape)) : absl::OkStatus();
      case Op::kGetAttr:
        return Learn(node, node.name, Fact::Of(AsTensor(*find_(node.target))->shape));
      case Op::kOutput:
        return Learn(node, node.name, Arg(node, 0));
      case Op::kCallModule:
        return ForwardModule(node, *find_(node.target));
      case Op::kCallFunction: {
        EQAT_ASSIGN_OR_RETURN(const Fact fact, ForwardFunction(node));
        return Learn(node, node.name, fact);
      }
    }
    return absl::OkStatus();
  }

  absl::Status ForwardModule(const Node& node, const Module& module) {
    const Fact& input = Arg(node, 0);
    if (const EmbeddingLookup* table = AsLookup(module)) {
      if (IsBag(module)) return Learn(node, node.name, Fact::Of({kAnySize, table->embedding_dim()}));
      if (!input.sizes) return Learn(node, node.name, Fact::WithLast(table->embedding_dim()));
      Sizes sizes = *input.sizes;
      sizes.push_back(table->embedding_dim());
      return Learn(node, node.name, Fact::Of(std::move(sizes)));
    }
    if (const auto* linear = std::get_if<nn::Linear>(&module)) {
      const nn::LinearOptions& options = linear->options();
      EQAT_RETURN_IF_ERROR(CheckLast(node, input, options.in_features));
      return Learn(node, node.name, WithLast(input, options.out_features));
    }
    if (const auto* batch_norm = std::get_if<nn::BatchNorm1d>(&module)) {
      Fact fact = input;
      if (!Merge(fact, Fact::Of({kAnySize, batch_norm->options().num_features}))) {
        return Mismatch(node, "the shape of its input does not fit", TextOf(input),
                        absl::StrCat("[?, ", batch_norm->options().num_features, "]"));
      }
      return Learn(node, node.name, fact);
    }
    return Learn(node, node.name, input);
  }

  absl::Status CheckLast(const Node& node, const Fact& input, int64_t wanted) {
    const bool is_scalar = input.sizes && input.sizes->empty();
    if (!is_scalar && (input.last == kAnySize || input.last == wanted)) return absl::OkStatus();
    return Mismatch(node, "the shape of its input does not fit", TextOf(input), absl::StrCat("[..., ", wanted, "]"));
  }

  static Fact WithLast(Fact fact, int64_t last) {
    if (fact.sizes) fact.sizes->back() = last;
    fact.last = last;
    return fact;
  }

  absl::StatusOr<Fact> ForwardFunction(const Node& node) {
    switch (node.function) {
      case Function::kCat:
        return ForwardCat(node);
      case Function::kInteractDot: {
        for (const std::string& arg : node.args) {
          if (FactOf(arg).sizes && FactOf(arg).sizes->size() != 2) {
            return Mismatch(node, absl::StrCat("feature ", arg, " is not a matrix"), TextOf(FactOf(arg)), "[n, dim]");
          }
        }
        const auto features = static_cast<int64_t>(node.args.size());
        return Fact::Of({kAnySize, features * (features - 1) / 2});
      }
      case Function::kAdd:
      case Function::kSub:
      case Function::kMul:
      case Function::kDiv:
        return ForwardBroadcast(node);
      case Function::kReLU:
      case Function::kSigmoid:
        return Arg(node, 0);
      case Function::kFlatten:
        return ForwardFlatten(node);
      case Function::kSlice:
        return ForwardSlice(node);
    }
    return Fact();
  }

  absl::Status NoSuchDim(const Node& node, const Fact& fact) {
    return Mismatch(node, "dimension out of range", absl::StrCat(node.int_arg, " of ", TextOf(fact)), "");
  }

  absl::StatusOr<Fact> ForwardCat(const Node& node) {
    Fact sum;  // what all arguments share outside `dim`, and their sizes added up in it
    for (const std::string& arg : node.args) {
      if (!sum.sizes && FactOf(arg).sizes) sum.sizes = Sizes(FactOf(arg).sizes->size(), kAnySize);
    }
    if (!sum.sizes) return Fact();
    if (sum.sizes->empty()) return Mismatch(node, "scalars cannot be concatenated", "[]", "");
    const std::optional<size_t> dim = DimOf(node.int_arg, sum.sizes->size());
    if (!dim) return NoSuchDim(node, Arg(node, 0));
    std::optional<int64_t> total = 0;
    for (const std::string& arg : node.args) {
      Fact outside = FactOf(arg);
      if (!outside.sizes) {
        total.reset();
        continue;
      }
      if (outside.sizes->size() != sum.sizes->size()) {
        return Mismatch(node, absl::StrCat("the rank of ", arg, " does not fit"), TextOf(outside), TextOf(sum));
      }
      const int64_t size = (*outside.sizes)[*dim];
      total = total && size != kAnySize ? CheckedAdd(*total, size) : std::nullopt;
      for (size_t i = 0; i < outside.sizes->size(); ++i) {
        if (i != *dim && !MergeSize((*sum.sizes)[i], (*outside.sizes)[i])) {
          return Mismatch(node, absl::StrCat("the shape of ", arg, " does not fit outside dimension ", *dim),
                          TextOf(outside), TextOf(sum));
        }
      }
    }
    (*sum.sizes)[*dim] = total.value_or(kAnySize);
    return Fact::Of(*std::move(sum.sizes));
  }

  absl::StatusOr<Fact> ForwardBroadcast(const Node& node) {
    const Fact &a = Arg(node, 0), &b = Arg(node, 1);
    if (!a.sizes || !b.sizes) return Fact();
    Sizes sizes(std::max(a.sizes->size(), b.sizes->size()), kAnySize);
    for (size_t i = 0; i < sizes.size(); ++i) {  // from the last dimension
      const auto size_in = [i](const Sizes& of) { return i < of.size() ? of[of.size() - 1 - i] : 1; };
      const int64_t in_a = size_in(*a.sizes), in_b = size_in(*b.sizes);
      const bool known = in_a != kAnySize && in_b != kAnySize;
      if (known && in_a != in_b && in_a != 1 && in_b != 1) {
        return Mismatch(node, "operands differ in shape", absl::StrCat(TextOf(a), " and ", TextOf(b)), "");
      }
      // An unknown size beside one over 1 is that one or 1.
      int64_t& size = sizes[sizes.size() - 1 - i];
      if (known) {
        size = in_a == 1 ? in_b : in_a;
      } else if (std::max(in_a, in_b) > 1) {
        size = std::max(in_a, in_b);
      }
    }
    return Fact::Of(std::move(sizes));
  }

  absl::StatusOr<Fact> ForwardFlatten(const Node& node) {
    const Fact& input = Arg(node, 0);
    if (!input.sizes) {
      return node.int_arg >= 0 && node.int_arg < 64 ? Fact::Of(Sizes(node.int_arg + 1, kAnySize)) : Fact();
    }
    const std::optional<size_t> dim = DimOf(node.int_arg, input.sizes->size());
    if (!dim) return NoSuchDim(node, input);
    Sizes sizes(input.sizes->begin(), input.sizes->begin() + std::min(*dim, input.sizes->size()));
    std::optional<int64_t> product = 1;
    for (size_t i = sizes.size(); i < input.sizes->size(); ++i) {
      const int64_t size = (*input.sizes)[i];
      product = product && size != kAnySize ? CheckedMul(*product, size) : std::nullopt;
    }
    sizes.push_back(product.value_or(kAnySize));
    return Fact::Of(std::move(sizes));
  }

  absl::StatusOr<Fact> ForwardSlice(const Node& node) {
    const Fact& input = Arg(node, 0);
    if (!input.sizes) return Fact();
    if (input.sizes->empty()) return Mismatch(node, "scalars cannot be sliced", "[]", "");
    const std::optional<size_t> dim = DimOf(node.int_arg, input.sizes->size());
    if (!dim) return NoSuchDim(node, input);
    Sizes sizes = *input.sizes;
    if (sizes[*dim] != kAnySize) {
      const nn::SliceRange range = nn::RangeOfSlice(sizes[*dim], node.start, node.end);
      sizes[*dim] = range.end - range.begin;
    }
    return Fact::Of(std::move(sizes));
  }

  // What a node that works on any batch it is reached with says of its arguments.
  absl::Status Backward(const Node& node) {
    if (node.op == Op::kOutput) return Learn(node, node.args[0], FactOf(node.name));
    if (node.op == Op::kCallModule) return BackwardModule(node, *find_(node.target));
    if (node.op != Op::kCallFunction) return absl::OkStatus();
    switch (node.function) {
      case Function::kReLU:
      case Function::kSigmoid:
        return Learn(node, node.args[0], FactOf(node.name));
      case Function::kInteractDot:
        return LearnAlike(node, {(*FactOf(node.name).sizes)[0], kAnySize}, std::nullopt);
      case Function::kCat: {
        const std::optional<Sizes> value = FactOf(node.name).sizes;
        if (!value) return absl::OkStatus();
        return LearnAlike(node, *value, DimOf(node.int_arg, value->size()));
      }
      case Function::kSlice:
        if (!FactOf(node.name).sizes) return absl::OkStatus();
        return Learn(node, node.args[0], Fact::Of(Sizes(FactOf(node.name).sizes->size(), kAnySize)));
      case Function::kAdd:
      case Function::kSub:
      case Function::kMul:
      case Function::kDiv:
      case Function::kFlatten:
        return absl::OkStatus();
    }
    return absl::OkStatus();
  }

  // All arguments have the sizes `common` and one another's, but for those of dimension `except`.
  absl::Status LearnAlike(const Node& node, Sizes common, std::optional<size_t> except) {
    for (const std::string& arg : node.args) {
      EQAT_RETURN_IF_ERROR(Learn(node, arg, Fact::Of(Sizes(common.size(), kAnySize))));
      for (size_t i = 0; i < common.size(); ++i) MergeSize(common[i], (*FactOf(arg).sizes)[i]);
    }
    if (except) common[*except] = kAnySize;
    for (const std::string& arg : node.args) EQAT_RETURN_IF_ERROR(Learn(node, arg, Fact::Of(common)));
    return absl::OkStatus();
  }

  absl::Status BackwardModule(const Node& node, const Module& module) {
    const Fact& value = FactOf(node.name);
    if (AsLookup(module) != nullptr) {
      if (IsBag(module) || !value.sizes) return absl::OkStatus();
      if (value.sizes->size() < 2) {
        return Mismatch(node, "its shape does not fit", TextOf(value), "at least two dimensions");
      }
      return Learn(node, node.args[0], Fact::Of(Sizes(value.sizes->begin(), value.sizes->end() - 1)));
    }
    if (const auto* linear = std::get_if<nn::Linear>(&module)) {
      return Learn(node, node.args[0], WithLast(value, linear->options().in_features));
    }
    return Learn(node, node.args[0], value);
  }

  const Graph& graph_;
  const FindModule find_;
  std::map<std::string, Fact> facts_;
  bool changed_ = false;
  int sweeps_ = 0;
};

}  // namespace

absl::StatusOr<Shapes> InferShapes(const Graph& graph, FindModule find, Inference inference) {
  return Inferrer(graph, find).Run(inference);
}

}  // namespace eqat::model
