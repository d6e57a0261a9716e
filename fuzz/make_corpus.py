#!/usr/bin/python3
"""Writes the seeds of the fuzz targets: small files that NumPy, PyTorch and Python's zlib make, and the tree's own JSON.

    fuzz/make_corpus.py        (Debian's python3-numpy and python3-torch)
"""
import gzip
import io
import json
import pathlib
import re
import struct

import numpy
import torch

ROOT = pathlib.Path(__file__).resolve().parent.parent
CORPUS = ROOT / "fuzz" / "corpus"


def put(target, name, data):
    folder = CORPUS / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"seed_{name}").write_bytes(data if isinstance(data, bytes) else data.encode())


def saved(save, *arguments, **keywords):
    file = io.BytesIO()
    save(file, *arguments, **keywords)
    return file.getvalue()


def numpy_seeds():
    table = numpy.arange(6, dtype="<f4").reshape(2, 3)
    arrays = {"f4": table, "f8": table.astype("<f8"), "f2": table.astype("<f2"), "fortran": numpy.asfortranarray(table),
              "ids": numpy.arange(5), "empty": numpy.zeros((0, 3), "<f4"), "scalar": numpy.float32(3)}
    for name, array in arrays.items():
        put("npy", name, saved(numpy.save, array))
    for target in ("npz", "zip"):
        put(target, "stored", saved(lambda file: numpy.savez(file, item=table, ids=numpy.arange(3))))
        put(target, "deflated", saved(lambda file: numpy.savez_compressed(file, item=table, user=table[:1])))


def torch_seeds():
    torch.manual_seed(1)
    module = torch.nn.Sequential(torch.nn.EmbeddingBag(3, 2), torch.nn.Embedding(2, 2))
    states = {"state": module.state_dict(), "nested": {"model": module.state_dict(), "epoch": 3, "lr": 0.1, "names": ["a"]},
              "view": {"t": torch.arange(6.0).reshape(2, 3).t()}, "parameter": {"w": torch.nn.Parameter(torch.ones(2, 2).half())},
              "module": module}
    for name, state in states.items():
        data = saved(lambda file: torch.save(state, file))
        put("pytorch", name, data)
        put("zip", f"torch_{name}", data)
        with torch.serialization._open_zipfile_reader(io.BytesIO(data)) as archive:
            put("pickle", name, archive.get_record("data.pkl"))


def vector_seeds():
    text = "2 3\n</s> 1 -2.5e-3 0.1 \nword 1e-45 3.4028235e38 -0\n"
    put("vector_text", "counts", text)
    put("vector_text", "glove", text.split("\n", 1)[1])
    put("vector_text", "gzip", gzip.compress(text.encode(), mtime=0))
    rows = b"a " + struct.pack("<3f", 1, 2, 3) + b"\nbc " + struct.pack("<3f", 4, 5, 6)
    put("vector_binary", "plain", b"2 3\n" + rows)
    put("vector_binary", "newline", b"2 3\n" + rows + b"\n")
    put("gzip", "one", gzip.compress(text.encode() * 50, mtime=0))
    put("gzip", "two", gzip.compress(b"a", mtime=0) + gzip.compress(b"b", mtime=0))
    put("gzip", "plain", text)


def fasttext_seeds():
    def head(model, words, labels, bucket):
        entries = [(word, 0) for word in words] + [(label, 1) for label in labels]
        data = struct.pack("<2i12id", 793712314, 12, 3, 5, 1, 1, 5, 1, 2, model, bucket, 3, 6, 100, 1e-4)
        data += struct.pack("<3i2q", len(entries), len(words), len(labels), 10, -1)
        for word, kind in entries:
            data += word.encode() + b"\0" + struct.pack("<qb", 1, kind)
        return data

    def dense(rows):
        return struct.pack("<2q", rows, 3) + numpy.arange(3 * rows, dtype="<f4").tobytes()

    quantizer = struct.pack("<4i", 3, 2, 2, 1) + numpy.arange(3 * 256, dtype="<f4").tobytes()
    norms = struct.pack("<4i", 1, 1, 1, 1) + numpy.arange(256, dtype="<f4").tobytes()
    quantised = b"\1" + struct.pack("<2qi", 3, 3, 6) + bytes(range(6)) + quantizer + bytes(3) + norms
    put("fasttext", "words", head(2, ["</s>", "a"], [], 1) + b"\0" + dense(3) + b"\0" + dense(2))
    put("fasttext", "labels", head(3, ["</s>"], ["__label__x"], 0) + b"\0" + dense(1) + b"\0" + dense(1))
    put("fasttext", "quantised", head(2, ["</s>", "a"], [], 1) + b"\1" + quantised + b"\0" + dense(2))


def json_seeds():
    for file in sorted((ROOT / "tests" / "data" / "configs" / "valid").glob("*.json")):
        put("qconfig", file.stem, file.read_bytes())
    put("model_json", "golden", (ROOT / "tests" / "golden" / "model" / "model.json").read_bytes())
    put("model_json", "deploy", json.dumps({"format": "eqat.model", "version": 1, "modules": {
        "q": {"type": "quantized.Embedding", "num_embeddings": 2, "embedding_dim": 32, "bits": 4, "deploy": "gguf_q4_1"},
        "t": {"type": "qat.Embedding", "num_embeddings": 2, "embedding_dim": 32, "qconfig": {
            "deploy": "gguf_q8_0", "weight": {
                "fake_quantize": "FakeQuantize", "observer": "MovingAveragePerChannelMinMaxObserver", "dtype": "qint8",
                "qscheme": "per_channel_affine_float_qparams", "averaging_constant": 1}}}}}))
    put("train_config", "links", (ROOT / "examples" / "package_links" / "train.json").read_bytes())
    put("train_config", "fine_tune", (ROOT / "examples" / "package_links" / "fine_tune.json").read_bytes())
    blocks = re.findall(r"```json\n(.*?)```", (ROOT / "docs" / "training.md").read_text(), re.DOTALL)
    for i, block in enumerate(blocks):
        put("data_spec" if '"files"' in block else "train_config", f"doc{i}", block)
    header = json.dumps({"__metadata__": {"format": "pt"}, "w": {"dtype": "F32", "shape": [2, 1], "data_offsets": [0, 8]},
                         "h": {"dtype": "BF16", "shape": [1, 2], "data_offsets": [8, 12]},
                         "n": {"dtype": "I64", "shape": [], "data_offsets": [12, 20]}}).encode()
    put("safetensors", "three", struct.pack("<Q", len(header)) + header + bytes(20))


def main():
    for folder in CORPUS.glob("*"):
        for seed in folder.glob("seed_*"):
            seed.unlink()
    for make in (numpy_seeds, torch_seeds, vector_seeds, fasttext_seeds, json_seeds):
        make()


if __name__ == "__main__":
    main()
