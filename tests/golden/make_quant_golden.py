"""Writes quant_golden.txt: torch's observers, fake quantizers and printed tensors, for tests/quant.

    /usr/bin/python3 make_quant_golden.py > quant_golden.txt

Records, one a line; floats are bit patterns in hex, zero points are written as floats whatever their type:
    module NAME OBSERVER DTYPE QSCHEME QUANT_MIN QUANT_MAX REDUCE_RANGE AVERAGING_CONSTANT CH_AXIS ROWS COLS
        QUANT_MIN and QUANT_MAX are - where they are not given; followed by forwards:
    forward X | MIN_VAL | MAX_VAL | SCALE | ZERO_POINT | Y | MASK
    operator KIND QUANT_MIN QUANT_MAX SCALE ZERO_POINT | X | Y | MASK
        fake_quantize_per_channel_affine on one channel; KIND float or int: the type of its zero point
    text DTYPE VALUES | what torch prints, with \\n for a line break

With averaging constant 1 the observer is reset before each forward: eqat takes over the present bounds exactly, torch
adds their difference to the old ones, which rounds.

The reference must be a build that dispatches to AVX2 or better: there z + x * inv is one fused operation, the rounding
that eqat defines for every target.
"""

import math
import struct

import torch
from torch.ao.quantization import (FakeQuantize, MinMaxObserver, MovingAverageMinMaxObserver,
                                   MovingAveragePerChannelMinMaxObserver, PerChannelMinMaxObserver)

ROWS = 9
COLS = 5
DTYPES = {"quint8": torch.quint8, "qint8": torch.qint8, "quint4x2": torch.quint4x2}
PER_CHANNEL = ("per_channel_affine_float_qparams", "per_channel_affine", "per_channel_symmetric")
PER_TENSOR = ("per_tensor_affine", "per_tensor_symmetric")


def bits(values):
    return " ".join(f"{struct.unpack('<I', struct.pack('<f', float(v)))[0]:08x}" for v in torch.as_tensor(values).flatten())


def wide_table(generator):
    """Rows of every kind: constant, tiny, far from zero, on ties, of one sign, huge."""
    normal = torch.randn(ROWS, COLS, generator=generator)
    normal[0] = 0.0
    normal[1] = 0.7
    normal[2] *= 1e-9
    normal[3] += 1e4
    normal[4] = torch.tensor([0.5, 1.5, 2.5, 253.5, 255.0]) - 0.5 * torch.randint(0, 2, (1,), generator=generator)
    normal[5] = normal[5].abs() + 0.1
    normal[6] = -normal[6].abs() - 0.1
    normal[7] *= 1e30
    return normal


def plain_table(generator):
    return torch.randn(ROWS, COLS, generator=generator) + 0.25


def write_module(name, observer, dtype, qscheme, table, ch_axis=0, quant_min=None, quant_max=None, reduce_range=False,
                 averaging_constant=None):
    kwargs = dict(dtype=DTYPES[dtype], qscheme=getattr(torch, qscheme), reduce_range=reduce_range)
    if averaging_constant is not None:
        kwargs["averaging_constant"] = averaging_constant
    if qscheme in PER_CHANNEL:
        kwargs["ch_axis"] = ch_axis
    module = FakeQuantize(observer=observer, quant_min=quant_min, quant_max=quant_max, **kwargs)
    shown = ["-" if v is None else v for v in (quant_min, quant_max)]
    print("module", name, observer.__name__, dtype, qscheme, *shown, int(reduce_range), averaging_constant or 0, ch_axis,
          ROWS, COLS)
    generator = torch.Generator().manual_seed(len(name))
    for _ in range(3):
        if averaging_constant == 1.0:
            module.activation_post_process.reset_min_max_vals()
        x = table(generator).requires_grad_()
        y = module(x)
        y.backward(torch.ones_like(y))
        observed = module.activation_post_process
        mask = "".join(str(int(m)) for m in x.grad.flatten())
        print("forward", bits(x.detach()), "|", bits(observed.min_val), "|", bits(observed.max_val), "|",
              bits(module.scale), "|", bits(module.zero_point), "|", bits(y.detach()), "|", mask)


