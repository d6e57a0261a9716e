"""Compares `eqat run` with PyTorch on random modules, options and batches.

Cases come in groups: the tables of one model directory, called by one graph, over several steps that are chained through
--save directories. After each call outputs, gradients and the saved state are compared with torch's modules; then the
saved tensors are loaded into those modules (load_state_dict, strict), from which the next step goes on.

Where torch differs from its documentation or eqat from torch on purpose (docs/numerics.md), the expectation is put
together from torch's parts: see torch_forward and expected_table_gradient.

Replay: crosscheck_test.py --eqat build/cli/eqat --seed S [--cases N] [--only GROUP]
"""

import argparse
import copy
import json
import os
import shutil
import subprocess
import sys
import tempfile

import numpy as np
import torch
from torch import nn
from torch.ao.nn import qat
from torch.ao.quantization import default_embedding_qat_qconfig, default_embedding_qat_qconfig_4bit

import safetensors_numpy as safetensors

GROUP_SIZE = 16
STEPS = 3
QCONFIGS = {8: default_embedding_qat_qconfig, 4: default_embedding_qat_qconfig_4bit}
QCONFIG_NAMES = {8: "default_embedding_qat_qconfig", 4: "default_embedding_qat_qconfig_4bit"}


class Mismatch(AssertionError):
    pass


def check(condition, what, *values):
    if not condition:
        raise Mismatch(what + "".join(f"\n  {value}" for value in values))


def check_bits(what, actual, expected):
    check(actual.dtype == expected.dtype, f"{what}: dtype", actual.dtype, expected.dtype)
    check(actual.shape == expected.shape, f"{what}: shape", actual.shape, expected.shape)
    if actual.tobytes() != expected.tobytes():
        where = np.argwhere(actual.view(f"u{actual.itemsize}") != expected.view(f"u{expected.itemsize}"))
        raise Mismatch(f"{what}: {len(where)} of {actual.size} values differ, first at {where[0]}:\n"
                       f"  eqat     {actual[tuple(where[0])]!r}\n  expected {expected[tuple(where[0])]!r}")


def check_close(what, actual, expected, tolerance):
    """|actual - expected| <= tolerance, element by element."""
    check(actual.shape == expected.shape, f"{what}: shape", actual.shape, expected.shape)
    error = np.abs(actual.astype(np.float64) - expected) - tolerance
    if actual.size and not error.max() <= 0:
        where = np.unravel_index(np.argmax(error), error.shape)
        raise Mismatch(f"{what}: at {where}: eqat {actual[where]!r}, expected {expected[where]!r}, "
                       f"{error[where]:g} beyond the tolerance")


def array(tensor):
    """A copy: torch cannot resize a tensor whose memory numpy shares."""
    return tensor.detach().clone().numpy()


