#!/usr/bin/env python3
"""Draws the pictures of docs/freeze.md: for each pass a small model before and after `eqat freeze`.

    scripts/freeze_pictures.py EQAT [--check]

EQAT: the built program (build/cli/eqat). Writes docs/freeze/PASS-before.svg and PASS-after.svg, each what
`eqat inspect MODEL --graph=svg` prints. --check writes nothing and fails if a committed picture is another.
"""
import argparse
import json
import pathlib
import struct
import subprocess
import sys
import tempfile

PICTURES = pathlib.Path(__file__).resolve().parent.parent / "docs" / "freeze"


def linear(n_in, n_out):
    return {"type": "nn.Linear", "in_features": n_in, "out_features": n_out}


def bag(**options):
    return {"type": "nn.EmbeddingBag", "num_embeddings": 100, "embedding_dim": 8, "mode": "mean", **options}


def node(name, op, target=None, args=None, **more):
    result = {"name": name, "op": op}
    if target is not None:
        result["target"] = target
    if args is not None:
        result["args"] = args
    return {**result, **more}


def placeholder(name, columns=None):
    return node(name, "placeholder", **({} if columns is None else {"shape": [None, columns]}))


def module(name, target, *args):
    return node(name, "call_module", target, list(args))


def function(name, target, *args, **kwargs):
    return node(name, "call_function", target, list(args), **({"kwargs": kwargs} if kwargs else {}))


def constant(name):
    return node(name, "get_attr", name)


def output(name):
    return node("output", "output", args=[name])


NORM = {"type": "nn.BatchNorm1d", "num_features": 8}

MODELS = {
    "inline-calls": (
        {"words": bag(),
         "tower": {"type": "model.Graph",
                   "modules": {"table": {"type": "model.Interface", "implementation": "words"}, "fc": linear(8, 4)},
                   "graph": [placeholder("ids"), module("e", "table", "ids"), module("h", "fc", "e"), output("h")]}},
        [placeholder("query"), placeholder("title"), module("q", "tower", "query"), module("t", "tower", "title"),
         function("score", "interact_dot", ["q", "t"]), output("score")]),
    "freeze-parameters": (
        {"item": {"type": "qat.EmbeddingBag", "num_embeddings": 100, "embedding_dim": 8, "mode": "sum", "sparse": True,
                  "qconfig": "default_embedding_qat_qconfig_4bit"},
         "act": {"type": "nn.ReLU"}, "scale": {"type": "nn.Parameter", "shape": [8]}},
        [placeholder("ids"), module("e", "item", "ids"), module("r", "act", "e"), constant("scale"),
         function("y", "mul", "r", "scale"), output("y")]),
    "remove-dropout": (
        {"fc": linear(8, 4), "drop": {"type": "nn.Dropout", "p": 0.1}},
        [placeholder("x", 8), module("h", "fc", "x"), module("d", "drop", "h"), function("y", "relu", "d"), output("y")]),
    "propagate-constants": (
        {"gain": {"type": "nn.Parameter", "shape": [8]}, "unit": {"type": "nn.Buffer", "shape": []}},
        [placeholder("x", 8), constant("gain"), function("g", "sigmoid", "gain"), constant("unit"),
         function("k", "add", "g", "unit"), function("y", "mul", "x", "k"), output("y")]),
    "peephole": (
        {"fc": linear(8, 8)},
        [placeholder("x", 8), module("h", "fc", "x"), function("left", "slice", "h", dim=1, start=0, end=4),
         function("right", "slice", "h", dim=1, start=4, end=8), function("c", "cat", ["left", "right"], dim=1),
         function("f", "flatten", "c", start_dim=1), function("r", "relu", "f"), function("y", "relu", "r"), output("y")]),
    "common-subexpressions": (
        {"item": bag(), "fc": linear(8, 4)},
        [placeholder("ids"), module("e0", "item", "ids"), module("e1", "item", "ids"), module("h0", "fc", "e0"),
         module("h1", "fc", "e1"), function("y", "interact_dot", ["h0", "h1"]), output("y")]),
    "fold-arithmetic": (
        {"fc": linear(8, 4), "mean": {"type": "nn.Buffer", "shape": [4]}, "deviation": {"type": "nn.Buffer", "shape": [4]}},
        [placeholder("x", 8), module("h", "fc", "x"), constant("mean"), function("centered", "sub", "h", "mean"),
         constant("deviation"), function("y", "div", "centered", "deviation"), output("y")]),
    "fold-batch-norm": (
        {"fc": linear(8, 8), "norm": NORM},
        [placeholder("x", 8), module("h", "fc", "x"), module("n", "norm", "h"), function("y", "relu", "n"), output("y")]),
    "dead-code": (
        {"fc": linear(8, 4), "auxiliary": linear(8, 2)},
        [placeholder("x", 8), module("h", "fc", "x"), module("a", "auxiliary", "x"), function("s", "sigmoid", "a"),
         function("y", "relu", "h"), output("y")]),
    "merge-linears": (
        {"gate": linear(8, 4), "value": linear(8, 4)},
        [placeholder("x", 8), module("g", "gate", "x"), module("v", "value", "x"), function("s", "sigmoid", "g"),
         function("y", "mul", "s", "v"), output("y")]),
}


