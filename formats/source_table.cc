#include "formats/source_table.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <type_traits>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/error.h"
#include "core/parallel_for.h"
#include "core/status_macros.h"
#include "float_modules/embedding_functional.h"
#include "quant/deploy_arithmetic.h"
#include "quant/kernels/pack_kernels.h"

namespace eqat::formats {
namespace {

// The first value that is NaN or infinite, or the whole range.
std::string UnfitText(absl::Span<const float> values) {
  const auto bad = std::find_if_not(values.begin(), values.end(), [](float v) { return std::isfinite(v); });
  if (bad != values.end()) return absl::StrCat(*bad, " at column ", bad - values.begin());
  const auto [smallest, largest] = std::minmax_element(values.begin(), values.end());
  return absl::StrCat(*smallest, " to ", *largest);
}

// Rows [begin, end) of `source`, quantized and packed.
absl::Status FillRows(const SourceTable& source, const quant::DeployTraits& deploy, int64_t begin, int64_t end,
                      const quant::MutablePackedRows& packed) {
  const int64_t cols = source.cols();
  std::vector<float> values((end - begin) * cols);
  source.Read(begin, end, MutableTableView(values.data(), end - begin, cols));
  std::vector<int32_t> codes(cols);
  for (int64_t i = 0; i < end - begin; ++i) {
    const absl::Span<const float> row = absl::MakeConstSpan(values).subspan(i * cols, cols);
    if (!quant::QuantizeDeployedRow(deploy, row, {.codes = codes.data(), .params = &packed.Params(i)})) {
      return InvalidArgument(absl::StrCat("row ", begin + i), absl::StrCat("does not fit into ", deploy.name),
                             UnfitText(row), "values that its scale and offset can hold");
    }
    quant::kernels::PackRow(codes.data(), cols, deploy.bits, packed.Codes(i));
  }
  return absl::OkStatus();
}

ValueErrors ErrorsOf(const SourceTable& source, const quant::QuantizedTable& table, int64_t begin, int64_t end) {
  const int64_t cols = source.cols();
  std::vector<float> evaluated((end - begin) * cols), exported(evaluated.size());
  source.Read(begin, end, MutableTableView(evaluated.data(), end - begin, cols));
  std::vector<int64_t> rows(end - begin);
  std::iota(rows.begin(), rows.end(), begin);
  table.DequantizeRows(rows, MutableTableView(exported.data(), end - begin, cols));
  ValueErrors errors;
  for (size_t i = 0; i < evaluated.size(); ++i) errors.Add(evaluated[i], exported[i]);
  return errors;
}

}  // namespace

double ValueErrors::root_mean_square() const {
  return values == 0 ? 0.0 : std::sqrt(sum_of_squares / static_cast<double>(values));
}

void ValueErrors::Add(float evaluated, float exported) {
  ++values;
  if (evaluated == exported) return;
  const double error = std::abs(static_cast<double>(exported) - static_cast<double>(evaluated));
  ++differing;
  largest = std::max(largest, error);
  sum_of_squares += error * error;
}

void ValueErrors::Add(const ValueErrors& other) {
  values += other.values;
  differing += other.differing;
  largest = std::max(largest, other.largest);
  sum_of_squares += other.sum_of_squares;
}

SourceTable::SourceTable(std::string name, const model::Module& module) : name_(std::move(name)) {
  std::visit(
      [this](const auto& table) {
        using T = std::decay_t<decltype(table)>;
        if constexpr (model::kIsFloatTable<T> || model::kIsQuantized<T>) {
          static_cast<nn::EmbeddingOptions&>(options_) = table.options();
          if constexpr (model::kIsBag<T>) options_ = table.options();
          is_bag_ = model::kIsBag<T>;
          if constexpr (model::kIsQuantized<T>) {
            quantized_ = &table.weight();
          } else {
            weight_ = &table.weight();
          }
        }
      },
      module);
}

std::string SourceTable::ValueText() const {
  if (quantized_ == nullptr) return "float32";
  const char* const dtype = quant::TraitsOf(quantized_->dtype()).name;
  return quantized_->deploy() == nullptr ? dtype : absl::StrCat(dtype, " for ", quantized_->deploy()->name);
}

void SourceTable::Read(int64_t begin, int64_t end, MutableTableView y) const {
  std::vector<int64_t> rows(end - begin);
  std::iota(rows.begin(), rows.end(), begin);
  if (quantized_ != nullptr) return quantized_->DequantizeRows(rows, y);
  nn::CopyRows(weight_->view(), rows, y);
  if (options_.max_norm.has_value()) nn::RenormAllRows(*options_.max_norm, options_.norm_type, y);
}

int64_t RowsPerBlock(int64_t cols) {
  constexpr int64_t kValues = int64_t{1} << 16;
  return std::max<int64_t>(1, kValues / std::max<int64_t>(1, cols));
}

absl::StatusOr<Requantized> Requantize(const SourceTable& source, const quant::DeployTraits& deploy) {
  Requantized result;
  if (source.quantized() != nullptr && source.quantized()->deploy() == &deploy) {
    result.table = source.quantized();
    result.errors.values = source.rows() * source.cols();
    return result;
  }
  EQAT_RETURN_IF_ERROR(AtPlace(source.name(), quant::CheckDeployedWidth(deploy, source.cols())));
  const auto fill = [&](int64_t begin, int64_t end, const quant::MutablePackedRows& packed) {
    return FillRows(source, deploy, begin, end, packed);
  };
  absl::StatusOr<quant::QuantizedTable> table =
      quant::QuantizedTable::BuildPacked(source.rows(), source.cols(), quant::DtypeOf(deploy), fill, &deploy);
  if (!table.ok()) return AtPlace(source.name(), table.status());
  const int64_t block = RowsPerBlock(source.cols());
  std::vector<ValueErrors> errors((source.rows() + block - 1) / block);
  ParallelFor(source.rows(), block,
              [&](int64_t begin, int64_t end) { errors[begin / block] = ErrorsOf(source, *table, begin, end); });
  for (const ValueErrors& part : errors) result.errors.Add(part);
  result.own = *std::move(table);
  return result;
}

}  // namespace eqat::formats
