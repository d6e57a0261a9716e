// Observe, fake-quantize and pool in one pass over the looked-up rows of a table: each row's own minimum and maximum
// give its scale and zero point, its values go to the code grid and back, and the results are reduced as PoolRows does.
//
//   s = (max - min) / quant_max;  s = s > eps ? s : 1;  z = (-1 * min) / s      (choose_qparams.h)
//   q = rne(fma(x, f32(1 / s), z));  y = f32((double(q) - double(z)) * double(s));  out = pool(y)
//
// The clamp of fake quantization is left out, because it cannot act: quant_min is 0 and with |z| <= 2^20 the errors of
// 1 / s, z and the fused product move min and max by less than 1/2 from codes 0 and quant_max (at most |z| * 2^-22 +
// quant_max * 2^-21). For the same reason every element of the straight-through mask is 1.
//
// Where y can be had without double: let 2^b > quant_max >= 2^(b-1) and 2^(b-2) <= z < 2^b. All of q, z and q - z are
// multiples of u = 2^(b-25) below 2^b, so d = f32(q - z) misses q - z by e in {-u, 0, u}, (q - d) - z computes e
// exactly, e * s is exact (s is far from underflow), and fma(d, s, e * s) is (q - z) * s rounded once. The double
// product is exact too (25 + 24 bits), so both are the same bits.
//
// Follows torch.ao.quantization's MovingAveragePerChannelMinMaxObserver with averaging_constant 1, the operator
// fake_quantize_per_channel_affine and a pooled look-up, in one. Same bits on every target.
#ifndef EQAT_QUANT_KERNELS_FAKE_QUANTIZE_POOL_KERNELS_H_
#define EQAT_QUANT_KERNELS_FAKE_QUANTIZE_POOL_KERNELS_H_

#include <cstdint>

#include "core/pool_kernels.h"
#include "core/row_bounds.h"
#include "core/table_view.h"

namespace eqat::quant {

// Bounds of one channel.
struct Bounds {
  float min_val = 0.0f;
  float max_val = 0.0f;
};

namespace kernels {

// Codes 0 to quant_max; REQUIRES: SupportsFakeQuantizePool.
struct FreshRule {
  int32_t quant_max = 255;
  float eps = 1.1920928955078125e-07f;
};

// Whether the kernels hold for codes [quant_min, quant_max] and `eps`.
bool SupportsFakeQuantizePool(int32_t quant_min, int32_t quant_max, float eps);

// out: [args.num_bags, args.rows.cols]. False, with any content in `out`, if a row of a position (padding included)
// holds NaN or infinity, has a range that overflows float32, or |zero point| > 2^20: such rows need the long way, which
// knows clamps, masks and messages. Parallel over bags. 4-byte alignment, any number of columns. `bounds`, if it is not
// null, receives those of the row at each position, as RowMinMax finds them, and stays empty for a batch that repeats
// its rows so much that each is quantized once; its `forward` and `rows` are left alone.
bool FakeQuantizePool(const PoolArgs& args, const FreshRule& rule, MutableTableView out, RowBounds* bounds = nullptr);

// Without pooling: out [n, table.cols] receives the fake-quantized rows `ids` [n]. False as above.
bool FakeQuantizeRows(TableView table, const int64_t* ids, int64_t n, const FreshRule& rule, MutableTableView out);

// Smallest and largest value of each of the rows `ids` [n], as RowMinMax finds them. False as above.
bool FindFreshBounds(TableView table, const int64_t* ids, int64_t n, const FreshRule& rule, Bounds* bounds);

}  // namespace kernels
}  // namespace eqat::quant

#endif  // EQAT_QUANT_KERNELS_FAKE_QUANTIZE_POOL_KERNELS_H_
