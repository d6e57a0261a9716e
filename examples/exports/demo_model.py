"""What the examples of this folder share: the models that scripts/demo.sh leaves behind, and what eqat computes from them.

Run by the Python of tests/interop/make_environment.sh, which has the packages of all examples:

    scripts/demo.sh
    tests/interop/make_environment.sh venv-interop
    venv-interop/bin/python examples/exports/torch_rows.py demo/models --eqat build/cli/eqat
"""

import argparse
import json
import pathlib
import subprocess
import tempfile

import numpy as np
import safetensors.numpy

CONFIGS = pathlib.Path(__file__).resolve().parent.parent.parent / "configs"


class DemoModel:
    def __init__(self, description):
        parser = argparse.ArgumentParser(description=description)
        parser.add_argument("models", type=pathlib.Path, help="the demo's models, for example demo/models")
        parser.add_argument("--eqat", default="build/cli/eqat", help="the program")
        arguments = parser.parse_args()
        self.models, self.program = arguments.models, arguments.eqat
        self.folder = tempfile.TemporaryDirectory(prefix="eqat-example-")
        self.work = pathlib.Path(self.folder.name)

    def eqat(self, *arguments):
        return subprocess.run([self.program, *map(str, arguments)], stdout=subprocess.PIPE, text=True, check=True).stdout

    def packed_for(self, config):
        """The demo's float model with its tables in the arithmetic of configs/CONFIG.json."""
        packed = self.work / config
        self.eqat("ptq", self.models / "float", "--qconfig", CONFIGS / f"{config}.json", "--out", packed)
        return packed

    def trained_for(self, config):
        """The demo's half-trained float model, trained on in the arithmetic of configs/CONFIG.json: a QAT model."""
        prepared, trained = self.work / "prepared", self.work / f"{config}-trained"
        links = CONFIGS.parent / "examples" / "package_links"
        self.eqat("prepare", self.models / "half", "--qconfig", CONFIGS / f"{config}.json", "--out", prepared)
        self.eqat("train", prepared, "--data", self.models.parent / "data" / "train.1.json", "--config",
                  links / "fine_tune.json", "--out", trained)
        return trained

    def export(self, model, file_format, *more):
        """The exported file, with no value changed unless `more` says so."""
        file = self.work / file_format
        self.eqat("export", model, "--format", file_format, "--out", file, *more)
        return file

    def tables(self, model):
        """Name to (rows, columns, mode of a bag or None)."""
        modules = json.loads((model / "model.json").read_text())["modules"]
        return {name: (module["num_embeddings"], module["embedding_dim"], module.get("mode"))
                for name, module in modules.items() if "num_embeddings" in module}

    def run(self, model, inputs, *more):
        """What the model, or one of its modules, evaluates to."""
        safetensors.numpy.save_file(inputs, self.work / "in")
        self.eqat("run", model, "--inputs", self.work / "in", "--outputs", self.work / "out", *more)
        return safetensors.numpy.load_file(self.work / "out")["output"]

    def rows(self, model, table):
        """Every row of a table as it is looked up."""
        rows, _, mode = self.tables(model)[table]
        inputs = {"input": np.arange(rows)} | ({"offsets": np.arange(rows)} if mode else {})
        return self.run(model, inputs, "--module", table)


def differing(ours, theirs):
    """How many values differ in any bit."""
    assert ours.shape == theirs.shape and ours.dtype == theirs.dtype, (ours.shape, theirs.shape)
    return int((np.ascontiguousarray(ours).view(np.uint32) != np.ascontiguousarray(theirs).view(np.uint32)).sum())
