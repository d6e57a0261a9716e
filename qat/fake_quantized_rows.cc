#include "qat/fake_quantized_rows.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "core/error.h"
#include "core/scratch_memory.h"
#include "core/status_macros.h"
#include "quant/packed_rows.h"
#include "quant/quantize_rows.h"

namespace eqat::qat {
namespace {

MutableTableView ViewOf(std::vector<float>& values, int64_t cols, int64_t rows) {
  return MutableTableView(values.data(), rows, cols);
}

// Sizes context.rows for the distinct rows of the batch.
MutableTableView ResizeRows(int64_t cols, nn::LookupContext& context) {
  context.rows.resize(context.distinct().size() * cols);
  return ViewOf(context.rows, cols, context.distinct().size());
}

// Copies of `rows` as the module reads them: after max_norm.
std::vector<float> RenormedCopies(const nn::EmbeddingOptions& options, TableView table,
                                  absl::Span<const int64_t> rows) {
  std::vector<float> copies(rows.size() * table.cols);
  const MutableTableView view = ViewOf(copies, table.cols, static_cast<int64_t>(rows.size()));
  nn::CopyRows(table, rows, view);
  if (options.max_norm.has_value()) nn::RenormAllRows(*options.max_norm, options.norm_type, view);
  return copies;
}

// The same on the stored rows.
void RenormStored(const nn::EmbeddingOptions& options, absl::Span<const int64_t> rows, Table& weight,
                  quant::FakeQuantize& fake_quantize) {
  fake_quantize.WillModifyRows(weight.view(), rows);
  nn::RenormRows(rows, *options.max_norm, options.norm_type, weight.mutable_view());
}

absl::Status CheckFinite(absl::Span<const int64_t> rows, TableView content) {
  for (int64_t i = 0; i < content.rows; ++i) {
    const float* const begin = content.Row(i);
    const float* const end = begin + content.cols;
    const float* const bad = std::find_if(begin, end, [](float value) { return !std::isfinite(value); });
    if (bad == end) continue;
    return InvalidArgument(absl::StrCat("row ", rows[i]), "holds a value that is not finite",
                           absl::StrCat(*bad, " at column ", bad - begin), "finite values");
  }
  return absl::OkStatus();
}

// Every error that a forward can meet once the batch's rows hold `content`.
absl::Status CheckContent(const quant::FakeQuantize& fake_quantize, TableView table, absl::Span<const int64_t> rows,
                          TableView content) {
  if (!fake_quantize.fake_quant_enabled() && !fake_quantize.observer_enabled()) return CheckFinite(rows, content);
  return fake_quantize.EvaluateContent(table, rows, content, MutableTableView(), /*codes=*/nullptr,
                                       /*qparams=*/nullptr);
}

// pool(pooled) into memory of its own, copied to `out` once it has succeeded.
template <typename Pool>
bool PooledBehind(MutableTableView out, Pool pool) {
  const ScratchArray<float> values(out.rows * out.cols);
  const MutableTableView pooled(values.data(), out.rows, out.cols);
  if (!pool(pooled)) return false;
  for (int64_t row = 0; row < out.rows; ++row) std::copy_n(pooled.Row(row), out.cols, out.Row(row));
  return true;
}

}  // namespace

absl::Status TrainRows(const nn::EmbeddingOptions& options, Table& weight, quant::FakeQuantize& fake_quantize,
                       nn::LookupContext& context) {
  const absl::Span<const int64_t> rows = context.distinct().rows();
  const MutableTableView y = ResizeRows(weight.cols(), context);
  if (options.max_norm.has_value()) {
    std::vector<float> copies = RenormedCopies(options, weight.view(), rows);
    EQAT_RETURN_IF_ERROR(CheckContent(fake_quantize, weight.view(), rows, ViewOf(copies, y.cols, y.rows)));
    RenormStored(options, rows, weight, fake_quantize);
  }
  context.mask.clear();
  if (fake_quantize.TryForwardRows(weight.view(), rows, y)) return absl::OkStatus();
  context.mask.resize(context.rows.size());
  return fake_quantize.ForwardRows(weight.view(), rows, y, context.mask.data());
}

bool TryTrainPooled(const nn::EmbeddingBagOptions& options, const Table& weight, quant::FakeQuantize& fake_quantize,
                    nn::LookupContext& context, bool keeps_context, MutableTableView out) {
  const bool backward_needs_rows = context.bags.has_per_sample_weights() || options.mode == PoolMode::kMax;
  if (options.max_norm.has_value() || (keeps_context && backward_needs_rows)) {
    return false;
  }
  const PoolArgs args = nn::PoolArgsOfTable(context.bags, weight.view(), options);
  RowBounds* const bounds = keeps_context ? &context.bounds : nullptr;
  return PooledBehind(out, [&](MutableTableView pooled) { return fake_quantize.TryForwardPool(args, pooled, bounds); });
}

bool TryEvaluatePooled(const nn::EmbeddingBagOptions& options, const Table& weight,
                       const quant::FakeQuantize& fake_quantize, const nn::LookupContext& context,
                       MutableTableView out) {
  if (options.max_norm.has_value()) return false;
  const PoolArgs args = nn::PoolArgsOfTable(context.bags, weight.view(), options);
  return PooledBehind(out, [&](MutableTableView pooled) { return fake_quantize.TryEvaluatePool(args, pooled); });
}

absl::Status EvaluateRows(const nn::EmbeddingOptions& options, const Table& weight,
                          const quant::FakeQuantize& fake_quantize, nn::LookupContext& context) {
  const absl::Span<const int64_t> rows = context.distinct().rows();
  const MutableTableView y = ResizeRows(weight.cols(), context);
  if (!options.max_norm.has_value()) return fake_quantize.EvaluateRows(weight.view(), rows, y);
  std::vector<float> copies = RenormedCopies(options, weight.view(), rows);
  const TableView content = ViewOf(copies, y.cols, y.rows);
  if (fake_quantize.fake_quant_enabled()) {
    return fake_quantize.EvaluateContent(weight.view(), rows, content, y, /*codes=*/nullptr, /*qparams=*/nullptr);
  }
  EQAT_RETURN_IF_ERROR(CheckContent(fake_quantize, weight.view(), rows, content));
  context.rows = std::move(copies);
  return absl::OkStatus();
}

absl::Status EvaluateAndRenormRows(const nn::EmbeddingOptions& options, Table& weight,
                                   quant::FakeQuantize& fake_quantize, nn::LookupContext& context) {
  const absl::Span<const int64_t> rows = context.distinct().rows();
  const MutableTableView y = ResizeRows(weight.cols(), context);
  std::vector<float> copies = RenormedCopies(options, weight.view(), rows);
  const TableView content = ViewOf(copies, y.cols, y.rows);
  context.mask.clear();
  if (fake_quantize.fake_quant_enabled()) {
    context.mask.resize(copies.size());
    EQAT_RETURN_IF_ERROR(fake_quantize.EvaluateContent(weight.view(), rows, content, y, /*codes=*/nullptr,
                                                       /*qparams=*/nullptr, context.mask.data()));
  } else {
    EQAT_RETURN_IF_ERROR(CheckContent(fake_quantize, weight.view(), rows, content));
    context.rows = std::move(copies);
  }
  if (options.max_norm.has_value()) RenormStored(options, rows, weight, fake_quantize);
  return absl::OkStatus();
}

absl::Status ClearOnError(const absl::Status& status, absl::string_view where, nn::LookupContext& context) {
  if (!status.ok()) context = nn::LookupContext();
  return AtPlace(where, status);
}

absl::StatusOr<quant::QuantizedTable> QuantizeTable(const nn::EmbeddingOptions& options, const Table& weight,
                                                    const quant::FakeQuantize& fake_quantize) {
  if (!fake_quantize.fake_quant_enabled()) {
    return FailedPrecondition("weight_fake_quant", "fake quantization is disabled, so evaluation uses the float rows",
                              "fake_quant_enabled 0", "fake_quant_enabled 1 before conversion");
  }
  const TableView table = weight.view();
  // Called for one block of rows at a time, so that the copies stay small however large the table is.
  const auto fill = [&](int64_t begin, int64_t end, const quant::MutablePackedRows& packed) {
    if (!options.max_norm.has_value()) return quant::QuantizeRows(fake_quantize, table, begin, end, packed);
    std::vector<int64_t> rows(end - begin);
    std::iota(rows.begin(), rows.end(), begin);
    std::vector<float> copies = RenormedCopies(options, table, rows);
    return quant::QuantizeContent(fake_quantize, table, begin, ViewOf(copies, table.cols, end - begin), packed);
  };
  const quant::WeightConfig& config = fake_quantize.config();
  return quant::QuantizedTable::BuildPacked(weight.rows(), weight.cols(), config.observer.dtype, fill,
                                            quant::DeployOf(config));
}

std::string WithFakeQuantLine(const std::string& module_text, const quant::FakeQuantize& fake_quantize,
                              const Table& weight) {
  const size_t arguments = module_text.find('(') + 1;
  assert(arguments > 0 && module_text.back() == ')');
  const TableView table = weight.view();
  return absl::StrCat(module_text.substr(0, arguments), "\n  ",
                      module_text.substr(arguments, module_text.size() - arguments - 1),
                      "\n  (weight_fake_quant): FakeQuantize(", fake_quantize.ToString(&table), ")\n)");
}

}  // namespace eqat::qat
