#include "bench/workload.h"

namespace eqat::bench {
namespace {

std::unique_ptr<Workload> MakeUnchecked(const std::string& op, const std::string& variant, const Shape& shape) {
  if (op == "forward") return MakeForward(variant, shape);
  if (op == "step") return MakeStep(variant, shape);
  if (op == "quantize") return MakeQuantize(variant, shape);
  return nullptr;
}

}  // namespace

std::vector<std::string> VariantsOf(const std::string& op) {
  if (op == "forward") {
    return {"gather_limit", "nn", "qat8", "qat4", "qat2", "quantized8", "quantized4", "quantized2"};
  }
  if (op == "step") return {"nn_sgd", "nn_adagrad", "qat8_sgd", "qat8_adagrad", "qat4_sgd", "qat4_adagrad"};
  if (op == "quantize") return {"read_sweep", "8", "4", "2"};
  return {};
}

std::unique_ptr<Workload> MakeWorkload(const std::string& op, const std::string& variant, const Shape& shape) {
  std::unique_ptr<Workload> workload = MakeUnchecked(op, variant, shape);
  if (workload != nullptr) workload->Check();
  return workload;
}

}  // namespace eqat::bench