class Case:
    """One table with random options."""

    def __init__(self, rng, name):
        self.name = name
        self.is_bag = bool(rng.random() < 0.6)
        self.bits = int(rng.choice([0, 0, 8, 8, 4]))
        self.rows = int(rng.choice([1, 2, 5, 17, 50]))
        self.dim = int(rng.choice([1, 2, 3, 4, 7, 8, 16, 17, 33, 64]))
        self.frozen = bool(rng.random() < 0.1)
        self.options = self.draw_options(rng)
        self.ids_dtype = str(rng.choice(["int32", "int64"]))
        self.offsets_dtype = str(rng.choice(["int32", "int64"]))
        self.two_d = bool(rng.random() < 0.4)
        self.weighted = self.is_bag and self.options["mode"] == "sum" and bool(rng.random() < 0.5)
        self.module = self.make_module(rng)
        self.largest_gradient = 1.0  # of all steps; at least 1, because Adam and Adagrad divide by the gradient's size

    def draw_options(self, rng):
        options = {}
        if rng.random() < 0.4:
            options["padding_idx"] = int(rng.integers(-self.rows, self.rows))
        if rng.random() < 0.25:
            options["max_norm"] = float(np.round(rng.uniform(0.3, 3.0), 2))
            if rng.random() < 0.6:
                options["norm_type"] = float(rng.choice([0.5, 1.0, 2.0, 3.0]))
        mode = None
        if self.is_bag:
            mode = options["mode"] = str(rng.choice(["sum", "mean", "max"]))
            options["include_last_offset"] = bool(rng.random() < 0.3)
        if mode != "max":
            options["scale_grad_by_freq"] = bool(rng.random() < 0.25)
            options["sparse"] = bool(rng.random() < 0.4)
        return options

    def make_module(self, rng):
        kind = (qat if self.bits else nn).EmbeddingBag if self.is_bag else (qat if self.bits else nn).Embedding
        weight = rng.standard_normal((self.rows, self.dim)) * 10.0 ** rng.uniform(-2, 1)
        if rng.random() < 0.3:  # few different values: ties for max, constant rows
            weight = np.round(weight)
        extra = {"qconfig": QCONFIGS[self.bits]} if self.bits else {}
        module = kind(self.rows, self.dim, _weight=torch.tensor(weight, dtype=torch.float32), **self.options, **extra)
        module.weight.requires_grad_(not self.frozen)
        return module

    def note_gradient(self, values):
        self.largest_gradient = max(self.largest_gradient, np.abs(values).max(initial=0))

    @property
    def parameter(self):
        return f"{self.name}.weight"

    @property
    def padding(self):
        return self.module.padding_idx

    def json(self):
        entry = {"type": f"{'qat' if self.bits else 'nn'}.{'EmbeddingBag' if self.is_bag else 'Embedding'}",
                 "num_embeddings": self.rows, "embedding_dim": self.dim, **self.options}
        if self.bits:
            entry["qconfig"] = QCONFIG_NAMES[self.bits]
        if self.frozen:
            entry["requires_grad"] = False
        return entry

    def describe(self):
        return (f"{json.dumps(self.json())} ids {self.ids_dtype}, offsets {self.offsets_dtype}, "
                f"two_d {self.two_d}, weighted {self.weighted}")

    def draw_batch(self, rng, bags):
        """Sets ids (as eqat gets them), offsets (or None), weights (or None), and output_shape."""
        self.offsets = None
        if not self.is_bag:
            shape = (bags, int(rng.integers(1, 4))) if self.two_d else (bags,)
            if self.two_d and rng.random() < 0.2:
                shape += (2,)
            self.output_shape = shape + (self.dim,)
        else:
            self.output_shape = (bags, self.dim)
            shape = (bags, int(rng.integers(1, 5)))
            if not self.two_d:
                lengths = rng.integers(0, 5, size=bags) * (rng.random(bags) < 0.8)
                begins = np.concatenate([[0], np.cumsum(lengths)])
                shape = (int(begins[-1]),)
                offsets = begins if self.options["include_last_offset"] else begins[:-1]
                self.offsets = offsets.astype(self.offsets_dtype)
        self.ids = rng.integers(0, self.rows, size=shape).astype(self.ids_dtype)
        self.weights = rng.standard_normal(shape).astype(np.float32) if self.weighted else None

    def begins(self):
        """[bags + 1] first position of each bag in the flattened ids; every index is a bag of an Embedding."""
        if not self.is_bag:
            return np.arange(self.ids.size + 1)
        if self.two_d:
            return np.arange(self.ids.shape[0] + 1) * self.ids.shape[1]
        if self.options["include_last_offset"]:
            return self.offsets
        return np.concatenate([self.offsets, [self.ids.size]])

    def torch_forward(self, module, weights):
        """The module's call. Torch drops the last bag of 2-D ids with include_last_offset: those go in as 1-D."""
        ids = torch.from_numpy(self.ids)
        if not self.is_bag:
            return module(ids)
        offsets = None if self.offsets is None else torch.from_numpy(self.offsets)
        if self.two_d and self.options["include_last_offset"]:
            ids, offsets = ids.reshape(-1), torch.from_numpy(self.begins().astype(self.ids_dtype))
            weights = None if weights is None else weights.reshape(-1)
        return module(ids, offsets, weights)


