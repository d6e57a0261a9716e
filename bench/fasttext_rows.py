#!/usr/bin/env python3
"""Writes the rows of the package-links example as bags of words, for fastText and for eqat: helper of compare_fasttext.sh.

    bench/fasttext_rows.py ROWS_DIR OUT_DIR

A row becomes one bag of words, `column=value` for each single value, basket and tag, and the question is the section of
the package. Writes train.txt and test.txt (`__label__3 word word`), the same as TSV with data specs (train.json, test.json),
words.txt, and in model/ the float model that fastText trains: the mean of the words' rows, dim 16, and a linear layer
to the classes; rows uniform within 1 / 16, the layer zero. Only Python's standard library is needed.
"""
import array
import gzip
import json
import os
import random
import struct
import sys

DIM = 16
PARTS = {"train": "train.0.tsv.gz", "test": "test.tsv.gz"}
MULTI_VALUED = ("basket", "tags")


def read_lines(path):
    with open(path, encoding="utf-8") as file:
        return file.read().splitlines()


def bags(path, sections):
    """(section, words) of each row."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        names = next(lines).rstrip("\n").split("\t")
        for line in lines:
            row = dict(zip(names, line.rstrip("\n").split("\t")))
            words = []
            for name, value in row.items():
                if name not in ("label", "section"):
                    values = value.split(",") if name in MULTI_VALUED else [value]
                    words.extend(f"{name}={one}".replace(" ", "_") for one in values if one)
            yield sections[row["section"]], words


def write_part(rows_dir, out_dir, part, sections, vocabulary):
    with open(os.path.join(out_dir, f"{part}.txt"), "w", encoding="utf-8") as text, \
            open(os.path.join(out_dir, f"{part}.tsv"), "w", encoding="utf-8") as table:
        for label, words in bags(os.path.join(rows_dir, PARTS[part]), sections):
            if part == "train":
                vocabulary.update(dict.fromkeys(words))
            text.write(f"__label__{label} {' '.join(words)}\n")
            table.write(f"{label}\t{' '.join(words)}\n")
    spec = {"version": 1, "files": [f"{part}.tsv"], "header": False, "label": {"column": 0},
            "categorical": [{"input": "words", "column": 1, "encoding": "vocabulary", "vocabulary": "words.txt",
                             "unknown": 0, "multi_valued": True, "separator": " "}]}
    with open(os.path.join(out_dir, f"{part}.json"), "w", encoding="utf-8") as file:
        json.dump(spec, file)


def write_model(folder, num_words, num_classes):
    os.makedirs(folder, exist_ok=True)
    model = {"format": "eqat.model", "version": 1,
             "modules": {"bag": {"type": "nn.EmbeddingBag", "num_embeddings": num_words, "embedding_dim": DIM,
                                 "mode": "mean", "sparse": True},
                         "top": {"type": "nn.Linear", "in_features": DIM, "out_features": num_classes, "bias": False}},
             "graph": [{"name": "words", "op": "placeholder"},
                       {"name": "mean", "op": "call_module", "target": "bag", "args": ["words"]},
                       {"name": "classes", "op": "call_module", "target": "top", "args": ["mean"]},
                       {"name": "output", "op": "output", "args": ["classes"]}]}
    with open(os.path.join(folder, "model.json"), "w", encoding="utf-8") as file:
        json.dump(model, file)
    generator = random.Random(1)
    rows = array.array("f", (generator.uniform(-1 / DIM, 1 / DIM) for _ in range(num_words * DIM)))
    end = 4 * len(rows)
    header = json.dumps({"bag.weight": {"dtype": "F32", "shape": [num_words, DIM], "data_offsets": [0, end]},
                         "top.weight": {"dtype": "F32", "shape": [num_classes, DIM],
                                        "data_offsets": [end, end + 4 * num_classes * DIM]}})
    header += " " * (-len(header) % 8)
    with open(os.path.join(folder, "model.safetensors"), "wb") as file:
        file.write(struct.pack("<Q", len(header)) + header.encode() + rows.tobytes() + bytes(4 * num_classes * DIM))


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    rows_dir, out_dir = sys.argv[1:]
    os.makedirs(out_dir, exist_ok=True)
    sections = {name: i for i, name in enumerate(read_lines(os.path.join(rows_dir, "sections.txt")))}
    vocabulary = {"<unknown>": None}  # in order of appearance
    for part in PARTS:
        write_part(rows_dir, out_dir, part, sections, vocabulary)
    with open(os.path.join(out_dir, "words.txt"), "w", encoding="utf-8") as file:
        file.writelines(word + "\n" for word in vocabulary)
    write_model(os.path.join(out_dir, "model"), len(vocabulary), len(sections))


if __name__ == "__main__":
    main()
