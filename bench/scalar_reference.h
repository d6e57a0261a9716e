// The results that the benchmarks must have, computed one value after the other with the references of quant/kernels.
#ifndef EQAT_BENCH_SCALAR_REFERENCE_H_
#define EQAT_BENCH_SCALAR_REFERENCE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/types/span.h"
#include "core/table_view.h"
#include "quant/choose_qparams.h"

namespace eqat::bench {

constexpr int kFloatBits = 32;  // rows that are not quantized

// Codes 0 .. 2^bits - 1 with a float scale and zero point for each row.
quant::QParamsRule RowWiseRule(int bits);

// The rows `ids` of `table`, fake-quantized with parameters of their own, one below the other. `mask`, if not null,
// receives the straight-through mask.
std::vector<float> RowsReference(TableView table, absl::Span<const int64_t> ids, int bits,
                                 std::vector<uint8_t>* mask = nullptr);

// The bags of one batch: sums of RowsReference.
std::vector<float> ForwardReference(TableView table, absl::Span<const int64_t> ids, absl::Span<const int64_t> offsets,
                                    int bits);

// What one update makes of the rows that a batch touches.
struct StepReference {
  std::vector<int64_t> rows;   // distinct, ascending
  std::vector<float> weights;  // [rows.size(), dim]
};
// The gradient of every bag is its row of `grad_output`; `adagrad`: the first step of torch's sparse Adagrad, its sums
// still zero; otherwise SGD.
StepReference StepReferenceOf(TableView table, absl::Span<const int64_t> ids, absl::Span<const int64_t> offsets,
                              int bits, TableView grad_output, bool adagrad, double lr, double eps);

// Ends the program, naming `what`, unless the bytes are the same.
void DieUnlessSame(const void* got, const void* want, size_t bytes, const std::string& what);

}  // namespace eqat::bench

#endif  // EQAT_BENCH_SCALAR_REFERENCE_H_
