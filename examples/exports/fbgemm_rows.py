#!/usr/bin/env python3
"""The demo's tables in FBGEMM's rows with float16 scale and bias, decoded as its kernels do."""

import numpy as np
import safetensors.numpy

from demo_model import DemoModel, differing

demo = DemoModel(__doc__)
model = demo.packed_for("deploy_fbgemm_4bit")
tables = safetensors.numpy.load_file(demo.export(model, "fbgemm_half", "--row-alignment", "16"))
wrong = total = 0
for table, rows in tables.items():
    columns = demo.tables(model)[table][1]
    scale, bias = rows[:, :4].copy().view(np.float16).astype(np.float32).T  # before the codes
    packed = rows[:, 4:4 + columns // 2]
    codes = np.stack([packed & 15, packed >> 4], 2).reshape(len(rows), columns).astype(np.float32)
    theirs = scale[:, None] * codes + bias[:, None]  # the products are exact: one rounding
    wrong += differing(demo.rows(model, table), theirs)
    total += theirs.size
print(f"FBGEMM rows of {len(tables)} tables: {wrong} differing of {total} values")
raise SystemExit(wrong != 0)
