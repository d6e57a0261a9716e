// Observers collect the bounds from which scale and zero point are chosen. Stand-alone form of what FakeQuantize holds:
// used for post-training quantization and wherever a whole tensor is observed at once. Follows
// torch.ao.quantization.{MinMax,MovingAverageMinMax,PerChannelMinMax,MovingAveragePerChannelMinMax,Noop,Placeholder}Observer.
//
//   min/max          min_val = min(min_val, min(x)), max_val likewise
//   moving average   first x: its bounds; then v = v + c * (cur - v) in float32; c = 1: exactly cur. Where rounding
//                    would leave min above max, max is min
//   noop/placeholder nothing is observed; CalculateQParams is an error
#ifndef EQAT_QUANT_OBSERVER_H_
#define EQAT_QUANT_OBSERVER_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/table_view.h"
#include "quant/choose_qparams.h"
#include "quant/types/qconfig.h"

namespace eqat::quant {

struct Bounds;

class Observer {
 public:
  static absl::StatusOr<Observer> Create(const ObserverConfig& config);

  const ObserverConfig& config() const { return config_; }
  // x: [rows, cols]; an empty x changes nothing. InvalidArgument naming row and column for NaN or infinity, or when the
  // number of channels differs from the first call; on error nothing has changed.
  absl::Status Observe(TableView x);
  // One entry per channel, [1] per tensor. Never observed: scale 1 and zero point 0, as torch.
  // FailedPrecondition for Noop and Placeholder. InvalidArgument naming the channel when a range overflows float32
  // (torch gives an infinite scale).
  absl::StatusOr<std::vector<QParams>> CalculateQParams() const;
  void ResetMinMaxVals();
  bool observed() const;
  // As after observations that ended in these. REQUIRES: as many as channels, finite, min <= max.
  void SetMinMaxVals(std::vector<float> min_val, std::vector<float> max_val);
  // Per channel: empty before the first observation. Per tensor: one entry, +inf / -inf before.
  const std::vector<float>& min_val() const { return min_val_; }
  const std::vector<float>& max_val() const { return max_val_; }
  // As torch prints it: "MinMaxObserver(min_val=-1.5, max_val=2.0)".
  std::string ToString() const;

 private:
  Observer(const ObserverConfig& config, const QParamsRule& rule);
  absl::Status JoinHistory(std::vector<Bounds>& bounds) const;
  ObserverConfig config_;
  QParamsRule rule_;
  std::vector<float> min_val_;
  std::vector<float> max_val_;
};

}  // namespace eqat::quant

#endif  // EQAT_QUANT_OBSERVER_H_