def floats(shape, first=0.5):
    count = 1
    for size in shape:
        count *= size
    return ("F32", shape, struct.pack(f"<{count}f", *[first + i % 5 / 8 for i in range(count)]))


def tensors_of(name, spec):
    kind = spec["type"]
    if kind == "nn.Linear":
        yield f"{name}.weight", floats([spec["out_features"], spec["in_features"]])
        yield f"{name}.bias", floats([spec["out_features"]])
    elif kind == "nn.BatchNorm1d":
        for part in ("weight", "bias", "running_mean", "running_var"):
            yield f"{name}.{part}", floats([spec["num_features"]])
        yield f"{name}.num_batches_tracked", ("I64", [], struct.pack("<q", 1))
    elif kind in ("nn.Parameter", "nn.Buffer"):
        yield name, floats(spec["shape"])
    elif kind == "model.Graph":
        for inner, inner_spec in spec["modules"].items():
            yield from tensors_of(f"{name}.{inner}", inner_spec)
    elif kind.endswith("EmbeddingBag"):
        yield f"{name}.weight", floats([spec["num_embeddings"], spec["embedding_dim"]])
        if kind.startswith("qat."):
            prefix = f"{name}.weight_fake_quant"
            for flag in ("fake_quant_enabled", "observer_enabled"):
                yield f"{prefix}.{flag}", ("U8", [1], b"\1")
            yield f"{prefix}.scale", floats([1])
            yield f"{prefix}.zero_point", floats([1])
            yield f"{prefix}.activation_post_process.eps", floats([1], 1e-7)
            for bound in ("min_val", "max_val"):
                yield f"{prefix}.activation_post_process.{bound}", ("F32", [0], b"")


def write_model(directory, modules, graph):
    directory.mkdir()
    model = {"format": "eqat.model", "version": 1, "modules": modules, "graph": graph}
    (directory / "model.json").write_text(json.dumps(model))
    header, data = {}, b""
    for name, spec in modules.items():
        for tensor, (dtype, shape, content) in tensors_of(name, spec):
            header[tensor] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(content)]}
            data += content
    text = json.dumps(header).encode()
    (directory / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + data)


def draw(eqat, work, name):
    before, after = work / f"{name}-before", work / f"{name}-after"
    write_model(before, *MODELS[name])
    subprocess.run([eqat, "freeze", before, "--out", after], check=True, stdout=subprocess.DEVNULL)
    for model in (before, after):
        yield f"{model.name}.svg", subprocess.run([eqat, "inspect", model, "--graph=svg"], check=True,
                                                  stdout=subprocess.PIPE, text=True).stdout


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("eqat")
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    PICTURES.mkdir(exist_ok=True)
    others = []
    with tempfile.TemporaryDirectory() as work:
        for name in MODELS:
            for file, svg in draw(arguments.eqat, pathlib.Path(work), name):
                path = PICTURES / file
                if not arguments.check:
                    path.write_text(svg)
                elif not path.exists() or path.read_text() != svg:
                    others.append(file)
    if others:
        sys.exit(f"freeze_pictures: not what EQAT draws now: {', '.join(others)}; run scripts/freeze_pictures.py EQAT")


if __name__ == "__main__":
    main()
