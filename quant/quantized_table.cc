#include "quant/quantized_table.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/checked_math.h"
#include "core/error.h"
#include "core/parallel_for.h"
#include "core/status_macros.h"
#include "core/zeroed_memory.h"
#include "quant/deploy_arithmetic.h"
#include "quant/kernels/pack_kernels.h"
#include "quant/kernels/packed_pool_kernels.h"
#include "quant/row_scan.h"

namespace eqat::quant {
namespace {

// Rows whose values, a cache line for each, are sure to stay in cache: 256 KiB.
constexpr int64_t kMaxTabulatedRows = 4096;

// What one row takes: the codes, and parameters that lie behind them at a multiple of 4 bytes.
struct RowLayout {
  int64_t code_bytes = 0;
  int64_t params_at = 0;
  int64_t stride = 0;
};

int64_t GroupsOf(const DeployTraits* deploy, int64_t cols) { return deploy == nullptr ? 1 : deploy->GroupsOf(cols); }

absl::StatusOr<RowLayout> CheckedLayout(int64_t rows, int64_t cols, Dtype dtype, const DeployTraits* deploy) {
  constexpr int64_t kAlignment = alignof(QParams);
  if (rows < 0 || cols < 0) {
    return InvalidArgument("quantized table", "negative size", absl::StrCat("[", rows, ", ", cols, "]"), "at least 0");
  }
  const std::optional<int64_t> code_bits = CheckedMul(cols, TraitsOf(dtype).bits);
  const std::optional<int64_t> padded_bits = code_bits.has_value() ? CheckedAdd(*code_bits, 7) : std::nullopt;
  RowLayout layout;
  layout.code_bytes = padded_bits.value_or(0) / 8;
  layout.params_at = (layout.code_bytes + kAlignment - 1) / kAlignment * kAlignment;
  layout.stride = layout.params_at + GroupsOf(deploy, cols) * static_cast<int64_t>(sizeof(QParams));
  if (!padded_bits.has_value() || !CheckedMul(rows, layout.stride).has_value()) {
    return ResourceExhausted("quantized table", "size overflows", absl::StrCat("[", rows, ", ", cols, "]"));
  }
  return layout;
}

absl::Status CheckSize(absl::string_view what, size_t got, int64_t expected) {
  if (got == static_cast<size_t>(expected)) return absl::OkStatus();
  return InvalidArgument("quantized table", absl::StrCat(std::string(what), " have the wrong size"), absl::StrCat(got),
                         absl::StrCat(expected));
}

absl::StatusOr<std::shared_ptr<void>> Allocate(absl::string_view what, int64_t bytes) {
  std::shared_ptr<void> memory = AllocateZeroed(std::max<int64_t>(1, bytes));
  if (memory == nullptr) {
    return ResourceExhausted("quantized table", absl::StrCat("no memory for the ", std::string(what)),
                             absl::StrCat(bytes, " bytes"));
  }
  return memory;
}

absl::Status CheckQParams(int64_t row, const DeployTraits* deploy, const QParams& qparams) {
  if (deploy != nullptr) {
    if (AreDeployedParams(*deploy, qparams)) return absl::OkStatus();
    return InvalidArgument(absl::StrCat("row ", row), absl::StrCat("parameters that ", deploy->name, " cannot hold"),
                           absl::StrCat("scale ", qparams.scale, ", offset ", qparams.zero_point));
  }
  if (!std::isfinite(qparams.scale) || qparams.scale < 0.0f) {
    return InvalidArgument(absl::StrCat("row ", row), "bad scale", absl::StrCat(qparams.scale),
                           "finite and at least 0");
  }
  if (!std::isfinite(qparams.zero_point)) {
    return InvalidArgument(absl::StrCat("row ", row), "bad zero point", absl::StrCat(qparams.zero_point), "finite");
  }
  return absl::OkStatus();
}

}  // namespace

QuantizedTable::QuantizedTable(int64_t rows, int64_t cols, Dtype dtype, const DeployTraits* deploy)
    : dtype_(dtype), deploy_(deploy) {
  packed_.rows = rows;
  packed_.cols = cols;
  packed_.bits = TraitsOf(dtype).bits;
  packed_.is_signed = TraitsOf(dtype).quant_min < 0;
}

absl::StatusOr<QuantizedTable> QuantizedTable::FromPacked(int64_t rows, int64_t cols, Dtype dtype,
                                                          absl::Span<const uint8_t> codes, std::shared_ptr<void> keeper,
                                                          const std::vector<float>& scale,
                                                          const std::vector<float>& zero_point,
                                                          const DeployTraits* deploy) {
  EQAT_ASSIGN_OR_RETURN(const RowLayout layout, CheckedLayout(rows, cols, dtype, deploy));
  const int64_t groups = GroupsOf(deploy, cols);
  EQAT_RETURN_IF_ERROR(CheckSize("codes", codes.size(), rows * layout.code_bytes));
  EQAT_RETURN_IF_ERROR(CheckSize("scales", scale.size(), rows * groups));
  EQAT_RETURN_IF_ERROR(CheckSize("zero points", zero_point.size(), rows * groups));
  const auto copy_params = [&](int64_t row, QParams* params) {
    for (int64_t g = 0; g < groups; ++g) params[g] = {scale[row * groups + g], zero_point[row * groups + g]};
  };
  if (keeper == nullptr) {
    const auto fill = [&](int64_t begin, int64_t end, const MutablePackedRows& packed) {
      for (int64_t row = begin; row < end; ++row) {
        std::copy_n(codes.data() + row * layout.code_bytes, layout.code_bytes, packed.Codes(row - begin));
        copy_params(row, &packed.Params(row - begin));
      }
      return absl::OkStatus();
    };
    return BuildPacked(rows, cols, dtype, fill, deploy);
  }
  QuantizedTable table(rows, cols, dtype, deploy);
  table.codes_keeper_ = std::move(keeper);
  table.packed_.codes = codes.data();
  table.packed_.code_stride = layout.code_bytes;
  table.packed_.param_stride = groups * static_cast<int64_t>(sizeof(QParams));
  EQAT_ASSIGN_OR_RETURN(table.params_keeper_, Allocate("parameters", rows * table.packed_.param_stride));
  QParams* const qparams = static_cast<QParams*>(table.params_keeper_.get());
  table.packed_.params = reinterpret_cast<const uint8_t*>(qparams);
  EQAT_RETURN_IF_ERROR(table.FillAndCheckRows([&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) copy_params(row, qparams + row * groups);
    return absl::OkStatus();
  }));
  EQAT_RETURN_IF_ERROR(table.TabulateValuesOfSmallTable());
  return table;
}

