"""Exports for PyTorch, given to PyTorch: packed rows to its look-up operators, a QAT state_dict to its QAT modules.

    export_torch_test.py EQAT
"""

import json
import pathlib
import re
import sys

import numpy as np
import safetensors.numpy
import torch
from torch import nn
from torch.ao.nn import qat
from torch.ao.quantization import default_embedding_qat_qconfig, default_embedding_qat_qconfig_4bit

from eqat_models import Failure, Workspace, bits_of, check_equal, qconfig, table

PREPACK = {
    8: torch.ops.quantized.embedding_bag_byte_prepack,
    4: torch.ops.quantized.embedding_bag_4bit_prepack,
    2: torch.ops.quantized.embedding_bag_2bit_prepack,
}
LOOKUP = {
    8: torch.ops.quantized.embedding_bag_byte_rowwise_offsets,
    4: torch.ops.quantized.embedding_bag_4bit_rowwise_offsets,
    2: torch.ops.quantized.embedding_bag_2bit_rowwise_offsets,
}


def look_up(bits, rows, ids, offsets):
    return LOOKUP[bits](torch.from_numpy(rows), torch.as_tensor(ids), torch.as_tensor(offsets), False, 0).numpy()


def trained_rows_are_torchs(work):
    """Tables trained for "torch": the file is what torch's prepack makes of the float weights, and its look-ups give
    what our evaluation gives."""
    differing, largest = 0, 0.0
    for bits, step in ((8, 1), (4, 2), (2, 4)):
        for cols in sorted({step * c for c in (1, 2, 3, 5, 8, 16, 33)} | {64, 128}):
            weight = table(work.rng, 40, cols)
            model = work.quantized_model("trained", {"item": (weight, "EmbeddingBag", {"mode": "sum"})},
                                         qconfig(bits, "torch"))
            for source in (model, f"{model}-qat"):
                rows = safetensors.numpy.load_file(work.export(source, "torch", "rows"))["item"]
                check_equal(f"{bits} bits, {cols} columns: rows", rows, PREPACK[bits](torch.from_numpy(weight)).numpy())
            ids = np.arange(40)
            ours = work.lookup(model, "item", ids, ids)
            check_equal(f"{bits} bits, {cols} columns: values", ours, look_up(bits, rows, ids, ids))
            # Sums: torch adds the bias and the product one after the other, we add the value that is both.
            ids, offsets = work.rng.integers(0, 40, 200), np.arange(0, 200, 8)
            ours, theirs = work.lookup(model, "item", ids, offsets), look_up(bits, rows, ids, offsets)
            size = np.add.reduceat(np.abs(weight).max(1)[ids], offsets)[:, None]
            assert (np.abs(ours - theirs) <= 8 * 3 * 2**-23 * size).all(), f"{bits} bits, {cols} columns: sums"
            differing += int((bits_of(ours) != bits_of(theirs)).sum())
            largest = max(largest, float((np.abs(ours - theirs) / np.maximum(size, 1e-30)).max()))
    print(f"packed rows: 0 differing in rows and single look-ups; sums of 8 rows: {differing} differ in their last bits, "
          f"by up to {largest:.1e} of the largest value")


def other_tables_need_a_word(work):
    """A table trained for our own arithmetic is refused, and with --requantize the printed error is the true one."""
    for bits in (8, 4, 2):
        weight = table(work.rng, 50, 16)
        model = work.quantized_model("own", {"item": (weight, "Embedding", {})}, qconfig(bits))
        try:
            work.export(model, "torch", "refused")
            raise AssertionError("not refused")
        except Failure as failure:
            assert '"deploy": "torch"' in str(failure) and "--requantize" in str(failure), failure
        assert not pathlib.Path(work.path("refused")).exists()
        text = work.run("export", model, "--format", "torch", "--out", work.path("rows"), "--requantize")
        printed = float(re.search(r"^item .* (\S+) +\S+$", text, re.MULTILINE).group(1))
        rows = safetensors.numpy.load_file(work.path("rows"))["item"]
        ours, ids = work.values(model, "item", 50), np.arange(50)
        true = np.abs(look_up(bits, rows, ids, ids).astype(float) - ours).max()
        assert abs(printed - true) <= 1e-5 * true, (text, true)
        check_equal("requantized rows", rows, PREPACK[bits](torch.tensor(ours)).numpy())
        print(f"{bits} bits, not trained for torch: --requantize adds up to {printed:g}")


