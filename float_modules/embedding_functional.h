// The arithmetic of Embedding and EmbeddingBag on rows that are already at hand: what the float and the QAT modules
// share. Follows torch.nn.functional.{embedding, embedding_bag, embedding_renorm_}.
#ifndef EQAT_FLOAT_MODULES_EMBEDDING_FUNCTIONAL_H_
#define EQAT_FLOAT_MODULES_EMBEDDING_FUNCTIONAL_H_

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/types/span.h"
#include "core/distinct_rows.h"
#include "core/lookup.h"
#include "core/table_view.h"
#include "float_modules/gradient.h"

namespace eqat::nn {

// p-norm of `row`: p = inf max |x|, -inf min |x|, 0 number of non-zeros, otherwise (sum |x|^p)^(1/p); float32 as torch.
double RowNorm(absl::Span<const float> row, double p);

// If norm > max_norm: row *= f32(max_norm / (norm + 1e-7)). Returns whether it changed the row.
bool RenormRow(absl::Span<float> row, double max_norm, double norm_type);

// What a backward needs to know of its forward. One per call of Forward, kept by the caller.
struct LookupContext {
  Bags bags;
  DistinctRows distinct;
  std::vector<int64_t> max_positions;  // mode max: [bags, dim], position of each element's source, -1 for none
  // What was pooled: the content of the distinct rows [distinct.size(), dim] as the forward saw them (fake-quantized in
  // a QAT module); empty when only needed for the per_sample_weights gradient and none is asked for.
  std::vector<float> rows;
  std::vector<uint8_t> mask;  // QAT: straight-through mask [distinct.size(), dim]; empty: all 1
};

// Gradient of the table from grad_output [num_bags, dim]. Per position k of bag b, in position order, each product and
// each sum rounded:
//   sum   g_b * w_k      mean  g_b * f32(1 / m_b), m_b rows counted      max  g_b where position k was the maximum
// times f32(1 / count(row)) with scale_grad_by_freq; count includes every occurrence in the batch. Positions at
// padding_idx contribute nothing. The result is listed for every distinct row except padding, masked by context.mask.
SparseGrad TableGradient(const LookupContext& context, TableView grad_output, PoolMode mode,
                         std::optional<int64_t> padding_idx, bool scale_grad_by_freq);

// d/d per_sample_weights: dot(g_b, row_k) per position, 0 at padding. [n]. REQUIRES: context.rows filled.
std::vector<float> PerSampleWeightsGradient(const LookupContext& context, TableView grad_output,
                                            std::optional<int64_t> padding_idx);

}  // namespace eqat::nn

#endif  // EQAT_FLOAT_MODULES_EMBEDDING_FUNCTIONAL_H_
