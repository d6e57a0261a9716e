#include "tests/model/freeze/error_analysis.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <map>
#include <string>

#include "gtest/gtest.h"

namespace eqat::model {
namespace {

// A matrix of exact values, each with the error that float32 may make.
struct Estimate {
  int64_t rows = 0, cols = 0;
  std::vector<double> value, error;
  double terms = 0;  // of the Linear that it comes from, through operations that folds may follow

  Estimate() = default;
  Estimate(int64_t rows_in, int64_t cols_in)
      : rows(rows_in), cols(cols_in), value(rows_in * cols_in), error(rows_in * cols_in) {}
  size_t At(int64_t row, int64_t col) const { return (rows == 1 ? 0 : row) * cols + (cols == 1 ? 0 : col); }
};

double RoundingFactor(double terms) {
  const double n = (terms + terms / 128 + 16) * std::ldexp(1.0, -24);
  return n / (1 - n);
}

Estimate Exactly(const Tensor& tensor) {
  Estimate estimate(tensor.rank() == 2 ? tensor.shape[0] : 1, tensor.rank() == 0 ? 1 : tensor.shape.back());
  estimate.value.assign(tensor.values.begin(), tensor.values.end());
  return estimate;
}

class Analysis {
 public:
  Analysis(const Model& model, const Feed& feed) : model_(model), feed_(feed) {}

  std::vector<double> Run() {
    for (const Node& node : model_.inlined_graph().nodes) {
      if (node.op == Op::kOutput) return estimates_.at(node.args[0]).error;
      estimates_[node.name] = Of(node);
    }
    return {};
  }

 private:
  const Estimate& Arg(const Node& node, size_t k) const { return estimates_.at(node.args[k]); }

  Estimate Of(const Node& node) {
    if (node.op == Op::kPlaceholder) {
      const auto dense = feed_.dense.find(node.name);
      return dense == feed_.dense.end() ? Estimate() : Exactly(dense->second);
    }
    if (node.op == Op::kGetAttr) return Exactly(*AsTensor(*model_.Find(node.target)));
    return node.op == Op::kCallModule ? OfModule(node) : OfFunction(node);
  }

  Estimate OfModule(const Node& node) {
    const Module& module = *model_.Find(node.target);
    if (const EmbeddingLookup* table = AsLookup(module)) {
      const LookupInput& input = feed_.lookups.at(node.args[0]);
      Tensor rows({*table->NumOutputs(input), table->embedding_dim()});
      EXPECT_TRUE(table->Lookup(input, rows.mutable_matrix()).ok());
      return Exactly(rows);
    }
    const Estimate& x = Arg(node, 0);
    if (const auto* linear = std::get_if<nn::Linear>(&module)) return OfLinear(*linear, x);
    if (const auto* norm = std::get_if<nn::BatchNorm1d>(&module)) return OfBatchNorm(*norm, x);
    if (std::holds_alternative<ReLU>(module)) return Relu(x);
    if (std::holds_alternative<Sigmoid>(module)) return Sigm(x);
    return x;  // dropout
  }

  static Estimate OfLinear(const nn::Linear& linear, const Estimate& x) {
    Estimate y(x.rows, linear.options().out_features);
    y.terms = static_cast<double>(x.cols);
    for (int64_t row = 0; row < y.rows; ++row) {
      for (int64_t j = 0; j < y.cols; ++j) {
        double sum = linear.options().bias ? linear.bias()[j] : 0.0;
        double size = std::abs(sum), error = 0;
        for (int64_t i = 0; i < x.cols; ++i) {
          const double weight = linear.weight().Row(j)[i];
          sum += weight * x.value[x.At(row, i)];
          size += std::abs(weight) * (std::abs(x.value[x.At(row, i)]) + x.error[x.At(row, i)]);
          error += std::abs(weight) * x.error[x.At(row, i)];
        }
        y.value[y.At(row, j)] = sum;
        y.error[y.At(row, j)] = error + RoundingFactor(y.terms) * size;
      }
    }
    return y;
  }

  static Estimate OfBatchNorm(const nn::BatchNorm1d& norm, const Estimate& x) {
    Estimate y = x;
    const nn::BatchNorm1dState& state = norm.state();
    for (int64_t row = 0; row < y.rows; ++row) {
      for (int64_t j = 0; j < y.cols; ++j) {
        const size_t at = y.At(row, j);
        const double k =
            (norm.options().affine ? state.weight[j] : 1.0) / std::sqrt(state.running_var[j] + norm.options().eps);
        const double shift = norm.options().affine ? state.bias[j] : 0.0, mean = state.running_mean[j];
        y.value[at] = (x.value[at] - mean) * k + shift;
        y.error[at] = std::abs(k) * x.error[at] +
                      RoundingFactor(x.terms) *
                          (std::abs(k) * (std::abs(x.value[at]) + x.error[at] + std::abs(mean)) + std::abs(shift));
      }
    }
    return y;
  }