absl::StatusOr<QuantizedTable> QuantizedTable::BuildPacked(
    int64_t rows, int64_t cols, Dtype dtype,
    const std::function<absl::Status(int64_t begin, int64_t end, const MutablePackedRows& packed)>& fill,
    const DeployTraits* deploy) {
  EQAT_ASSIGN_OR_RETURN(const RowLayout layout, CheckedLayout(rows, cols, dtype, deploy));
  QuantizedTable table(rows, cols, dtype, deploy);
  EQAT_ASSIGN_OR_RETURN(table.codes_keeper_, Allocate("rows", rows * layout.stride));
  uint8_t* const memory = static_cast<uint8_t*>(table.codes_keeper_.get());
  table.packed_.codes = memory;
  table.packed_.code_stride = layout.stride;
  table.packed_.params = memory + layout.params_at;
  table.packed_.param_stride = layout.stride;
  EQAT_RETURN_IF_ERROR(table.FillAndCheckRows([&](int64_t begin, int64_t end) {
    uint8_t* const first = memory + begin * layout.stride;
    return fill(begin, end, {first, layout.stride, first + layout.params_at, layout.stride});
  }));
  EQAT_RETURN_IF_ERROR(table.TabulateValuesOfSmallTable());
  return table;
}

absl::StatusOr<QuantizedTable> QuantizedTable::Build(
    int64_t rows, int64_t cols, Dtype dtype,
    const std::function<absl::Status(int64_t begin, int64_t end, int32_t* codes, QParams* qparams)>& codes_of_rows) {
  const int bits = TraitsOf(dtype).bits;
  return BuildPacked(rows, cols, dtype, [&](int64_t begin, int64_t end, const MutablePackedRows& packed) {
    std::vector<int32_t> codes((end - begin) * cols);
    std::vector<QParams> qparams(end - begin);
    EQAT_RETURN_IF_ERROR(codes_of_rows(begin, end, codes.data(), qparams.data()));
    for (int64_t i = 0; i < end - begin; ++i) {
      kernels::PackRow(codes.data() + i * cols, cols, bits, packed.Codes(i));
      packed.Params(i) = qparams[i];
    }
    return absl::OkStatus();
  });
}

