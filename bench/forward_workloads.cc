#include <functional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "bench/data.h"
#include "bench/machine_limits.h"
#include "bench/modules.h"
#include "bench/or_die.h"
#include "bench/scalar_reference.h"
#include "bench/workload.h"
#include "quant/kernels/pack_kernels.h"

namespace eqat::bench {
namespace {

// Look-ups of one batch in one copy of the table; the copy keeps what it needs.
using Forward = std::function<void(const Batches& batches, int64_t iteration, MutableTableView out)>;

class ForwardWorkload : public Workload {
 public:
  // `bits` and `row_bytes`: of the values looked up and of the row that holds them.
  ForwardWorkload(const std::string& variant, const Shape& shape, int bits, int64_t row_bytes,
                  const std::function<Forward(int64_t copy)>& make_copy)
      : Workload(NumBatches(shape), shape.lookups(), static_cast<double>(row_bytes), false),
        name_(absl::StrCat("forward/", variant, "/", DataText(shape))),
        shape_(shape),
        bits_(bits),
        batches_(BatchesOf(shape)),
        out_(shape.bags * shape.dim) {
    const int64_t num_copies = NumCopies(shape.rows * row_bytes);
    for (int64_t copy = 0; copy < num_copies; ++copy) copies_.push_back(make_copy(copy));
  }

  void Run(int64_t iteration) override {
    copies_[iteration % copies_.size()](*batches_, iteration, MutableTableView(out_.data(), shape_.bags, shape_.dim));
  }

  void Check() override {
    const Table table = FloatTable(shape_.rows, shape_.dim, 0);
    for (int64_t i = 0; i < static_cast<int64_t>(copies_.size()); ++i) {
      Run(i);
      const std::vector<float> want = ForwardReference(table.view(), batches_->Indices(i), batches_->offsets(), bits_);
      DieUnlessSame(out_.data(), want.data(), want.size() * sizeof(float), name_);
    }
  }

 private:
  std::string name_;
  Shape shape_;
  int bits_;
  std::shared_ptr<const Batches> batches_;
  std::vector<Forward> copies_;
  std::vector<float> out_;
};

Forward GatherLimit(const Shape& shape, int64_t copy) {
  auto table = std::make_shared<Table>(FloatTable(shape.rows, shape.dim, copy));
  return [table](const Batches& batches, int64_t iteration, MutableTableView out) {
    GatherSum(table->view(), batches.Indices(iteration).data(), batches.offsets().data(), out.rows, out);
  };
}

template <typename Bag>
Forward TrainingForward(Bag bag) {
  struct Module {
    Bag bag;
    nn::LookupContext context;
  };
  auto module = std::make_shared<Module>(Module{std::move(bag), {}});
  return [module](const Batches& batches, int64_t iteration, MutableTableView out) {
    OrDie(module->bag.Forward(batches.Input(iteration), out, &module->context));
  };
}

Forward PackedLookup(quantized::EmbeddingBag bag) {
  auto module = std::make_shared<const quantized::EmbeddingBag>(std::move(bag));
  return [module](const Batches& batches, int64_t iteration, MutableTableView out) {
    OrDie(module->Lookup(batches.Input(iteration), out));
  };
}

}  // namespace

std::unique_ptr<Workload> MakeForward(const std::string& variant, const Shape& shape) {
  const int64_t float_row_bytes = shape.dim * static_cast<int64_t>(sizeof(float));
  const auto make = [&](int bits, int64_t row_bytes, const std::function<Forward(int64_t copy)>& make_copy) {
    return std::make_unique<ForwardWorkload>(variant, shape, bits, row_bytes, make_copy);
  };
  if (variant == "gather_limit") {
    return make(kFloatBits, float_row_bytes, [&](int64_t copy) { return GatherLimit(shape, copy); });
  }
  if (variant == "nn") {
    return make(kFloatBits, float_row_bytes, [&](int64_t copy) { return TrainingForward(MakeFloatBag(shape, copy)); });
  }
  for (const int bits : {8, 4, 2}) {
    if (variant == absl::StrCat("qat", bits)) {
      return make(bits, float_row_bytes, [&](int64_t copy) { return TrainingForward(MakeQatBag(shape, copy, bits)); });
    }
    if (variant == absl::StrCat("quantized", bits)) {
      const int64_t row_bytes =
          quant::kernels::PackedRowBytes(shape.dim, bits) + static_cast<int64_t>(sizeof(quant::QParams));
      return make(bits, row_bytes, [&](int64_t) { return PackedLookup(OrDie(MakeQatBag(shape, 0, bits).Convert())); });
    }
  }
  return nullptr;
}

}  // namespace eqat::bench
