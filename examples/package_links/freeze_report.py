#!/usr/bin/env python3
"""Prints what scripts/freeze_demo.sh measured, and fails unless freezing has kept its promises.

    freeze_report.py DEMO_DIR MODEL ...

For each MODEL, frozen as MODEL-exact (--optimize-numerics off) and MODEL-frozen: no dropout is left in either and no
batch norm in the second; the predictions of the first are those of MODEL bit for bit, those of the second within the bound
that follows from what `eqat freeze` has printed.

That bound: the values behind the hidden layer move by b = slope * max|x| + offset, and max|x| is at most the largest value
of a table, or dim times its square (a dot product). ReLU moves nothing further apart; the last layer weighs the difference
with its weights w, and rounds sums of K products in each model: sum|w| * b + 2 g(K + 16) sum|w| max|h|, where
g(n) = n u / (1 - n u), u = 2^-24, and |h| is at most max|x| times the largest row sum of weights, and the largest bias.
"""
import json
import pathlib
import re
import struct
import sys

DIM = 16


def read_tensors(path):
    content = path.read_bytes()
    (size,) = struct.unpack("<Q", content[:8])
    header, data = json.loads(content[8:8 + size]), content[8 + size:]
    tensors = {}
    for name, info in header.items():
        if name == "__metadata__":
            continue
        begin, end = info["data_offsets"]
        tensors[name] = (info["dtype"], info["shape"], data[begin:end])
    return tensors


def floats(tensor):
    return struct.unpack(f"<{len(tensor[2]) // 4}f", tensor[2])


def predictions(path):
    return read_tensors(path)["predictions"][2]


def largest_value(tensors):
    return max(max(map(abs, floats(tensor))) for name, tensor in tensors.items()
               if name.endswith(".weight") and not name.startswith("top."))


def prediction_bound(original, frozen, freeze_output):
    """`original`: the tensors of the model; its tables may be fake-quantized, which keeps values between their extremes."""
    slope, offset = (sum(map(float, column)) for column in zip(*re.findall(r"([\d.e+-]+) \* max\|x\| \+ ([\d.e+-]+)",
                                                                             freeze_output)))
    largest = largest_value(original) * 1.01  # half a step of 8 bits beyond the extremes
    largest_input = max(largest, DIM * largest * largest)
    hidden = floats(frozen["top.0.weight"])
    columns = frozen["top.0.weight"][1][1]
    row_sums = [sum(map(abs, hidden[i:i + columns])) for i in range(0, len(hidden), columns)]
    largest_hidden = max(row_sums) * largest_input + max(map(abs, floats(frozen["top.0.bias"])))
    last = sum(map(abs, floats(frozen["top.2.weight"])))
    n = (frozen["top.2.weight"][1][1] + 16) * 2.0**-24
    return last * (slope * 1.01 * largest_input + offset * 1.01) + 2 * n / (1 - n) * last * largest_hidden


def types(model):
    return {module["type"] for module in json.loads((model / "model.json").read_text())["modules"].values()}


def nodes(model):
    return len(json.loads((model / "model.json").read_text())["graph"])


def main():
    demo, names = pathlib.Path(sys.argv[1]), sys.argv[2:]
    models, results = demo / "models", demo / "results"
    broken = []
    print(f"{'model':<14}{'nodes':>6}{'log loss':>12}{'AUC':>9}   predictions against the original")
    for name in names:
        expected = predictions(results / f"{name}.safetensors")
        for variant in (name, f"{name}-exact", f"{name}-frozen"):
            metrics = json.loads((results / f"{variant}.json").read_text())
            got = predictions(results / f"{variant}.safetensors")
            furthest = max(abs(a - b) for a, b in zip(floats(("F32", [], expected)), floats(("F32", [], got))))
            verdict = "the same bits" if got == expected else f"at most {furthest:.2g} apart"
            if variant.endswith("-frozen"):
                bound = prediction_bound(read_tensors(models / name / "model.safetensors"),
                                         read_tensors(models / variant / "model.safetensors"),
                                         (results / f"{name}-freeze.txt").read_text())
                verdict += f" (bound {bound:.2g})"
                if not furthest <= bound:
                    broken.append(f"{variant}: predictions are {furthest} apart, over the bound of {bound}")
                if "nn.BatchNorm1d" in types(models / variant):
                    broken.append(f"{variant}: a batch norm is left")
            elif got != expected:
                broken.append(f"{variant}: predictions differ")
            if variant != name and "nn.Dropout" in types(models / variant):
                broken.append(f"{variant}: a dropout is left")
            print(f"{variant:<14}{nodes(models / variant):>6}{metrics['loss']:>12.6f}{metrics['auc']:>9.4f}   {verdict}")
    for text in broken:
        print(f"freeze_report.py: {text}", file=sys.stderr)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
