// FakeQuantize simulates quantization in training: values go to the code grid and straight back to float, gradients
// pass where the code was in range (straight-through). Follows torch.ao.quantization.FakeQuantize and its observers.
//
// Two ways to use it, one state:
//   Forward(x)         the whole tensor, as torch: observe all of it, then fake-quantize all of it. All five schemes.
//   ForwardRows(w, r)  row-wise schemes (per channel, ch_axis 0) on a table of which only rows r are needed. Costs what
//                      the rows cost, and yet State(w) afterwards is what torch's whole-table pass would have left:
//
// How: torch's state after its k-th observed forward is, for each row, a function of the row's contents at the forwards
// so far. A row whose content has not changed since it was last accounted for can be brought up to date at any later
// time from its present content. So ForwardRows only counts the forward and accounts for the rows it is given, and
// every writer of the table announces its writes with WillModifyRows / WillModifyAllRows, which account for exactly the
// rows about to change. (For averaging_constant 1 and for min/max this costs one pass over the row; for other moving
// averages one update per forward since, until the value stops changing.)
//
// With averaging_constant 1 the bounds are exactly those of the present content ("memoryless").
//
// A config that names a deployed format (WeightConfig::deploy) has that format's codes and values, found from each row
// itself (deploy_arithmetic.h); the observer records the same state as without, and cannot be switched off. Rows that
// the format cannot hold are errors as rows of too large a range are.
//
// A row that holds NaN or infinity, or whose range overflows float32 (torch: infinite scale), is an InvalidArgument
// that names it where its parameters are needed: in a batch, in State, in DisableObserver. It disturbs nothing else,
// and once repaired it counts as having held the repaired content.
//
// Thread safety: const methods may run concurrently; others not with any other. Work inside is parallel.
#ifndef EQAT_QUANT_FAKE_QUANTIZE_H_
#define EQAT_QUANT_FAKE_QUANTIZE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "core/pool_kernels.h"
#include "core/row_bounds.h"
#include "core/table_view.h"
#include "quant/choose_qparams.h"
#include "quant/kernels/fake_quantize_kernels.h"
#include "quant/types/qconfig.h"

namespace eqat::quant {

// What torch's state_dict holds for a FakeQuantize with its observer.
struct FakeQuantizeState {
  bool fake_quant_enabled = true;
  bool observer_enabled = true;
  // [1] before the first observed forward, then one per channel (per tensor: [1]).
  std::vector<float> scale = {1.0f};
  std::vector<float> zero_point = {0.0f};  // integers held exactly for schemes with an integer zero point
  float eps = 1.1920928955078125e-07f;
  // Per channel: empty before the first observation, then one per channel. Per tensor: one, +inf / -inf before.
  std::vector<float> min_val;
  std::vector<float> max_val;
};

class FakeQuantize {
 public:
  // InvalidArgument if `config` is inconsistent (Validate(WeightConfig)) or has fake_quantize = false.
  static absl::StatusOr<FakeQuantize> Create(const WeightConfig& config);
  FakeQuantize(FakeQuantize&&) noexcept;
  FakeQuantize& operator=(FakeQuantize&&) noexcept;
  ~FakeQuantize();

  const WeightConfig& config() const;
  CodeRange code_range() const;
  bool fake_quant_enabled() const;
  bool observer_enabled() const;
  void EnableFakeQuant();
  void DisableFakeQuant();
  void EnableObserver();
  // Freezes bounds, scale and zero point as of the last observed forward. `table` is the table of ForwardRows (its
  // present content accounts for rows not yet accounted for); null when only Forward was used. O(rows * cols) then.
  absl::Status DisableObserver(const TableView* table);
  // Back to "never observed"; scale and zero point keep their values as of the last observed forward, as torch's
  // reset_min_max_vals. `table` as in DisableObserver.
  absl::Status ResetMinMaxVals(const TableView* table);

  // Whole tensor x as [rows, cols] (ch_axis 0 or 1). y: same shape, may be x itself. mask: null or rows * cols bytes.
  // Observer off and never observed is FailedPrecondition. NaN or infinity: InvalidArgument naming row and column; on
  // error nothing has changed. An empty x changes nothing. Row-wise, x must be the table of ForwardRows if both are
  // used.
  absl::Status Forward(TableView x, MutableTableView y, uint8_t* mask);