def torch_fuses_weighted_sums():
    """Whether this build of torch adds weighted rows with one rounding, as its kernels for machines with FMA do.

    -(1 + 2^-11) + (1 + 2^-12)^2 is 2^-24; with the product rounded on its own it is 0.
    """
    rows = torch.tensor([[-(1 + 2.0**-11)], [1 + 2.0**-12]])
    result = nn.functional.embedding_bag(torch.tensor([0, 1]), rows, torch.tensor([0]), mode="sum",
                                         per_sample_weights=torch.tensor([1.0, 1 + 2.0**-12]))
    return result.item() != 0


TORCH_FUSES_WEIGHTED_SUMS = torch_fuses_weighted_sums()


def fused_weighted_sum(case, table):
    """fma(w, row, sum), in order of position. The product is exact in 64 bits of mantissa, and a sum that is rounded to
    them first goes the other way in float32 once in 2^40 times."""
    output = np.zeros((len(case.begins()) - 1, case.dim), dtype=np.float32)
    ids, weights = case.ids.reshape(-1), case.weights.reshape(-1)
    for bag, (begin, end) in enumerate(zip(case.begins(), case.begins()[1:])):
        for k in range(begin, end):
            product = table[ids[k]].astype(np.longdouble) * np.longdouble(weights[k])
            output[bag] = (product + output[bag]).astype(np.float32)
    return output.reshape(case.output_shape)


def expected_output(case, result, table):
    """What torch returned, but for weighted sums without padding_idx: those are fused on every machine (docs/numerics.md)."""
    if case.weights is None or case.padding is not None or TORCH_FUSES_WEIGHTED_SUMS:
        return array(result)
    return fused_weighted_sum(case, table)


def observe_afresh(case, module):
    """eqat's observer with averaging constant 1 is exactly memoryless; torch's is when it starts afresh."""
    if case.bits and module.weight_fake_quant.observer_enabled[0] == 1:
        module.weight_fake_quant.activation_post_process.reset_min_max_vals()


def check_renorm(case, before, after):
    """max_norm acts on stored rows in both kinds of module.

    The norm's order of summation is torch's own, so two norms differ by up to 2^-23 of their size (times 1/p for the outer
    power of p < 1); scale and product are rounded on both sides, which adds up to 2^-23 each. A row whose norm equals
    max_norm up to that error may be scaled by one side only, by the norm's excess and the 1e-7 of the formula.
    """
    expected = torch.from_numpy(before.copy())
    if case.ids.size == 0 or "max_norm" not in case.options:
        check_bits("weight after the forward", after, before)
        return
    p, max_norm = case.options.get("norm_type", 2.0), case.options["max_norm"]
    torch.embedding_renorm_(expected, torch.from_numpy(case.ids.reshape(-1)), max_norm, p)
    expected = array(expected)
    norm_error = max(1.0, 1 / p) * 2.0**-23
    norms = (np.abs(before.astype(np.float64)) ** p).sum(axis=1, keepdims=True) ** (1 / p)
    excess = 4 * norm_error * max_norm
    undecided = np.abs(norms - max_norm) <= excess
    relative = norm_error + 2 * 2.0**-23 + undecided * (excess + 1e-7) / max_norm
    check_close("renormalized weight", after, expected, relative * np.abs(expected))


def positions_without_padding(case):
    """(flat position, bag) of everything that takes part."""
    begins = case.begins()
    ids = case.ids.reshape(-1)
    return [(k, b) for b in range(len(begins) - 1) for k in range(begins[b], begins[b + 1]) if ids[k] != case.padding]