absl::Status QuantizedTable::FillAndCheckRows(
    const std::function<absl::Status(int64_t begin, int64_t end)>& fill) const {
  return FirstError(rows(), cols(), [&](int64_t begin, int64_t end) {
    EQAT_RETURN_IF_ERROR(fill(begin, end));
    return CheckRows(begin, end);
  });
}

absl::Status QuantizedTable::TabulateValuesOfSmallTable() {
  if (rows() > kMaxTabulatedRows || bits() > 4 || deploy_ != nullptr) return absl::OkStatus();
  constexpr int64_t kRowBytes = PackedRows::kValues * sizeof(float);
  EQAT_ASSIGN_OR_RETURN(values_keeper_, Allocate("values", rows() * kRowBytes));
  float* const values = static_cast<float*>(values_keeper_.get());
  kernels::TabulateValues(packed_, values);
  packed_.values = values;
  return absl::OkStatus();
}

absl::Status QuantizedTable::CheckRows(int64_t begin, int64_t end) const {
  const int64_t used_bits = cols() * bits() % 8;
  for (int64_t row = begin; row < end; ++row) {
    for (const QParams& group : params(row)) EQAT_RETURN_IF_ERROR(CheckQParams(row, deploy_, group));
    if (used_bits != 0 && codes(row).back() >> used_bits != 0) {
      return InvalidArgument(absl::StrCat("row ", row), "bits beyond the last column are not zero",
                             absl::StrCat(codes(row).back(), " in the last byte"),
                             absl::StrCat("below ", 1 << used_bits));
    }
  }
  return absl::OkStatus();
}

int64_t QuantizedTable::row_bytes() const { return kernels::PackedRowBytes(cols(), bits()); }

int64_t QuantizedTable::groups() const { return GroupsOf(deploy_, cols()); }

int64_t QuantizedTable::bytes() const {
  const int64_t param_bytes = deploy_ == nullptr ? sizeof(QParams) : deploy_->ParamBytesOf(cols());
  return rows() * (row_bytes() + param_bytes);
}

void QuantizedTable::DequantizeRows(absl::Span<const int64_t> rows, MutableTableView y) const {
  if (deploy_ != nullptr) {
    ParallelFor(static_cast<int64_t>(rows.size()), RowBlock(cols()), [&](int64_t begin, int64_t end) {
      std::vector<int32_t> codes(cols());
      for (int64_t i = begin; i < end; ++i) {
        UnpackRow(rows[i], codes.data());
        DequantizeDeployedRow(*deploy_, codes.data(), params(rows[i]).data(), cols(), y.Row(i));
      }
    });
    return;
  }
  kernels::DequantizePackedRows(packed_, rows.data(), static_cast<int64_t>(rows.size()), y);
}

void QuantizedTable::UnpackRow(int64_t row, int32_t* codes) const {
  kernels::UnpackRow(packed_.Codes(row), cols(), bits(), codes);
  if (packed_.is_signed) {
    std::transform(codes, codes + cols(), codes, [](int32_t c) { return static_cast<int8_t>(c); });
  }
}

}  // namespace eqat::quant
