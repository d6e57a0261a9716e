#include "train/update_kernels.h"

#include <cmath>

namespace eqat::train::reference {

void SgdUpdate(const SgdFactors& f, const float* grad, float* w, int64_t n) {
  if (f.weight_decay == 0.0f) {
    for (int64_t i = 0; i < n; ++i) w[i] -= f.lr * grad[i];
    return;
  }
  for (int64_t i = 0; i < n; ++i) w[i] -= f.lr * (grad[i] + f.weight_decay * w[i]);
}

void SgdMomentumUpdate(const SgdFactors& f, const float* grad, float* w, float* buf, int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    const float d = f.weight_decay == 0.0f ? grad[i] : grad[i] + f.weight_decay * w[i];
    buf[i] = buf[i] * f.momentum + f.gradient_share * d;
    w[i] -= f.lr * (f.nesterov ? d + f.momentum * buf[i] : buf[i]);
  }
}

void AdagradUpdate(const AdagradFactors& f, const float* grad, float* w, float* sum, int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    const float d = f.weight_decay == 0.0f ? grad[i] : grad[i] + f.weight_decay * w[i];
    sum[i] += d * d;
    w[i] -= (f.lr * d) / (std::sqrt(sum[i]) + f.eps);
  }
}

void SparseAdagradUpdate(const AdagradFactors& f, const float* grad, float* w, float* sum, int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    sum[i] += grad[i] * grad[i];
    w[i] -= f.lr * (grad[i] / (std::sqrt(sum[i]) + f.eps));
  }
}

void RowWiseAdagradUpdate(const AdagradFactors& f, const float* grad, float* w, float* sum, int64_t n) {
  constexpr int64_t kLanes = 8;
  float lanes[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    for (int64_t lane = 0; lane < kLanes; ++lane) lanes[lane] += grad[i + lane] * grad[i + lane];
  }
  for (int64_t lane = 0; i < n; ++i, ++lane) lanes[lane] += grad[i] * grad[i];
  const float squares =
      ((lanes[0] + lanes[4]) + (lanes[2] + lanes[6])) + ((lanes[1] + lanes[5]) + (lanes[3] + lanes[7]));
  sum[0] += squares / static_cast<float>(n);
  const float step = f.lr / (std::sqrt(sum[0]) + f.eps);
  for (int64_t j = 0; j < n; ++j) w[j] -= step * grad[j];
}

void AdamUpdate(const AdamFactors& f, const float* grad, float* w, float* m, float* v, int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    const float d = f.weight_decay == 0.0f ? grad[i] : grad[i] + f.weight_decay * w[i];
    m[i] = m[i] * f.beta1 + f.one_minus_beta1 * d;
    v[i] = v[i] * f.beta2 + f.one_minus_beta2 * d * d;
    w[i] -= (f.step_size * m[i]) / (std::sqrt(v[i]) / f.sqrt_bias_correction2 + f.eps);
  }
}

void SparseAdamUpdate(const AdamFactors& f, const float* grad, float* w, float* m, float* v, int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    m[i] += (grad[i] - m[i]) * f.one_minus_beta1;
    v[i] += (grad[i] * grad[i] - v[i]) * f.one_minus_beta2;
    w[i] -= f.step_size * (m[i] / (std::sqrt(v[i]) + f.eps));
  }
}

}  // namespace eqat::train::reference
