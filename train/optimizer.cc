#include "train/optimizer.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <cmath>
#include <utility>

#include "absl/functional/function_ref.h"
#include "absl/strings/str_cat.h"
#include "core/checked_math.h"
#include "core/error.h"
#include "core/parallel_for.h"
#include "core/status_macros.h"
#include "core/table.h"
#include "train/update_kernels.h"

namespace eqat::train {
namespace {

constexpr int64_t kElementsPerBlock = 1 << 14;
constexpr float kMaxStep = 16777216.0f;  // 2^24: adding 1 to a float32 counter stops here

enum class Rule : uint8_t { kSgd, kSgdMomentum, kAdagrad, kSparseAdagrad, kRowWiseAdagrad, kAdam, kSparseAdam };

struct Buffer {
  const char* name;
  std::vector<int64_t> shape;
  Table table;
};

// One parameter with its state.
struct Slot {
  model::Parameter parameter;
  Rule rule = Rule::kSgd;
  bool dense_pass = false;  // a table all of whose rows may move
  float step = 0;
  std::vector<Buffer> buffers;

  int64_t cols() const { return parameter.values.cols; }
  int64_t size() const { return parameter.values.rows * parameter.values.cols; }
  float* buffer(int i) { return buffers[i].table.data(); }
};

absl::Status Refuse(const model::Parameter& parameter, OptimizerKind kind, absl::string_view what,
                    absl::string_view expected) {
  return InvalidArgument(parameter.name, what, OptimizerName(kind), expected);
}

// What torch's optimizers do with this parameter's gradient; refuses what they refuse.
absl::StatusOr<Rule> RuleOf(const OptimizerConfig& config, const model::Parameter& parameter) {
  const bool sparse = parameter.is_table && parameter.sparse;
  if (sparse && config.weight_decay != 0) {
    return Refuse(parameter, config.kind, "weight decay does not work on the sparse gradient of a table",
                  "weight_decay 0, or sparse=false for the table");
  }
  switch (config.kind) {
    case OptimizerKind::kSgd:
      return config.momentum == 0 ? Rule::kSgd : Rule::kSgdMomentum;
    case OptimizerKind::kAdagrad:
      return sparse ? Rule::kSparseAdagrad : Rule::kAdagrad;
    case OptimizerKind::kRowWiseAdagrad:
      return parameter.is_table ? Rule::kRowWiseAdagrad : Rule::kAdagrad;
    case OptimizerKind::kAdam:
      if (!sparse) return Rule::kAdam;
      return Refuse(parameter, config.kind, "Adam does not work on the sparse gradient of a table",
                    "SparseAdam, or sparse=false for the table");
    case OptimizerKind::kSparseAdam:
      if (!parameter.is_table) return Rule::kAdam;
      if (sparse) return Rule::kSparseAdam;
      return Refuse(parameter, config.kind, "SparseAdam does not work on the dense gradient of a table",
                    "Adam, or sparse=true for the table");
  }
  return absl::InternalError("unknown kind of optimizer");
}

// Whether a row without gradient can move.
bool MovesAllRows(Rule rule, const OptimizerConfig& config) {
  return rule == Rule::kSgdMomentum || rule == Rule::kAdam || config.weight_decay != 0;
}

std::vector<const char*> BufferNames(Rule rule) {
  switch (rule) {
    case Rule::kSgd:
      return {};
    case Rule::kSgdMomentum:
      return {"momentum_buffer"};
    case Rule::kAdagrad:
    case Rule::kSparseAdagrad:
    case Rule::kRowWiseAdagrad:
      return {"sum"};
    case Rule::kAdam:
    case Rule::kSparseAdam:
      return {"exp_avg", "exp_avg_sq"};
  }
  return {};
}

absl::StatusOr<Slot> MakeSlot(const OptimizerConfig& config, const model::Parameter& parameter) {
  assert(parameter.values.stride == parameter.values.cols);
  Slot slot;
  slot.parameter = parameter;
  EQAT_ASSIGN_OR_RETURN(slot.rule, RuleOf(config, parameter));
  slot.dense_pass = parameter.is_table && MovesAllRows(slot.rule, config);
  for (const char* name : BufferNames(slot.rule)) {
    const bool one_a_row = slot.rule == Rule::kRowWiseAdagrad;
    EQAT_ASSIGN_OR_RETURN(Table table, Table::Zeros(parameter.values.rows, one_a_row ? 1 : parameter.values.cols));
    if (config.initial_accumulator_value != 0) {
      const float initial = static_cast<float>(config.initial_accumulator_value);
      std::fill_n(table.data(), table.rows() * table.cols(), initial);
    }
    const std::vector<int64_t> shape = one_a_row ? std::vector<int64_t>{parameter.values.rows} : parameter.shape;
    slot.buffers.push_back({name, shape, std::move(table)});
  }
  return slot;
}

absl::Status CheckGradient(const Slot& slot, const model::ParameterGradient& gradient) {
  const model::Parameter& parameter = slot.parameter;
  const auto mismatch = [&](absl::string_view got, absl::string_view expected) {
    return InvalidArgument(parameter.name, "gradient does not fit the parameter", got, expected);
  };
  if (!parameter.is_table) {
    if (static_cast<int64_t>(gradient.dense.size()) == slot.size()) return absl::OkStatus();
    return mismatch(absl::StrCat(gradient.dense.size(), " values"), absl::StrCat(slot.size()));
  }
  if (!gradient.rows) return mismatch("a dense gradient", "a row-sparse one");
  const nn::SparseGrad& rows = *gradient.rows;
  if (rows.rows.empty()) return absl::OkStatus();
  if (rows.cols != slot.cols() || rows.values.size() != rows.rows.size() * static_cast<size_t>(rows.cols)) {
    return mismatch(absl::StrCat(rows.values.size(), " values, ", rows.cols, " columns"),
                    absl::StrCat(rows.rows.size(), " rows of ", slot.cols(), " columns"));
  }
  int64_t previous = -1;
  for (const int64_t row : rows.rows) {
    if (row <= previous || row >= parameter.values.rows) {
      return mismatch(absl::StrCat("row ", row), "ascending rows of the table");
    }
    previous = row;
  }
  return absl::OkStatus();
}

// Updates the stretches of a parameter that start at its element `at`.
using Update = absl::FunctionRef<void(const Stretches& stretches, int64_t at)>;

int64_t RowsPerBlock(int64_t cols) { return std::max<int64_t>(1, kElementsPerBlock / std::max<int64_t>(1, cols)); }

void UpdateListedRows(const nn::SparseGrad& grad, int64_t cols, Update update) {
  ParallelFor(static_cast<int64_t>(grad.rows.size()), RowsPerBlock(cols), [&](int64_t begin, int64_t end) {
    update({grad.values.data() + begin * cols, cols, grad.rows.data() + begin, end - begin}, 0);
  });
}

void UpdateAllRows(const nn::SparseGrad& grad, int64_t num_rows, int64_t cols, Update update) {
  const std::vector<float> zeros(cols, 0.0f);
  ParallelFor(num_rows, RowsPerBlock(cols), [&](int64_t begin, int64_t end) {
    auto listed = std::lower_bound(grad.rows.begin(), grad.rows.end(), begin);
    for (int64_t row = begin; row < end; ++row) {
      const float* values = zeros.data();
      if (listed != grad.rows.end() && *listed == row) {
        values = grad.values.data() + (listed - grad.rows.begin()) * cols;
        ++listed;
      }
      update({values, cols}, row * cols);
    }
  });
}

void UpdateParameter(const Slot& slot, const model::ParameterGradient& gradient, Update update) {
  if (slot.cols() == 0) return;
  if (!slot.parameter.is_table) {
    ParallelFor(slot.size(), kElementsPerBlock, [&](int64_t begin, int64_t end) {
      update({gradient.dense.data() + begin, end - begin}, begin);
    });
  } else if (slot.dense_pass) {
    slot.parameter.WillModifyAllRows();
    UpdateAllRows(*gradient.rows, slot.parameter.values.rows, slot.cols(), update);
  } else {
    slot.parameter.WillModifyRows(*gradient.rows);
    UpdateListedRows(*gradient.rows, slot.cols(), update);
  }
}

void StepSgd(const OptimizerConfig& config, double lr, Slot& slot, const model::ParameterGradient& gradient) {
  SgdFactors factors;
  factors.lr = static_cast<float>(lr);
  factors.weight_decay = static_cast<float>(config.weight_decay);
  factors.momentum = static_cast<float>(config.momentum);
  factors.gradient_share = slot.step == 1 ? 1.0f : static_cast<float>(1.0 - config.dampening);
  factors.nesterov = config.nesterov;
  float* w = slot.parameter.values.data;
  if (slot.rule == Rule::kSgd) {
    UpdateParameter(slot, gradient,
                    [&](const Stretches& stretches, int64_t at) { SgdUpdate(factors, stretches, w + at); });
    return;
  }
  float* buf = slot.buffer(0);
  UpdateParameter(slot, gradient, [&](const Stretches& stretches, int64_t at) {
    SgdMomentumUpdate(factors, stretches, w + at, buf + at);
  });
}

void StepAdagrad(const OptimizerConfig& config, double lr, Slot& slot, const model::ParameterGradient& gradient) {
  AdagradFactors factors;
  factors.lr = static_cast<float>(lr / (1.0 + (static_cast<double>(slot.step) - 1.0) * config.lr_decay));
  factors.weight_decay = static_cast<float>(config.weight_decay);
  factors.eps = static_cast<float>(config.eps);
  float* w = slot.parameter.values.data;
  float* sum = slot.buffer(0);
  if (slot.rule == Rule::kRowWiseAdagrad) {
    const int64_t cols = slot.cols();
    UpdateParameter(slot, gradient, [&](const Stretches& stretches, int64_t at) {
      RowWiseAdagradUpdate(factors, stretches, w + at, sum + at / cols);
    });
    return;
  }
  const auto update = slot.rule == Rule::kSparseAdagrad ? SparseAdagradUpdate : AdagradUpdate;
  UpdateParameter(slot, gradient,
                  [&](const Stretches& stretches, int64_t at) { update(factors, stretches, w + at, sum + at); });
}

void StepAdam(const OptimizerConfig& config, double lr, Slot& slot, const model::ParameterGradient& gradient) {
  const double correction1 = 1.0 - std::pow(config.beta1, static_cast<double>(slot.step));
  const double sqrt_correction2 = std::sqrt(1.0 - std::pow(config.beta2, static_cast<double>(slot.step)));
  const bool sparse = slot.rule == Rule::kSparseAdam;
  AdamFactors factors;
  factors.beta1 = static_cast<float>(config.beta1);
  factors.beta2 = static_cast<float>(config.beta2);
  factors.one_minus_beta1 = static_cast<float>(1.0 - config.beta1);
  factors.one_minus_beta2 = static_cast<float>(1.0 - config.beta2);
  factors.step_size = static_cast<float>(sparse ? lr * sqrt_correction2 / correction1 : lr / correction1);
  factors.sqrt_bias_correction2 = static_cast<float>(sqrt_correction2);
  factors.weight_decay = static_cast<float>(config.weight_decay);
  factors.eps = static_cast<float>(config.eps);
  float* w = slot.parameter.values.data;
  float* m = slot.buffer(0);
  float* v = slot.buffer(1);
  const auto update = sparse ? SparseAdamUpdate : AdamUpdate;
  UpdateParameter(slot, gradient,
                  [&](const Stretches& stretches, int64_t at) { update(factors, stretches, w + at, m + at, v + at); });
}

void StepSlot(const OptimizerConfig& config, double lr, Slot& slot, const model::ParameterGradient& gradient) {
  slot.step = std::min(slot.step + 1.0f, kMaxStep);
  switch (slot.rule) {
    case Rule::kSgd:
    case Rule::kSgdMomentum:
      return StepSgd(config, lr, slot, gradient);
    case Rule::kAdagrad:
    case Rule::kSparseAdagrad:
    case Rule::kRowWiseAdagrad:
      return StepAdagrad(config, lr, slot, gradient);
    case Rule::kAdam:
    case Rule::kSparseAdam:
      return StepAdam(config, lr, slot, gradient);
  }
}

int64_t UpdatedValues(const Slot& slot, const model::ParameterGradient& gradient) {
  const bool only_listed_rows = slot.parameter.is_table && !slot.dense_pass;
  return only_listed_rows ? static_cast<int64_t>(gradient.rows->values.size()) : slot.size();
}

std::string StepName(const Slot& slot) { return absl::StrCat(slot.parameter.name, ".step"); }
std::string BufferName(const Slot& slot, const Buffer& buffer) {
  return absl::StrCat(slot.parameter.name, ".", buffer.name);
}

absl::Status CheckStateTensor(const io::SafetensorsReader& reader, const std::string& name,
                              const std::vector<int64_t>& shape) {
  const io::TensorInfo* tensor = reader.Find(name);
  if (tensor == nullptr) return InvalidArgument(reader.path(), "optimizer state lacks a tensor", "", name);
  if (tensor->dtype != io::TensorDtype::kF32 || tensor->shape != shape) {
    return InvalidArgument(absl::StrCat(reader.path(), ": ", name), "wrong dtype or shape",
                           absl::StrCat(io::TensorDtypeName(tensor->dtype), " ", ShapeText(tensor->shape)),
                           absl::StrCat("F32 ", ShapeText(shape)));
  }
  return absl::OkStatus();
}

absl::StatusOr<float> ReadStep(const io::SafetensorsReader& reader, const std::string& name) {
  EQAT_RETURN_IF_ERROR(CheckStateTensor(reader, name, {}));
  EQAT_ASSIGN_OR_RETURN(const std::vector<float> values, reader.ReadFloats(name));
  const float step = values.front();
  if (step >= 0 && step <= kMaxStep && step == std::floor(step)) return step;
  return InvalidArgument(absl::StrCat(reader.path(), ": ", name), "is no number of steps", absl::StrCat(step),
                         absl::StrCat("a whole number from 0 to ", static_cast<int64_t>(kMaxStep)));
}

absl::StatusOr<Table> ReadBuffer(const io::SafetensorsReader& reader, const std::string& name, const Buffer& buffer) {
  EQAT_RETURN_IF_ERROR(CheckStateTensor(reader, name, buffer.shape));
  if (buffer.shape.size() == 2) return reader.ReadTable(name);
  EQAT_ASSIGN_OR_RETURN(const std::vector<float> values, reader.ReadFloats(name));
  return Table::CopyOf(TableView(values.data(), buffer.table.rows(), buffer.table.cols()));
}

}  // namespace

struct Optimizer::Impl {
  OptimizerConfig config;
  std::vector<Slot> slots;  // parameters with requires_grad, as given
};

Optimizer::Optimizer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Optimizer::Optimizer(Optimizer&&) noexcept = default;
Optimizer& Optimizer::operator=(Optimizer&&) noexcept = default;
Optimizer::~Optimizer() = default;

absl::StatusOr<Optimizer> Optimizer::Create(const OptimizerConfig& config, std::vector<model::Parameter> parameters) {
  EQAT_RETURN_IF_ERROR(Validate(config));
  auto impl = std::make_unique<Impl>();
  impl->config = config;
  for (const model::Parameter& parameter : parameters) {
    if (!parameter.requires_grad) continue;
    EQAT_ASSIGN_OR_RETURN(Slot slot, MakeSlot(config, parameter));
    impl->slots.push_back(std::move(slot));
  }
  return Optimizer(std::move(impl));
}

const OptimizerConfig& Optimizer::config() const { return impl_->config; }

bool Optimizer::DenseOnTables() const {
  return std::any_of(impl_->slots.begin(), impl_->slots.end(), [](const Slot& slot) { return slot.dense_pass; });
}

absl::Status Optimizer::Rebind(std::vector<model::Parameter> parameters) {
  parameters.erase(std::remove_if(parameters.begin(), parameters.end(),
                                  [](const model::Parameter& parameter) { return !parameter.requires_grad; }),
                   parameters.end());
  if (parameters.size() != impl_->slots.size()) {
    return InvalidArgument("optimizer", "number of trainable parameters changed", absl::StrCat(parameters.size()),
                           absl::StrCat(impl_->slots.size()));
  }
  for (size_t i = 0; i < parameters.size(); ++i) {
    const model::Parameter& old = impl_->slots[i].parameter;
    if (parameters[i].name != old.name || parameters[i].shape != old.shape || parameters[i].is_table != old.is_table ||
        parameters[i].sparse != old.sparse) {
      return InvalidArgument("optimizer", "parameters changed",
                             absl::StrCat(parameters[i].name, " ", ShapeText(parameters[i].shape)),
                             absl::StrCat(old.name, " ", ShapeText(old.shape), ", with the same options"));
    }
  }
  for (size_t i = 0; i < parameters.size(); ++i) impl_->slots[i].parameter = std::move(parameters[i]);
  return absl::OkStatus();
}

absl::Status Optimizer::Step(const model::Gradients& gradients, double lr) {
  if (!(std::isfinite(lr) && lr >= 0)) {
    return InvalidArgument("optimizer", "learning rate is out of range", absl::StrCat(lr),
                           "a finite number, at least 0");
  }
  std::vector<std::pair<Slot*, const model::ParameterGradient*>> updates;
  for (Slot& slot : impl_->slots) {
    const auto gradient = gradients.find(slot.parameter.name);
    if (gradient == gradients.end()) continue;
    EQAT_RETURN_IF_ERROR(CheckGradient(slot, gradient->second));
    updates.emplace_back(&slot, &gradient->second);
  }
  std::vector<int64_t> costs;
  for (const auto& [slot, gradient] : updates) costs.push_back(UpdatedValues(*slot, *gradient));
  ParallelTasks(costs, [&](int64_t task) {
    const auto& [slot, gradient] = updates[task];
    StepSlot(impl_->config, lr, *slot, *gradient);
  });
  return absl::OkStatus();
}

std::vector<Optimizer::StateTensor> Optimizer::State() const {
  std::vector<StateTensor> tensors;
  for (const Slot& slot : impl_->slots) {
    for (const Buffer& buffer : slot.buffers) {
      const size_t size = static_cast<size_t>(buffer.table.rows() * buffer.table.cols());
      tensors.push_back({BufferName(slot, buffer), buffer.shape, absl::MakeConstSpan(buffer.table.data(), size)});
    }
    tensors.push_back({StepName(slot), {}, absl::MakeConstSpan(&slot.step, 1)});
  }
  return tensors;
}

absl::Status Optimizer::SetState(const io::SafetensorsReader& reader) {
  std::vector<float> steps;
  std::vector<Table> tables;
  for (const Slot& slot : impl_->slots) {
    EQAT_ASSIGN_OR_RETURN(const float step, ReadStep(reader, StepName(slot)));
    steps.push_back(step);
    for (const Buffer& buffer : slot.buffers) {
      EQAT_ASSIGN_OR_RETURN(Table table, ReadBuffer(reader, BufferName(slot, buffer), buffer));
      tables.push_back(std::move(table));
    }
  }
  if (reader.tensors().size() != steps.size() + tables.size()) {
    return InvalidArgument(reader.path(), "optimizer state holds tensors of another optimizer",
                           absl::StrCat(reader.tensors().size(), " tensors"),
                           absl::StrCat(steps.size() + tables.size()));
  }
  auto table = tables.begin();
  for (size_t i = 0; i < steps.size(); ++i) {
    impl_->slots[i].step = steps[i];
    for (Buffer& buffer : impl_->slots[i].buffers) buffer.table = std::move(*table++);
  }
  return absl::OkStatus();
}

}  // namespace eqat::train
