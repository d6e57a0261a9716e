#!/usr/bin/env python3
"""The demo's tables, trained for PyTorch's packed rows (configs/deploy_torch_4bit.json) and looked up by
torch.ops.quantized.embedding_bag_4bit_rowwise_offsets: what was trained is what is served."""

import safetensors.numpy
import torch

from demo_model import DemoModel, differing

demo = DemoModel(__doc__)
model = demo.trained_for("deploy_torch_4bit")
rows = safetensors.numpy.load_file(demo.export(model, "torch"))
wrong = total = 0
for table, packed in rows.items():
    ids = torch.arange(len(packed))
    theirs = torch.ops.quantized.embedding_bag_4bit_rowwise_offsets(torch.tensor(packed), ids, ids).numpy()
    wrong += differing(demo.rows(model, table), theirs)
    total += theirs.size
print(f"PyTorch's 4-bit look-ups of {len(rows)} tables: {wrong} differing of {total} values")
raise SystemExit(wrong != 0)
