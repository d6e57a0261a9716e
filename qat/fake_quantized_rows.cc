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
#include "core/parallel_for.h"
#include "core/status_macros.h"
#include "quant/kernels/fake_quantize_kernels.h"

namespace eqat::qat {
namespace {

constexpr int64_t kRowBlock = 64;

// Copies of rows of a table as the module reads them: after max_norm, and finite.
struct GatheredRows {
  std::vector<float> values;     // [rows, cols]
  std::vector<uint8_t> changed;  // [rows], whether max_norm changed the row

  TableView view(int64_t cols) const { return TableView(values.data(), static_cast<int64_t>(changed.size()), cols); }
};

bool AllFinite(absl::Span<const float> values) {
  return std::all_of(values.begin(), values.end(), [](float value) { return std::isfinite(value); });
}

absl::Status NotFiniteError(int64_t row, absl::Span<const float> values) {
  const auto bad = std::find_if(values.begin(), values.end(), [](float value) { return !std::isfinite(value); });
  return InvalidArgument(absl::StrCat("row ", row), absl::StrCat("holds ", *bad, " at column ", bad - values.begin()),
                         "", "finite values");
}

// No factor makes a NaN or an infinity finite, so a look at the result finds bad rows as well as overflow in max_norm.
absl::Status CheckFinite(TableView table, absl::Span<const int64_t> rows, const GatheredRows& gathered) {
  const TableView copies = gathered.view(table.cols);
  for (int64_t i = 0; i < copies.rows; ++i) {
    const absl::Span<const float> copy(copies.Row(i), table.cols);
    if (AllFinite(copy)) continue;
    const absl::Span<const float> stored(table.Row(rows[i]), table.cols);
    return AllFinite(stored) ? AtPlace("after max_norm", NotFiniteError(rows[i], copy))
                             : NotFiniteError(rows[i], stored);
  }
  return absl::OkStatus();
}

absl::StatusOr<GatheredRows> GatherRows(const nn::EmbeddingOptions& options, TableView table,
                                        absl::Span<const int64_t> rows) {
  const int64_t count = static_cast<int64_t>(rows.size());
  GatheredRows gathered;
  gathered.values.resize(count * table.cols);
  gathered.changed.resize(count);
  ParallelFor(count, kRowBlock, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const absl::Span<float> copy(gathered.values.data() + i * table.cols, table.cols);
      std::copy_n(table.Row(rows[i]), table.cols, copy.data());
      if (options.max_norm.has_value()) {
        gathered.changed[i] = nn::RenormRow(copy, *options.max_norm, options.norm_type);
      }
    }
  });
  EQAT_RETURN_IF_ERROR(CheckFinite(table, rows, gathered));
  return gathered;
}

void StoreRenormed(const GatheredRows& gathered, absl::Span<const int64_t> rows, Table& weight,
                   quant::FakeQuantize& fake_quantize) {
  std::vector<int64_t> changed_rows;
  for (size_t i = 0; i < rows.size(); ++i) {
    if (gathered.changed[i]) changed_rows.push_back(rows[i]);
  }
  if (changed_rows.empty()) return;
  fake_quantize.WillModifyRows(weight.view(), changed_rows);
  const TableView copies = gathered.view(weight.cols());
  for (size_t i = 0; i < rows.size(); ++i) {
    if (gathered.changed[i]) std::copy_n(copies.Row(i), weight.cols(), weight.Row(rows[i]));
  }
}

// What evaluation pools for `gathered`, copies of `rows`. qparams [rows.size()] is filled if fake quantization is on.
absl::Status EvaluateGathered(const quant::FakeQuantize& fake_quantize, TableView table, absl::Span<const int64_t> rows,
                              const GatheredRows& gathered, std::vector<quant::QParams>& qparams,
                              nn::LookupContext& context) {
  if (!fake_quantize.fake_quant_enabled()) {
    context.rows = gathered.values;
    return absl::OkStatus();
  }
  context.rows.resize(gathered.values.size());
  const MutableTableView y(context.rows.data(), context.distinct.size(), table.cols);
  return fake_quantize.EvaluateContent(table, rows, gathered.view(table.cols), y, /*codes=*/nullptr, qparams.data());
}

