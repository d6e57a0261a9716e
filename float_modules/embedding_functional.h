// The arithmetic of Embedding and EmbeddingBag on rows that are already at hand: what the float and the QAT modules
// share. Follows torch.nn.functional.{embedding, embedding_bag, embedding_renorm_}.
//
// A forward, in either kind of module: MakeBags or BagsOfOne, CheckShape of the output, RenormRows (max_norm), then
// PoolTable or PoolDistinct (bags), or CopyRows (plain look-ups). Everything here is parallel over rows or bags and
// gives the same bits for any number of threads.
#ifndef EQAT_FLOAT_MODULES_EMBEDDING_FUNCTIONAL_H_
#define EQAT_FLOAT_MODULES_EMBEDDING_FUNCTIONAL_H_

#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "core/distinct_rows.h"
#include "core/lookup.h"
#include "core/pool_kernels.h"
#include "core/row_bounds.h"
#include "core/table_view.h"
#include "float_modules/embedding_options.h"
#include "float_modules/gradient.h"

namespace eqat::nn {

// InvalidArgument "WHERE: WHAT has the wrong shape" unless `view` is [rows, cols].
absl::Status CheckShape(TableView view, int64_t rows, int64_t cols, absl::string_view where, absl::string_view what);

// p-norm of `row`: p = inf max |x|, -inf min |x|, 0 number of non-zeros, otherwise (sum |x|^p)^(1/p); float32 as torch.
double RowNorm(absl::Span<const float> row, double p);

// If norm > max_norm: row *= f32(max_norm / (norm + 1e-7)). Returns whether it changed the row.
bool RenormRow(absl::Span<float> row, double max_norm, double norm_type);

// RenormRow on the rows `ids` of `table`. REQUIRES: `ids` distinct.
void RenormRows(absl::Span<const int64_t> ids, double max_norm, double norm_type, MutableTableView table);
// RenormRow on every row of `rows`.
void RenormAllRows(double max_norm, double norm_type, MutableTableView rows);

// out[i] = rows[ids[i]], exact copies (a sum would turn -0 into 0).
void CopyRows(TableView rows, absl::Span<const int64_t> ids, MutableTableView out);

// Arguments of PoolRows for `bags` over a whole table. They view `bags` and `table`.
PoolArgs PoolArgsOfTable(const Bags& bags, TableView table, const EmbeddingBagOptions& options);

// Pools `bags` over a whole table. `max_positions`, if not null, receives what LookupContext holds: for mode max the
// source of each element, otherwise nothing.
void PoolTable(const Bags& bags, TableView table, const EmbeddingBagOptions& options, MutableTableView out,
               std::vector<int64_t>* max_positions = nullptr);

// The same over a block that holds the rows `distinct` of `bags` only: same bits as PoolTable on a table with those
// rows.
void PoolDistinct(const Bags& bags, const DistinctRows& distinct, TableView rows, const EmbeddingBagOptions& options,
                  MutableTableView out, std::vector<int64_t>* max_positions = nullptr);

// What a backward needs to know of its forward. One per call of Forward, kept by the caller.
struct LookupContext {
  // The start of a forward, which keeps the memory of the last. The first outlives the caller's input.
  void Begin(Bags&& new_bags) {
    bags.Keep(std::move(new_bags));
    bounds.forward = 0;
    has_distinct_ = false;
  }
  void BeginWithin(Bags&& new_bags) {
    bags = std::move(new_bags);
    bounds.forward = 0;
    has_distinct_ = false;
  }
  // The distinct rows of `bags`, found by the first call: a forward that needs none leaves it to the backward. A first
  // call must not run concurrently with any other.
  const DistinctRows& distinct() const {
    if (!has_distinct_) distinct_.Find(bags.indices());
    has_distinct_ = true;
    return distinct_;
  }
  // The same with positions.
  const DistinctRows& grouped() const {
    distinct();
    distinct_.GroupPositions();
    return distinct_;
  }

  Bags bags;
  std::vector<int64_t> max_positions;  // mode max: [bags, dim], position of each element's source, -1 for none
  // What was pooled: the content of the distinct rows [distinct.size(), dim] as the forward saw them (fake-quantized in
  // a QAT module). A float module keeps it only for a batch with per_sample_weights, whose gradient needs it.
  std::vector<float> rows;
  std::vector<uint8_t> mask;  // QAT: straight-through mask [distinct.size(), dim]; empty: all 1
  RowBounds bounds;           // QAT: of the row at each position, where the forward came by them

 private:
  mutable DistinctRows distinct_;
  mutable bool has_distinct_ = false;
};

// Gradient of the table from grad_output [num_bags, dim]. Per position k of bag b, in position order, the term
//   sum   g_b * w_k      mean  g_b * f32(1 / m_b), m_b rows counted      max  g_b where position k was the maximum
// is added, product and sum each rounded; with scale_grad_by_freq fma(term, f32(1 / count(row)), sum), rounded once as
// torch's Embedding does it, where count includes every occurrence in the batch. Positions at padding_idx contribute
// nothing. The result is listed for every distinct row except padding, multiplied by context.mask (so that NaN and
// infinity stay visible, as in torch).
SparseGrad TableGradient(const LookupContext& context, TableView grad_output, PoolMode mode,
                         std::optional<int64_t> padding_idx, bool scale_grad_by_freq);

// d/d per_sample_weights: dot(g_b, row_k) per position, 0 at padding. [n]. REQUIRES: context.rows filled.
std::vector<float> PerSampleWeightsGradient(const LookupContext& context, TableView grad_output,
                                            std::optional<int64_t> padding_idx);

}  // namespace eqat::nn

#endif  // EQAT_FLOAT_MODULES_EMBEDDING_FUNCTIONAL_H_
