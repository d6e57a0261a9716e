"""Writes qat_golden.h: training sequences of torch.ao.nn.qat.Embedding and EmbeddingBag, with the state after each step.

    /usr/bin/python3 make_qat_golden.py > qat_golden.h

Each sequence trains one module for a few steps on batches that touch only some of its rows. A step records the table
before the forward, the batch, the output, the gradient and the fake quantizer's state after the forward. Between steps
the table changes by SGD, once by a large write to a single row, and the observer is switched off and on again.

The reference must be a build that dispatches to AVX2 or better: there z + x * inv is one fused operation, the rounding
that eqat defines for every target.
"""

import dataclasses
import struct
from typing import Optional

import torch
import torch.ao.nn.qat as nnqat
from torch.ao.quantization import (FakeQuantize, MovingAveragePerChannelMinMaxObserver, NoopObserver,
                                   PerChannelMinMaxObserver, QConfig)

ROWS = 8
COLS = 5
STEPS = 6
OBSERVER_OFF = (3, 4)  # steps with the observer disabled
LARGE_WRITE = 4  # before this step one row moves far outside its bounds


@dataclasses.dataclass
class Case:
    name: str
    dtype: torch.dtype = torch.quint8
    quant_min: int = 0
    quant_max: int = 255
    averaging_constant: Optional[float] = 1.0  # None: PerChannelMinMaxObserver
    mode: Optional[str] = None  # None: Embedding
    padding_idx: Optional[int] = None
    weighted: bool = False
    include_last_offset: bool = False


CASES = [
    Case("embedding_8bit"),
    Case("embedding_4bit_padding", dtype=torch.quint4x2, quant_max=15, padding_idx=2),
    Case("embedding_moving_average", averaging_constant=0.01),
    Case("embedding_min_max", averaging_constant=None),
    Case("embedding_custom_range", quant_max=100),
    Case("embedding_signed", dtype=torch.qint8, quant_min=-128, quant_max=127, averaging_constant=0.25),
    Case("bag_sum_8bit", mode="sum"),
    Case("bag_sum_weighted", mode="sum", weighted=True),
    Case("bag_sum_weighted_padding", mode="sum", weighted=True, padding_idx=1),
    Case("bag_mean_4bit_padding", dtype=torch.quint4x2, quant_max=15, mode="mean", padding_idx=3),
    Case("bag_mean_moving_average", averaging_constant=0.01, mode="mean", include_last_offset=True),
    Case("bag_max_min_max", dtype=torch.quint4x2, quant_max=15, averaging_constant=None, mode="max"),
]


def make_module(case):
    observer = dict(dtype=case.dtype, qscheme=torch.per_channel_affine_float_qparams, ch_axis=0)
    if case.averaging_constant is None:
        observer.update(observer=PerChannelMinMaxObserver)
    else:
        observer.update(observer=MovingAveragePerChannelMinMaxObserver, averaging_constant=case.averaging_constant)
    qconfig = QConfig(activation=NoopObserver.with_args(dtype=torch.float32),
                      weight=FakeQuantize.with_args(quant_min=case.quant_min, quant_max=case.quant_max, **observer))
    if case.mode is None:
        return nnqat.Embedding(ROWS, COLS, padding_idx=case.padding_idx, qconfig=qconfig)
    return nnqat.EmbeddingBag(ROWS, COLS, mode=case.mode, padding_idx=case.padding_idx,
                              include_last_offset=case.include_last_offset, qconfig=qconfig)


def float_bits(tensor):
    values = tensor.detach().float().reshape(-1).tolist()
    return ", ".join("0x%08x" % struct.unpack("<I", struct.pack("<f", v))[0] for v in values)


def integers(tensor):
    return ", ".join(str(v) for v in tensor.tolist())


def keep_exact(case, weight):
    """With averaging constant 1 eqat's bounds are those of the present rows, torch's are v + (cur - v). On multiples of
    2^-12 of moderate size the two are the same."""
    if case.averaging_constant == 1.0:
        weight.copy_(torch.round(weight * 4096) / 4096)


def check_memoryless(case, module):
    observer = module.weight_fake_quant.activation_post_process
    if case.averaging_constant == 1.0 and module.weight_fake_quant.observer_enabled[0] == 1:
        low, high = torch.aminmax(module.weight.detach(), dim=1)
        assert torch.equal(observer.min_val, low) and torch.equal(observer.max_val, high), case.name