// The straight-through mask of rows that were quantized with `qparams`.
void FillMask(const quant::FakeQuantize& fake_quantize, TableView content, absl::Span<const quant::QParams> qparams,
              nn::LookupContext& context) {
  context.mask.resize(content.rows * content.cols);
  quant::kernels::AffineParams common;
  common.quant_min = fake_quantize.code_range().quant_min;
  common.quant_max = fake_quantize.code_range().quant_max;
  ParallelFor(content.rows, kRowBlock, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      quant::kernels::AffineParams params = common;
      params.scale = qparams[i].scale;
      params.zero_point = qparams[i].zero_point;
      quant::kernels::FakeQuantizeRow(content.Row(i), content.cols, params, context.rows.data() + i * content.cols,
                                      context.mask.data() + i * content.cols, /*codes=*/nullptr);
    }
  });
}

}  // namespace

absl::Status TrainRows(const nn::EmbeddingOptions& options, Table& weight, quant::FakeQuantize& fake_quantize,
                       nn::LookupContext& context) {
  const absl::Span<const int64_t> rows = context.distinct.rows();
  if (options.max_norm.has_value()) {
    EQAT_ASSIGN_OR_RETURN(const GatheredRows gathered, GatherRows(options, weight.view(), rows));
    // Asks, with no rows, whether there is anything to quantize with; before a row is stored.
    EQAT_RETURN_IF_ERROR(fake_quantize.EvaluateRows(weight.view(), {}, MutableTableView(nullptr, 0, weight.cols())));
    StoreRenormed(gathered, rows, weight, fake_quantize);
  }
  context.rows.resize(context.distinct.size() * weight.cols());
  context.mask.resize(context.rows.size());
  const MutableTableView y(context.rows.data(), context.distinct.size(), weight.cols());
  return fake_quantize.ForwardRows(weight.view(), rows, y, context.mask.data());
}

absl::Status EvaluateRows(const nn::EmbeddingOptions& options, const Table& weight,
                          const quant::FakeQuantize& fake_quantize, nn::LookupContext& context) {
  const absl::Span<const int64_t> rows = context.distinct.rows();
  if (!options.max_norm.has_value()) {
    context.rows.resize(context.distinct.size() * weight.cols());
    const MutableTableView y(context.rows.data(), context.distinct.size(), weight.cols());
    return fake_quantize.EvaluateRows(weight.view(), rows, y);
  }
  EQAT_ASSIGN_OR_RETURN(const GatheredRows gathered, GatherRows(options, weight.view(), rows));
  std::vector<quant::QParams> qparams(rows.size());
  return EvaluateGathered(fake_quantize, weight.view(), rows, gathered, qparams, context);
}

absl::Status EvaluateAndRenormRows(const nn::EmbeddingOptions& options, Table& weight,
                                   quant::FakeQuantize& fake_quantize, nn::LookupContext& context) {
  const absl::Span<const int64_t> rows = context.distinct.rows();
  EQAT_ASSIGN_OR_RETURN(const GatheredRows gathered, GatherRows(options, weight.view(), rows));
  std::vector<quant::QParams> qparams(rows.size());
  EQAT_RETURN_IF_ERROR(EvaluateGathered(fake_quantize, weight.view(), rows, gathered, qparams, context));
  context.mask.clear();
  if (fake_quantize.fake_quant_enabled()) FillMask(fake_quantize, gathered.view(weight.cols()), qparams, context);
  StoreRenormed(gathered, rows, weight, fake_quantize);
  return absl::OkStatus();
}

absl::Status CheckOutput(MutableTableView out, int64_t num_outputs, int64_t embedding_dim, absl::string_view where) {
  if (out.rows == num_outputs && out.cols == embedding_dim) return absl::OkStatus();
  return InvalidArgument(where, "the output has the wrong shape", absl::StrCat("[", out.rows, ", ", out.cols, "]"),
                         absl::StrCat("[", num_outputs, ", ", embedding_dim, "]"));
}

absl::Status Checked(const absl::Status& status, absl::string_view where, nn::LookupContext& context) {
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
  const auto codes_of_rows = [&](int64_t begin, int64_t end, int32_t* codes, quant::QParams* qparams) -> absl::Status {
    std::vector<int64_t> rows(end - begin);
    std::iota(rows.begin(), rows.end(), begin);
    EQAT_ASSIGN_OR_RETURN(const GatheredRows gathered, GatherRows(options, table, rows));
    std::vector<float> unused(gathered.values.size());
    const MutableTableView y(unused.data(), end - begin, table.cols);
    return fake_quantize.EvaluateContent(table, rows, gathered.view(table.cols), y, codes, qparams);
  };
  return quant::QuantizedTable::Build(weight.rows(), weight.cols(), fake_quantize.config().observer.dtype,
                                      codes_of_rows);
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
