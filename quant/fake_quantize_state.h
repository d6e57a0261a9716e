// Checks of a FakeQuantizeState that comes from outside. Internal to quant/.
#ifndef EQAT_QUANT_FAKE_QUANTIZE_STATE_H_
#define EQAT_QUANT_FAKE_QUANTIZE_STATE_H_

#include <cstdint>

#include "absl/status/status.h"
#include "quant/choose_qparams.h"
#include "quant/fake_quantize.h"

namespace eqat::quant {

// As FakeQuantize::SetState promises, apart from eps (Validate knows its range).
absl::Status CheckState(const FakeQuantizeState& state, const QParamsRule& rule, int64_t channels);

// Whether the state holds bounds, and whether its scale and zero point were ever set for `channels` channels.
bool HasBounds(const FakeQuantizeState& state);
bool HasQParams(const FakeQuantizeState& state, int64_t channels);

}  // namespace eqat::quant

#endif  // EQAT_QUANT_FAKE_QUANTIZE_STATE_H_
