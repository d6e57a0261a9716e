// Workload: one benchmark, set up and checked, ready to be timed. Names are those of eqat_bench:
//
//   forward/{gather_limit, nn, qat8, qat4, qat2}      forward of the module in training, look-ups of one batch
//   forward/{quantized8, quantized4, quantized2}      look-up in packed rows
//   step/{nn, qat8, qat4}_{sgd, adagrad}              forward, backward and update of the touched rows
//   quantize/{read_sweep, 8, 4, 2}                    a pass over the whole table
//
// All variants of a shape look up the same batches in the same values, so a ratio of two compares them alone.
#ifndef EQAT_BENCH_WORKLOAD_H_
#define EQAT_BENCH_WORKLOAD_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "bench/shape.h"

namespace eqat::bench {

class Workload {
 public:
  virtual ~Workload() = default;

  // One call. `iteration` picks the batch, and the copy of a table that has several.
  virtual void Run(int64_t iteration) = 0;
  // Calls once for each copy and compares all results with the scalar reference; ends the program if a bit differs.
  virtual void Check() = 0;

  int64_t num_batches() const { return num_batches_; }
  int64_t items_per_call() const { return items_per_call_; }  // look-ups, or rows for op quantize
  double bytes_per_item() const { return bytes_per_item_; }   // of the stored row that is read
  bool items_are_rows() const { return items_are_rows_; }

 protected:
  Workload(int64_t num_batches, int64_t items_per_call, double bytes_per_item, bool items_are_rows)
      : num_batches_(num_batches),
        items_per_call_(items_per_call),
        bytes_per_item_(bytes_per_item),
        items_are_rows_(items_are_rows) {}

 private:
  int64_t num_batches_;
  int64_t items_per_call_;
  double bytes_per_item_;
  bool items_are_rows_;
};

std::vector<std::string> VariantsOf(const std::string& op);  // in the order above

// Checked; null for a name that is none. Does not depend on shape.threads: SetNumThreads does.
std::unique_ptr<Workload> MakeWorkload(const std::string& op, const std::string& variant, const Shape& shape);

// By op, unchecked; null for a variant that is none.
std::unique_ptr<Workload> MakeForward(const std::string& variant, const Shape& shape);
std::unique_ptr<Workload> MakeStep(const std::string& variant, const Shape& shape);
std::unique_ptr<Workload> MakeQuantize(const std::string& variant, const Shape& shape);

}  // namespace eqat::bench

#endif  // EQAT_BENCH_WORKLOAD_H_
