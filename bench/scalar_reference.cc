#include "bench/scalar_reference.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <numeric>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "bench/or_die.h"
#include "core/pool_kernels.h"
#include "quant/kernels/fake_quantize_kernels.h"

namespace eqat::bench {
namespace {

void FakeQuantizeRowReference(const float* row, int64_t cols, int bits, float* y, uint8_t* mask) {
  const quant::QParamsRule rule = RowWiseRule(bits);
  float min = 0, max = 0;
  bool finite = false;
  quant::kernels::reference::RowMinMax(row, cols, &min, &max, &finite);
  const quant::QParams qparams = quant::ChooseQParams(min, max, rule);
  const quant::kernels::AffineParams params = {qparams.scale, qparams.zero_point, rule.quant_min, rule.quant_max, true};
  quant::kernels::reference::FakeQuantizeRow(row, cols, params, y, mask, nullptr);
}

// By row: the sum of grad_output over the bags that look it up, in order of position.
std::map<int64_t, std::vector<float>> GradientReference(absl::Span<const int64_t> ids,
                                                        absl::Span<const int64_t> offsets, TableView grad_output) {
  std::map<int64_t, std::vector<float>> gradient;
  for (int64_t b = 0; b < grad_output.rows; ++b) {
    for (int64_t k = offsets[b]; k < offsets[b + 1]; ++k) {
      std::vector<float>& sum = gradient.try_emplace(ids[k], grad_output.cols, 0.0f).first->second;
      for (int64_t col = 0; col < grad_output.cols; ++col) sum[col] += grad_output.Row(b)[col];
    }
  }
  return gradient;
}

}  // namespace

quant::QParamsRule RowWiseRule(int bits) {
  quant::QParamsRule rule;
  rule.quant_max = (1 << bits) - 1;
  return rule;
}

std::vector<float> RowsReference(TableView table, absl::Span<const int64_t> ids, int bits, std::vector<uint8_t>* mask) {
  std::vector<float> rows(ids.size() * table.cols);
  if (mask != nullptr) mask->assign(rows.size(), 1);
  for (size_t i = 0; i < ids.size(); ++i) {
    float* const row = rows.data() + i * table.cols;
    if (bits == kFloatBits) {
      std::copy_n(table.Row(ids[i]), table.cols, row);
    } else {
      uint8_t* const row_mask = mask != nullptr ? mask->data() + i * table.cols : nullptr;
      FakeQuantizeRowReference(table.Row(ids[i]), table.cols, bits, row, row_mask);
    }
  }
  return rows;
}

std::vector<float> ForwardReference(TableView table, absl::Span<const int64_t> ids, absl::Span<const int64_t> offsets,
                                    int bits) {
  const std::vector<float> rows = RowsReference(table, ids, bits);
  std::vector<int64_t> positions(ids.size());
  std::iota(positions.begin(), positions.end(), int64_t{0});
  PoolArgs args;
  args.rows = TableView(rows.data(), static_cast<int64_t>(ids.size()), table.cols);
  args.ids = positions.data();
  args.offsets = offsets.data();
  args.num_bags = static_cast<int64_t>(offsets.size()) - 1;
  std::vector<float> out(args.num_bags * table.cols);
  PoolRowsReference(args, MutableTableView(out.data(), args.num_bags, table.cols));
  return out;
}

StepReference StepReferenceOf(TableView table, absl::Span<const int64_t> ids, absl::Span<const int64_t> offsets,
                              int bits, TableView grad_output, bool adagrad, double lr, double eps) {
  StepReference step;
  for (const auto& [row, gradient] : GradientReference(ids, offsets, grad_output)) {
    step.rows.push_back(row);
    std::vector<uint8_t> mask;
    RowsReference(table, {row}, bits, &mask);
    for (int64_t col = 0; col < table.cols; ++col) {
      const float g = gradient[col] * static_cast<float>(mask[col]);
      const float direction = adagrad ? g / (std::sqrt(0.0f + g * g) + static_cast<float>(eps)) : g;
      step.weights.push_back(table.Row(row)[col] - static_cast<float>(lr) * direction);
    }
  }
  return step;
}

void DieUnlessSame(const void* got, const void* want, size_t bytes, const std::string& what) {
  if (std::memcmp(got, want, bytes) == 0) return;
  OrDie(absl::InternalError(absl::StrCat(what, ": the result differs from the scalar reference")));
}

}  // namespace eqat::bench