def documented_table_gradient(case, grad, mask):
    """In double, from the documented meaning; also the sum of the absolute values of what was added."""
    ids = case.ids.reshape(-1)
    counts = np.bincount(ids, minlength=case.rows)
    kept = positions_without_padding(case)
    per_bag = {}
    for _, bag in kept:
        per_bag[bag] = per_bag.get(bag, 0) + 1
    total = np.zeros((case.rows, case.dim))
    absolute = np.zeros_like(total)
    for k, bag in kept:
        term = grad.reshape(-1, case.dim)[bag].astype(np.float64)
        if case.weights is not None:
            term = term * case.weights.reshape(-1)[k]
        if case.options.get("mode") == "mean":
            term = term / per_bag[bag]
        if case.options.get("scale_grad_by_freq"):
            term = term / counts[ids[k]]
        total[ids[k]] += term
        absolute[ids[k]] += np.abs(term)
    return total * mask, absolute * mask


def straight_through_mask(case, module):
    """Which elements of the weight a gradient reaches."""
    if not case.bits:
        return np.ones((case.rows, case.dim))
    observe_afresh(case, module)
    weight = module.weight.detach().clone().requires_grad_(True)
    (mask,) = torch.autograd.grad(module.weight_fake_quant(weight).sum(), [weight])
    return array(mask)


def check_table_gradient(case, outputs, mask, grad, autograd_grad):
    name = f"grad.{case.parameter}"
    if case.frozen:
        check(not any(key.startswith(name) for key in outputs), f"{name}: a frozen table has a gradient")
        return
    by_frequency = case.options.get("scale_grad_by_freq", False)
    if case.options.get("sparse"):
        indices, values = outputs[f"{name}.indices"], outputs[f"{name}.values"]
        check(indices.dtype == np.int64, f"{name}.indices: dtype", indices.dtype)
        check(np.all(np.diff(indices) > 0), f"{name}.indices: not ascending", indices)
        touched = np.unique([case.ids.reshape(-1)[k] for k, _ in positions_without_padding(case)]).astype(np.int64)
        check_bits(f"{name}.indices", indices, touched)
        actual = np.zeros((case.rows, case.dim), np.float32)
        actual[indices] = values
    else:
        actual = outputs[name]
    check(actual.dtype == np.float32, f"{name}: dtype", actual.dtype)

    # Torch refuses scale_grad_by_freq for sparse gradients and counts wrongly for dense bags.
    if by_frequency and (case.options.get("sparse") or case.is_bag):
        expected, absolute = documented_table_gradient(case, grad, mask)
        check_close(name, actual, expected, 1e-5 * absolute)
        return
    if autograd_grad.is_sparse:
        expected = np.zeros_like(actual)  # duplicates added in position order
        if autograd_grad._nnz() > 0:  # torch's shapes differ when there is nothing
            np.add.at(expected, array(autograd_grad._indices())[0], array(autograd_grad._values()))
        check_bits(name, actual + np.float32(0), expected + np.float32(0))  # a masked value may be -0
    elif case.is_bag:
        _, absolute = documented_table_gradient(case, grad, mask) if case.options["mode"] != "max" else (
            None, np.abs(array(autograd_grad)) + np.abs(grad).sum())
        check_close(name, actual, array(autograd_grad), 1e-5 * absolute)
    elif by_frequency:
        # Torch may fuse the product by 1 / count into the sum.
        _, absolute = documented_table_gradient(case, grad, mask)
        check_close(name, actual, array(autograd_grad), 2.0**-22 * absolute)
    else:
        check_bits(name, actual, array(autograd_grad))


def check_weights_gradient(case, outputs, table, grad):
    """d / d per_sample_weights: dot products, in double; torch 1.13 has none for a frozen table."""
    name = f"grad.{case.name}_ids.per_sample_weights"
    expected = np.zeros(case.ids.size)
    absolute = np.zeros(case.ids.size)
    for k, bag in positions_without_padding(case):
        products = table[case.ids.reshape(-1)[k]].astype(np.float64) * grad[bag]
        expected[k], absolute[k] = products.sum(), np.abs(products).sum()
    check(name in outputs, f"{name} is missing")
    check_close(name, outputs[name], expected.reshape(case.ids.shape), 1e-5 * absolute.reshape(case.ids.shape))


