#include "model/module_state.h"

#include <algorithm>
#include <cmath>
#include <cstddef>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "core/checked_math.h"
#include "core/error.h"
#include "core/status_macros.h"
#include "core/tensor.h"
#include "quant/kernels/pack_kernels.h"

namespace eqat::model {
namespace {

using io::TensorDtype;

constexpr char kFakeQuant[] = ".weight_fake_quant.";
constexpr char kObserver[] = ".weight_fake_quant.activation_post_process.";

std::string DtypesText(const std::vector<TensorDtype>& dtypes) {
  return absl::StrJoin(dtypes, " or ", [](std::string* out, TensorDtype dtype) {
    absl::StrAppend(out, std::string(io::TensorDtypeName(dtype)));
  });
}

std::string ShapesText(const std::vector<std::vector<int64_t>>& shapes) {
  return absl::StrJoin(shapes, " or ", [](std::string* out, const std::vector<int64_t>& shape) {
    absl::StrAppend(out, ShapeText(shape));
  });
}

// Row and column of the first value that is not finite.
absl::Status CheckFinite(const std::string& place, const Table& table) {
  for (int64_t row = 0; row < table.rows(); ++row) {
    const float* const values = table.Row(row);
    const float* const bad = std::find_if_not(values, values + table.cols(), [](float v) { return std::isfinite(v); });
    if (bad == values + table.cols()) continue;
    return InvalidArgument(place, absl::StrCat("row ", row, ", column ", bad - values, " is not finite"),
                           absl::StrCat(*bad), "a finite number");
  }
  return absl::OkStatus();
}

}  // namespace

TensorSource::TensorSource(io::SafetensorsReader reader)
    : reader_(std::make_shared<io::SafetensorsReader>(std::move(reader))) {}

absl::StatusOr<const io::TensorInfo*> TensorSource::Expect(const std::string& name,
                                                           const std::vector<TensorDtype>& dtypes,
                                                           const std::vector<std::vector<int64_t>>& shapes) {
  const io::TensorInfo* const tensor = reader_->Find(name);
  if (tensor == nullptr) {
    return NotFound(Place(name), "tensor is missing", "", absl::StrCat(DtypesText(dtypes), " ", ShapesText(shapes)));
  }
  if (std::find(dtypes.begin(), dtypes.end(), tensor->dtype) == dtypes.end()) {
    return InvalidArgument(Place(name), "wrong dtype", io::TensorDtypeName(tensor->dtype), DtypesText(dtypes));
  }
  if (std::find(shapes.begin(), shapes.end(), tensor->shape) == shapes.end()) {
    return InvalidArgument(Place(name), "wrong shape", ShapeText(tensor->shape), ShapesText(shapes));
  }
  asked_.insert(name);
  return tensor;
}

absl::StatusOr<Table> TensorSource::ReadTable(const std::string& name, int64_t rows, int64_t cols) {
  EQAT_ASSIGN_OR_RETURN(const io::TensorInfo* tensor,
                        Expect(name, {TensorDtype::kF32, TensorDtype::kF16, TensorDtype::kBF16}, {{rows, cols}}));
  EQAT_ASSIGN_OR_RETURN(Table table, reader_->ReadTable(name));
  const bool is_mapped = reinterpret_cast<const char*>(table.data()) == reader_->Bytes(*tensor).data();
  if (!is_mapped) EQAT_RETURN_IF_ERROR(CheckFinite(Place(name), table));
  return table;
}

absl::StatusOr<std::vector<float>> TensorSource::ReadFloats(const std::string& name,
                                                            const std::vector<std::vector<int64_t>>& shapes,
                                                            const std::vector<TensorDtype>& dtypes) {
  EQAT_RETURN_IF_ERROR(Expect(name, dtypes, shapes).status());
  return reader_->ReadFloats(name);
}

absl::StatusOr<std::vector<float>> TensorSource::ReadVector(const std::string& name,
                                                            const std::vector<int64_t>& sizes) {
  std::vector<std::vector<int64_t>> shapes;
  for (const int64_t size : sizes) shapes.push_back({size});
  return ReadFloats(name, shapes, {TensorDtype::kF32});
}

absl::StatusOr<Tensor> TensorSource::ReadTensor(const std::string& name, const std::vector<int64_t>& shape) {
  EQAT_ASSIGN_OR_RETURN(const io::TensorInfo* info,
                        Expect(name, {TensorDtype::kF32, TensorDtype::kF16, TensorDtype::kBF16}, {shape}));
  Tensor tensor;
  tensor.shape = shape;
  EQAT_ASSIGN_OR_RETURN(tensor.values, reader_->ReadFloats(name));
  const auto bad =
      std::find_if_not(tensor.values.begin(), tensor.values.end(), [](float v) { return std::isfinite(v); });
  if (info->dtype == TensorDtype::kF32 || bad == tensor.values.end()) return tensor;
  return InvalidArgument(Place(name), absl::StrCat("value ", bad - tensor.values.begin(), " is not finite"),
                         absl::StrCat(*bad), "a finite number");
}

absl::StatusOr<bool> TensorSource::ReadFlag(const std::string& name) {
  EQAT_RETURN_IF_ERROR(Expect(name, {TensorDtype::kU8}, {{1}}).status());
  EQAT_ASSIGN_OR_RETURN(const std::vector<int64_t> values, reader_->ReadIntegers(name));
  if (values[0] > 1) return InvalidArgument(Place(name), "not a flag", absl::StrCat(values[0]), "0 or 1");
  return values[0] == 1;
}

absl::StatusOr<int64_t> TensorSource::ReadCount(const std::string& name) {
  EQAT_RETURN_IF_ERROR(Expect(name, {TensorDtype::kI64}, {{}}).status());
  EQAT_ASSIGN_OR_RETURN(const std::vector<int64_t> values, reader_->ReadIntegers(name));
  if (values[0] < 0) return InvalidArgument(Place(name), "a count is negative", absl::StrCat(values[0]), "at least 0");
  return values[0];
}

absl::StatusOr<absl::Span<const uint8_t>> TensorSource::ReadBytes(const std::string& name, int64_t rows,
                                                                  int64_t row_bytes) {
  EQAT_ASSIGN_OR_RETURN(const io::TensorInfo* tensor, Expect(name, {TensorDtype::kU8}, {{rows, row_bytes}}));
  const absl::Span<const char> bytes = reader_->Bytes(*tensor);
  return absl::MakeConstSpan(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size());
}

absl::Status TensorSource::RefuseGroups(const std::string& name) const {
  const io::TensorInfo* const tensor = reader_->Find(name);
  if (tensor == nullptr || tensor->shape.size() != 2) return absl::OkStatus();
  return Unimplemented(Place(name), "several groups of columns in a row", ShapeText(tensor->shape),
                       "one value per row");
}

absl::Status TensorSource::Finish() const {
  for (const io::TensorInfo& tensor : reader_->tensors()) {
    if (!asked_.contains(tensor.name)) return InvalidArgument(Place(tensor.name), "tensor belongs to no module");
  }
  return absl::OkStatus();
}

namespace {

// Options of an Embedding are the base of a bag's.
template <typename T>
const auto& OptionsFor(const TableSpec& spec) {
  if constexpr (kIsBag<T>) {
    return spec.options;
  } else {
    return static_cast<const nn::EmbeddingOptions&>(spec.options);
  }
}

template <typename T>
absl::StatusOr<T> BuildFloatTable(const std::string& name, const TableSpec& spec, TensorSource& source) {
  EQAT_ASSIGN_OR_RETURN(Table weight,
                        source.ReadTable(name + ".weight", spec.options.num_embeddings, spec.options.embedding_dim));
  return T::FromWeight(std::move(weight), OptionsFor<T>(spec), name);
}

absl::StatusOr<quant::FakeQuantizeState> ReadFakeQuantState(const std::string& name, int64_t rows,
                                                            TensorSource& source) {
  quant::FakeQuantizeState state;
  EQAT_ASSIGN_OR_RETURN(state.fake_quant_enabled, source.ReadFlag(name + kFakeQuant + "fake_quant_enabled"));
  EQAT_ASSIGN_OR_RETURN(state.observer_enabled, source.ReadFlag(name + kFakeQuant + "observer_enabled"));
  EQAT_ASSIGN_OR_RETURN(state.scale, source.ReadVector(name + kFakeQuant + "scale", {1, rows}));
  EQAT_ASSIGN_OR_RETURN(state.zero_point, source.ReadVector(name + kFakeQuant + "zero_point", {1, rows}));
  EQAT_ASSIGN_OR_RETURN(const std::vector<float> eps, source.ReadVector(name + kObserver + "eps", {1}));
  state.eps = eps[0];
  EQAT_ASSIGN_OR_RETURN(state.min_val, source.ReadVector(name + kObserver + "min_val", {0, rows}));
  EQAT_ASSIGN_OR_RETURN(state.max_val, source.ReadVector(name + kObserver + "max_val", {0, rows}));
  return state;
}

template <typename QatTable, typename FloatTable>
absl::StatusOr<Module> BuildQatTable(const std::string& name, const TableSpec& spec, TensorSource& source) {
  EQAT_ASSIGN_OR_RETURN(FloatTable float_table, BuildFloatTable<FloatTable>(name, spec, source));
  float_table.set_qconfig(spec.qconfig);
  EQAT_ASSIGN_OR_RETURN(QatTable table, QatTable::FromFloat(std::move(float_table)));
  EQAT_ASSIGN_OR_RETURN(quant::FakeQuantizeState state, ReadFakeQuantState(name, spec.options.num_embeddings, source));
  EQAT_RETURN_IF_ERROR(AtPlace(source.path(), table.SetFakeQuantState(std::move(state))));
  return Module(std::move(table));
}

template <typename T>
absl::StatusOr<Module> BuildQuantizedTable(const std::string& name, const TableSpec& spec, TensorSource& source) {
  const std::vector<TensorDtype> parameter_dtypes = {TensorDtype::kF32, TensorDtype::kF16};
  const int64_t rows = spec.options.num_embeddings;
  const int bits = quant::TraitsOf(spec.dtype).bits;
  if (!CheckedMul(spec.options.embedding_dim, 8)) {
    return InvalidArgument(name, "embedding_dim is too large", absl::StrCat(spec.options.embedding_dim));
  }
  const int64_t row_bytes = quant::kernels::PackedRowBytes(spec.options.embedding_dim, bits);
  EQAT_ASSIGN_OR_RETURN(absl::Span<const uint8_t> codes, source.ReadBytes(name + ".weight.codes", rows, row_bytes));
  const std::string scale_name = name + ".weight.scale";
  const std::string zero_point_name = absl::StrCat(name, ".weight.", OffsetName(spec.deploy));
  if (spec.deploy == nullptr) {
    EQAT_RETURN_IF_ERROR(source.RefuseGroups(scale_name));
    EQAT_RETURN_IF_ERROR(source.RefuseGroups(zero_point_name));
  }
  const std::vector<int64_t> shape = ParameterShape(spec.deploy, rows, spec.options.embedding_dim);
  EQAT_ASSIGN_OR_RETURN(const std::vector<float> scale, source.ReadFloats(scale_name, {shape}, parameter_dtypes));
  EQAT_ASSIGN_OR_RETURN(const std::vector<float> zero_point,
                        source.ReadFloats(zero_point_name, {shape}, parameter_dtypes));
  absl::StatusOr<quant::QuantizedTable> packed = quant::QuantizedTable::FromPacked(
      rows, spec.options.embedding_dim, spec.dtype, codes, source.keeper(), scale, zero_point, spec.deploy);
  if (!packed.ok()) return AtPlace(absl::StrCat(source.path(), ": ", name), packed.status());
  EQAT_ASSIGN_OR_RETURN(T table, T::Create(*std::move(packed), OptionsFor<T>(spec), name));
  return Module(std::move(table));
}

template <typename FloatTable, typename QatTable, typename QuantizedTable>
absl::StatusOr<Module> BuildTableOfKind(const std::string& name, const TableSpec& spec, TensorSource& source) {
  switch (spec.kind) {
    case TableKind::kFloat: {
      EQAT_ASSIGN_OR_RETURN(FloatTable table, BuildFloatTable<FloatTable>(name, spec, source));
      return Module(std::move(table));
    }
    case TableKind::kQat:
      return BuildQatTable<QatTable, FloatTable>(name, spec, source);
    case TableKind::kQuantized:
      return BuildQuantizedTable<QuantizedTable>(name, spec, source);
  }
  return Unimplemented(name, "unknown kind of table");
}

absl::StatusOr<Module> Build(const std::string& name, const TableSpec& spec, TensorSource& source) {
  return spec.is_bag
             ? BuildTableOfKind<nn::EmbeddingBag, qat::EmbeddingBag, quantized::EmbeddingBag>(name, spec, source)
             : BuildTableOfKind<nn::Embedding, qat::Embedding, quantized::Embedding>(name, spec, source);
}

absl::StatusOr<Module> Build(const std::string& name, const nn::LinearOptions& options, TensorSource& source) {
  EQAT_ASSIGN_OR_RETURN(Table weight, source.ReadTable(name + ".weight", options.out_features, options.in_features));
  std::vector<float> bias;
  if (options.bias) {
    EQAT_ASSIGN_OR_RETURN(bias, source.ReadVector(name + ".bias", {options.out_features}));
  }
  EQAT_ASSIGN_OR_RETURN(nn::Linear linear, nn::Linear::FromWeight(std::move(weight), std::move(bias), options, name));
  return Module(std::move(linear));
}

absl::StatusOr<Module> Build(const std::string& name, const nn::BatchNorm1dOptions& options, TensorSource& source) {
  const std::vector<int64_t> size = {options.num_features};
  nn::BatchNorm1dState state;
  if (options.affine) {
    EQAT_ASSIGN_OR_RETURN(state.weight, source.ReadVector(name + ".weight", size));
    EQAT_ASSIGN_OR_RETURN(state.bias, source.ReadVector(name + ".bias", size));
  }
  if (options.track_running_stats) {
    EQAT_ASSIGN_OR_RETURN(state.running_mean, source.ReadVector(name + ".running_mean", size));
    EQAT_ASSIGN_OR_RETURN(state.running_var, source.ReadVector(name + ".running_var", size));
    EQAT_ASSIGN_OR_RETURN(state.num_batches_tracked, source.ReadCount(name + ".num_batches_tracked"));
  }
  EQAT_ASSIGN_OR_RETURN(nn::BatchNorm1d batch_norm, nn::BatchNorm1d::Create(options, name));
  EQAT_RETURN_IF_ERROR(batch_norm.SetState(std::move(state)));
  return Module(std::move(batch_norm));
}

absl::StatusOr<Module> Build(const std::string& name, ParameterTensor parameter, TensorSource& source) {
  EQAT_ASSIGN_OR_RETURN(parameter.value, source.ReadTensor(name, parameter.value.shape));
  return Module(std::move(parameter));
}

absl::StatusOr<Module> Build(const std::string& name, BufferTensor buffer, TensorSource& source) {
  EQAT_ASSIGN_OR_RETURN(buffer.value, source.ReadTensor(name, buffer.value.shape));
  return Module(std::move(buffer));
}

template <typename T>  // ReLU, Sigmoid, Dropout, nested models and interfaces
absl::StatusOr<Module> Build(const std::string&, const T& module, TensorSource&) {
  return Module(module);
}

template <typename T>
void AppendView(std::string name, TensorDtype dtype, std::vector<int64_t> shape, absl::Span<const T> values,
                TensorSink& sink) {
  sink.tensors.push_back(
      {.name = std::move(name), .dtype = dtype, .shape = std::move(shape), .bytes = io::AsBytes(values)});
}

template <typename T>
void AppendOwned(std::string name, TensorDtype dtype, std::vector<int64_t> shape, std::vector<T> values,
                 TensorSink& sink) {
  const auto kept = std::make_shared<const std::vector<T>>(std::move(values));
  AppendView(std::move(name), dtype, std::move(shape), absl::MakeConstSpan(*kept), sink);
  sink.keepers.push_back(kept);
}

void AppendVector(std::string name, absl::Span<const float> values, TensorSink& sink) {
  AppendView(std::move(name), TensorDtype::kF32, {static_cast<int64_t>(values.size())}, values, sink);
}

absl::Span<const float> ValuesOf(const Table& table) {
  return absl::MakeConstSpan(table.data(), table.rows() * table.cols());
}

// A value whose 16-bit form has all exponent bits set is NaN or infinity there: too large, or never finite.
absl::Status AppendNarrow(const std::string& name, const Table& table, TensorDtype dtype, TensorSink& sink) {
  const bool is_f16 = dtype == TensorDtype::kF16;
  const uint16_t exponent_bits = is_f16 ? 0x7c00 : 0x7f80;
  std::vector<uint16_t> values = is_f16 ? io::ToFloat16(ValuesOf(table)) : io::ToBFloat16(ValuesOf(table));
  const auto bad = std::find_if(values.begin(), values.end(),
                                [&](uint16_t value) { return (value & exponent_bits) == exponent_bits; });
  if (bad != values.end()) {
    const int64_t position = bad - values.begin();
    return InvalidArgument(name,
                           absl::StrCat("row ", position / table.cols(), ", column ", position % table.cols(),
                                        " does not fit into ", std::string(io::TensorDtypeName(dtype))),
                           absl::StrCat(table.data()[position]));
  }
  AppendOwned(name, dtype, {table.rows(), table.cols()}, std::move(values), sink);
  return absl::OkStatus();
}

absl::Status AppendTable(const std::string& name, const Table& table, TensorDtype dtype, TensorSink& sink) {
  if (dtype != TensorDtype::kF32) return AppendNarrow(name, table, dtype, sink);
  AppendView(name, dtype, {table.rows(), table.cols()}, ValuesOf(table), sink);
  return absl::OkStatus();
}

void AppendFakeQuantState(const std::string& name, quant::FakeQuantizeState&& state, TensorSink& sink) {
  const auto flag = [&](const char* key, bool value) {
    AppendOwned<uint8_t>(name + kFakeQuant + key, TensorDtype::kU8, {1}, {uint8_t{value}}, sink);
  };
  const auto floats = [&](const std::string& key, std::vector<float>&& values) {
    const auto size = static_cast<int64_t>(values.size());
    AppendOwned(name + key, TensorDtype::kF32, {size}, std::move(values), sink);
  };
  flag("fake_quant_enabled", state.fake_quant_enabled);
  flag("observer_enabled", state.observer_enabled);
  floats(absl::StrCat(kFakeQuant, "scale"), std::move(state.scale));
  floats(absl::StrCat(kFakeQuant, "zero_point"), std::move(state.zero_point));
  floats(absl::StrCat(kObserver, "eps"), {state.eps});
  floats(absl::StrCat(kObserver, "min_val"), std::move(state.min_val));
  floats(absl::StrCat(kObserver, "max_val"), std::move(state.max_val));
}

void AppendBatchNorm(const std::string& name, const nn::BatchNorm1d& batch_norm, TensorSink& sink) {
  const nn::BatchNorm1dState& state = batch_norm.state();
  if (batch_norm.options().affine) {
    AppendVector(name + ".weight", state.weight, sink);
    AppendVector(name + ".bias", state.bias, sink);
  }
  if (batch_norm.options().track_running_stats) {
    AppendVector(name + ".running_mean", state.running_mean, sink);
    AppendVector(name + ".running_var", state.running_var, sink);
    AppendView(name + ".num_batches_tracked", TensorDtype::kI64, {}, absl::MakeConstSpan(&state.num_batches_tracked, 1),
               sink);
  }
}

// Scales and offsets of a deployed table, in the dtype of its format.
void AppendDeployedParams(const std::string& name, const quant::QuantizedTable& table, TensorSink& sink) {
  std::vector<float> scale, offset;
  for (int64_t row = 0; row < table.rows(); ++row) {
    for (const quant::QParams& params : table.params(row)) {
      scale.push_back(params.scale);
      offset.push_back(params.zero_point);
    }
  }
  const std::vector<int64_t> shape = ParameterShape(table.deploy(), table.rows(), table.cols());
  const auto append = [&](const char* key, std::vector<float> values) {
    const std::string tensor = absl::StrCat(name, ".weight.", key);
    if (ParameterDtype(table.deploy()) == TensorDtype::kF16) {
      AppendOwned(tensor, TensorDtype::kF16, shape, io::ToFloat16(values), sink);
    } else {
      AppendOwned(tensor, TensorDtype::kF32, shape, std::move(values), sink);
    }
  };
  append("scale", std::move(scale));
  append(OffsetName(table.deploy()), std::move(offset));
}

// Codes and parameters of a row may lie together; each is a tensor of its own in the file.
void AppendQuantized(const std::string& name, const quant::QuantizedTable& table, TensorSink& sink) {
  const quant::PackedRows& packed = table.packed_rows();
  const auto append = [&](const char* key, TensorDtype dtype, std::vector<int64_t> shape, const void* first,
                          int64_t row_bytes, int64_t stride) {
    sink.tensors.push_back({.name = name + key,
                            .dtype = dtype,
                            .shape = std::move(shape),
                            .bytes = io::ByteRows(static_cast<const char*>(first), packed.rows, row_bytes, stride)});
  };
  append(".weight.codes", TensorDtype::kU8, {packed.rows, table.row_bytes()}, packed.codes, table.row_bytes(),
         packed.code_stride);
  if (table.deploy() != nullptr) return AppendDeployedParams(name, table, sink);
  append(".weight.scale", TensorDtype::kF32, {packed.rows}, packed.params + offsetof(quant::QParams, scale),
         sizeof(float), packed.param_stride);
  append(".weight.zero_point", TensorDtype::kF32, {packed.rows}, packed.params + offsetof(quant::QParams, zero_point),
         sizeof(float), packed.param_stride);
}

}  // namespace

const char* OffsetName(const quant::DeployTraits* deploy) {
  return deploy != nullptr && deploy->has_bias() ? "bias" : "zero_point";
}

std::vector<int64_t> ParameterShape(const quant::DeployTraits* deploy, int64_t rows, int64_t cols) {
  if (deploy == nullptr || deploy->group == 0) return {rows};
  return {rows, deploy->GroupsOf(cols)};
}

io::TensorDtype ParameterDtype(const quant::DeployTraits* deploy) {
  return deploy != nullptr && deploy->has_half_params() ? TensorDtype::kF16 : TensorDtype::kF32;
}

absl::StatusOr<Module> BuildModule(const std::string& name, ModuleSpec spec, TensorSource& source) {
  return std::visit([&](const auto& alternative) { return Build(name, alternative, source); }, spec);
}

absl::Status AppendState(const std::string& name, const Module& module, TensorDtype table_dtype, TensorSink& sink) {
  return std::visit(
      [&](const auto& alternative) -> absl::Status {
        using T = std::decay_t<decltype(alternative)>;
        if constexpr (kIsFloatTable<T>) {
          return AppendTable(name + ".weight", alternative.weight(), table_dtype, sink);
        } else if constexpr (kIsQat<T>) {
          EQAT_RETURN_IF_ERROR(AppendTable(name + ".weight", alternative.weight(), TensorDtype::kF32, sink));
          EQAT_ASSIGN_OR_RETURN(quant::FakeQuantizeState state, alternative.FakeQuantState());
          AppendFakeQuantState(name, std::move(state), sink);
        } else if constexpr (kIsQuantized<T>) {
          AppendQuantized(name, alternative.weight(), sink);
        } else if constexpr (std::is_same_v<T, nn::Linear>) {
          EQAT_RETURN_IF_ERROR(AppendTable(name + ".weight", alternative.weight(), TensorDtype::kF32, sink));
          if (alternative.options().bias) AppendVector(name + ".bias", alternative.bias(), sink);
        } else if constexpr (std::is_same_v<T, nn::BatchNorm1d>) {
          AppendBatchNorm(name, alternative, sink);
        } else if constexpr (std::is_same_v<T, ParameterTensor> || std::is_same_v<T, BufferTensor>) {
          AppendView(name, TensorDtype::kF32, alternative.value.shape, absl::MakeConstSpan(alternative.value.values),
                     sink);
        }
        return absl::OkStatus();
      },
      module);
}

}  // namespace eqat::model
