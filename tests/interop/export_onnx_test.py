"""ONNX exports, checked by the onnx package and run by onnxruntime.

    export_onnx_test.py EQAT
"""

import json
import pathlib
import re
import sys

import numpy as np
import onnx
import onnxruntime

from eqat_models import DTYPES, Failure, Workspace, bits_of, check_equal, qconfig, table

ROWS = 30


def session(path):
    if onnx.load(path).opset_import[-1].domain == "":  # the checker does not know com.microsoft
        onnx.checker.check_model(path, full_check=True)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def batches(rng):
    """(indices, offsets): bags of one, of many, empty ones, an empty batch."""
    yield np.arange(ROWS), np.arange(ROWS)
    ids = rng.integers(0, ROWS, 50)
    yield ids, np.array([0, 0, 7, 7, 8, 30, 50])
    yield ids, np.arange(0, 50, 5)
    yield ids[:0], np.array([0, 0])
    yield ids[:0], ids[:0]


def tables_compute_what_we_do(work, file_format, configs, widths):
    """Every mode and option, for every arithmetic: equal bits."""
    bags = 0
    for index, (bits, deploy) in enumerate(configs):
        for cols in widths(bits, deploy):
            options = [{"mode": mode} | ({"padding_idx": 3} if (index + i) % 2 else {}) |
                       ({"include_last_offset": True} if (index + i) % 3 == 0 else {})
                       for i, mode in enumerate(("sum", "mean", "max"))]
            weight = table(work.rng, ROWS, cols)
            tables = {option["mode"]: (weight, "EmbeddingBag", option) for option in options}
            tables["plain"] = (weight, "Embedding", {})
            model = work.quantized_model("tables", tables, qconfig(bits, deploy))
            run = session(work.export(model, file_format, "tables.onnx"))
            for ids, offsets in batches(work.rng):
                feeds, ours = {"plain.input": ids}, {"plain.output": work.lookup(model, "plain", ids)}
                for option in options:
                    name = option["mode"]
                    given = np.append(offsets, len(ids)) if "include_last_offset" in option else offsets
                    feeds |= {f"{name}.input": ids, f"{name}.offsets": given}
                    ours[f"{name}.output"] = work.lookup(model, name, ids, given)
                for name, theirs in zip(ours, run.run(list(ours), feeds)):
                    if name == "max.output":  # onnxruntime's Where gives 0 for -0
                        ours[name], theirs = ours[name] + np.float32(0), theirs + np.float32(0)
                    check_equal(f"{bits} bits for {deploy}, {cols} columns, {name}", ours[name], theirs)
                    bags += len(theirs)
    print(f"{file_format}: {bags} rows and bags, 0 differing")


def portable(work):
    DTYPES.update({bits: f"uint{bits}" for bits in (1, 3, 5, 6, 7)})
    own = [(bits, None) for bits in (8, 4, 2, "signed 8", 1, 3, 5, 6, 7)]
    deployed = [(8, "torch"), (4, "torch"), (2, "torch"), (8, "fbgemm_half"), ("signed 8", "gguf_q8_0"),
                (4, "gguf_q4_0"), (4, "gguf_q4_1"), (4, "onnx_qdq"), (8, "onnx_block")]
    tables_compute_what_we_do(work, "onnx", own + deployed, lambda bits, deploy: (64,) if deploy else (5, 16))


def trained_for_onnx(work):
    tables_compute_what_we_do(work, "onnx_qdq", [(8, "onnx_qdq"), (4, "onnx_qdq")], lambda *_: (1, 7, 32, 130))
    tables_compute_what_we_do(work, "onnx_block", [(8, "onnx_block"), (4, "onnx_block")], lambda *_: (32, 64, 96))


def float_tables(work):
    weight = table(work.rng, ROWS, 6)
    model = work.float_model("float", {"item": (weight, "Embedding", {}), "capped": (weight, "Embedding", {"max_norm": 0.5})})
    ids = np.arange(ROWS)
    run = session(work.export(model, "onnx", "float.onnx"))
    theirs = run.run(["item.output", "capped.output"], {"item.input": ids, "capped.input": ids})
    check_equal("float", weight, theirs[0])
    check_equal("max_norm", work.values(model, "capped", ROWS), theirs[1])
    print("float tables: 0 differing")


def requantized_error_is_the_printed_one(work):
    weight = table(work.rng, ROWS, 32)
    for bits in (8, 4):
        model = work.quantized_model("own", {"item": (weight, "Embedding", {})}, qconfig(bits))
        ours = work.values(model, "item", ROWS)
        for file_format in ("onnx_qdq", "onnx_block"):
            try:
                work.export(model, file_format, "refused.onnx")
                raise AssertionError("not refused")
            except Failure as failure:
                assert f'"deploy": "{file_format}"' in str(failure), failure
            text = work.run("export", model, "--format", file_format, "--out", work.path("own.onnx"), "--requantize")
            printed = float(re.search(r"^item .* (\S+) +\S+$", text, re.MULTILINE).group(1))
            theirs = session(work.path("own.onnx")).run(None, {"item.input": np.arange(ROWS)})[0]
            true = np.abs(theirs.astype(np.float64) - ours).max()
            assert abs(printed - true) <= 1e-5 * true, (printed, true)
            print(f"{file_format} at {bits} bits, not trained for it: --requantize adds up to {printed:g}")