  // Rows `rows` (distinct, ascending, inside the table) of `table`, fake-quantized to y [rows.size(), cols]; mask: null
  // or rows.size() * cols bytes. If observing, counts as one observed forward of the whole table. With fake
  // quantization disabled y is the rows themselves and the mask is 1. InvalidArgument "row R ..." for NaN or infinity
  // in one of `rows`; FailedPrecondition if the observer is off and never ran; on error nothing has changed except what
  // y and `mask` hold. InvalidArgument unless row-wise (IsRowWise()) and the number of rows is that of every earlier
  // call.
  absl::Status ForwardRows(TableView table, absl::Span<const int64_t> rows, MutableTableView y, uint8_t* mask);

  // ForwardRows without a mask, and ForwardRows followed by PoolRows (core/pool_kernels.h; args.rows is the table),
  // each in one pass over the rows looked up, which may repeat. Only where every parameter comes from the row itself
  // (averaging_constant 1, both flags on) and every mask element is 1; false otherwise, and for rows that are errors or
  // all but constant: then nothing has changed but `out` and `bounds`, and the long way serves. `bounds`, if it is not
  // null, receives those of the row at each position, or says that there are none.
  bool TryForwardRows(TableView table, absl::Span<const int64_t> rows, MutableTableView out);
  bool TryForwardPool(const PoolArgs& args, MutableTableView out, RowBounds* bounds = nullptr);
  // The same for EvaluateRows; counts and changes nothing.
  bool TryEvaluatePool(const PoolArgs& args, MutableTableView out) const;

  // What a converted table would hold: as ForwardRows, but counts and changes nothing. With the observer on, parameters
  // are those that one more observation of the row would give (for averaging_constant 1: of its present content); with
  // it off, the frozen ones. Fake quantization disabled: the rows themselves.
  absl::Status EvaluateRows(TableView table, absl::Span<const int64_t> rows, MutableTableView y) const;
  // The parameters and codes of EvaluateRows, whether or not fake quantization is enabled. `content` [rows.size(),
  // cols] are the values of those rows (the table's, or a renormalized copy of them). y (its data), codes and mask
  // [rows.size() * cols] and qparams [rows.size()] may each be null.
  absl::Status EvaluateContent(TableView table, absl::Span<const int64_t> rows, TableView content, MutableTableView y,
                               int32_t* codes, QParams* qparams, uint8_t* mask = nullptr) const;

  // The parameters of all rows, or columns, while the observer is off and they are known; empty otherwise.
  absl::Span<const QParams> FrozenQParams() const;

  // Announce a write to rows of the table of ForwardRows, before it happens. `rows` distinct. One pass over
  // those of them that are not yet accounted for since the last forward; none if `bounds` are what that forward
  // (TryForwardPool) saw in exactly these rows. Bounds of another forward, or of other rows, do no harm.
  void WillModifyRows(TableView table, absl::Span<const int64_t> rows, const RowBounds* bounds = nullptr);
  void WillModifyAllRows(TableView table);

  // The state torch's whole-table pass would have now. O(rows * cols); `table` null as in DisableObserver.
  absl::StatusOr<FakeQuantizeState> State(const TableView* table) const;
  // Takes a state over: `channels` is the table's row count (per tensor: 1). Sizes [1]/[0] (never observed) or
  // [channels]; InvalidArgument names the field otherwise, also for NaN, infinity, min > max, scale < 0 or not finite,
  // or an integer zero point outside the code range. A single channel with scale 1, zero point 0 and no bounds counts
  // as never observed.
  absl::Status SetState(FakeQuantizeState state, int64_t channels);

  bool IsRowWise() const;  // per channel with ch_axis 0
  // As torch prints it: "fake_quant_enabled=tensor([1], dtype=torch.uint8), observer_enabled=..., ...".
  std::string ToString(const TableView* table) const;

 private:
  struct Impl;
  explicit FakeQuantize(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace eqat::quant

#endif  // EQAT_QUANT_FAKE_QUANTIZE_H_
