#!/usr/bin/env python3
"""The demo's packed tables as NumPy arrays of the values that are looked up."""

import numpy as np

from demo_model import DemoModel, differing

demo = DemoModel(__doc__)
model = demo.models / "quantized-8"
with np.load(demo.export(model, "npz")) as arrays:
    wrong = sum(differing(demo.rows(model, table), values) for table, values in arrays.items())
    total = sum(values.size for values in arrays.values())
print(f"NumPy: {wrong} differing of {total} values")
raise SystemExit(wrong != 0)
