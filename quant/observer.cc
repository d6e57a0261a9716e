#include "quant/observer.h"

#include <cmath>
#include <limits>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/error.h"
#include "core/status_macros.h"
#include "quant/bounds.h"
#include "quant/row_scan.h"
#include "quant/tensor_text.h"

namespace eqat::quant {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

Bounds Joined(Bounds a, Bounds b) {
  return {b.min_val < a.min_val ? b.min_val : a.min_val, b.max_val > a.max_val ? b.max_val : a.max_val};
}

// Bounds of each row of `x`, all finite.
absl::StatusOr<std::vector<Bounds>> BoundsOfRows(TableView x) {
  std::vector<Bounds> bounds(x.rows);
  const int64_t bad = FirstFailure(x.rows, x.cols, [&](int64_t row) {
    const std::optional<Bounds> found = BoundsOf(absl::MakeConstSpan(x.Row(row), x.cols));
    if (found.has_value()) bounds[row] = *found;
    return found.has_value();
  });
  if (bad < x.rows) return NotFiniteError(bad, absl::MakeConstSpan(x.Row(bad), x.cols));
  return bounds;
}

// Column by column; the rows are known to be finite.
std::vector<Bounds> BoundsOfColumns(TableView x) {
  std::vector<Bounds> bounds(x.cols);
  for (int64_t col = 0; col < x.cols; ++col) bounds[col] = {x.Row(0)[col], x.Row(0)[col]};
  for (int64_t row = 1; row < x.rows; ++row) {
    for (int64_t col = 0; col < x.cols; ++col) bounds[col] = Joined(bounds[col], {x.Row(row)[col], x.Row(row)[col]});
  }
  return bounds;
}

}  // namespace

Observer::Observer(const ObserverConfig& config, const QParamsRule& rule) : config_(config), rule_(rule) {
  ResetMinMaxVals();
}

absl::StatusOr<Observer> Observer::Create(const ObserverConfig& config) {
  EQAT_RETURN_IF_ERROR(Validate(config));
  if (!TraitsOf(config.kind).computes_qparams) return Observer(config, QParamsRule());
  EQAT_ASSIGN_OR_RETURN(const QParamsRule rule, MakeQParamsRule(config));
  return Observer(config, rule);
}

bool Observer::observed() const { return !min_val_.empty() && min_val_[0] != kInfinity; }

absl::Status Observer::Observe(TableView x) {
  if (!TraitsOf(config_.kind).computes_qparams || x.rows == 0 || x.cols == 0) return absl::OkStatus();
  EQAT_ASSIGN_OR_RETURN(std::vector<Bounds> bounds, BoundsOfRows(x));
  if (!TraitsOf(config_.kind).per_channel) {
    for (const Bounds& row : bounds) bounds[0] = Joined(bounds[0], row);
    bounds.resize(1);
  } else if (config_.ch_axis == 1) {
    bounds = BoundsOfColumns(x);
  }
  if (observed()) EQAT_RETURN_IF_ERROR(JoinHistory(bounds));
  std::vector<float> min_val;
  std::vector<float> max_val;
  for (const Bounds& channel : bounds) {
    min_val.push_back(channel.min_val);
    max_val.push_back(channel.max_val);
  }
  SetMinMaxVals(std::move(min_val), std::move(max_val));
  return absl::OkStatus();
}

absl::Status Observer::JoinHistory(std::vector<Bounds>& bounds) const {
  if (min_val_.size() != bounds.size()) {
    return InvalidArgument("observer", "number of channels has changed", absl::StrCat(bounds.size()),
                           absl::StrCat(min_val_.size()));
  }
  const BoundsRule rule(config_);
  for (size_t i = 0; i < bounds.size(); ++i) {
    bounds[i] = rule.Next({min_val_[i], max_val_[i]}, bounds[i]);
    if (!std::isfinite(bounds[i].min_val) || !std::isfinite(bounds[i].max_val)) {
      return InvalidArgument(absl::StrCat("channel ", i), "moving average of the bounds overflows float32",
                             absl::StrCat(bounds[i].min_val, " to ", bounds[i].max_val), "finite bounds");
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<QParams>> Observer::CalculateQParams() const {
  if (!TraitsOf(config_.kind).computes_qparams) {
    return FailedPrecondition(TraitsOf(config_.kind).name, "computes no scale and zero point");
  }
  if (!observed()) return std::vector<QParams>(1);
  std::vector<QParams> qparams(min_val_.size());
  for (size_t i = 0; i < min_val_.size(); ++i) {
    const Bounds bounds = {min_val_[i], max_val_[i]};
    if (!FindQParams(bounds, rule_, &qparams[i])) return RangeError(absl::StrCat("channel ", i), bounds);
  }
  return qparams;
}

void Observer::ResetMinMaxVals() {
  const bool per_tensor = TraitsOf(config_.kind).computes_qparams && !TraitsOf(config_.kind).per_channel;
  min_val_.assign(per_tensor ? 1 : 0, kInfinity);
  max_val_.assign(per_tensor ? 1 : 0, -kInfinity);
}

void Observer::SetMinMaxVals(std::vector<float> min_val, std::vector<float> max_val) {
  min_val_ = std::move(min_val);
  max_val_ = std::move(max_val);
}

std::string Observer::ToString() const {
  const ObserverKindTraits& kind = TraitsOf(config_.kind);
  if (!kind.computes_qparams) return absl::StrCat(kind.name, "()");
  const auto text = [&kind](const std::vector<float>& values) {
    return kind.per_channel ? FloatTensorText(values) : ScalarText(values[0]);
  };
  return absl::StrCat(kind.name, "(min_val=", text(min_val_), ", max_val=", text(max_val_), ")");
}

}  // namespace eqat::quant