def qat_state_loads(work):
    """load_state_dict, strict, into modules that torch made; then equal outputs, and back through torch.save."""
    weights = {"item": table(work.rng, 30, 12), "tower.user": table(work.rng, 20, 8)}
    state = {"weight": work.rng.standard_normal((3, 8)).astype(np.float32), "bias": np.zeros(3, np.float32)}
    norm = {"weight": np.ones(8, np.float32), "bias": np.zeros(8, np.float32), "running_mean": np.zeros(8, np.float32),
            "running_var": np.ones(8, np.float32), "num_batches_tracked": np.array(5, np.int64)}
    source = work.float_model(
        "whole", {"item": (weights["item"], "EmbeddingBag", {"mode": "mean"}),
                  "tower.user": (weights["tower.user"], "Embedding", {"padding_idx": 0})},
        {"top.0": ("nn.Linear", {"in_features": 8, "out_features": 3}, state),
         "norm": ("nn.BatchNorm1d", {"num_features": 8}, norm)})
    mapping = {"version": 1, "module_name": {"item": "default_embedding_qat_qconfig_4bit",
                                             "tower.user": "default_embedding_qat_qconfig"}}
    pathlib.Path(work.path("whole.json")).write_text(json.dumps(mapping))
    work.run("prepare", source, "--qconfig", work.path("whole.json"), "--out", work.path("whole-qat"))
    # A step in training, so that the observers hold something.
    safetensors.numpy.save_file({"input": np.arange(30), "offsets": np.arange(30)}, work.path("step"))
    work.run("run", work.path("whole-qat"), "--module", "item", "--train", "--inputs", work.path("step"), "--outputs",
             work.path("stepped"), "--save", work.path("observed"))
    model = nn.ModuleDict({
        "item": qat.EmbeddingBag(30, 12, mode="mean", qconfig=default_embedding_qat_qconfig_4bit),
        "tower": nn.ModuleDict({"user": qat.Embedding(20, 8, padding_idx=0, qconfig=default_embedding_qat_qconfig)}),
        "top": nn.Sequential(nn.Linear(8, 3)),
        "norm": nn.BatchNorm1d(8),
    })
    loaded = torch.load(work.export(work.path("observed"), "torch_state_dict", "state.pt"), weights_only=True)
    assert dict(loaded._metadata) == dict(model.state_dict()._metadata), loaded._metadata
    model.load_state_dict(loaded, strict=True)
    model.eval()
    ids, offsets = work.rng.integers(0, 30, 60), np.arange(0, 60, 6)
    ours = work.lookup(work.path("observed"), "item", ids, offsets)
    theirs = model["item"](torch.from_numpy(ids), torch.from_numpy(offsets)).detach().numpy()
    check_equal("QAT bag", ours, theirs)
    ours = work.values(work.path("observed"), "tower.user", 20)
    check_equal("QAT table", ours, model["tower"]["user"](torch.arange(20)).detach().numpy())
    for name, values in safetensors.numpy.load_file(work.path("observed/model.safetensors")).items():
        check_equal(name, values, loaded[name].numpy())
    print(f"QAT state_dict: loaded strictly, {len(loaded)} tensors, 0 differing in outputs")


def float_state_loads(work):
    weight = table(work.rng, 9, 5)
    source = work.float_model("float", {"item": (weight, "Embedding", {})})
    module = nn.ModuleDict({"item": nn.Embedding(9, 5)})
    module.load_state_dict(torch.load(work.export(source, "torch_state_dict", "float.pt")), strict=True)
    check_equal("float table", weight, module["item"].weight.detach().numpy())
    print("float state_dict: 0 differing")


def what_torch_cannot_hold_is_refused(work):
    odd = work.quantized_model("odd", {"item": (table(work.rng, 4, 6), "Embedding", {})}, qconfig(2))
    for model, file_format, part in ((odd, "torch", "a multiple of 4"), (odd, "torch_state_dict", "is quantized"),
                                     (work.path("odd-float"), "torch", "is a float table")):
        try:
            work.export(model, file_format, "never", "--requantize")
            raise AssertionError(f"{file_format} took {model}")
        except Failure as failure:
            assert part in str(failure), failure
    wide = work.float_model("wide", {"item": (np.full((3, 4), 1e6, np.float32), "Embedding", {})})
    pathlib.Path(work.path("4bit.json")).write_text(json.dumps({"version": 1, "global": qconfig(4)}))
    work.run("ptq", wide, "--qconfig", work.path("4bit.json"), "--out", work.path("wide4"))
    try:
        work.export(work.path("wide4"), "torch", "never", "--requantize")
        raise AssertionError("1e6 is no float16")
    except Failure as failure:
        assert "item: row 0: does not fit into torch" in str(failure), failure


if __name__ == "__main__":
    workspace = Workspace(sys.argv[1])
    for test in (trained_rows_are_torchs, other_tables_need_a_word, qat_state_loads, float_state_loads,
                 what_torch_cannot_hold_is_refused):
        test(workspace)