def write_operator(kind, quant_min, quant_max, scale, zero_point, x):
    x = torch.tensor([x], dtype=torch.float32)
    scales = torch.tensor([scale], dtype=torch.float32)
    zero_points = torch.tensor([zero_point], dtype=torch.float32 if kind == "float" else torch.int32)
    y, mask = torch.ops.aten.fake_quantize_per_channel_affine_cachemask(x, scales, zero_points, 0, quant_min, quant_max)
    print("operator", kind, quant_min, quant_max, bits(scales), bits(zero_points), "|", bits(x), "|", bits(y), "|",
          "".join(str(int(m)) for m in mask.flatten()))


def write_text(dtype, values):
    tensor = torch.tensor(values, dtype=getattr(torch, dtype))
    shown = bits(tensor) if dtype == "float32" else " ".join(str(v) for v in values)
    print("text", dtype, shown, "|", str(tensor).replace("\n", "\\n"))


def main():
    print(f"# Written by tests/golden/make_quant_golden.py with torch {torch.__version__}.")
    for qscheme in PER_CHANNEL:
        for dtype in DTYPES:
            write_module("min_max", PerChannelMinMaxObserver, dtype, qscheme, wide_table)
            for constant in (0.01, 0.5, 1.0):
                write_module(f"moving_{constant}", MovingAveragePerChannelMinMaxObserver, dtype, qscheme, wide_table,
                             averaging_constant=constant)
        write_module("columns", PerChannelMinMaxObserver, "quint8", qscheme, plain_table, ch_axis=1)
        write_module("columns_moving", MovingAveragePerChannelMinMaxObserver, "qint8", qscheme, plain_table, ch_axis=1,
                     averaging_constant=0.1)
        write_module("custom_unsigned", PerChannelMinMaxObserver, "quint8", qscheme, wide_table, quant_min=0,
                     quant_max=254)
        write_module("custom_signed", PerChannelMinMaxObserver, "qint8", qscheme, wide_table, quant_min=-127,
                     quant_max=127)
        write_module("reduced_signed", PerChannelMinMaxObserver, "qint8", qscheme, wide_table, reduce_range=True)
    write_module("reduced_unsigned", PerChannelMinMaxObserver, "quint8", PER_CHANNEL[0], wide_table, reduce_range=True)
    for qscheme in PER_TENSOR:
        for dtype in DTYPES:
            write_module("min_max", MinMaxObserver, dtype, qscheme, plain_table)
            write_module("moving", MovingAverageMinMaxObserver, dtype, qscheme, plain_table, averaging_constant=0.01)
            write_module("memoryless", MovingAverageMinMaxObserver, dtype, qscheme, plain_table, averaging_constant=1.0)

    inf, nan = math.inf, math.nan
    special = [nan, inf, -inf, 1e30, -1e30, 9.2e18, 9.3e18, -9.2e18, -9.3e18, 2.5e9, -2.5e9, 3.4e38, -3.4e38, 1e-45,
               -0.0, 0.0, 255.5, -0.5, 0.5, 1.5, 2.5, 254.5, 255.0, -1.0, 300.0, -300.0, 16777217.0, 8388607.5]
    for kind, zero_points in (("float", (0.0, -0.0, 0.5, 141.66667, -13.421053, 1e6, 1e-20)), ("int", (0, 3, 128))):
        for zero_point in zero_points:
            for scale in (1.0, 0.3, 7.8e-3, 1e-7, 1e38, 1e-40):
                write_operator(kind, 0, 255, scale, zero_point, special)
                write_operator(kind, 0, 15 if zero_point in (0, 3) else 255, scale, zero_point,
                               [scale * v for v in (-1, -0.5, 0.5, 1.5, 7.5, 14.5, 15, 15.5, 16, 254.5, 255.5)])
    write_operator("int", -128, 127, 0.25, -7, special)

    for values in ([1.0], [0.0], [], [-0.0, 0.0], [1.0, 2.0, -3.0], [0.5, 1.25], [1e-5, 1.0], [1e9, 1.0], [2e8],
                   [1000.0, 1.0], [1001.0, 1.0], [0.1, 150.0], [inf, -inf, nan], [inf, 0.5], [inf, 3.0], [1e-7, 0.0],
                   [i * 0.37 for i in range(30)], [float(i) for i in range(1000)], [i * 0.5 - 3 for i in range(1001)]):
        write_text("float32", values)
    for values in ([0], [1], [-3, 128], list(range(-20, 20)), [7] * 1001):
        write_text("int32", values)
    write_text("uint8", [1])


main()