  static Estimate Relu(Estimate x) {
    for (double& value : x.value) value = std::max(value, 0.0);
    x.terms = 0;
    return x;
  }

  static Estimate Sigm(Estimate x) {
    for (size_t i = 0; i < x.value.size(); ++i) {
      x.value[i] = 1 / (1 + std::exp(-x.value[i]));
      x.error[i] = 0.25 * x.error[i] + std::ldexp(1.0, -23);
    }
    x.terms = 0;
    return x;
  }

  Estimate OfFunction(const Node& node) {
    switch (node.function) {
      case Function::kReLU:
        return Relu(Arg(node, 0));
      case Function::kSigmoid:
        return Sigm(Arg(node, 0));
      case Function::kFlatten:
        return Arg(node, 0);
      case Function::kCat:
        return Cat(node);
      case Function::kSlice:
        return Slice(node);
      case Function::kInteractDot:
        return Dot(Arg(node, 0), Arg(node, 1));
      case Function::kAdd:
      case Function::kSub:
      case Function::kMul:
      case Function::kDiv:
        return Combine(node.function, Arg(node, 0), Arg(node, 1));
    }
    return {};
  }

  Estimate Cat(const Node& node) {
    Estimate y(Arg(node, 0).rows, 0);
    for (size_t k = 0; k < node.args.size(); ++k) y.cols += Arg(node, k).cols;
    for (int64_t row = 0; row < y.rows; ++row) {
      for (size_t k = 0; k < node.args.size(); ++k) {
        const Estimate& x = Arg(node, k);
        for (int64_t c = 0; c < x.cols; ++c) {
          y.value.push_back(x.value[x.At(row, c)]);
          y.error.push_back(x.error[x.At(row, c)]);
        }
        y.terms = std::max(y.terms, x.terms);
      }
    }
    return y;
  }

  Estimate Slice(const Node& node) {
    const Estimate& x = Arg(node, 0);
    const int64_t end = std::min(node.end, x.cols);
    Estimate y(x.rows, end - node.start);
    y.terms = x.terms;
    for (int64_t row = 0; row < y.rows; ++row) {
      for (int64_t c = 0; c < y.cols; ++c) {
        y.value[y.At(row, c)] = x.value[x.At(row, node.start + c)];
        y.error[y.At(row, c)] = x.error[x.At(row, node.start + c)];
      }
    }
    return y;
  }

  static Estimate Dot(const Estimate& a, const Estimate& b) {
    Estimate y(a.rows, 1);
    for (int64_t row = 0; row < y.rows; ++row) {
      double size = 0;
      for (int64_t c = 0; c < a.cols; ++c) {
        const size_t at = a.At(row, c);
        y.value[row] += a.value[at] * b.value[at];
        size += (std::abs(a.value[at]) + a.error[at]) * (std::abs(b.value[at]) + b.error[at]);
        y.error[row] +=
            std::abs(a.value[at]) * b.error[at] + std::abs(b.value[at]) * a.error[at] + a.error[at] * b.error[at];
      }
      y.error[row] += RoundingFactor(static_cast<double>(a.cols)) * size;
    }
    return y;
  }

  static Estimate Combine(Function function, const Estimate& a, const Estimate& b) {
    Estimate y(std::max(a.rows, b.rows), std::max(a.cols, b.cols));
    y.terms = std::max(a.terms, b.terms);
    const double factor = RoundingFactor(y.terms);
    for (int64_t row = 0; row < y.rows; ++row) {
      for (int64_t c = 0; c < y.cols; ++c) {
        const double va = a.value[a.At(row, c)], vb = b.value[b.At(row, c)];
        const double ea = a.error[a.At(row, c)], eb = b.error[b.At(row, c)];
        const double sa = std::abs(va) + ea, sb = std::abs(vb) + eb;
        double& value = y.value[y.At(row, c)];
        double& error = y.error[y.At(row, c)];
        if (function == Function::kMul) {
          value = va * vb;
          error = std::abs(va) * eb + std::abs(vb) * ea + ea * eb + factor * sa * sb;
        } else if (function == Function::kDiv) {
          const double smallest = std::abs(vb) - eb;
          value = va / vb;
          error = smallest > 0 ? (ea + std::abs(value) * eb + factor * sa) / smallest
                               : std::numeric_limits<double>::infinity();
        } else {
          value = function == Function::kAdd ? va + vb : va - vb;
          error = ea + eb + factor * (sa + sb);
        }
      }
    }
    return y;
  }

  const Model& model_;
  const Feed& feed_;
  std::map<std::string, Estimate> estimates_;
};

}  // namespace

std::vector<double> OutputErrorBounds(const Model& model, const Feed& feed) { return Analysis(model, feed).Run(); }

}  // namespace eqat::model