def whole_model(work):
    """A graph with every module and function; onnxruntime adds its products in another order."""
    rng = work.rng
    draw = lambda *shape: rng.standard_normal(shape).astype(np.float32)
    graph = [{"name": name, "op": "placeholder"} for name in ("item_ids", "user_ids", "numbers")]
    def call(name, target, *args): graph.append({"name": name, "op": "call_module", "target": target, "args": list(args)})
    def function(name, target, args, **kwargs):
        graph.append({"name": name, "op": "call_function", "target": target, "args": args} |
                     ({"kwargs": kwargs} if kwargs else {}))
    call("e0", "item", "item_ids")
    call("e1", "user", "user_ids")
    call("again", "item", "item_ids")
    function("product", "mul", ["e0", "e1"])
    function("added", "add", ["product", "again"])
    function("dots", "interact_dot", [["e0", "e1", "added"]])
    function("flat", "flatten", ["added"], start_dim=1)
    function("x", "cat", [["e0", "flat", "dots", "numbers"]], dim=1)
    call("hidden", "top.0", "x")
    call("normal", "norm", "hidden")
    call("active", "act", "normal")
    call("dropped", "drop", "active")
    call("logit", "top.1", "dropped")
    function("squashed", "sigmoid", ["logit"])
    function("positive", "relu", ["squashed"])
    graph.append({"name": "output", "op": "output", "args": ["positive"]})
    norm = {"weight": draw(5), "bias": draw(5), "running_mean": draw(5), "running_var": np.abs(draw(5)) + 1,
            "num_batches_tracked": np.array(5, np.int64)}
    tables = {"item": (draw(ROWS, 8), "EmbeddingBag", {"mode": "mean"}), "user": (draw(ROWS, 8), "Embedding", {})}
    extra = {"top.0": ("nn.Linear", {"in_features": 8 + 8 + 3 + 2, "out_features": 5}, {"weight": draw(5, 21), "bias": draw(5)}),
             "norm": ("nn.BatchNorm1d", {"num_features": 5}, norm), "act": ("nn.ReLU", {}, {}),
             "drop": ("nn.Dropout", {}, {}),
             "top.1": ("nn.Linear", {"in_features": 5, "out_features": 2, "bias": False}, {"weight": draw(2, 5)})}
    source = work.float_model("whole", tables, extra, graph)
    for deploy in (None, "onnx_qdq"):
        pathlib.Path(work.path("q.json")).write_text(json.dumps({"version": 1, "global": qconfig(4, deploy)}))
        work.run("ptq", source, "--qconfig", work.path("q.json"), "--out", work.path(f"packed-{deploy}"))
    for model, file_format in ((source, "onnx"), (work.path("packed-None"), "onnx"),
                               (work.path("packed-onnx_qdq"), "onnx_qdq")):
        run = session(work.export(model, file_format, "whole.onnx"))
        assert {value.name for value in run.get_inputs()} == {"item_ids", "item_ids.offsets", "user_ids", "numbers"}
        inputs = {"item_ids": rng.integers(0, ROWS, 40), "item_ids.offsets": np.arange(0, 40, 4),
                  "user_ids": rng.integers(0, ROWS, 10), "numbers": draw(10, 2)}
        ours, theirs = work.evaluate(model, inputs), run.run(["output"], inputs)[0]
        error = float(np.abs(ours - theirs).max())
        # A few dozen products of values around 1, each rounded: far below 1e-5 after the sigmoid.
        assert ours.shape == theirs.shape and error <= 1e-5, error
        print(f"whole model as {file_format}: {int((bits_of(ours) != bits_of(theirs)).sum())} of {ours.size} outputs "
              f"differ, by up to {error:.1e}")


