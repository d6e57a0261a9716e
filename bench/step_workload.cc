#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "bench/data.h"
#include "bench/modules.h"
#include "bench/or_die.h"
#include "bench/scalar_reference.h"
#include "bench/workload.h"
#include "core/rng.h"
#include "model/model.h"
#include "train/optimizer.h"

namespace eqat::bench {
namespace {

constexpr char kName[] = "table";

train::OptimizerConfig OptimizerOf(bool adagrad) {
  train::OptimizerConfig config;
  config.kind = adagrad ? train::OptimizerKind::kAdagrad : train::OptimizerKind::kSgd;
  config.lr = 0.01;
  if (adagrad) config.eps = 1e-10;
  return config;
}

// One copy of the table with what a training loop keeps for it.
template <typename Bag>
class Trained {
 public:
  Trained(Bag bag, bool adagrad) : model_(ModelOf(std::move(bag))), optimizer_(OptimizerOver(model_, adagrad)) {}

  void Step(const LookupInput& input, TableView grad_output, MutableTableView out) {
    OrDie(bag().Forward(input, out, &context_));
    model::Gradients gradients;
    gradients[absl::StrCat(kName, ".weight")].rows = OrDie(bag().Backward(context_, grad_output)).weight;
    OrDie(optimizer_.Step(gradients, optimizer_.config().lr));
  }
  const Table& weight() { return bag().weight(); }
  const train::OptimizerConfig& optimizer() const { return optimizer_.config(); }

 private:
  static model::Model ModelOf(Bag bag) {
    model::Model model;
    OrDie(model.AddModule(kName, std::move(bag)));
    return model;
  }
  static train::Optimizer OptimizerOver(model::Model& model, bool adagrad) {
    return OrDie(train::Optimizer::Create(OptimizerOf(adagrad), model.Parameters()));
  }
  Bag& bag() { return std::get<Bag>(*model_.FindMutable(kName)); }

  model::Model model_;
  train::Optimizer optimizer_;
  nn::LookupContext context_;
};

template <typename Bag>
class StepWorkload : public Workload {
 public:
  template <typename MakeBag>
  StepWorkload(const std::string& variant, const Shape& shape, int bits, MakeBag make_bag)
      : Workload(NumBatches(shape), shape.lookups(), RowBytes(shape), false),
        name_(absl::StrCat("step/", variant, "/", DataText(shape))),
        shape_(shape),
        bits_(bits),
        batches_(BatchesOf(shape)),
        out_(shape.bags * shape.dim),
        grad_output_(OrDie(Table::Zeros(shape.bags, shape.dim))) {
    FillNormal(Rng(3, 4), grad_output_.mutable_view());
    const int64_t num_copies = NumCopies(shape.rows * static_cast<int64_t>(RowBytes(shape)));
    for (int64_t copy = 0; copy < num_copies; ++copy) {
      copies_.emplace_back(make_bag(copy), absl::EndsWith(variant, "_adagrad"));
    }
  }

  void Run(int64_t iteration) override {
    copies_[iteration % copies_.size()].Step(batches_->Input(iteration), grad_output_.view(),
                                             MutableTableView(out_.data(), shape_.bags, shape_.dim));
  }

  void Check() override {
    for (int64_t i = 0; i < static_cast<int64_t>(copies_.size()); ++i) {
      const std::vector<int64_t>& ids = batches_->Indices(i);
      const Table& weight = copies_[i].weight();
      const train::OptimizerConfig& optimizer = copies_[i].optimizer();
      const std::vector<float> out = ForwardReference(weight.view(), ids, batches_->offsets(), bits_);
      const StepReference want =
          StepReferenceOf(weight.view(), ids, batches_->offsets(), bits_, grad_output_.view(),
                          optimizer.kind == train::OptimizerKind::kAdagrad, optimizer.lr, optimizer.eps);
      Run(i);
      DieUnlessSame(out_.data(), out.data(), out.size() * sizeof(float), name_);
      const std::vector<float> weights = RowsReference(weight.view(), want.rows, kFloatBits);
      DieUnlessSame(weights.data(), want.weights.data(), weights.size() * sizeof(float), name_);
    }
  }

 private:
  static double RowBytes(const Shape& shape) { return static_cast<double>(shape.dim) * sizeof(float); }

  std::string name_;
  Shape shape_;
  int bits_;
  std::shared_ptr<const Batches> batches_;
  std::vector<Trained<Bag>> copies_;
  std::vector<float> out_;
  Table grad_output_;
};

}  // namespace

std::unique_ptr<Workload> MakeStep(const std::string& variant, const Shape& shape) {
  for (const char* optimizer : {"sgd", "adagrad"}) {
    if (variant == absl::StrCat("nn_", optimizer)) {
      return std::make_unique<StepWorkload<nn::EmbeddingBag>>(variant, shape, kFloatBits,
                                                              [&](int64_t copy) { return MakeFloatBag(shape, copy); });
    }
    for (const int bits : {8, 4}) {
      if (variant != absl::StrCat("qat", bits, "_", optimizer)) continue;
      return std::make_unique<StepWorkload<qat::EmbeddingBag>>(
          variant, shape, bits, [&](int64_t copy) { return MakeQatBag(shape, copy, bits); });
    }
  }
  return nullptr;
}

}  // namespace eqat::bench