def run(case, generator):
    module = make_module(case)
    with torch.no_grad():
        module.weight.copy_(torch.randn(ROWS, COLS, generator=generator))
        if case.padding_idx is not None:
            module.weight[case.padding_idx] = 0
        keep_exact(case, module.weight)
    steps = []
    for step in range(STEPS):
        if step == LARGE_WRITE:
            with torch.no_grad():
                module.weight[5] *= 3
        observing = step not in OBSERVER_OFF
        module.weight_fake_quant.enable_observer(observing)
        # Rows 6 and 7 stay untouched until the end.
        touchable = ROWS if step == STEPS - 1 else ROWS - 2
        indices = torch.randint(0, touchable, (7,), generator=generator)
        offsets = torch.tensor([0, 3, 3, 5] + ([7] if case.include_last_offset else []))
        weights = torch.rand(7, generator=generator) if case.weighted else None
        before = module.weight.detach().clone()
        module.weight.grad = None
        if case.mode is None:
            output = module(indices)
        elif weights is not None:
            output = module(indices, offsets, weights)
        else:
            output = module(indices, offsets)
        grad_output = torch.randn(output.shape, generator=generator)
        output.backward(grad_output)
        check_memoryless(case, module)
        fake_quantize = module.weight_fake_quant
        steps.append(
            "      {%s, {%s}, {%s}, {%s},\n       {%s},\n       {%s},\n       {%s},\n       {%s},\n"
            "       {%s}, {%s},\n       {%s}, {%s}}"
            % ("true" if observing else "false", integers(indices), integers(offsets) if case.mode else "",
               float_bits(weights) if case.weighted else "", float_bits(before), float_bits(output),
               float_bits(grad_output), float_bits(module.weight.grad), float_bits(fake_quantize.scale),
               float_bits(fake_quantize.zero_point), float_bits(fake_quantize.activation_post_process.min_val),
               float_bits(fake_quantize.activation_post_process.max_val)))
        with torch.no_grad():
            module.weight -= 0.25 * module.weight.grad
            keep_exact(case, module.weight)
    constant = 0.0 if case.averaging_constant is None else case.averaging_constant
    return ('    {"%s", "%s", %d, %d, %r, "%s", %d, %s,\n     {\n%s}}'
            % (case.name, str(case.dtype).replace("torch.", ""), case.quant_min, case.quant_max, constant,
               case.mode or "", -1 if case.padding_idx is None else case.padding_idx,
               "true" if case.include_last_offset else "false", ",\n".join(steps)))


HEADER = """// Written by tests/golden/make_qat_golden.py with torch %s. Floats are bit patterns.
#ifndef EQAT_TESTS_GOLDEN_QAT_GOLDEN_H_
#define EQAT_TESTS_GOLDEN_QAT_GOLDEN_H_

#include <cstdint>
#include <vector>

namespace eqat::testing {

struct QatGoldenStep {
  bool observer_enabled;
  std::vector<int64_t> indices, offsets;
  std::vector<uint32_t> per_sample_weights;
  std::vector<uint32_t> weight;  // before the forward
  std::vector<uint32_t> output, grad_output, grad_weight;
  std::vector<uint32_t> scale, zero_point, min_val, max_val;  // after the forward
};

struct QatGoldenSequence {
  const char* name;
  const char* dtype;
  int32_t quant_min, quant_max;
  double averaging_constant;  // 0: PerChannelMinMaxObserver
  const char* mode;           // empty: Embedding
  int64_t padding_idx;        // -1: none
  bool include_last_offset;
  std::vector<QatGoldenStep> steps;
};

inline constexpr int64_t kQatGoldenRows = %d;
inline constexpr int64_t kQatGoldenCols = %d;

// clang-format off
inline const std::vector<QatGoldenSequence>& QatGoldenSequences() {
  static const std::vector<QatGoldenSequence>* const sequences = new std::vector<QatGoldenSequence>{
%s};
  return *sequences;
}
// clang-format on

}  // namespace eqat::testing

#endif  // EQAT_TESTS_GOLDEN_QAT_GOLDEN_H_"""


def main():
    torch.set_num_threads(1)
    assert "AVX" in torch.__config__.show().split("CPU capability usage:")[1].splitlines()[0]
    sequences = [run(case, torch.Generator().manual_seed(20 + i)) for i, case in enumerate(CASES)]
    print(HEADER % (torch.__version__, ROWS, COLS, ",\n".join(sequences)))


if __name__ == "__main__":
    main()
