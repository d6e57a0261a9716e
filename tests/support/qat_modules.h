// Makers of QAT modules and their recipes, for tests that run over Embedding and EmbeddingBag alike.
#ifndef EQAT_TESTS_SUPPORT_QAT_MODULES_H_
#define EQAT_TESTS_SUPPORT_QAT_MODULES_H_

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "float_modules/embedding.h"
#include "float_modules/embedding_bag.h"
#include "qat/embedding.h"
#include "qat/embedding_bag.h"
#include "quant/types/qconfig.h"
#include "quantized/embedding_bag.h"
#include "tests/support/naive_embedding.h"

namespace eqat::testing {

// The four types that belong together.
struct EmbeddingFamily {
  using Options = nn::EmbeddingOptions;
  using Float = nn::Embedding;
  using Qat = qat::Embedding;
  using Quantized = quantized::Embedding;
  static constexpr char kQatName[] = "qat.Embedding";
};
struct EmbeddingBagFamily {
  using Options = nn::EmbeddingBagOptions;
  using Float = nn::EmbeddingBag;
  using Qat = qat::EmbeddingBag;
  using Quantized = quantized::EmbeddingBag;
  static constexpr char kQatName[] = "qat.EmbeddingBag";
};

// averaging_constant 0: PerChannelMinMaxObserver.
inline quant::ObserverConfig RowObserver(quant::Dtype dtype = quant::Dtype::kQUInt8, double averaging_constant = 1.0) {
  quant::ObserverConfig config;
  config.kind = averaging_constant == 0.0 ? quant::ObserverKind::kPerChannelMinMax
                                          : quant::ObserverKind::kMovingAveragePerChannelMinMax;
  config.dtype = dtype;
  config.qscheme = quant::QScheme::kPerChannelAffineFloatQParams;
  if (averaging_constant != 0.0) config.averaging_constant = averaging_constant;
  return config;
}

inline quant::QConfig QConfigOf(const quant::ObserverConfig& observer) {
  quant::QConfig qconfig;
  qconfig.weight.observer = observer;
  return qconfig;
}

template <typename Family>
typename Family::Float MakeFloat(const Matrix& weight, typename Family::Options options, std::string name = "item") {
  options.num_embeddings = weight.rows;
  options.embedding_dim = weight.cols;
  return *Family::Float::FromWeight(TableOf(weight), std::move(options), std::move(name));
}

template <typename Family>
typename Family::Qat MakeQat(const Matrix& weight, typename Family::Options options,
                             const quant::ObserverConfig& observer, std::string name = "item") {
  typename Family::Float module = MakeFloat<Family>(weight, std::move(options), std::move(name));
  module.set_qconfig(QConfigOf(observer));
  return *Family::Qat::FromFloat(std::move(module));
}

// Writes `values` to the rows that differ, announced.
template <typename Module>
void WriteRows(const Matrix& values, Module& module) {
  std::vector<int64_t> rows;
  for (int64_t r = 0; r < values.rows; ++r) {
    if (!std::equal(values.Row(r), values.Row(r) + values.cols, module.weight().Row(r))) rows.push_back(r);
  }
  module.WillModifyRows(rows);
  for (const int64_t r : rows) std::copy_n(values.Row(r), values.cols, module.mutable_weight().Row(r));
}

template <typename Module>
absl::StatusOr<Matrix> LookupOf(const Module& module, const Batch& batch) {
  const absl::StatusOr<int64_t> outputs = module.NumOutputs(batch.input());
  if (!outputs.ok()) return outputs.status();
  Matrix out(*outputs, module.embedding_dim());
  if (const absl::Status status = module.Lookup(batch.input(), out.mutable_view()); !status.ok()) return status;
  return out;
}

template <typename Module>
absl::StatusOr<Matrix> ForwardOf(Module& module, const Batch& batch, nn::LookupContext* context = nullptr) {
  const absl::StatusOr<int64_t> outputs = module.NumOutputs(batch.input());
  if (!outputs.ok()) return outputs.status();
  Matrix out(*outputs, module.embedding_dim());
  if (const absl::Status status = module.Forward(batch.input(), out.mutable_view(), context); !status.ok()) {
    return status;
  }
  return out;
}

template <typename Module>
absl::StatusOr<Matrix> ForwardEvaluationOf(Module& module, const Batch& batch, nn::LookupContext* context = nullptr) {
  const absl::StatusOr<int64_t> outputs = module.NumOutputs(batch.input());
  if (!outputs.ok()) return outputs.status();
  Matrix out(*outputs, module.embedding_dim());
  if (const absl::Status status = module.ForwardEvaluation(batch.input(), out.mutable_view(), context); !status.ok()) {
    return status;
  }
  return out;
}

}  // namespace eqat::testing

#endif  // EQAT_TESTS_SUPPORT_QAT_MODULES_H_