def check_call(case, output, outputs, grad, before, saved, train):
    """One module's part of one call. Leaves case.module in the state after the call."""
    weight_after = saved[case.parameter]
    check_renorm(case, before, weight_after)

    # A call without --train changes no observer.
    module = case.module if train else copy.deepcopy(case.module)
    with torch.no_grad():
        for each in (module, case.module):
            each.weight.copy_(torch.from_numpy(weight_after.copy()))
    observe_afresh(case, module)
    max_norm, module.max_norm = module.max_norm, None
    table = array(module.weight_fake_quant(module.weight) if case.bits else module.weight)

    weights = None if case.weights is None else torch.from_numpy(case.weights)
    refused = case.options.get("sparse") and case.options.get("scale_grad_by_freq")
    scale_grad_by_freq, module.scale_grad_by_freq = module.scale_grad_by_freq, (
        module.scale_grad_by_freq and not refused)
    observe_afresh(case, module)
    result = case.torch_forward(module, weights)
    autograd_grad = None
    if not case.frozen:
        (autograd_grad,) = torch.autograd.grad(result, [module.weight], torch.from_numpy(grad))
    module.max_norm, module.scale_grad_by_freq = max_norm, scale_grad_by_freq

    check_bits("output", output, expected_output(case, result, table))
    check_table_gradient(case, outputs, straight_through_mask(case, module), grad, autograd_grad)
    if case.weighted:
        check_weights_gradient(case, outputs, table, grad)
    for key, value in case.module.state_dict().items():
        check_bits(f"saved {key}", saved[f"{case.name}.{key}"], array(value))


