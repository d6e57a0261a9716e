// The steps that qat::Embedding and qat::EmbeddingBag share: from the stored rows of a batch to the fake-quantized
// block that is pooled, and from the whole table to packed codes. Internal to this folder.
//
// Every function reports all errors before it changes anything.
#ifndef EQAT_QAT_FAKE_QUANTIZED_ROWS_H_
#define EQAT_QAT_FAKE_QUANTIZED_ROWS_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "core/table.h"
#include "float_modules/embedding_functional.h"
#include "float_modules/embedding_options.h"
#include "quant/fake_quantize.h"
#include "quant/quantized_table.h"

namespace eqat::qat {

// One forward in training: renormalizes the stored rows context.distinct() (max_norm), observes and fake-quantizes
// them. Fills context.rows and context.mask.
absl::Status TrainRows(const nn::EmbeddingOptions& options, Table& weight, quant::FakeQuantize& fake_quantize,
                       nn::LookupContext& context);

// One evaluation: fills context.rows with what a converted table holds for the rows context.distinct(); changes neither
// table nor observer.
absl::Status EvaluateRows(const nn::EmbeddingOptions& options, const Table& weight,
                          const quant::FakeQuantize& fake_quantize, nn::LookupContext& context);

// As EvaluateRows, but renormalizes the stored rows (max_norm) too. Fills context.mask; empty means all 1.
absl::Status EvaluateAndRenormRows(const nn::EmbeddingOptions& options, Table& weight,
                                   quant::FakeQuantize& fake_quantize, nn::LookupContext& context);

// A forward in training, or an evaluation, of bags in one pass over the looked-up rows: nothing of a row is kept but,
// in training, its bounds. False, having changed nothing, where it is not to be had: with max_norm, without a fresh
// observer, where the backward needs the rows or the sources of a maximum, for rows that are errors, and for a batch
// that repeats its rows so much that quantizing each once is cheaper.
bool TryTrainPooled(const nn::EmbeddingBagOptions& options, const Table& weight, quant::FakeQuantize& fake_quantize,
                    nn::LookupContext& context, bool keeps_context, MutableTableView out);
bool TryEvaluatePooled(const nn::EmbeddingBagOptions& options, const Table& weight,
                       const quant::FakeQuantize& fake_quantize, const nn::LookupContext& context,
                       MutableTableView out);

// context.rows as [distinct rows, cols].
inline TableView RowsOf(const nn::LookupContext& context, int64_t cols) {
  return TableView(context.rows.data(), context.distinct().size(), cols);
}

// `status` at `where`; an error empties `context`, which then holds a mix of two forwards.
absl::Status ClearOnError(const absl::Status& status, absl::string_view where, nn::LookupContext& context);

// Codes and parameters of the whole table after max_norm. FailedPrecondition while fake quantization is disabled.
absl::StatusOr<quant::QuantizedTable> QuantizeTable(const nn::EmbeddingOptions& options, const Table& weight,
                                                    const quant::FakeQuantize& fake_quantize);

// torch's printed form: `module_text`, "Name(arguments)", with the fake quantizer as a child.
std::string WithFakeQuantLine(const std::string& module_text, const quant::FakeQuantize& fake_quantize,
                              const Table& weight);

}  // namespace eqat::qat

#endif  // EQAT_QAT_FAKE_QUANTIZED_ROWS_H_
