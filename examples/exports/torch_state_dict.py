#!/usr/bin/env python3
"""The demo's QAT model at 4 bits, loaded into torch.ao.nn.qat modules, which go on training or evaluating it."""

import torch
from torch import nn
from torch.ao.nn import qat
from torch.ao.quantization import default_embedding_qat_qconfig_4bit

from demo_model import DemoModel, differing

demo = DemoModel(__doc__)
model = demo.models / "qat-4"
state = torch.load(demo.export(model, "torch_state_dict"))
modules = {name: (qat.EmbeddingBag(rows, dim, mode=mode, qconfig=default_embedding_qat_qconfig_4bit) if mode else
                  qat.Embedding(rows, dim, qconfig=default_embedding_qat_qconfig_4bit))
           for name, (rows, dim, mode) in demo.tables(model).items()}
hidden, features = state["top.0.weight"].shape
modules["top"] = nn.Sequential(nn.Linear(features, hidden), nn.ReLU(), nn.Linear(hidden, 1))
loaded = nn.ModuleDict(modules)
loaded.load_state_dict(state, strict=True)
loaded.eval()
wrong = total = 0
for table, (rows, _, mode) in demo.tables(model).items():
    ids = torch.arange(rows)
    theirs = (loaded[table](ids, ids) if mode else loaded[table](ids)).detach().numpy()
    wrong += differing(demo.rows(model, table), theirs)
    total += theirs.size
print(f"PyTorch's QAT modules: state loaded strictly, {wrong} differing of {total} values")
raise SystemExit(wrong != 0)
