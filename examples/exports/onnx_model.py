#!/usr/bin/env python3
"""The demo's whole model at 4 bits, and its tables alone, run by onnxruntime."""

import numpy as np
import onnxruntime

from demo_model import DemoModel, differing

demo = DemoModel(__doc__)
model = demo.models / "quantized-4"
tables = demo.tables(model)
rng = np.random.default_rng(1)
batch = {}
for table, (rows, _, mode) in tables.items():
    batch[f"{table}_ids"] = rng.integers(0, rows, 3 * 1000 if mode else 1000)
    if mode:
        batch[f"{table}_ids.offsets"] = np.arange(0, 3 * 1000, 3)


def session(file):
    return onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])


# Every table, one output each: the same bits.
names = [flag for table in tables for flag in ("--module", table)]
ours = [demo.run(model, {"input": batch[f"{table}_ids"]} |
                 ({"offsets": batch[f"{table}_ids.offsets"]} if mode else {}), "--module", table)
        for table, (_, _, mode) in tables.items()]
inputs = {f"{table}.input": batch[f"{table}_ids"] for table in tables} | {
    f"{table}.offsets": batch[f"{table}_ids.offsets"] for table, (_, _, mode) in tables.items() if mode}
theirs = session(demo.export(model, "onnx", *names)).run([f"{table}.output" for table in tables], inputs)
wrong = sum(map(differing, ours, theirs))
print(f"onnxruntime, tables: {wrong} differing of {sum(map(np.size, ours))} values")

# The whole model: the layers on top add their products in another order.
ours = demo.run(model, batch)
theirs = session(demo.export(model, "onnx")).run(["output"], batch)[0]
bound = float(np.abs(ours - theirs).max())
print(f"onnxruntime, whole model: {differing(ours, theirs)} of {ours.size} outputs differ, by up to {bound:.1e}")
raise SystemExit(wrong != 0 or bound > 1e-4)