class Group:
    def __init__(self, eqat, folder, seed, number, size):
        self.eqat = eqat
        self.folder = folder
        self.seed = seed
        self.number = number
        self.rng = np.random.default_rng([seed, number])
        self.cases = [Case(self.rng, f"t{i}") for i in range(size)]
        self.current = None
        any_sparse = any(case.options.get("sparse") for case in self.cases)
        configs = [{"type": "SGD", "lr": 0.1},
                   {"type": "SGD", "lr": 0.05, "momentum": 0.9},
                   {"type": "SGD", "lr": 0.05, "momentum": 0.9, "nesterov": True},
                   {"type": "Adagrad", "lr": 0.1}]
        if not any_sparse:
            configs += [{"type": "SGD", "lr": 0.1, "weight_decay": 0.01}, {"type": "Adam", "lr": 0.01}]
        self.config = configs[self.rng.integers(len(configs))]
        parameters = [case.module.weight for case in self.cases if not case.frozen]
        arguments = {key: value for key, value in self.config.items() if key != "type"}
        self.optimizer = getattr(torch.optim, self.config["type"])(parameters, **arguments) if parameters else None

    def path(self, name):
        return os.path.join(self.folder, name)

    def run(self, *arguments):
        process = subprocess.run([self.eqat, "run", *arguments], capture_output=True, text=True, timeout=60)
        check(process.returncode == 0, f"eqat run {' '.join(arguments)}: exit code {process.returncode}",
              process.stderr)
        check(process.stderr == "", "standard error", process.stderr)

    def write_model(self, path):
        graph = [{"name": f"{case.name}_ids", "op": "placeholder"} for case in self.cases]
        for case in self.cases:
            graph.append({"name": f"e_{case.name}", "op": "call_module", "target": case.name,
                          "args": [f"{case.name}_ids"]})
            graph.append({"name": f"f_{case.name}", "op": "call_function", "target": "flatten",
                          "args": [f"e_{case.name}"], "kwargs": {"start_dim": 1}})
        graph.append({"name": "x", "op": "call_function", "target": "cat",
                      "args": [[f"f_{case.name}" for case in self.cases]], "kwargs": {"dim": 1}})
        graph.append({"name": "output", "op": "output", "args": ["x"]})
        model = {"format": "eqat.model", "version": 1, "modules": {case.name: case.json() for case in self.cases},
                 "graph": graph}
        tensors = {f"{case.name}.{key}": array(value) for case in self.cases
                   for key, value in case.module.state_dict().items()}
        os.mkdir(path)
        with open(os.path.join(path, "model.json"), "w") as file:
            json.dump(model, file)
        safetensors.write(os.path.join(path, "model.safetensors"), tensors)

    def change_flags(self):
        """Now and then freezes observers or switches fake quantization off (and on again)."""
        for case in self.cases:
            if case.bits and self.rng.random() < 0.3:
                case.module.weight_fake_quant.enable_observer(bool(self.rng.random() < 0.5))
                case.module.weight_fake_quant.enable_fake_quant(bool(self.rng.random() < 0.7))

    def step(self, number):
        bags = int(self.rng.integers(1, 6))
        train = number == 0 or bool(self.rng.random() < 0.7)
        if number > 0 and self.rng.random() < 0.5:  # else goes on from what eqat saved
            self.change_flags()
            rewritten = self.path(f"rewritten{number}")
            self.write_model(rewritten)
            shutil.copy(os.path.join(self.current, "optimizer.safetensors"), rewritten)
            self.current = rewritten

        inputs = {}
        for case in self.cases:
            case.draw_batch(self.rng, bags)
            inputs[f"{case.name}_ids"] = case.ids
            if case.offsets is not None:
                inputs[f"{case.name}_ids.offsets"] = case.offsets
            if case.weights is not None:
                inputs[f"{case.name}_ids.per_sample_weights"] = case.weights
        widths = [int(np.prod(case.output_shape[1:])) for case in self.cases]
        inputs["grad_output"] = self.rng.standard_normal((bags, sum(widths))).astype(np.float32)
        safetensors.write(self.path("in"), inputs)
        with open(self.path("optimizer.json"), "w") as file:
            json.dump(self.config, file)
        flags = ["--train"] if train else []
        common = [self.current, "--inputs", self.path("in"), *flags]
        self.run(*common, "--outputs", self.path("out"), "--save", self.path("called"))
        updated = self.path(f"updated{number}")
        self.run(*common, "--outputs", self.path("out_updated"), "--save", updated, "--optimizer",
                 self.path("optimizer.json"), "--threads", "3")
        with open(self.path("out"), "rb") as a, open(self.path("out_updated"), "rb") as b:
            check(a.read() == b.read(), "outputs depend on --optimizer or on the number of threads")
        outputs = safetensors.read(self.path("out"))
        saved = safetensors.read(os.path.join(self.path("called"), "model.safetensors"))

        splits = np.cumsum(widths)[:-1]
        parts = np.split(outputs["output"], splits, axis=1)
        grads = np.split(inputs["grad_output"], splits, axis=1)
        before = {case.name: array(case.module.weight) for case in self.cases}
        for case, part, grad in zip(self.cases, parts, grads):
            self.failing = case
            grad = np.ascontiguousarray(grad).reshape(case.output_shape)
            part = np.ascontiguousarray(part).reshape(case.output_shape)
            check_call(case, part, outputs, grad, before[case.name], saved, train)
        self.failing = None
        expected_names = {f"{case.name}.{key}" for case in self.cases for key in case.module.state_dict()}
        check(set(saved) == expected_names, "names of the saved tensors", set(saved) ^ expected_names)

        self.check_alone(int(self.rng.integers(len(self.cases))), inputs, parts, grads, outputs, flags)
        self.check_update(updated, outputs)
        self.current = updated

    def check_alone(self, index, inputs, parts, grads, outputs, flags):
        """--module gives what the graph gave."""
        self.failing = case = self.cases[index]
        names = {"input": f"{case.name}_ids", "offsets": f"{case.name}_ids.offsets",
                 "per_sample_weights": f"{case.name}_ids.per_sample_weights"}
        alone = {name: inputs[full] for name, full in names.items() if full in inputs}
        alone["grad_output"] = np.ascontiguousarray(grads[index]).reshape(case.output_shape)
        safetensors.write(self.path("in_alone"), alone)
        self.run(self.current, "--module", case.name, "--inputs", self.path("in_alone"), "--outputs",
                 self.path("out_alone"), *flags)
        actual = safetensors.read(self.path("out_alone"))
        expected = {"output": np.ascontiguousarray(parts[index]).reshape(case.output_shape)}
        for name, value in outputs.items():
            if name.startswith(f"grad.{case.name}."):
                expected[f"grad.{name[len(f'grad.{case.name}.'):]}"] = value
            elif name == f"grad.{case.name}_ids.per_sample_weights":
                expected["grad.per_sample_weights"] = value
        check(set(actual) == set(expected), "names of the outputs of --module", set(actual) ^ set(expected))
        for name, value in expected.items():
            check_bits(f"--module: {name}", actual[name], value)
        self.failing = None

    def check_update(self, updated, outputs):
        """torch's optimizer on eqat's gradients, then eqat's state into torch's modules."""
        saved = safetensors.read(os.path.join(updated, "model.safetensors"))
        before = {case.name: np.abs(array(case.module.weight)) for case in self.cases}
        for case in self.cases:
            name = f"grad.{case.parameter}"
            case.module.weight.grad = None
            if case.options.get("sparse") and not case.frozen:
                values = outputs[f"{name}.values"]
                if outputs[f"{name}.indices"].size == 0 and self.config["type"] == "Adagrad":
                    continue  # torch's Adagrad fails on it; it changes nothing
                case.note_gradient(values)
                case.module.weight.grad = torch.sparse_coo_tensor(
                    outputs[f"{name}.indices"][np.newaxis], torch.from_numpy(values.copy()),
                    (case.rows, case.dim))
            elif not case.frozen:
                case.note_gradient(outputs[name])
                case.module.weight.grad = torch.from_numpy(outputs[name].copy())
        if self.optimizer is not None:
            self.optimizer.step()
        for case in self.cases:
            self.failing = case
            state = case.module.state_dict()
            for key, value in state.items():
                if key == "weight":
                    # Relative to what the update adds up, which may cancel: weight, gradient and earlier gradients.
                    terms = before[case.name] + np.abs(array(value)) + self.config["lr"] * case.largest_gradient
                    tolerance = 1e-6 * terms
                    check_close("weight after the update", saved[case.parameter], array(value), tolerance)
                else:
                    check_bits(f"{key} after the update", saved[f"{case.name}.{key}"], array(value))
            # Filled in place: torch 1.13 takes a dictionary without its version metadata for one of an old release.
            for key in state:
                state[key] = torch.from_numpy(saved[f"{case.name}.{key}"].copy())
            case.module.load_state_dict(state, strict=True)
        self.failing = None

    def check(self):
        self.failing = None
        self.current = self.path("model0")
        self.write_model(self.current)
        step = 0
        try:
            for step in range(STEPS):
                self.step(step)
        except Exception:
            print(f"FAILED: --seed {self.seed} --only {self.number}, step {step}, optimizer {json.dumps(self.config)}",
                  file=sys.stderr)
            if self.failing is not None:
                print(f"  {self.failing.name}: {self.failing.describe()}", file=sys.stderr)
            raise


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--eqat", required=True, help="the program to test")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--cases", type=int, default=480, help="number of modules, each called in several steps")
    parser.add_argument("--only", type=int, help="run this group alone")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    groups = range((arguments.cases + GROUP_SIZE - 1) // GROUP_SIZE)
    for number in groups if arguments.only is None else [arguments.only]:
        with tempfile.TemporaryDirectory() as folder:
            size = min(GROUP_SIZE, max(1, arguments.cases - number * GROUP_SIZE))
            Group(arguments.eqat, folder, arguments.seed, number, size).check()
    print(f"torch {torch.__version__}: {arguments.cases} modules, {STEPS} steps each, seed {arguments.seed}: equal")


if __name__ == "__main__":
    main()
