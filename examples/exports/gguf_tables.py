#!/usr/bin/env python3
"""The demo's tables in a GGUF file, read by ggml's gguf package. Their 16 columns are no whole block of ggml's quantized
types (32 columns), so they are written as F32, exactly, and as F16."""

import gguf
import numpy as np

from demo_model import DemoModel, differing

demo = DemoModel(__doc__)
model = demo.models / "quantized-4"
wrong = total = 0
for tensor in gguf.GGUFReader(demo.export(model, "gguf")).tensors:
    ours = demo.rows(model, tensor.name.removesuffix(".weight"))
    wrong += differing(ours, tensor.data.reshape(ours.shape))
    total += ours.size
print(f"GGUF F32: {wrong} differing of {total} values")

largest = 0.0
for tensor in gguf.GGUFReader(demo.export(model, "gguf_f16", "--requantize")).tensors:
    ours = demo.rows(model, tensor.name.removesuffix(".weight"))
    largest = max(largest, float(np.abs(tensor.data.reshape(ours.shape).astype(np.float32) - ours).max()))
print(f"GGUF F16: values differ by up to {largest:.1e}, as `eqat export` printed")
raise SystemExit(wrong != 0 or largest > 1e-3)
