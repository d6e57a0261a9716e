// The element-wise arithmetic of the optimizers: float32, each operation rounded once, scalar factors computed in
// double and cast at use, as torch.optim does. Internal to this folder.
//
// Every dispatch target and the reference give the same bits (which NaN aside). Pointers of one call must not overlap.
// Cost: one pass, bound by memory: listed rows are fetched ahead.
#ifndef EQAT_TRAIN_UPDATE_KERNELS_H_
#define EQAT_TRAIN_UPDATE_KERNELS_H_

#include <cstdint>

namespace eqat::train {

// What one call updates: `count` stretches of n elements. Gradient i is grad[i * n, (i + 1) * n); it belongs to
// elements [at * n, (at + 1) * n) of the parameter and of its state, where at is rows[i], or i when `rows` is null.
struct Stretches {
  const float* grad = nullptr;
  int64_t n = 0;
  const int64_t* rows = nullptr;  // distinct
  int64_t count = 1;
};

struct SgdFactors {
  float lr = 0;
  float weight_decay = 0;
  float momentum = 0;
  float gradient_share = 1;  // 1 - dampening; 1 in the first step
  bool nesterov = false;
};
// w -= lr * (g + wd * w)
void SgdUpdate(const SgdFactors& factors, const Stretches& stretches, float* w);
// buf = mu * buf + share * (g + wd * w), then w -= lr * buf, or with nesterov lr * (g + wd * w + mu * buf)
void SgdMomentumUpdate(const SgdFactors& factors, const Stretches& stretches, float* w, float* buf);

struct AdagradFactors {
  float lr = 0;  // after lr_decay
  float weight_decay = 0;
  float eps = 0;
};
// d = g + wd * w;  sum += d^2;  w -= (lr * d) / (sqrt(sum) + eps)
void AdagradUpdate(const AdagradFactors& factors, const Stretches& stretches, float* w, float* sum);
// As torch on a sparse gradient: sum += g^2;  w -= lr * (g / (sqrt(sum) + eps))
void SparseAdagradUpdate(const AdagradFactors& factors, const Stretches& stretches, float* w, float* sum);
// A stretch has one element of state: sum[at] += mean(g^2);  w -= lr / (sqrt(sum[at]) + eps) * g.  The mean's sum runs
// in eight fixed lanes, element i in lane i mod 8.
void RowWiseAdagradUpdate(const AdagradFactors& factors, const Stretches& stretches, float* w, float* sum);

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
void AdamUpdate(const AdamFactors& factors, const Stretches& stretches, float* w, float* m, float* v);
// m += (1 - b1) * (g - m);  v += (1 - b2) * (g^2 - v);  w -= step_size * (m / (sqrt(v) + eps))
void SparseAdamUpdate(const AdamFactors& factors, const Stretches& stretches, float* w, float* m, float* v);

// The slow obvious versions that the above are tested against, on one stretch of n elements.
namespace reference {

void SgdUpdate(const SgdFactors& factors, const float* grad, float* w, int64_t n);
void SgdMomentumUpdate(const SgdFactors& factors, const float* grad, float* w, float* buf, int64_t n);
void AdagradUpdate(const AdagradFactors& factors, const float* grad, float* w, float* sum, int64_t n);
void SparseAdagradUpdate(const AdagradFactors& factors, const float* grad, float* w, float* sum, int64_t n);
void RowWiseAdagradUpdate(const AdagradFactors& factors, const float* grad, float* w, float* sum, int64_t n);
void AdamUpdate(const AdamFactors& factors, const float* grad, float* w, float* m, float* v, int64_t n);
void SparseAdamUpdate(const AdamFactors& factors, const float* grad, float* w, float* m, float* v, int64_t n);

}  // namespace reference
}  // namespace eqat::train

#endif  // EQAT_TRAIN_UPDATE_KERNELS_H_
