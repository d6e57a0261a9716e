#include "formats/row_sink.h"

#include <cstddef>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/error.h"
#include "core/status_macros.h"
#include "model/module_state.h"
#include "quant/choose_qparams.h"
#include "quant/fake_quantize.h"
#include "quant/kernels/pack_kernels.h"
#include "quant/packed_rows.h"
#include "quant/quantize_rows.h"
#include "quant/types/dtype.h"

namespace eqat::formats {
namespace {

class FloatSink : public RowSink {
 public:
  FloatSink(const std::string& module, int64_t rows, int64_t cols)
      : name_(absl::StrCat(module, ".weight")), rows_(rows), cols_(cols) {}

  std::vector<io::SafetensorsStream::Tensor> tensors() const override {
    return {{name_, io::TensorDtype::kF32, {rows_, cols_}}};
  }
  int64_t buffered_row_bytes() const override { return cols_ * static_cast<int64_t>(sizeof(float)); }
  absl::Status Write(int64_t begin, TableView rows, io::SafetensorsStream& out) override {
    const absl::Span<const float> values(rows.data, rows.rows * cols_);
    return out.WriteAt(name_, begin * buffered_row_bytes(), io::AsBytes(values));
  }

 private:
  std::string name_;
  int64_t rows_;
  int64_t cols_;
};

// Codes, scales and zero points, each a tensor of its own. A row's parameters come from its values alone, so that it
// does not matter in which blocks the rows come.
class PackedSink : public RowSink {
 public:
  PackedSink(const std::string& module, int64_t rows, int64_t cols, quant::FakeQuantize fake_quantize)
      : name_(absl::StrCat(module, ".weight")),
        rows_(rows),
        cols_(cols),
        deploy_(quant::DeployOf(fake_quantize.config())),
        groups_(deploy_ == nullptr ? 1 : deploy_->GroupsOf(cols)),
        row_bytes_(quant::kernels::PackedRowBytes(cols, quant::TraitsOf(fake_quantize.config().observer.dtype).bits)),
        fake_quantize_(std::move(fake_quantize)) {}

  std::vector<io::SafetensorsStream::Tensor> tensors() const override {
    const std::vector<int64_t> shape = model::ParameterShape(deploy_, rows_, cols_);
    return {{name_ + ".codes", io::TensorDtype::kU8, {rows_, row_bytes_}},
            {name_ + ".scale", model::ParameterDtype(deploy_), shape},
            {OffsetTensor(), model::ParameterDtype(deploy_), shape}};
  }
  int64_t buffered_row_bytes() const override {
    const auto params_bytes = static_cast<int64_t>(sizeof(quant::QParams));
    return cols_ * static_cast<int64_t>(sizeof(float)) + row_bytes_ + 2 * groups_ * params_bytes;
  }
  absl::Status Write(int64_t begin, TableView rows, io::SafetensorsStream& out) override {
    codes_.assign(rows.rows * row_bytes_, 0);
    params_.resize(rows.rows * groups_);
    const quant::MutablePackedRows packed{codes_.data(), row_bytes_, reinterpret_cast<uint8_t*>(params_.data()),
                                          groups_ * static_cast<int64_t>(sizeof(quant::QParams))};
    if (absl::Status status = quant::QuantizeRows(fake_quantize_, rows, 0, rows.rows, packed); !status.ok()) {
      return begin == 0 ? status : AtPlace(absl::StrCat("counted from row ", begin), status);
    }
    EQAT_RETURN_IF_ERROR(out.WriteAt(name_ + ".codes", begin * row_bytes_, io::AsBytes(absl::MakeConstSpan(codes_))));
    EQAT_RETURN_IF_ERROR(WriteParameter(name_ + ".scale", &quant::QParams::scale, begin, out));
    return WriteParameter(OffsetTensor(), &quant::QParams::zero_point, begin, out);
  }

 private:
  std::string OffsetTensor() const { return absl::StrCat(name_, ".", model::OffsetName(deploy_)); }

  absl::Status WriteParameter(const std::string& tensor, float quant::QParams::*member, int64_t begin,
                              io::SafetensorsStream& out) {
    parameter_.clear();
    for (const quant::QParams& params : params_) parameter_.push_back(params.*member);
    const int64_t first = begin * groups_;
    if (model::ParameterDtype(deploy_) == io::TensorDtype::kF16) {
      const std::vector<uint16_t> halves = io::ToFloat16(parameter_);
      return out.WriteAt(tensor, first * static_cast<int64_t>(sizeof(uint16_t)),
                         io::AsBytes(absl::MakeConstSpan(halves)));
    }
    return out.WriteAt(tensor, first * static_cast<int64_t>(sizeof(float)),
                       io::AsBytes(absl::MakeConstSpan(parameter_)));
  }

  std::string name_;
  int64_t rows_;
  int64_t cols_;
  const quant::DeployTraits* deploy_;
  int64_t groups_;
  int64_t row_bytes_;
  quant::FakeQuantize fake_quantize_;
  std::vector<uint8_t> codes_;
  std::vector<quant::QParams> params_;
  std::vector<float> parameter_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<RowSink>> MakeRowSink(const std::string& module, int64_t rows, int64_t cols,
                                                     const std::optional<quant::QConfig>& qconfig) {
  if (!qconfig) return std::unique_ptr<RowSink>(new FloatSink(module, rows, cols));
  EQAT_ASSIGN_OR_RETURN(quant::FakeQuantize fake_quantize, quant::FakeQuantize::Create(qconfig->weight));
  return std::unique_ptr<RowSink>(new PackedSink(module, rows, cols, std::move(fake_quantize)));
}

}  // namespace eqat::formats
