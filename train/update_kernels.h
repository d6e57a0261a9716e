// The element-wise arithmetic of the optimizers on a stretch of n elements: float32, each operation rounded once,
// scalar factors computed in double and cast at use, as torch.optim does. Plain loops: vector width cannot change a
// bit.
//
// Pointers of one call must not overlap. Cost: one pass; these are bound by memory.
#ifndef EQAT_TRAIN_UPDATE_KERNELS_H_
#define EQAT_TRAIN_UPDATE_KERNELS_H_

#include <cstdint>

namespace eqat::train {

struct SgdFactors {
  float lr = 0;
  float weight_decay = 0;
  float momentum = 0;
  float gradient_share = 1;  // 1 - dampening; 1 in the first step
  bool nesterov = false;
};
// w -= lr * (g + wd * w)
void SgdUpdate(const SgdFactors& factors, const float* grad, float* w, int64_t n);
// buf = mu * buf + share * (g + wd * w), then w -= lr * buf, or with nesterov lr * (g + wd * w + mu * buf)
void SgdMomentumUpdate(const SgdFactors& factors, const float* grad, float* w, float* buf, int64_t n);

struct AdagradFactors {
  float lr = 0;  // after lr_decay
  float weight_decay = 0;
  float eps = 0;
};
// d = g + wd * w;  sum += d^2;  w -= (lr * d) / (sqrt(sum) + eps)
void AdagradUpdate(const AdagradFactors& factors, const float* grad, float* w, float* sum, int64_t n);
// As torch on a sparse gradient: sum += g^2;  w -= lr * (g / (sqrt(sum) + eps))
void SparseAdagradUpdate(const AdagradFactors& factors, const float* grad, float* w, float* sum, int64_t n);
// One row of n elements: sum[0] += mean(g^2);  w -= lr / (sqrt(sum[0]) + eps) * g.  The mean's sum runs in eight fixed
// lanes, element i in lane i mod 8.
void RowWiseAdagradUpdate(const AdagradFactors& factors, const float* grad, float* w, float* sum, int64_t n);

struct AdamFactors {
  float beta1 = 0, beta2 = 0;
  float one_minus_beta1 = 0, one_minus_beta2 = 0;
  float step_size = 0;
  float sqrt_bias_correction2 = 0;  // Adam alone
  float weight_decay = 0;           // Adam alone
  float eps = 0;
};
// d = g + wd * w;  m = b1 * m + (1 - b1) * d;  v = b2 * v + (1 - b2) * d * d;
// w -= step_size * m / (sqrt(v) / sqrt_bias_correction2 + eps)
void AdamUpdate(const AdamFactors& factors, const float* grad, float* w, float* m, float* v, int64_t n);
// m += (1 - b1) * (g - m);  v += (1 - b2) * (g^2 - v);  w -= step_size * (m / (sqrt(v) + eps))
void SparseAdamUpdate(const AdamFactors& factors, const float* grad, float* w, float* m, float* v, int64_t n);

}  // namespace eqat::train

#endif  // EQAT_TRAIN_UPDATE_KERNELS_H_
