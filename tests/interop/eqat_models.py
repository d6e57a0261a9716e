"""Small models for the tests that hand exported files to the programs they are made for.

A Workspace is a folder with model directories, made and changed by the eqat program as users would.
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "torch"))
import safetensors_numpy  # noqa: E402

DTYPES = {8: "quint8", 4: "quint4x2", 2: "quint2x4", "signed 8": "qint8"}


def qconfig(bits, deploy=None):
    """A qconfig for training at `bits`, in the arithmetic of the format `deploy`."""
    observer = {
        "fake_quantize": "FakeQuantize",
        "observer": "MovingAveragePerChannelMinMaxObserver",
        "dtype": DTYPES[bits],
        "qscheme": "per_channel_affine_float_qparams",
        "averaging_constant": 1.0,
    }
    return {"weight": observer} | ({"deploy": deploy} if deploy else {})


def table(rng, rows, cols, largest=1e3):
    """Values with everything a table may hold: constant rows, offsets, both zeros, denormals, small and large rows."""
    values = rng.standard_normal((rows, cols)) * 10.0 ** rng.uniform(-3, 1, (rows, 1))
    kinds = rng.integers(0, 12, rows)
    values[kinds == 0] += rng.uniform(-largest, largest, ((kinds == 0).sum(), 1))
    values[kinds == 1] = rng.choice([0.0, -0.0, 0.7, -3.5, 100.25], ((kinds == 1).sum(), 1))
    values[kinds == 2] = rng.choice([0.0, -0.0, 1.0], ((kinds == 2).sum(), cols))
    values[kinds == 3] *= 1e-40
    values[kinds == 4] *= largest
    values[kinds == 5] = np.round(values[kinds == 5])
    return np.clip(values, -60000, 60000).astype(np.float32)


def bits_of(values):
    return np.ascontiguousarray(values).view(f"u{values.dtype.itemsize}")


def check_equal(what, ours, theirs):
    """Equal bits."""
    assert ours.dtype == theirs.dtype and ours.shape == theirs.shape, \
        f"{what}: {ours.dtype} {ours.shape} and {theirs.dtype} {theirs.shape}"
    differing = np.argwhere(bits_of(ours) != bits_of(theirs))
    if len(differing):
        first = tuple(differing[0])
        raise AssertionError(f"{what}: {len(differing)} of {ours.size} values differ, first at {first}: "
                             f"eqat {ours[first]!r}, consumer {theirs[first]!r}")


class Failure(Exception):
    """The eqat program ended with an error."""


class Workspace:
    def __init__(self, eqat, seed=1):
        self.eqat = eqat
        self.rng = np.random.default_rng(seed)
        self.folder = tempfile.TemporaryDirectory(prefix="eqat-interop-")

    def path(self, name):
        return os.path.join(self.folder.name, name)

    def run(self, *arguments):
        """Standard output of the program; Failure with its message if it ends with an error."""
        done = subprocess.run([self.eqat, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        if done.returncode != 0:
            raise Failure(done.stderr.strip())
        return done.stdout

    def float_model(self, name, tables, extra=None, graph=None):
        """`tables`: name to (weight, type, options); `extra`: name to (type, options, tensors)."""
        modules, tensors = {}, {}
        for table_name, (weight, kind, options) in tables.items():
            modules[table_name] = {"type": f"nn.{kind}", "num_embeddings": weight.shape[0],
                                   "embedding_dim": weight.shape[1], **options}
            tensors[f"{table_name}.weight"] = weight
        for module_name, (kind, options, state) in (extra or {}).items():
            modules[module_name] = {"type": kind, **options}
            tensors.update({f"{module_name}.{key}": value for key, value in state.items()})
        model = {"format": "eqat.model", "version": 1, "modules": modules} | ({"graph": graph} if graph else {})
        os.makedirs(self.path(name), exist_ok=True)
        pathlib.Path(self.path(name), "model.json").write_text(json.dumps(model))
        safetensors_numpy.write(os.path.join(self.path(name), "model.safetensors"), tensors)
        return self.path(name)

    def quantized_model(self, name, tables, config):
        """Prepared and converted: NAME-qat and NAME. `config`: qconfig of all tables, or by table."""
        source = self.float_model(f"{name}-float", tables)
        mapping = {"version": 1, "global": config} if "weight" in config else {"version": 1, "module_name": config}
        pathlib.Path(self.path(f"{name}.json")).write_text(json.dumps(mapping))
        self.run("prepare", source, "--qconfig", self.path(f"{name}.json"), "--out", self.path(f"{name}-qat"))
        self.run("convert", self.path(f"{name}-qat"), "--out", self.path(name))
        return self.path(name)

    def export(self, model, file_format, name, *more):
        self.run("export", model, "--format", file_format, "--out", self.path(name), *more)
        return self.path(name)

    def lookup(self, model, module, ids, offsets=None, weights=None):
        """What the model's evaluation gives for a batch of one of its tables."""
        inputs = {"input": np.asarray(ids, np.int64)}
        if offsets is not None:
            inputs["offsets"] = np.asarray(offsets, np.int64)
        if weights is not None:
            inputs["per_sample_weights"] = np.asarray(weights, np.float32)
        return self.evaluate(model, inputs, "--module", module)

    def evaluate(self, model, inputs, *more):
        safetensors_numpy.write(self.path("in.safetensors"), inputs)
        self.run("run", model, *more, "--inputs", self.path("in.safetensors"), "--outputs", self.path("out.safetensors"))
        return safetensors_numpy.read(self.path("out.safetensors"))["output"]

    def values(self, model, module, rows, is_bag=False):
        """Every row of a table as its evaluation looks it up."""
        ids = np.arange(rows)
        return self.lookup(model, module, ids, ids if is_bag else None)
