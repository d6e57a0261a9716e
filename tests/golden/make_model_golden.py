"""Writes a small PyTorch model as a model directory, and what PyTorch computes with it.

    /usr/bin/python3 make_model_golden.py

model/model.json               modules and graph, as a user would write them
model/model.safetensors        model.state_dict(), as safetensors.torch.save_file would write it
model_expected.safetensors     a batch, the model's output in eval mode and the gradients of sum(output * output_weight)

The model: a float EmbeddingBag (mean, sparse), a 4-bit QAT Embedding with padding, an 8-bit QAT EmbeddingBag (sum, weighted,
include_last_offset), their dot products and dense inputs, batch norm and two linear layers. It is trained for three steps so
that no buffer is at its initial value; `spare`, which the graph does not call, keeps all of its own.
"""

import json
import os
import pathlib
import sys

import torch
import torch.ao.nn.qat as nnqat
from torch import nn
from torch.ao.quantization import default_embedding_qat_qconfig, default_embedding_qat_qconfig_4bit

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "torch"))
import safetensors_numpy  # noqa: E402

DIM = 4
ROWS = {"item": 6, "user": 5, "tags": 7, "spare": 3}
DENSE = 2
SEED = 1  # one with which every hidden unit is active in some row
GENERATOR = f"tests/golden/make_model_golden.py, torch {torch.__version__}"


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.item = nn.EmbeddingBag(ROWS["item"], DIM, sparse=True)
        self.user = nnqat.Embedding(ROWS["user"], DIM, padding_idx=0, qconfig=default_embedding_qat_qconfig_4bit)
        self.tags = nnqat.EmbeddingBag(
            ROWS["tags"], DIM, mode="sum", include_last_offset=True, qconfig=default_embedding_qat_qconfig)
        self.spare = nnqat.EmbeddingBag(ROWS["spare"], DIM, mode="max", qconfig=default_embedding_qat_qconfig)
        self.top = nn.Sequential(
            nn.Linear(2 * DIM + DENSE + 3, 3), nn.BatchNorm1d(3, momentum=None), nn.ReLU(), nn.Dropout(0.25),
            nn.Linear(3, 1, bias=False))

    def forward(self, batch):
        e0 = self.item(batch["item_ids"], batch["item_ids.offsets"])
        e1 = self.user(batch["user_ids"])
        e2 = self.tags(batch["tag_ids"], batch["tag_ids.offsets"], batch["tag_ids.per_sample_weights"])
        features = torch.stack([e0, e1, e2], dim=1)
        products = torch.bmm(features, features.transpose(1, 2))
        pairs = torch.tril_indices(3, 3, offset=-1)
        dots = products[:, pairs[0], pairs[1]]
        return self.top(torch.cat([e0, e1 * e2, batch["dense"], dots], dim=1))


def qat(kind, rows, qconfig, **options):
    return {"type": kind, "num_embeddings": rows, "embedding_dim": DIM, **options, "qconfig": qconfig}


def model_json():
    def call(name, target, arg):
        return {"name": name, "op": "call_module", "target": target, "args": [arg]}

    def function(name, target, args, **kwargs):
        node = {"name": name, "op": "call_function", "target": target, "args": args}
        return {**node, "kwargs": kwargs} if kwargs else node

    inputs = ["item_ids", "user_ids", "tag_ids", "dense"]
    return {
        "format": "eqat.model",
        "version": 1,
        "modules": {
            "item": {"type": "nn.EmbeddingBag", "num_embeddings": ROWS["item"], "embedding_dim": DIM, "sparse": True},
            "user": qat("qat.Embedding", ROWS["user"], "default_embedding_qat_qconfig_4bit", padding_idx=0),
            "tags": qat("qat.EmbeddingBag", ROWS["tags"], "default_embedding_qat_qconfig", mode="sum",
                        include_last_offset=True),
            "spare": qat("qat.EmbeddingBag", ROWS["spare"], "default_embedding_qat_qconfig", mode="max"),
            "top.0": {"type": "nn.Linear", "in_features": 2 * DIM + DENSE + 3, "out_features": 3},
            "top.1": {"type": "nn.BatchNorm1d", "num_features": 3, "momentum": None},
            "top.2": {"type": "nn.ReLU"},
            "top.3": {"type": "nn.Dropout", "p": 0.25},
            "top.4": {"type": "nn.Linear", "in_features": 3, "out_features": 1, "bias": False},
        },
        "graph": [
            *({"name": name, "op": "placeholder"} for name in inputs),
            call("e0", "item", "item_ids"),
            call("e1", "user", "user_ids"),
            call("e2", "tags", "tag_ids"),
            function("product", "mul", ["e1", "e2"]),
            function("dots", "interact_dot", [["e0", "e1", "e2"]]),
            function("x", "cat", [["e0", "product", "dense", "dots"]], dim=1),
            *(call(f"t{i}", f"top.{i}", "x" if i == 0 else f"t{i - 1}") for i in range(5)),
            {"name": "output", "op": "output", "args": ["t4"]},
        ],
    }


def make_batch():
    return {
        "item_ids": torch.tensor([3, 1, 1, 5, 0]),
        "item_ids.offsets": torch.tensor([0, 2, 2, 4]),
        "user_ids": torch.tensor([4, 0, 2, 2], dtype=torch.int32),
        "tag_ids": torch.tensor([6, 0, 3, 3, 1]),
        "tag_ids.offsets": torch.tensor([0, 1, 3, 3, 5]),
        "tag_ids.per_sample_weights": torch.tensor([0.5, 1.0, -1.5, 2.0, 0.25]),
        "dense": torch.randn(4, DENSE),
    }


def train(model):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model.train()
    for _ in range(3):
        optimizer.zero_grad()
        model(make_batch()).square().sum().backward()
        optimizer.step()
    model.zero_grad()
    model.eval()


def main():
    torch.manual_seed(SEED)
    torch.set_num_threads(1)
    model = Model()
    train(model)
    os.makedirs(HERE / "model", exist_ok=True)
    (HERE / "model" / "model.json").write_text(json.dumps(model_json(), indent=2) + "\n")
    state = {name: value.detach().numpy().copy() for name, value in model.state_dict().items()}
    safetensors_numpy.write(HERE / "model" / "model.safetensors", state, {"format": "pt", "generator": GENERATOR})

    batch = make_batch()
    batch["tag_ids.per_sample_weights"].requires_grad = True
    output = model(batch)
    output_weight = torch.randn_like(output)
    (output * output_weight).sum().backward()
    expected = {name: value.detach().numpy() for name, value in batch.items()}
    expected["output"] = output.detach().numpy()
    expected["output_weight"] = output_weight.numpy()
    for name, parameter in model.named_parameters():
        if parameter.grad is not None:
            expected[f"grad.{name}"] = parameter.grad.to_dense().numpy()
    expected["grad.tag_ids.per_sample_weights"] = batch["tag_ids.per_sample_weights"].grad.numpy()
    safetensors_numpy.write(HERE / "model_expected.safetensors", expected, {"generator": GENERATOR})


if __name__ == "__main__":
    main()