def nested_model_and_its_frozen_form(work):
    """Differences, quotients, slices and parameters, in a model within the model: nothing here is summed, so equal bits."""
    draw = lambda *shape: work.rng.standard_normal(shape).astype(np.float32)
    scaled = [{"name": "x", "op": "placeholder"}, {"name": "shift", "op": "get_attr", "target": "shift"},
              {"name": "width", "op": "get_attr", "target": "width"},
              {"name": "moved", "op": "call_function", "target": "sub", "args": ["x", "shift"]},
              {"name": "ratio", "op": "call_function", "target": "div", "args": ["moved", "width"]},
              {"name": "output", "op": "output", "args": ["ratio"]}]
    graph = [{"name": "ids", "op": "placeholder"}, {"name": "rows", "op": "call_module", "target": "item", "args": ["ids"]},
             {"name": "once", "op": "call_module", "target": "scaled", "args": ["rows"]},
             {"name": "twice", "op": "call_module", "target": "scaled", "args": ["once"]},
             {"name": "head", "op": "call_function", "target": "slice", "args": ["once"], "kwargs": {"dim": 1, "end": 3}},
             {"name": "tail", "op": "call_function", "target": "slice", "args": ["twice"], "kwargs": {"dim": 1, "start": -2}},
             {"name": "both", "op": "call_function", "target": "cat", "args": [["head", "tail"]], "kwargs": {"dim": 1}},
             {"name": "output", "op": "output", "args": ["both"]}]
    parameters = {name: {"type": "nn.Parameter", "shape": [6]} for name in ("shift", "width")}
    source = work.float_model("nested", {"item": (table(work.rng, ROWS, 6), "Embedding", {})}, graph=graph, extra={
        "scaled": ("model.Graph", {"modules": parameters, "graph": scaled}, {"shift": draw(6), "width": draw(6) + 3})})
    pathlib.Path(work.path("q.json")).write_text(json.dumps({"version": 1, "global": qconfig(4)}))
    work.run("ptq", source, "--qconfig", work.path("q.json"), "--out", work.path("nested-packed"))
    for model in (source, work.path("nested-packed")):
        work.run("freeze", model, "--out", f"{model}-frozen")
        for form in (model, f"{model}-frozen"):
            run = session(work.export(form, "onnx", "nested.onnx"))
            inputs = {"ids": work.rng.integers(0, ROWS, 40)}
            check_equal(form, work.evaluate(form, inputs), run.run(["output"], inputs)[0])
    print("nested models and what freeze makes of them: 0 differing")


def indices_of_two_dimensions(work):
    """Where the placeholder declares them: a table's rows get the shape, a bag's rows are bags."""
    bag = {"mode": "mean", "padding_idx": 2}
    tables = {"item": (table(work.rng, ROWS, 6), "Embedding", {}), "bag": (table(work.rng, ROWS, 6), "EmbeddingBag", bag),
              "last": (table(work.rng, ROWS, 6), "EmbeddingBag", {"mode": "sum", "include_last_offset": True})}
    call = lambda name, target, ids: {"name": name, "op": "call_module", "target": target, "args": [ids]}
    graph = [{"name": "words", "op": "placeholder", "shape": [None, 3]}, {"name": "tags", "op": "placeholder", "shape": [None, None]},
             call("e", "item", "words"), call("b", "bag", "tags"), call("l", "last", "tags"),
             {"name": "flat", "op": "call_function", "target": "flatten", "args": ["e"], "kwargs": {"start_dim": 1}},
             {"name": "all", "op": "call_function", "target": "cat", "args": [["flat", "b", "l"]], "kwargs": {"dim": 1}},
             {"name": "output", "op": "output", "args": ["all"]}]
    model = work.float_model("two-dimensional", tables, graph=graph)
    run = session(work.export(model, "onnx", "two-dimensional.onnx"))
    for rows, width in ((7, 4), (1, 1), (5, 0)):
        inputs = {"words": work.rng.integers(0, ROWS, (rows, 3)), "tags": work.rng.integers(0, ROWS, (rows, width))}
        check_equal(f"bags of {width}", work.evaluate(model, inputs), run.run(["output"], inputs)[0])
    print("indices of two dimensions: 0 differing")


def what_onnx_cannot_hold_is_refused(work):
    two_bits = work.quantized_model("two", {"item": (table(work.rng, 4, 32), "Embedding", {})}, qconfig(2))
    bag = {"item": (table(work.rng, 4, 2), "EmbeddingBag", {"mode": "sum"})}
    cube = work.float_model("cube", bag, graph=[
        {"name": "ids", "op": "placeholder", "shape": [None, 2, 2]},
        {"name": "bags", "op": "call_module", "target": "item", "args": ["ids"]},
        {"name": "output", "op": "output", "args": ["bags"]}])
    odd = work.quantized_model("odd", {"item": (table(work.rng, 4, 33), "Embedding", {})}, qconfig(8))
    for model, file_format, part in ((two_bits, "onnx_qdq", "8 or 4"), (odd, "onnx_block", "a multiple of 32"),
                                     (cube, "onnx", "one or two dimensions")):
        try:
            work.export(model, file_format, "never.onnx", *(["--requantize"] if file_format != "onnx" else []))
            raise AssertionError(f"{file_format} took {model}")
        except Failure as failure:
            assert part in str(failure), failure


if __name__ == "__main__":
    workspace = Workspace(sys.argv[1])
    for test in (portable, trained_for_onnx, float_tables, requantized_error_is_the_printed_one, whole_model,
                 nested_model_and_its_frozen_form, indices_of_two_dimensions, what_onnx_cannot_hold_is_refused):
        test(workspace)
