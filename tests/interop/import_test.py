#!/usr/bin/env python3
"""Real producers write, `eqat import` reads: NumPy, PyTorch, safetensors, gensim and fastText.

    import_test.py EQAT
"""
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

import gensim
import numpy
import safetensors.numpy
import torch

EQAT = sys.argv.pop(1) if len(sys.argv) > 1 else "eqat"
RNG = numpy.random.default_rng(1)
AWKWARD = numpy.array([0, -0.0, 1e-45, -1e-40, 3.4028235e38, -3.4028235e38, 1, -2.5], dtype="<f4")


def table(rows, cols):
    values = RNG.standard_normal((rows, cols)).astype("<f4")
    values[0] = AWKWARD[numpy.arange(cols) % len(AWKWARD)]
    return values


class ImportTest(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)

    def run_import(self, file, *options):
        out = self.folder / "out"
        done = subprocess.run([EQAT, "import", str(file), "--out", str(out), *options], capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stderr)
        words = out / "vocabulary.txt"
        return (safetensors.numpy.load_file(out / "model.safetensors"),
                words.read_bytes().split(b"\n")[:-1] if words.exists() else None)

    def refused(self, file, *parts):
        done = subprocess.run([EQAT, "import", str(file), "--out", str(self.folder / "out")], capture_output=True, text=True)
        self.assertEqual(done.returncode, 1)
        for part in parts:
            self.assertIn(part, done.stderr)

    def same(self, got, expected):
        self.assertEqual(got.shape, expected.shape)
        self.assertEqual(got.tobytes(), expected.tobytes())

    def test_npy(self):
        for cols in (1, 3, 130):
            values = table(5, cols)
            for array in (values, numpy.asfortranarray(values)):
                numpy.save(self.folder / "a.npy", array)
                self.same(self.run_import(self.folder / "a.npy")[0]["embedding.weight"], values)
        for dtype in ("<f2", "<f8"):
            values = RNG.standard_normal((4, 7)).astype(dtype)
            numpy.save(self.folder / "a.npy", values)
            self.same(self.run_import(self.folder / "a.npy")[0]["embedding.weight"], values.astype("<f4"))

    def test_npz(self):
        arrays = {"item": table(6, 4), "user": table(3, 9), "ids": numpy.arange(4)}
        for save in (numpy.savez, numpy.savez_compressed):
            save(self.folder / "a.npz", **arrays)
            tensors, _ = self.run_import(self.folder / "a.npz", "--table", "*")
            self.assertEqual(set(tensors), {"item.weight", "user.weight"})
            for name in ("item", "user"):
                self.same(tensors[f"{name}.weight"], arrays[name])

    def test_numpy_objects_are_refused(self):
        numpy.save(self.folder / "o.npy", numpy.array([{}], dtype=object), allow_pickle=True)
        self.refused(self.folder / "o.npy", "Python objects (a pickle) are never read")

    def test_torch(self):
        module = torch.nn.ModuleDict({"item": torch.nn.EmbeddingBag(6, 4), "user": torch.nn.Embedding(5, 3)})
        optimizer = torch.optim.Adagrad(module.parameters())
        checkpoint = {"model": module.state_dict(), "optimizer": optimizer.state_dict(), "epoch": 3}
        for saved, prefix in ((module.state_dict(), ""), (checkpoint, "model.")):
            torch.save(saved, self.folder / "m.pt")
            tensors, _ = self.run_import(self.folder / "m.pt", "--table", f"{prefix}*.weight")
            for name in ("item", "user"):
                self.same(tensors[f"{prefix}{name}.weight"], module[name].weight.detach().numpy())

    def test_torch_views_and_dtypes(self):
        base = torch.from_numpy(table(6, 8))
        small = torch.randn(4, 5)  # base has values beyond the 16-bit formats
        for view in (base, base.t(), base[1:4, 2:5], base[::2], base.double(), small.half(), small.bfloat16()):
            torch.save({"w": torch.nn.Parameter(view)}, self.folder / "v.pt")
            self.same(self.run_import(self.folder / "v.pt")[0]["w.weight"],
                      view.float().contiguous().numpy())

    def test_torch_modules_are_refused(self):
        module = torch.nn.Embedding(3, 2)
        torch.save(module, self.folder / "m.pt")
        self.refused(self.folder / "m.pt", "not on the list of safe ones", "torch.nn.modules.sparse Embedding")
        torch.jit.script(module).save(self.folder / "s.pt")
        self.refused(self.folder / "s.pt", "TorchScript")
        torch.save(module.state_dict(), self.folder / "old.pt", _use_new_zipfile_serialization=False)
        self.refused(self.folder / "old.pt", "bare pickle")

    def test_safetensors(self):
        values = table(7, 5)
        safetensors.numpy.save_file({"w": values}, self.folder / "t.safetensors")
        self.same(self.run_import(self.folder / "t.safetensors")[0]["w.weight"], values)

    def test_gensim(self):
        words = ["</s>", "w\u00e4r", "\u3042", "a_b"]
        vectors = gensim.models.KeyedVectors(6)
        vectors.add_vectors(words, RNG.standard_normal((4, 6)).astype("<f4"))
        for binary in (False, True):
            vectors.save_word2vec_format(self.folder / "v", binary=binary)
            tensors, read = self.run_import(self.folder / "v")
            self.assertEqual(read, [word.encode() for word in words])
            self.same(tensors["vectors.weight"], vectors.vectors)
        vectors.save_word2vec_format(self.folder / "g", binary=False, write_header=False)
        tensors, read = self.run_import(self.folder / "g")
        self.assertEqual(read, [word.encode() for word in words])
        self.same(tensors["vectors.weight"], vectors.vectors)

    def train_fasttext(self, kind, text, *options):
        (self.folder / "text").write_text(text)
        subprocess.run(["fasttext", kind, "-input", self.folder / "text", "-output", self.folder / "ft", "-dim", "8",
                        "-epoch", "2", "-minCount", "1", "-thread", "1", *options], check=True, capture_output=True)

    def test_fasttext(self):
        text = "\n".join(" ".join(f"word{RNG.integers(60)}" for _ in range(15)) for _ in range(200))
        self.train_fasttext("skipgram", text, "-bucket", "300")
        text_tensors, text_words = self.run_import(self.folder / "ft.vec")
        tensors, words = self.run_import(self.folder / "ft.bin", "--table", "*")
        self.assertEqual(words, text_words)
        self.assertEqual(tensors["input.weight"].shape, (len(words) + 300, 8))
        self.assertEqual(tensors["output.weight"].shape, (len(words), 8))
        # What the program itself prints for a word is the mean of the word's row and those of its subwords.
        for row, word in enumerate(words):
            printed = subprocess.run(["fasttext", "print-word-vectors", self.folder / "ft.bin"], input=word + b"\n",
                                     capture_output=True, check=True).stdout.split()[1:]
            rows = [row] + [len(words) + bucket for bucket in subwords(word, 300)]
            mean = tensors["input.weight"][rows].astype("f8").mean(axis=0)
            # It prints 5 digits of float32 sums of at most 30 values below 1.
            numpy.testing.assert_allclose(numpy.array(printed, dtype="f8"), mean, rtol=1e-4, atol=1e-6)
            if row == 5:
                break

    def test_quantised_fasttext(self):
        lines = [f"__label__{'ab'[i % 2]} " + " ".join(f"{'xy'[i % 2]}{RNG.integers(400)}" for _ in range(12)) for i in range(400)]
        self.train_fasttext("supervised", "\n".join(lines))
        dense, words = self.run_import(self.folder / "ft.bin")
        for options in ([], ["-qnorm"]):
            subprocess.run(["fasttext", "quantize", "-input", self.folder / "text", "-output", self.folder / "ft", *options],
                           check=True, capture_output=True)
            quantised, read = self.run_import(self.folder / "ft.ftz")
            self.assertEqual(read, words)
            a, b = dense["input.weight"], quantised["input.weight"]
            self.assertEqual(a.shape, b.shape)
            self.assertLess(numpy.linalg.norm(a - b) / numpy.linalg.norm(a), 0.5)
            printed = subprocess.run(["fasttext", "print-word-vectors", self.folder / "ft.ftz"], input=words[3] + b"\n",
                                     capture_output=True, check=True).stdout.split()[1:]
            numpy.testing.assert_allclose(numpy.array(printed, dtype="f8"), b[3], rtol=1e-4, atol=1e-6)


def subwords(word, buckets, shortest=3, longest=6):
    """fastText's Dictionary::computeSubwords: FNV-1a over signed bytes of every n-gram of <word>."""
    if word == b"</s>":
        return []
    characters = [bytes([byte]) for byte in b"<" + word + b">"]  # the words of this test are ASCII
    result = []
    for begin in range(len(characters)):
        for length in range(shortest, longest + 1):
            if begin + length > len(characters):
                break
            value = 2166136261
            for byte in b"".join(characters[begin:begin + length]):
                value = ((value ^ (byte - 256 if byte > 127 else byte)) * 16777619) & 0xFFFFFFFF
            result.append(value % buckets)
    return result


if __name__ == "__main__":
    unittest.main()
