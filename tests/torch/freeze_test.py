"""Compares `eqat run` on models with nested parts, parameters, slices, differences and quotients, and on their frozen forms,
with PyTorch's modules and with torch.jit.freeze.

    freeze_test.py --eqat build/cli/eqat [--seed S] [--cases N]

Outputs and gradients of the original agree with torch's within the rounding of float32 sums; so do those of the model
frozen here and of the one that torch froze.
"""

import argparse
import json
import os
import subprocess
import tempfile

import numpy as np
import torch
from torch import nn

import safetensors_numpy as safetensors

DIM, HIDDEN = 6, 8


class Tower(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(DIM, HIDDEN)
        self.norm = nn.BatchNorm1d(HIDDEN)
        self.act = nn.ReLU()
        self.drop = nn.Dropout(0.25)

    def forward(self, x):
        return self.drop(self.act(self.norm(self.fc(x))))


class Model(nn.Module):
    """Two calls of one tower, on a table and on numbers, and arithmetic with parameters behind them."""

    def __init__(self, rng):
        super().__init__()
        self.item = nn.EmbeddingBag(20, DIM, mode="sum")
        self.tower = Tower()
        self.last = nn.Linear(HIDDEN, 3)
        self.shift = nn.Parameter(torch.zeros(3))
        self.scale = nn.Parameter(torch.zeros(1, 3))
        for parameter in self.parameters():
            parameter.data = torch.from_numpy(rng.uniform(0.25, 1.5, parameter.shape).astype(np.float32))
            parameter.data *= torch.from_numpy(rng.choice([-1, 1], parameter.shape).astype(np.float32))
        self.tower.norm.running_mean.copy_(torch.from_numpy(rng.normal(size=HIDDEN).astype(np.float32)))
        self.tower.norm.running_var.copy_(torch.from_numpy(rng.uniform(0.5, 2, HIDDEN).astype(np.float32)))

    def forward(self, ids, numbers):
        a, b = self.tower(self.item(ids)), self.tower(numbers)
        c = torch.cat([a[:, 2:5], b[:, :5]], 1)
        y = (self.last(c) - self.shift) / self.scale
        return torch.flatten(y, 0)


def node(name, op, target=None, args=None, **kwargs):
    result = {"name": name, "op": op}
    if target is not None:
        result["target"] = target
    if args is not None:
        result["args"] = args
    if kwargs:
        result["kwargs"] = kwargs
    return result


MODEL_JSON = {
    "format": "eqat.model", "version": 1,
    "modules": {
        "item": {"type": "nn.EmbeddingBag", "num_embeddings": 20, "embedding_dim": DIM, "mode": "sum"},
        "tower": {"type": "model.Graph",
                  "modules": {"fc": {"type": "nn.Linear", "in_features": DIM, "out_features": HIDDEN},
                              "norm": {"type": "nn.BatchNorm1d", "num_features": HIDDEN}, "act": {"type": "nn.ReLU"},
                              "drop": {"type": "nn.Dropout", "p": 0.25}},
                  "graph": [node("x", "placeholder"), node("h", "call_module", "fc", ["x"]),
                            node("n", "call_module", "norm", ["h"]), node("r", "call_module", "act", ["n"]),
                            node("d", "call_module", "drop", ["r"]), node("output", "output", args=["d"])]},
        "last": {"type": "nn.Linear", "in_features": HIDDEN, "out_features": 3},
        "shift": {"type": "nn.Parameter", "shape": [3]},
        "scale": {"type": "nn.Parameter", "shape": [1, 3]}},
    "graph": [node("ids", "placeholder"), node("numbers", "placeholder"), node("e", "call_module", "item", ["ids"]),
              node("a", "call_module", "tower", ["e"]), node("b", "call_module", "tower", ["numbers"]),
              node("left", "call_function", "slice", ["a"], dim=1, start=2, end=5),
              node("right", "call_function", "slice", ["b"], dim=1, end=5),
              node("c", "call_function", "cat", [["left", "right"]], dim=1), node("h", "call_module", "last", ["c"]),
              node("shift", "get_attr", "shift"), node("scale", "get_attr", "scale"),
              node("moved", "call_function", "sub", ["h", "shift"]),
              node("y", "call_function", "div", ["moved", "scale"]), node("flat", "call_function", "flatten", ["y"]),
              node("output", "output", args=["flat"])]}


def check_close(what, actual, expected):
    # Sums of at most 8 products, three layers deep, of values below 1000: 2^-24 * 1000 * 3 * (8 + 16).
    assert actual.shape == expected.shape, (what, actual.shape, expected.shape)
    furthest = np.abs(actual - expected).max()
    assert furthest <= 4.3e-3 and np.abs(expected).max() < 1000, (what, furthest, actual, expected)


def run_eqat(eqat, model, inputs, folder):
    path = os.path.join(folder, "in.safetensors")
    safetensors.write(path, inputs)
    out = os.path.join(folder, "out.safetensors")
    subprocess.run([eqat, "run", model, "--inputs", path, "--outputs", out], check=True)
    return safetensors.read(out)


def check_case(eqat, rng, folder):
    model = Model(rng).eval()
    directory = os.path.join(folder, "model")
    os.mkdir(directory)
    with open(os.path.join(directory, "model.json"), "w") as file:
        json.dump(MODEL_JSON, file)
    state = {name: tensor.detach().numpy().copy() for name, tensor in model.state_dict().items()}
    safetensors.write(os.path.join(directory, "model.safetensors"), state)
    ids, numbers = rng.integers(0, 20, (4, 3)), rng.normal(size=(4, DIM)).astype(np.float32)
    grad_output = rng.normal(size=12).astype(np.float32)
    inputs = {"ids": ids, "numbers": numbers}

    expected = model(torch.from_numpy(ids), torch.from_numpy(numbers))
    expected.backward(torch.from_numpy(grad_output))
    outputs = run_eqat(eqat, directory, {**inputs, "grad_output": grad_output}, folder)
    check_close("output", outputs["output"], expected.detach().numpy())
    for name, parameter in model.named_parameters():
        check_close(f"grad.{name}", outputs[f"grad.{name}"], parameter.grad.numpy())

    frozen = os.path.join(folder, "frozen")
    subprocess.run([eqat, "freeze", directory, "--out", frozen], check=True, stdout=subprocess.DEVNULL)
    with open(os.path.join(frozen, "model.json")) as file:
        graph = json.load(file)
    kinds = {module["type"] for module in graph["modules"].values()}
    assert kinds == {"nn.EmbeddingBag", "nn.Linear"}, kinds
    torch_frozen = torch.jit.freeze(torch.jit.trace(model, (torch.from_numpy(ids), torch.from_numpy(numbers))))
    output = run_eqat(eqat, frozen, inputs, folder)["output"]
    check_close("frozen", output, expected.detach().numpy())
    check_close("frozen by torch", output, torch_frozen(torch.from_numpy(ids), torch.from_numpy(numbers)).detach().numpy())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--eqat", required=True)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--cases", type=int, default=10)
    arguments = parser.parse_args()
    for seed in range(arguments.seed, arguments.seed + arguments.cases):
        with tempfile.TemporaryDirectory() as folder:
            try:
                check_case(arguments.eqat, np.random.default_rng(seed), folder)
            except Exception:
                print(f"freeze_test.py: replay with --seed {seed} --cases 1")
                raise
    print(f"{arguments.cases} cases agree with torch {torch.__version__}")


if __name__ == "__main__":
    main()
