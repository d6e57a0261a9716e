"""GGUF exports, read and dequantized by the gguf package of ggml's authors.

    export_gguf_test.py EQAT
"""

import re
import sys

import gguf
import numpy as np

from eqat_models import Failure, Workspace, check_equal, qconfig, table

TYPES = {"gguf_q8_0": gguf.GGMLQuantizationType.Q8_0, "gguf_q4_0": gguf.GGMLQuantizationType.Q4_0,
         "gguf_q4_1": gguf.GGMLQuantizationType.Q4_1}
BITS = {"gguf_q8_0": "signed 8", "gguf_q4_0": 4, "gguf_q4_1": 4}


def read(path):
    """Name to (type, shape, dequantized values)."""
    tensors = {}
    for tensor in gguf.GGUFReader(path).tensors:
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        shape = tuple(int(size) for size in reversed(tensor.shape))
        tensors[tensor.name] = (tensor.tensor_type, shape, values.reshape(shape))
    return tensors


def check_values(what, ours, theirs):
    """Equal as numbers; the package gives -0 where a code of 0 meets a negative scale."""
    check_equal(what, ours + np.float32(0), theirs.astype(np.float32) + np.float32(0))


def trained_blocks_are_ggmls(work):
    for file_format, block_type in TYPES.items():
        for cols in (32, 64, 96, 128):
            weight = table(work.rng, 50, cols)
            model = work.quantized_model("trained", {"item": (weight, "Embedding", {})},
                                         qconfig(BITS[file_format], file_format))
            for name in ("gguf", file_format):
                kind, shape, values = read(work.export(model, name, "tables.gguf"))["item.weight"]
                assert (kind, shape) == (block_type, (50, cols)), (kind, shape)
                check_values(f"{file_format}, {cols} columns", work.values(model, "item", 50), values)
        print(f"{file_format}: 0 differing")


def several_tables_of_several_types(work):
    tables = {"item": (table(work.rng, 33, 64), "EmbeddingBag", {"mode": "mean", "padding_idx": 2}),
              "user": (table(work.rng, 20, 32), "Embedding", {}), "tag": (table(work.rng, 7, 5), "Embedding", {}),
              "float": (table(work.rng, 5, 3), "Embedding", {})}
    model = work.quantized_model("mixed", tables, {"item": qconfig(4, "gguf_q4_1"), "user": qconfig(8), "tag": qconfig(2)})
    path = work.export(model, "gguf", "mixed.gguf")
    tensors = read(path)
    assert [kind.name for kind, _, _ in tensors.values()] == ["Q4_1", "F32", "F32", "F32"], tensors
    assert list(tensors) == [f"{name}.weight" for name in tables]
    for name in ("user", "tag", "float"):
        check_equal(name, work.values(model, name, len(tables[name][0])), tensors[f"{name}.weight"][2])
    # A bag reads its padding row as zeros, the file holds what it stores.
    ours = work.values(model, "item", 33, is_bag=True)
    check_values("item", np.delete(ours, 2, 0), np.delete(tensors["item.weight"][2], 2, 0))
    fields = gguf.GGUFReader(path).fields
    assert fields["general.architecture"].contents() == "eqat"
    assert (fields["eqat.item.mode"].contents(), fields["eqat.item.padding_idx"].contents()) == ("mean", 2)
    only = read(work.export(model, "gguf", "one.gguf", "--module", "user"))
    assert list(only) == ["user.weight"]
    print("several tables: 0 differing")


def float16_and_requantized(work):
    weight = table(work.rng, 40, 64)
    model = work.quantized_model("own", {"item": (weight, "Embedding", {})}, qconfig(8))
    ours = work.values(model, "item", 40)
    check_equal("F32", ours, read(work.export(model, "gguf_f32", "f32.gguf"))["item.weight"][2])
    for name in ("gguf_f16", *TYPES):
        try:
            work.export(model, name, "refused.gguf")
            raise AssertionError(f"{name} is not refused")
        except Failure as failure:
            assert "item: " in str(failure) and "--requantize" in str(failure), failure
        text = work.run("export", model, "--format", name, "--out", work.path("own.gguf"), "--requantize")
        values = read(work.path("own.gguf"))["item.weight"][2].astype(np.float64)
        printed = float(re.search(r"^item .* (\S+) +\S+$", text, re.MULTILINE).group(1))
        true = np.abs(values - ours).max()
        assert abs(printed - true) <= 1e-5 * true, (name, printed, true)
        print(f"{name}, not trained for it: --requantize adds up to {printed:g}")
    halves = work.float_model("halves", {"item": (weight.astype(np.float16).astype(np.float32), "Embedding", {})})
    check_equal("F16", work.values(halves, "item", 40),
                read(work.export(halves, "gguf_f16", "f16.gguf"))["item.weight"][2].astype(np.float32))


def what_gguf_cannot_hold_is_refused(work):
    odd = work.float_model("odd", {"item": (table(work.rng, 4, 33), "Embedding", {})})
    large = work.float_model("large", {"item": (np.full((3, 32), 1e6, np.float32), "Embedding", {})})
    long = work.float_model("long", {"x" * 60: (table(work.rng, 4, 4), "Embedding", {})})
    for model, name, part in ((odd, "gguf_q8_0", "a multiple of 32"), (large, "gguf_f16", "row 0"),
                              (large, "gguf_q4_1", "row 0"), (long, "gguf_f32", "67 bytes")):
        try:
            work.export(model, name, "never.gguf", "--requantize")
            raise AssertionError(f"{name} took {model}")
        except Failure as failure:
            assert part in str(failure), failure


if __name__ == "__main__":
    workspace = Workspace(sys.argv[1])
    for test in (trained_blocks_are_ggmls, several_tables_of_several_types, float16_and_requantized,
                 what_gguf_cannot_hold_is_refused):
        test(workspace)
