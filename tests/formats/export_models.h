// Tables and models for the tests of this folder.
#ifndef EQAT_TESTS_FORMATS_EXPORT_MODELS_H_
#define EQAT_TESTS_FORMATS_EXPORT_MODELS_H_

#include <algorithm>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "core/rng.h"
#include "core/table.h"
#include "gtest/gtest.h"
#include "model/model.h"
#include "quant/types/qconfig.h"
#include "tests/support/qat_modules.h"

namespace eqat::testing {

inline Matrix MatrixOfValues(int64_t rows, int64_t cols, std::vector<float> values) {
  Matrix matrix(rows, cols);
  matrix.values = std::move(values);
  return matrix;
}

inline quant::QConfig ConfigFor(quant::Dtype dtype, std::optional<quant::Deploy> deploy = std::nullopt) {
  quant::QConfig config = QConfigOf(RowObserver(dtype));
  config.weight.deploy = deploy;
  return config;
}

inline qat::Embedding QatTable(const Matrix& weight, const quant::QConfig& config) {
  nn::Embedding module = MakeFloat<EmbeddingFamily>(weight, {});
  module.set_qconfig(config);
  return *qat::Embedding::FromFloat(std::move(module));
}

inline quantized::Embedding PackedTable(const Matrix& weight, const quant::QConfig& config) {
  return *QatTable(weight, config).Convert();
}

inline void Add(model::Model& model, const std::string& name, model::Module&& module) {
  ASSERT_TRUE(model.AddModule(name, std::move(module)).ok()) << name;
}

// A model of one table, "item".
inline model::Model ModelOf(model::Module&& module) {
  model::Model model;
  Add(model, "item", std::move(module));
  return model;
}

}  // namespace eqat::testing

#endif  // EQAT_TESTS_FORMATS_EXPORT_MODELS_H_
