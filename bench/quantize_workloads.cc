#include <algorithm>
#include <functional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "bench/data.h"
#include "bench/machine_limits.h"
#include "bench/modules.h"
#include "bench/or_die.h"
#include "bench/scalar_reference.h"
#include "bench/workload.h"
#include "core/parallel_for.h"
#include "core/zeroed_memory.h"
#include "quant/kernels/pack_kernels.h"
#include "quant/kernels/quantize_rows_kernels.h"
#include "quant/quantize_rows.h"

namespace eqat::bench {
namespace {

double FloatRowBytes(const Shape& shape) { return static_cast<double>(shape.dim) * sizeof(float); }

// The float table of `shape` is read once, by plain additions.
class SweepWorkload : public Workload {
 public:
  explicit SweepWorkload(const Shape& shape)
      : Workload(1, shape.rows, FloatRowBytes(shape), true), table_(FloatTable(shape.rows, shape.dim, 0)) {}

  void Run(int64_t) override { sum_ = ReadSweep(words(), num_words()); }
  void Check() override {
    Run(0);
    const uint64_t want = ReadSweepReference(words(), num_words());
    DieUnlessSame(&sum_, &want, sizeof(want), "quantize/read_sweep");
  }

 private:
  const uint64_t* words() const { return reinterpret_cast<const uint64_t*>(table_.data()); }
  int64_t num_words() const { return table_.rows() * table_.cols() / 2; }

  Table table_;
  uint64_t sum_ = 0;
};

// Packed rows as QuantizedTable keeps them: codes, and the parameters right behind them.
class PackedMemory {
 public:
  PackedMemory(int64_t rows, int64_t cols, int bits)
      : params_at_((quant::kernels::PackedRowBytes(cols, bits) + 3) / 4 * 4),
        row_bytes_(params_at_ + static_cast<int64_t>(sizeof(quant::QParams))),
        bytes_(rows * row_bytes_),
        memory_(AllocateZeroed(bytes_)) {
    if (memory_ == nullptr) OrDie(absl::ResourceExhaustedError("no memory for packed rows"));
  }

  int64_t row_bytes() const { return row_bytes_; }
  // Row 0 is row `begin`.
  quant::MutablePackedRows RowsFrom(int64_t begin) const {
    uint8_t* const first = static_cast<uint8_t*>(memory_.get()) + begin * row_bytes_;
    return {first, row_bytes_, first + params_at_, row_bytes_};
  }

 private:
  int64_t params_at_;
  int64_t row_bytes_;
  int64_t bytes_;
  std::shared_ptr<void> memory_;
};

class QuantizeWorkload : public Workload {
 public:
  QuantizeWorkload(const Shape& shape, int bits)
      : Workload(1, shape.rows, FloatRowBytes(shape), true),
        name_(absl::StrCat("quantize/", bits, "/", DataText(shape))),
        bits_(bits),
        bag_(MakeQatBag(shape, 0, bits)),
        packed_(shape.rows, shape.dim, bits) {}

  void Run(int64_t) override {
    const TableView table = bag_.weight().view();
    OrDie(quant::QuantizeRows(bag_.weight_fake_quant(), table, 0, table.rows, packed_.RowsFrom(0)));
  }

  void Check() override {
    constexpr int64_t kBlock = 1024;
    Run(0);
    const TableView table = bag_.weight().view();
    ParallelFor(table.rows, kBlock, [&](int64_t begin, int64_t end) {
      const PackedMemory want(end - begin, table.cols, bits_);
      const TableView rows(table.Row(begin), end - begin, table.cols);
      quant::kernels::reference::QuantizeRowsByOwnBounds(rows, RowWiseRule(bits_), bits_, want.RowsFrom(0));
      DieUnlessSame(packed_.RowsFrom(begin).codes, want.RowsFrom(0).codes, (end - begin) * want.row_bytes(), name_);
    });
  }

 private:
  std::string name_;
  int bits_;
  qat::EmbeddingBag bag_;
  PackedMemory packed_;
};

}  // namespace

std::unique_ptr<Workload> MakeQuantize(const std::string& variant, const Shape& shape) {
  if (variant == "read_sweep") return std::make_unique<SweepWorkload>(shape);
  for (const int bits : {8, 4, 2}) {
    if (variant == absl::StrCat(bits)) return std::make_unique<QuantizeWorkload>(shape, bits);
  }
  return nullptr;
}

}  // namespace eqat::bench
