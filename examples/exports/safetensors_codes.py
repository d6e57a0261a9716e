#!/usr/bin/env python3
"""The demo's packed tables in safetensors, dequantized by NumPy from what the file says of them."""

import json

import numpy as np
import safetensors

from demo_model import DemoModel, differing

demo = DemoModel(__doc__)
model = demo.models / "quantized-2"
wrong = total = 0
with safetensors.safe_open(demo.export(model, "safetensors"), "numpy") as file:
    tables = json.loads(file.metadata()["tables"])
    for table, meaning in tables.items():
        packed = file.get_tensor(f"{table}.weight.codes")
        codes = (packed[:, :, None] >> np.arange(0, 8, meaning["bits"])) & (2**meaning["bits"] - 1)  # low bits first
        codes = codes.reshape(len(packed), -1)[:, :meaning["embedding_dim"]].astype(np.float64)
        scale = file.get_tensor(f"{table}.weight.scale").astype(np.float64)[:, None]
        zero_point = file.get_tensor(f"{table}.weight.zero_point").astype(np.float64)[:, None]
        theirs = ((codes - zero_point) * scale).astype(np.float32)  # meaning["value"]
        wrong += differing(demo.rows(model, table), theirs)
        total += theirs.size
print(f"safetensors: {wrong} differing of {total} values in {len(tables)} tables")
raise SystemExit(wrong != 0)
