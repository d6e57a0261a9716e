#!/usr/bin/env python3
"""One of the demo's packed tables as word vectors, read by the fasttext program as pretrained vectors."""

import subprocess

import numpy as np

from demo_model import DemoModel

TABLE = "section"
demo = DemoModel(__doc__)
model = demo.models / "quantized-8"
rows, columns, _ = demo.tables(model)[TABLE]
words = [f"section_{row}" for row in range(rows)]
(demo.work / "words").write_text("\n".join(words) + "\n")
(demo.work / "text").write_text(f"__label__any {words[0]}\n")
vectors = demo.export(model, "vec", "--module", TABLE, "--words", demo.work / "words")
subprocess.run(["fasttext", "supervised", "-input", demo.work / "text", "-output", demo.work / "learned", "-epoch", "0",
                "-dim", str(columns), "-pretrainedVectors", vectors], check=True, stderr=subprocess.DEVNULL)
printed = subprocess.run(["fasttext", "print-word-vectors", demo.work / "learned.bin"], input="\n".join(words), text=True,
                         stdout=subprocess.PIPE, check=True).stdout.splitlines()
theirs = np.array([line.split()[1:] for line in printed], np.float64)
ours = demo.rows(model, TABLE)
error = float((np.abs(theirs - ours) / np.maximum(np.abs(ours), 1e-30)).max())
print(f"fasttext: {rows} words; its five printed digits are ours to within {error:.0e}")
raise SystemExit(error > 1e-4)
